//! `y = x w^T + bias` in FP32, for the small maps around the trunk. An output is the same number whatever stands
//! beside it: sixteen strands over its inputs, then their sum. Weights may lie in 8 bits under a scale for every 32; they
//! become FP32 as they are read, so that the numbers are those of the FP32 matrix at a quarter of its bytes.

use crate::each_isa;
use crate::pool::{self, Shared};
use crate::vector::{LANES, total};
use std::ops::Range;

const ROWS: usize = 2; // four do not fit the registers: ten times slower
const COLUMNS: usize = 8;
const UNIT: usize = 524_288; // multiplications that are worth a thread

pub const GROUP: usize = 32; // of weights in 8 bits that share a scale

/// `x (m, k)`, `w (n, k)`, `bias (n)` or none, `out (m, n)`.
pub fn linear(x: &[f32], w: &[f32], bias: Option<&[f32]>, k: usize, out: &mut [f32]) {
    let (m, n) = (x.len() / k, w.len() / k);
    let out = Shared::new(out);
    pool::split(n, 16, m * n * k / UNIT, |part| columns(x, w, bias, k, n, &out, part));
}

/// The same of weights `codes (n, k)` times `scales (n, k / 32)`.
pub fn linear_eight(x: &[f32], codes: &[i8], scales: &[f32], bias: Option<&[f32]>, k: usize, out: &mut [f32]) {
    let (m, n) = (x.len() / k, codes.len() / k);
    let out = Shared::new(out);
    pool::split(n, 16, m * n * k / UNIT, |part| columns_of_eight(x, codes, scales, bias, k, n, &out, part));
}

each_isa! {
    fn columns(x: &[f32], w: &[f32], bias: Option<&[f32]>, k: usize, n: usize, out: &Shared<f32>, part: Range<usize>) {
        for first in part.clone().step_by(COLUMNS) {
            let across = COLUMNS.min(part.end - first);
            some_columns(x, &w[first * k..][..across * k], bias, k, n, out, first);
        }
    }
}

each_isa! {
    /// A few rows of weights become FP32 at a time, which stay near for all rows of `x`.
    fn columns_of_eight(
        x: &[f32],
        codes: &[i8],
        scales: &[f32],
        bias: Option<&[f32]>,
        k: usize,
        n: usize,
        out: &Shared<f32>,
        part: Range<usize>,
    ) {
        let mut few = vec![0f32; COLUMNS * k];
        for first in part.clone().step_by(COLUMNS) {
            let few = &mut few[..COLUMNS.min(part.end - first) * k];
            let groups = codes[first * k..].as_chunks::<GROUP>().0.iter().zip(&scales[first * k / GROUP..]);
            for (few, (codes, &scale)) in few.as_chunks_mut::<GROUP>().0.iter_mut().zip(groups) {
                for l in 0..GROUP {
                    few[l] = scale * codes[l] as f32;
                }
            }
            some_columns(x, few, bias, k, n, out, first);
        }
    }
}

/// The columns of `out` from `first` on that the rows of `w` make.
#[inline(always)]
fn some_columns(x: &[f32], w: &[f32], bias: Option<&[f32]>, k: usize, n: usize, out: &Shared<f32>, first: usize) {
    let (m, across) = (x.len() / k, w.len() / k);
    for row in (0..m).step_by(ROWS) {
        let sums = match (ROWS.min(m - row), across) {
            (2, COLUMNS) => tile::<2, COLUMNS>(x, w, k, row, 0),
            (1, COLUMNS) => tile::<1, COLUMNS>(x, w, k, row, 0),
            (rows, columns) => ragged(x, w, k, row..row + rows, columns),
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

type Sums = [[f32; COLUMNS]; ROWS];

/// Rows of `x` from `row` on times rows of `w` from `first` on.
#[inline(always)]
fn tile<const R: usize, const C: usize>(x: &[f32], w: &[f32], k: usize, row: usize, first: usize) -> Sums {
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
fn ragged(x: &[f32], w: &[f32], k: usize, rows: Range<usize>, columns: usize) -> Sums {
    let mut sums = [[0f32; COLUMNS]; ROWS];
    for (r, row) in rows.enumerate() {
        for c in 0..columns {
            sums[r][c] = tile::<1, 1>(x, w, k, row, c)[0][0];
        }
    }
    sums
}
