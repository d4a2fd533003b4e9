//! The kernel in plain Rust, for machines without the instructions of the others.

use super::{BLOCK, GROUP, Grouped, Rows, Then, half};
use crate::pool::Shared;
use std::ops::Range;

pub fn matmul(w: &Grouped, x: &Rows, then: &Then, out: &Shared<f32>, blocks: Range<usize>) {
    let groups = w.groups();
    for block in blocks {
        for m in 0..x.rows / x.planes {
            let mut y = [[0f32; BLOCK]; 2];
            for (plane, y) in y[..x.planes].iter_mut().enumerate() {
                row(w, x, m * x.planes + plane, block, groups, y);
            }
            then.write_all(w, out, m * x.planes, block, x.planes, &y[..x.planes]);
        }
    }
}

/// One plane of a row times a block of outputs.
fn row(w: &Grouped, x: &Rows, m: usize, block: usize, groups: usize, y: &mut [f32; BLOCK]) {
    for g in 0..groups {
        let at = m * groups + g;
        let values = &x.values[m * x.width + g * GROUP..][..GROUP];
        for (l, y) in y.iter_mut().enumerate() {
            let n = (block * BLOCK + l).min(w.blocks() * BLOCK - 1);
            let sum: i32 = (0..GROUP)
                .map(|k| w.code(n, g * GROUP + k) * values[k] as i32)
                .sum();
            let cell = (block * groups + g) * BLOCK + l;
            let exact = (sum - w.zero() * x.sums[at]) as f32;
            *y += exact * (half(w.scales[cell]) * x.scales[at]);
            if let Some(minima) = w.minima {
                *y += half(minima[cell]) * (x.scales[at] * x.sums[at] as f32);
            }
        }
    }
}
