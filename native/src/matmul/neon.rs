//! NEON: 16 products per pair of widening multiplies, 16-bit sums over a group, as in `avx2`.

use super::Epilogue;
use crate::layout::{Activations, BLOCK, GROUP, LINE, Packed};
use crate::pool::Shared;
use std::arch::aarch64::*;
use std::ops::Range;

#[target_feature(enable = "neon")]
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
            for quarter in 0..4 {
                row(
                    w,
                    x,
                    block,
                    m,
                    quarter,
                    &mut sums[4 * quarter..4 * quarter + 4],
                );
            }
            epilogue.write(w, x, out, m, block, &sums);
        }
    }
}

/// Four outputs of one row: 16 bytes of each line.
#[target_feature(enable = "neon")]
fn row(w: &Packed, x: &Activations, block: usize, m: usize, quarter: usize, sums: &mut [i32]) {
    let (groups, fields) = (w.groups(), 8 / w.bits);
    let per_group = w.lines_per_group();
    let values = &x.values[m * x.width..][..x.width];
    for g in 0..groups {
        let mut dots = [0i32; 4];
        for line in 0..per_group {
            let at = g * per_group + line;
            let bytes = &w.lines[(block * groups * per_group + at) * LINE + 16 * quarter..][..16];
            let inputs = &values[at * 4 * fields..][..4 * fields];
            // SAFETY: both slices have the length that is read.
            let raw = unsafe { vld1q_u8(bytes.as_ptr()) };
            for field in 0..fields {
                let shifted = vshlq_u8(raw, vdupq_n_s8(-((w.bits * field) as i8)));
                let code = vandq_u8(shifted, vdupq_n_u8(((1 << w.bits) - 1) as u8));
                let level = if w.bits == 2 {
                    vsubq_s8(vreinterpretq_s8_u8(vshlq_n_u8::<1>(code)), vdupq_n_s8(3))
                } else {
                    vsubq_s8(vreinterpretq_s8_u8(code), vdupq_n_s8(8))
                };
                let four = i32::from_le_bytes([0, 1, 2, 3].map(|i| inputs[4 * field + i] as u8));
                let activations = vreinterpretq_s8_s32(vdupq_n_s32(four));
                let low = vmull_s8(vget_low_s8(level), vget_low_s8(activations));
                let high = vmull_s8(vget_high_s8(level), vget_high_s8(activations));
                let pairs = vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
                for (dot, part) in dots.iter_mut().zip([
                    vgetq_lane_s32::<0>(pairs),
                    vgetq_lane_s32::<1>(pairs),
                    vgetq_lane_s32::<2>(pairs),
                    vgetq_lane_s32::<3>(pairs),
                ]) {
                    *dot += part;
                }
            }
        }
        for (l, (sum, dot)) in sums.iter_mut().zip(dots).enumerate() {
            *sum += dot * w.group_scale(block * BLOCK + 4 * quarter + l, g);
        }
    }
    const { assert!(GROUP == 64) };
}
