//! `y = x w^T + bias` in FP32, for the small maps around the trunk. An output is the same number whatever stands
//! beside it: sixteen strands over its inputs, then their sum.

use crate::each_isa;
use crate::pool::{self, Shared};
use crate::vector::{LANES, total};
use std::ops::Range;

const ROWS: usize = 2; // four do not fit the registers: ten times slower
const COLUMNS: usize = 4;
const UNIT: usize = 524_288; // multiplications that are worth a thread

/// `x (m, k)`, `w (n, k)`, `bias (n)` or none, `out (m, n)`.
pub fn linear(x: &[f32], w: &[f32], bias: Option<&[f32]>, k: usize, out: &mut [f32]) {
    let (m, n) = (x.len() / k, w.len() / k);
    let out = Shared::new(out);
    pool::split(n, 16, m * n * k / UNIT, |part| {
        columns(x, w, bias, k, n, &out, part)
    });
}

each_isa! {
    fn columns(x: &[f32], w: &[f32], bias: Option<&[f32]>, k: usize, n: usize, out: &Shared<f32>, part: Range<usize>) {
        let m = x.len() / k;
        for first in part.clone().step_by(COLUMNS) {
            let across = COLUMNS.min(part.end - first);
            for row in (0..m).step_by(ROWS) {
                let sums = match (ROWS.min(m - row), across) {
                    (2, 4) => tile::<2, 4>(x, w, k, row, first),
                    (_, 4) if m - row == 1 => tile::<1, 4>(x, w, k, row, first),
                    (rows, columns) => ragged(x, w, k, row..row + rows, first..first + columns),
                };
                for r in 0..ROWS.min(m - row) {
                    // SAFETY: these columns belong to this task alone.
                    let out = unsafe { out.slice((row + r) * n + first, across) };
                    for (c, out) in out.iter_mut().enumerate() {
                        *out = sums[r][c] + bias.map_or(0.0, |bias| bias[first + c]);
                    }
                }
            }
        }
    }
}

type Sums = [[f32; COLUMNS]; ROWS];

#[inline(always)]
fn tile<const R: usize, const C: usize>(
    x: &[f32],
    w: &[f32],
    k: usize,
    row: usize,
    first: usize,
) -> Sums {
    let chunks = k / LANES;
    let cut = |from: &[f32], at: usize| from[at * k..][..k].as_chunks::<LANES>().0.as_ptr();
    let xs: [_; R] = std::array::from_fn(|r| cut(x, row + r));
    let ws: [_; C] = std::array::from_fn(|c| cut(w, first + c));
    let mut strands = [[[0f32; LANES]; C]; R];
    for at in 0..chunks {
        // SAFETY: every row was cut into this many chunks above.
        let x: [[f32; LANES]; R] = std::array::from_fn(|r| unsafe { *xs[r].add(at) });
        for c in 0..C {
            // SAFETY: as above.
            let w = unsafe { *ws[c].add(at) };
            for r in 0..R {
                strands[r][c] = std::array::from_fn(|l| strands[r][c][l] + x[r][l] * w[l]);
            }
        }
    }
    let mut sums = [[0f32; COLUMNS]; ROWS];
    for r in 0..R {
        for c in 0..C {
            for l in 0..k % LANES {
                let at = chunks * LANES + l;
                strands[r][c][l] += x[(row + r) * k + at] * w[(first + c) * k + at];
            }
            sums[r][c] = total(strands[r][c]);
        }
    }
    sums
}

#[inline(always)]
fn ragged(x: &[f32], w: &[f32], k: usize, rows: Range<usize>, columns: Range<usize>) -> Sums {
    let mut sums = [[0f32; COLUMNS]; ROWS];
    for (r, row) in rows.enumerate() {
        for (c, column) in columns.clone().enumerate() {
            sums[r][c] = tile::<1, 1>(x, w, k, row, column)[0][0];
        }
    }
    sums
}
