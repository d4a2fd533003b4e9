//! AVX2 with F16C: two registers hold a block's 16 outputs.
//!
//! Two and four bits: a byte multiply-add gives at most 2 * 15 * 127 a lane, and eight of them at most 30,480, so a group is summed
//! in 16 bits. Eight bits: |w| times x under w's sign is at most 2 * 128 * 127 = 32,512; each is widened at once.

use super::{BLOCK, GROUP, Grouped, LINE, Rows, Then, tiles};
use crate::pool::Shared;
use std::arch::x86_64::*;
use std::ops::Range;

const ROWS: usize = 4;

#[target_feature(enable = "avx2,fma,f16c")]
pub fn matmul(w: &Grouped, x: &Rows, then: &Then, out: &Shared<f32>, blocks: Range<usize>) {
    let job = Job { w, x, then, out };
    for block in blocks {
        for (m, end) in tiles(x, ROWS) {
            match (w.bits, end - m) {
                (2, 1) => job.tile::<2, 1>(block, m),
                (2, 2) => job.tile::<2, 2>(block, m),
                (2, 3) => job.tile::<2, 3>(block, m),
                (2, _) => job.tile::<2, 4>(block, m),
                (4, 1) => job.tile::<4, 1>(block, m),
                (4, 2) => job.tile::<4, 2>(block, m),
                (4, 3) => job.tile::<4, 3>(block, m),
                (4, _) => job.tile::<4, 4>(block, m),
                (_, 1) => job.tile::<8, 1>(block, m),
                (_, 2) => job.tile::<8, 2>(block, m),
                (_, 3) => job.tile::<8, 3>(block, m),
                (_, _) => job.tile::<8, 4>(block, m),
            }
        }
    }
}

struct Job<'a> {
    w: &'a Grouped<'a>,
    x: &'a Rows,
    then: &'a Then<'a>,
    out: &'a Shared<f32>,
}

impl Job<'_> {
    /// R rows times one block.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn tile<const BITS: usize, const R: usize>(&self, block: usize, m: usize) {
        let (w, x) = (self.w, self.x);
        let (groups, width, bytes) = (w.groups(), x.width, GROUP * BLOCK * BITS / 8);
        let lines = w.lines[block * groups * bytes..][..groups * bytes].as_ptr();
        let scales = w.scales[block * groups * BLOCK..][..groups * BLOCK].as_ptr();
        let minima = w
            .minima
            .map(|m| m[block * groups * BLOCK..][..groups * BLOCK].as_ptr());
        let values = x.values[m * width..][..R * width].as_ptr();
        let x_scales = &x.scales[m * groups..][..R * groups];
        let x_sums = &x.sums[m * groups..][..R * groups];
        // an 8-bit code becomes signed by turning its top bit, which takes 128 off
        let zero = if BITS < 8 { w.zero() } else { w.zero() - 128 };
        let ones = _mm256_set1_epi16(1);
        let count = std::hint::black_box(bytes / LINE); // unrolled, one sum would wait for the other
        let mut totals = [[_mm256_setzero_ps(); 2]; R];
        for g in 0..groups {
            let mut sums = [[_mm256_setzero_si256(); 2]; R];
            for line in 0..count {
                let mut raw = [_mm256_setzero_si256(); 2];
                for (c, raw) in raw.iter_mut().enumerate() {
                    // SAFETY: `groups` groups of `bytes` bytes lie behind `lines`.
                    *raw = unsafe {
                        _mm256_loadu_si256(lines.add(g * bytes + line * LINE + 32 * c).cast())
                    };
                }
                for field in 0..8 / BITS {
                    let input = g * GROUP + line * 32 / BITS + 4 * field;
                    for c in 0..2 {
                        let codes = if BITS < 8 {
                            let codes = _mm256_and_si256(raw[c], _mm256_set1_epi8((1 << BITS) - 1));
                            raw[c] = if BITS == 4 {
                                _mm256_srli_epi16::<4>(raw[c])
                            } else {
                                _mm256_srli_epi16::<2>(raw[c])
                            };
                            codes
                        } else {
                            _mm256_xor_si256(raw[c], _mm256_set1_epi8(-128))
                        };
                        for r in 0..R {
                            // SAFETY: R rows of `width` numbers lie behind `values`.
                            let four = _mm256_set1_epi32(unsafe {
                                values.add(r * width + input).cast::<i32>().read_unaligned()
                            });
                            if BITS < 8 {
                                let pairs = _mm256_maddubs_epi16(codes, four);
                                sums[r][c] = _mm256_add_epi16(sums[r][c], pairs);
                            } else {
                                let pairs = _mm256_maddubs_epi16(
                                    _mm256_abs_epi8(codes),
                                    _mm256_sign_epi8(four, codes),
                                );
                                sums[r][c] =
                                    _mm256_add_epi32(sums[r][c], _mm256_madd_epi16(pairs, ones));
                            }
                        }
                    }
                }
            }
            for c in 0..2 {
                // SAFETY: `groups` times 16 numbers lie behind both.
                let load = |from: *const u16| unsafe {
                    _mm256_cvtph_ps(_mm_loadu_si128(from.add(g * BLOCK + 8 * c).cast()))
                };
                let scale = load(scales);
                for r in 0..R {
                    let at = r * groups + g;
                    let wide = if BITS < 8 {
                        _mm256_madd_epi16(sums[r][c], ones)
                    } else {
                        sums[r][c]
                    };
                    let exact = _mm256_sub_epi32(wide, _mm256_set1_epi32(zero * x_sums[at]));
                    let by = _mm256_mul_ps(scale, _mm256_set1_ps(x_scales[at]));
                    totals[r][c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(exact), by, totals[r][c]);
                }
                if let Some(minima) = minima {
                    let minimum = load(minima);
                    for r in 0..R {
                        let at = r * groups + g;
                        let sum = _mm256_set1_ps(x.moments[m * groups + at]);
                        totals[r][c] = _mm256_fmadd_ps(minimum, sum, totals[r][c]);
                    }
                }
            }
        }
        let mut y = [[0f32; BLOCK]; R];
        for r in 0..R {
            for c in 0..2 {
                // SAFETY: two times 8 numbers fit.
                unsafe { _mm256_storeu_ps(y[r].as_mut_ptr().add(8 * c), totals[r][c]) };
            }
        }
        self.then.write_all(w, self.out, m, block, x.planes, &y);
    }
}
