//! The same sums without any instruction set: what the other kernels must equal.

use super::Epilogue;
use crate::layout::{Activations, BLOCK, GROUP, Packed};
use crate::pool::Shared;
use std::ops::Range;

pub fn matmul(
    w: &Packed,
    x: &Activations,
    epilogue: &Epilogue,
    out: &Shared<f32>,
    blocks: Range<usize>,
) {
    for block in blocks {
        for m in 0..x.rows {
            let mut sums = [0i32; BLOCK];
            for (l, sum) in sums.iter_mut().enumerate() {
                let n = block * BLOCK + l;
                if n < w.outputs {
                    *sum = row(w, x, n, m);
                }
            }
            epilogue.write(w, x, out, m, block, &sums);
        }
    }
}

fn row(w: &Packed, x: &Activations, n: usize, m: usize) -> i32 {
    let values = &x.values[m * x.width..][..x.width];
    let groups = values.chunks_exact(GROUP).enumerate();
    groups.fold(0, |total, (g, values)| {
        let dot: i32 = values
            .iter()
            .enumerate()
            .map(|(i, &v)| v as i32 * w.level(n, g * GROUP + i))
            .sum();
        total + dot * w.group_scale(n, g)
    })
}
