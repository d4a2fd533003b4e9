//! AVX-512 with VNNI: a register holds 16 outputs; a group is eight dot products of four, then two FP32 steps.
//!
//! Few rows read each weight once, so they go through memory in one stream with prefetches of its own: several
//! blocks side by side are as many streams, each too short for the processor to follow. The loop over a group's lines
//! stays a loop: unrolled, the compiler finishes one sum after the other and waits for each.

use super::{BLOCK, GROUP, Grouped, LINE, Rows, Then, tiles};
use crate::pool::Shared;
use std::arch::x86_64::*;
use std::ops::Range;

const ROWS: usize = 6; // of a tile two blocks wide
const FEW: usize = 12; // rows that a tile of one block takes, all at once
const AHEAD: usize = 8192; // bytes between what is multiplied and what is fetched

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub fn matmul(w: &Grouped, x: &Rows, then: &Then, out: &Shared<f32>, blocks: Range<usize>) {
    let job = Job { w, x, then, out };
    match (w.bits, w.minima.is_some()) {
        (2, false) => job.all::<2, false>(blocks),
        (2, true) => job.all::<2, true>(blocks),
        (4, false) => job.all::<4, false>(blocks),
        (4, true) => job.all::<4, true>(blocks),
        (_, false) => job.all::<8, false>(blocks),
        (_, true) => job.all::<8, true>(blocks),
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
    fn all<const BITS: usize, const LOW: bool>(&self, blocks: Range<usize>) {
        let (wide, most) = if self.x.rows <= FEW {
            (1, FEW)
        } else {
            (2, ROWS)
        };
        let mut block = blocks.start;
        while block < blocks.end {
            let columns = wide.min(blocks.end - block);
            for (m, end) in tiles(self.x, most) {
                match (columns, end - m) {
                    (1, 1) => self.tile::<BITS, LOW, 1, 1>(block, m),
                    (1, 2) => self.tile::<BITS, LOW, 1, 2>(block, m),
                    (1, 3) => self.tile::<BITS, LOW, 1, 3>(block, m),
                    (1, 4) => self.tile::<BITS, LOW, 1, 4>(block, m),
                    (1, 5) => self.tile::<BITS, LOW, 1, 5>(block, m),
                    (1, 6) => self.tile::<BITS, LOW, 1, 6>(block, m),
                    (1, 7) => self.tile::<BITS, LOW, 1, 7>(block, m),
                    (1, 8) => self.tile::<BITS, LOW, 1, 8>(block, m),
                    (1, 9) => self.tile::<BITS, LOW, 1, 9>(block, m),
                    (1, 10) => self.tile::<BITS, LOW, 1, 10>(block, m),
                    (1, 11) => self.tile::<BITS, LOW, 1, 11>(block, m),
                    (1, _) => self.tile::<BITS, LOW, 1, 12>(block, m),
                    (_, 1) => self.tile::<BITS, LOW, 2, 1>(block, m),
                    (_, 2) => self.tile::<BITS, LOW, 2, 2>(block, m),
                    (_, 3) => self.tile::<BITS, LOW, 2, 3>(block, m),
                    (_, 4) => self.tile::<BITS, LOW, 2, 4>(block, m),
                    (_, 5) => self.tile::<BITS, LOW, 2, 5>(block, m),
                    (_, _) => self.tile::<BITS, LOW, 2, 6>(block, m),
                }
            }
            block += columns;
        }
    }

    /// R rows times C blocks. LOW: there are minima.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn tile<const BITS: usize, const LOW: bool, const C: usize, const R: usize>(
        &self,
        block: usize,
        m: usize,
    ) {
        let (w, x) = (self.w, self.x);
        let (groups, width, bytes) = (w.groups(), x.width, GROUP * BLOCK * BITS / 8);
        let stride = groups * bytes;
        let lines = w.lines[block * stride..][..C * stride].as_ptr();
        let scales = w.scales[block * groups * BLOCK..][..C * groups * BLOCK].as_ptr();
        let minima = match w.minima {
            Some(minima) if LOW => minima[block * groups * BLOCK..][..C * groups * BLOCK].as_ptr(),
            _ => scales,
        };
        let values = x.values[m * width..][..R * width].as_ptr();
        let x_scales = x.scales[m * groups..][..R * groups].as_ptr();
        let x_sums = x.sums[m * groups..][..R * groups].as_ptr();
        let moments = x.moments[m * groups..][..R * groups].as_ptr();
        let zero = w.zero();
        let count = std::hint::black_box(bytes / LINE);
        let mut totals = [[_mm512_setzero_ps(); C]; R];
        for g in 0..groups {
            let mut sums = [[_mm512_setzero_si512(); C]; R];
            if !LOW {
                for r in 0..R {
                    // SAFETY: R rows of `groups` numbers lie behind `x_sums`.
                    let start = _mm512_set1_epi32(-zero * unsafe { *x_sums.add(r * groups + g) });
                    sums[r] = [start; C];
                }
            }
            // SAFETY: C blocks of `groups` groups of `bytes` bytes lie behind `lines`, R rows of `width` numbers behind
            // `values`; what is fetched ahead is not touched.
            unsafe {
                let mut line = lines.add(g * bytes);
                let mut four = values.add(g * GROUP);
                for _ in 0..count {
                    if C == 1 {
                        _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(AHEAD).cast());
                    }
                    let mut raw: [__m512i; C] =
                        std::array::from_fn(|c| _mm512_loadu_si512(line.add(c * stride).cast()));
                    for field in 0..8 / BITS {
                        let codes: [__m512i; C] = if BITS < 8 {
                            std::array::from_fn(|c| {
                                _mm512_and_si512(raw[c], _mm512_set1_epi8((1 << BITS) - 1))
                            })
                        } else {
                            raw
                        };
                        for r in 0..R {
                            let input = four
                                .add(r * width + 4 * field)
                                .cast::<i32>()
                                .read_unaligned();
                            for c in 0..C {
                                sums[r][c] = _mm512_dpbusd_epi32(
                                    sums[r][c],
                                    codes[c],
                                    _mm512_set1_epi32(input),
                                );
                            }
                        }
                        for raw in &mut raw {
                            *raw = match BITS {
                                2 => _mm512_srli_epi16::<2>(*raw),
                                _ => _mm512_srli_epi16::<4>(*raw),
                            };
                        }
                    }
                    line = line.add(LINE);
                    four = four.add(32 / BITS);
                }
                for c in 0..C {
                    let load = |from: *const u16| {
                        _mm512_cvtph_ps(_mm256_loadu_si256(
                            from.add((c * groups + g) * BLOCK).cast(),
                        ))
                    };
                    let scale = load(scales);
                    for r in 0..R {
                        let by =
                            _mm512_mul_ps(scale, _mm512_set1_ps(*x_scales.add(r * groups + g)));
                        totals[r][c] =
                            _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r][c]), by, totals[r][c]);
                    }
                    if LOW {
                        let minimum = load(minima);
                        for r in 0..R {
                            let moment = _mm512_set1_ps(*moments.add(r * groups + g));
                            totals[r][c] = _mm512_fmadd_ps(minimum, moment, totals[r][c]);
                        }
                    }
                }
            }
        }
        for c in 0..C {
            // SAFETY: a register is 16 numbers.
            let y: [[f32; BLOCK]; R] =
                std::array::from_fn(|r| unsafe { std::mem::transmute(totals[r][c]) });
            self.then.write_all(w, self.out, m, block + c, x.planes, &y);
        }
    }
}
