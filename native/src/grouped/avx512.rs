//! AVX-512 with VNNI: a register holds 16 outputs; a group is eight dot products of four, then two FP32 steps.

use super::{BLOCK, GROUP, Grouped, LINE, Rows, Then, tiles};
use crate::pool::Shared;
use std::arch::x86_64::*;
use std::ops::Range;

const ROWS: usize = 6;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub fn matmul(w: &Grouped, x: &Rows, then: &Then, out: &Shared<f32>, blocks: Range<usize>) {
    let job = Job { w, x, then, out };
    let mut block = blocks.start;
    while block < blocks.end {
        let left = blocks.end - block;
        let columns = if x.rows <= 2 && left >= 4 { 4 } else { left.min(2) };
        let most = if columns == 4 { 2 } else { ROWS };
        for (m, end) in tiles(x, most) {
            match (w.bits, columns, end - m) {
                (2, 4, 1) => job.tile::<2, 4, 1>(block, m),
                (2, 4, _) => job.tile::<2, 4, 2>(block, m),
                (2, 2, rows) => job.tiles::<2, 2>(block, m, rows),
                (2, _, rows) => job.tiles::<2, 1>(block, m, rows),
                (4, 4, 1) => job.tile::<4, 4, 1>(block, m),
                (4, 4, _) => job.tile::<4, 4, 2>(block, m),
                (4, 2, rows) => job.tiles::<4, 2>(block, m, rows),
                (4, _, rows) => job.tiles::<4, 1>(block, m, rows),
                (_, 4, 1) => job.tile::<8, 4, 1>(block, m),
                (_, 4, _) => job.tile::<8, 4, 2>(block, m),
                (_, 2, rows) => job.tiles::<8, 2>(block, m, rows),
                (_, _, rows) => job.tiles::<8, 1>(block, m, rows),
            }
        }
        block += columns;
    }
}

struct Job<'a> {
    w: &'a Grouped<'a>,
    x: &'a Rows,
    then: &'a Then<'a>,
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

    /// R rows times C blocks.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn tile<const BITS: usize, const C: usize, const R: usize>(&self, block: usize, m: usize) {
        let (w, x) = (self.w, self.x);
        let (groups, width, bytes) = (w.groups(), x.width, GROUP * BLOCK * BITS / 8);
        let stride = groups * bytes;
        let lines = w.lines[block * stride..][..C * stride].as_ptr();
        let scales = w.scales[block * groups * BLOCK..][..C * groups * BLOCK].as_ptr();
        let minima = w.minima.map(|m| m[block * groups * BLOCK..][..C * groups * BLOCK].as_ptr());
        let values = x.values[m * width..][..R * width].as_ptr();
        let x_scales = &x.scales[m * groups..][..R * groups];
        let x_sums = &x.sums[m * groups..][..R * groups];
        let zero = w.zero();
        let mut totals = [[_mm512_setzero_ps(); C]; R];
        for g in 0..groups {
            let mut sums = [[_mm512_setzero_si512(); C]; R];
            for r in 0..R {
                let start = _mm512_set1_epi32(-zero * x_sums[r * groups + g]);
                for c in 0..C {
                    sums[r][c] = start;
                }
            }
            for line in 0..bytes / LINE {
                let mut raw = [_mm512_setzero_si512(); C];
                for c in 0..C {
                    // SAFETY: C blocks of `groups` groups of `bytes` bytes lie behind `lines`.
                    raw[c] = unsafe {
                        _mm512_loadu_si512(lines.add(c * stride + g * bytes + line * LINE).cast())
                    };
                }
                for field in 0..8 / BITS {
                    let mut codes = raw;
                    if BITS < 8 {
                        for c in 0..C {
                            codes[c] = _mm512_and_si512(raw[c], _mm512_set1_epi8((1 << BITS) - 1));
                            raw[c] = if BITS == 4 {
                                _mm512_srli_epi16::<4>(raw[c])
                            } else {
                                _mm512_srli_epi16::<2>(raw[c])
                            };
                        }
                    }
                    let input = g * GROUP + line * 32 / BITS + 4 * field;
                    for r in 0..R {
                        // SAFETY: R rows of `width` numbers lie behind `values`.
                        let four = _mm512_set1_epi32(unsafe {
                            values.add(r * width + input).cast::<i32>().read_unaligned()
                        });
                        for c in 0..C {
                            sums[r][c] = _mm512_dpbusd_epi32(sums[r][c], codes[c], four);
                        }
                    }
                }
            }
            for c in 0..C {
                // SAFETY: C blocks of `groups` times 16 numbers lie behind both.
                let load = |from: *const u16| unsafe {
                    _mm512_cvtph_ps(_mm256_loadu_si256(from.add((c * groups + g) * BLOCK).cast()))
                };
                let scale = load(scales);
                for r in 0..R {
                    let by = _mm512_mul_ps(scale, _mm512_set1_ps(x_scales[r * groups + g]));
                    totals[r][c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r][c]), by, totals[r][c]);
                }
                if let Some(minima) = minima {
                    let minimum = load(minima);
                    for r in 0..R {
                        let at = r * groups + g;
                        let sum = _mm512_set1_ps(x_scales[at] * x_sums[at] as f32);
                        totals[r][c] = _mm512_fmadd_ps(minimum, sum, totals[r][c]);
                    }
                }
            }
        }
        for c in 0..C {
            let mut y = [[0f32; BLOCK]; R];
            for r in 0..R {
                // SAFETY: 16 numbers fit.
                unsafe { _mm512_storeu_ps(y[r].as_mut_ptr(), totals[r][c]) };
            }
            for (r, y) in y.chunks_exact(x.planes).enumerate() {
                self.then.write(w, self.out, m / x.planes + r, block + c, y);
            }
        }
    }
}
