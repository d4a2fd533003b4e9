//! AVX2: 32 products per byte multiply-add, 16-bit sums over a group.
//!
//! The byte multiply-add cannot saturate: a pair is at most 2 * 15 * 127 = 3,810. Sums wrap, but end within 16
//! bits: half a group is at most 32 * 8 * 127 = 32,512. One 16-bit multiply-add then joins the halves and applies the scale.

use super::Epilogue;
use crate::layout::{Activations, BLOCK, GROUP, LINE, Packed, zero};
use crate::pool::Shared;
use std::arch::x86_64::*;
use std::ops::Range;

const ROWS: usize = 4;
const HALF: usize = LINE / 2;

#[target_feature(enable = "avx2,fma")]
pub fn matmul(
    w: &Packed,
    x: &Activations,
    epilogue: &Epilogue,
    out: &Shared<f32>,
    blocks: Range<usize>,
) {
    let z = zero(w.bits) as i16;
    let starts: Vec<[i16; 2]> = x.sums[..x.rows * w.groups()]
        .iter()
        .map(|s| {
            [
                (s[0] + s[2]).wrapping_mul(-z),
                (s[1] + s[3]).wrapping_mul(-z),
            ]
        })
        .collect();
    let job = Job {
        w,
        x,
        epilogue,
        out,
        starts: &starts,
    };
    for block in blocks {
        let tiles = x.rows.div_ceil(ROWS);
        for tile in 0..tiles {
            let (m, end) = (x.rows * tile / tiles, x.rows * (tile + 1) / tiles);
            match w.bits {
                2 => job.tiles::<2>(block, m, end - m),
                _ => job.tiles::<4>(block, m, end - m),
            }
        }
    }
}

struct Job<'a> {
    w: &'a Packed<'a>,
    x: &'a Activations,
    epilogue: &'a Epilogue<'a>,
    out: &'a Shared<f32>,
    starts: &'a [[i16; 2]],
}

impl Job<'_> {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn tiles<const BITS: usize>(&self, block: usize, m: usize, rows: usize) {
        match rows {
            1 => self.tile::<BITS, 1>(block, m),
            2 => self.tile::<BITS, 2>(block, m),
            3 => self.tile::<BITS, 3>(block, m),
            _ => self.tile::<BITS, 4>(block, m),
        }
    }

    /// R rows times one block of 16 outputs, which two registers hold.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn tile<const BITS: usize, const R: usize>(&self, block: usize, m: usize) {
        let (groups, width) = (self.w.groups(), self.x.width);
        let group_bytes = GROUP * BLOCK * BITS / 8;
        let lines = self.w.lines[block * groups * group_bytes..][..groups * group_bytes].as_ptr();
        let scales = self.w.group_scales[block * groups * BLOCK..][..groups * BLOCK].as_ptr();
        let values = self.x.values[m * width..][..R * width].as_ptr();
        let starts = self.starts[m * groups..][..R * groups].as_ptr();
        let mut totals = [[_mm256_setzero_si256(); 2]; R];
        // SAFETY: all offsets are below the lengths taken above.
        unsafe {
            for g in 0..groups {
                let mut sums = [[_mm256_setzero_si256(); 2]; R];
                for r in 0..R {
                    let start = starts.add(r * groups + g).cast::<i32>().read_unaligned();
                    sums[r] = [_mm256_set1_epi32(start); 2];
                }
                for line in 0..group_bytes / LINE {
                    let at = g * (group_bytes / LINE) + line;
                    let raw = [
                        _mm256_loadu_si256(lines.add(at * LINE).cast()),
                        _mm256_loadu_si256(lines.add(at * LINE + HALF).cast()),
                    ];
                    let here = values.add(at * (32 / BITS));
                    step::<BITS, 0, R>(&mut sums, &raw, here, width);
                    step::<BITS, 1, R>(&mut sums, &raw, here, width);
                    if BITS == 2 {
                        step::<BITS, 2, R>(&mut sums, &raw, here, width);
                        step::<BITS, 3, R>(&mut sums, &raw, here, width);
                    }
                }
                for c in 0..2 {
                    let code =
                        _mm256_cvtepu8_epi32(_mm_loadl_epi64(scales.add(g * BLOCK + 8 * c).cast()));
                    let scale = _mm256_or_si256(code, _mm256_slli_epi32::<16>(code));
                    for r in 0..R {
                        totals[r][c] =
                            _mm256_add_epi32(totals[r][c], _mm256_madd_epi16(sums[r][c], scale));
                    }
                }
            }
            for r in 0..R {
                let mut sums = [0i32; BLOCK];
                _mm256_storeu_si256(sums.as_mut_ptr().cast(), totals[r][0]);
                _mm256_storeu_si256(sums.as_mut_ptr().add(8).cast(), totals[r][1]);
                self.epilogue
                    .write(self.w, self.x, self.out, m + r, block, &sums);
            }
        }
    }
}

/// Field F of a line times four inputs of R rows.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn step<const BITS: usize, const F: usize, const R: usize>(
    sums: &mut [[__m256i; 2]; R],
    raw: &[__m256i; 2],
    values: *const i8,
    width: usize,
) {
    let codes = [field::<BITS, F>(raw[0]), field::<BITS, F>(raw[1])];
    for r in 0..R {
        // SAFETY: the caller's rows are `width` long and this line's inputs lie within.
        let four = _mm256_set1_epi32(unsafe {
            values.add(r * width + 4 * F).cast::<i32>().read_unaligned()
        });
        for c in 0..2 {
            sums[r][c] = _mm256_add_epi16(sums[r][c], _mm256_maddubs_epi16(codes[c], four));
        }
    }
}

/// Codes of one field as bytes; two-bit codes come doubled, as the levels want them.
#[inline]
#[target_feature(enable = "avx2")]
fn field<const BITS: usize, const F: usize>(raw: __m256i) -> __m256i {
    if BITS == 2 {
        let shifted = match F {
            0 => _mm256_slli_epi16::<1>(raw),
            1 => _mm256_srli_epi16::<1>(raw),
            2 => _mm256_srli_epi16::<3>(raw),
            _ => _mm256_srli_epi16::<5>(raw),
        };
        return _mm256_and_si256(shifted, _mm256_set1_epi8(6));
    }
    let shifted = if F == 0 {
        raw
    } else {
        _mm256_srli_epi16::<4>(raw)
    };
    _mm256_and_si256(shifted, _mm256_set1_epi8(15))
}
