//! AVX-512 with VNNI: 64 products per instruction, 32-bit sums.
//!
//! A register of sums starts from minus zero times the activations' sum, so that the zero point costs nothing; after
//! 64 inputs (2 bits) or 32 (4 bits) the sum fits 16 bits and one multiply-add applies the group's scale.

use super::Epilogue;
use crate::layout::{Activations, BLOCK, GROUP, LINE, Packed, zero};
use crate::pool::Shared;
use std::arch::x86_64::*;
use std::ops::Range;

const ROWS: usize = 6;
const AHEAD: usize = 4096; // bytes between what few rows multiply and what they fetch

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub fn matmul(
    w: &Packed,
    x: &Activations,
    epilogue: &Epilogue,
    out: &Shared<f32>,
    blocks: Range<usize>,
) {
    let job = Job {
        w,
        x,
        epilogue,
        out,
    };
    let mut block = blocks.start;
    while block < blocks.end {
        let left = blocks.end - block;
        // few rows read each weight once, in one stream through memory
        let columns = if x.rows <= ROWS { 1 } else { left.min(2) };
        let tiles = x.rows.div_ceil(ROWS);
        for tile in 0..tiles {
            // tiles of nearly equal height: 16 rows are 6, 5 and 5
            let (m, end) = (x.rows * tile / tiles, x.rows * (tile + 1) / tiles);
            match (w.bits, columns, end - m) {
                (2, 2, rows) => job.tiles::<2, 2>(block, m, rows),
                (2, _, rows) => job.tiles::<2, 1>(block, m, rows),
                (_, 2, rows) => job.tiles::<4, 2>(block, m, rows),
                (_, _, rows) => job.tiles::<4, 1>(block, m, rows),
            }
        }
        block += columns;
    }
}

/// Minus zero times the sum of a run of inputs: a group (2 bits) or half of one (4 bits).
#[inline(always)]
fn start<const BITS: usize>(sums: &[i16; 4], run: usize) -> i32 {
    let half = |h: usize| sums[2 * h] as i32 + sums[2 * h + 1] as i32;
    if BITS == 2 {
        -zero(2) * (half(0) + half(1))
    } else {
        -zero(4) * half(run)
    }
}

struct Job<'a> {
    w: &'a Packed<'a>,
    x: &'a Activations,
    epilogue: &'a Epilogue<'a>,
    out: &'a Shared<f32>,
}

impl Job<'_> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn tiles<const BITS: usize, const C: usize>(&self, block: usize, m: usize, rows: usize) {
        match rows {
            1 => self.tile::<BITS, C, 1>(block, m),
            2 => self.tile::<BITS, C, 2>(block, m),
            3 => self.tile::<BITS, C, 3>(block, m),
            4 => self.tile::<BITS, C, 4>(block, m),
            5 => self.tile::<BITS, C, 5>(block, m),
            _ => self.tile::<BITS, C, 6>(block, m),
        }
    }

    /// R rows times C blocks of 16 outputs.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn tile<const BITS: usize, const C: usize, const R: usize>(&self, block: usize, m: usize) {
        let (groups, width) = (self.w.groups(), self.x.width);
        let group_bytes = GROUP * BLOCK * BITS / 8;
        let (runs, run_lines) = if BITS == 2 { (1, 4) } else { (2, 4) };
        // The seam has checked every length, so that these pointers stay inside their slices.
        let lines =
            self.w.lines[block * groups * group_bytes..][..C * groups * group_bytes].as_ptr();
        let scales = self.w.group_scales[block * groups * BLOCK..][..C * groups * BLOCK].as_ptr();
        let values = self.x.values[m * width..][..R * width].as_ptr();
        let sums_of = self.x.sums[m * groups..][..R * groups].as_ptr();
        let mut totals = [[_mm512_setzero_si512(); C]; R];
        // SAFETY: all offsets are below the lengths taken above.
        unsafe {
            for g in 0..groups {
                let mut scale = [_mm512_setzero_si512(); C];
                for c in 0..C {
                    scale[c] = _mm512_cvtepu8_epi32(_mm_loadu_si128(
                        scales.add((c * groups + g) * BLOCK).cast(),
                    ));
                }
                for run in 0..runs {
                    let mut sums = [[_mm512_setzero_si512(); C]; R];
                    for r in 0..R {
                        let start =
                            _mm512_set1_epi32(start::<BITS>(&*sums_of.add(r * groups + g), run));
                        sums[r] = [start; C];
                    }
                    for line in 0..run_lines {
                        let at = g * (group_bytes / LINE) + run * run_lines + line;
                        if C == 1 {
                            _mm_prefetch::<_MM_HINT_T0>(lines.wrapping_add(at * LINE + AHEAD).cast());
                        }
                        let mut raw = [_mm512_setzero_si512(); C];
                        for c in 0..C {
                            raw[c] = _mm512_loadu_si512(
                                lines
                                    .add((c * groups * (group_bytes / LINE) + at) * LINE)
                                    .cast(),
                            );
                        }
                        let input = at * (32 / BITS);
                        let here = values.add(input);
                        if BITS == 2 {
                            step::<BITS, 0, C, R>(&mut sums, &raw, here, width);
                            step::<BITS, 1, C, R>(&mut sums, &raw, here, width);
                            step::<BITS, 2, C, R>(&mut sums, &raw, here, width);
                            step::<BITS, 3, C, R>(&mut sums, &raw, here, width);
                        } else {
                            step::<BITS, 0, C, R>(&mut sums, &raw, here, width);
                            step::<BITS, 1, C, R>(&mut sums, &raw, here, width);
                        }
                    }
                    for r in 0..R {
                        for c in 0..C {
                            totals[r][c] = _mm512_dpwssd_epi32(totals[r][c], sums[r][c], scale[c]);
                        }
                    }
                }
            }
            for r in 0..R {
                for c in 0..C {
                    let mut sums = [0i32; BLOCK];
                    _mm512_storeu_si512(sums.as_mut_ptr().cast(), totals[r][c]);
                    self.epilogue
                        .write(self.w, self.x, self.out, m + r, block + c, &sums);
                }
            }
        }
    }
}

/// Field F of C lines times four inputs of R rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn step<const BITS: usize, const F: usize, const C: usize, const R: usize>(
    sums: &mut [[__m512i; C]; R],
    raw: &[__m512i; C],
    values: *const i8,
    width: usize,
) {
    let mut codes = [_mm512_setzero_si512(); C];
    for c in 0..C {
        codes[c] = field::<BITS, F>(raw[c]);
    }
    for r in 0..R {
        // SAFETY: the caller's rows are `width` long and this line's inputs lie within.
        let four = _mm512_set1_epi32(unsafe {
            values.add(r * width + 4 * F).cast::<i32>().read_unaligned()
        });
        for c in 0..C {
            sums[r][c] = _mm512_dpbusd_epi32(sums[r][c], codes[c], four);
        }
    }
}

/// Codes of one field as bytes; two-bit codes come doubled, as the levels want them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn field<const BITS: usize, const F: usize>(raw: __m512i) -> __m512i {
    if BITS == 2 {
        let shifted = match F {
            0 => _mm512_slli_epi16::<1>(raw),
            1 => _mm512_srli_epi16::<1>(raw),
            2 => _mm512_srli_epi16::<3>(raw),
            _ => _mm512_srli_epi16::<5>(raw),
        };
        return _mm512_and_si512(shifted, _mm512_set1_epi8(6));
    }
    let shifted = if F == 0 {
        raw
    } else {
        _mm512_srli_epi16::<4>(raw)
    };
    _mm512_and_si512(shifted, _mm512_set1_epi8(15))
}
