//! Row-wise mathematics in plain loops, compiled once for each instruction set.

use crate::matmul::{Isa, isa};

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
fn in_avx512<R>(f: impl FnOnce() -> R) -> R {
    f()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn in_avx2<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Runs `f` compiled for the instruction set in use; what it calls must be `#[inline(always)]` to profit.
#[inline(always)]
pub fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    match isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` was detected on this machine.
        Isa::Avx512Vnni => unsafe { in_avx512(f) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` was detected on this machine.
        Isa::Avx2 => unsafe { in_avx2(f) },
        _ => f(),
    }
}

const LANES: usize = 16;

/// Sum of products, in 16 strands that are added up at the end.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let (head_a, tail_a) = a.as_chunks::<LANES>();
    let (head_b, tail_b) = b.as_chunks::<LANES>();
    for (a, b) in head_a.iter().zip(head_b) {
        for l in 0..LANES {
            sums[l] += a[l] * b[l];
        }
    }
    for (a, b) in tail_a.iter().zip(tail_b) {
        sums[0] += a * b;
    }
    sums.iter().sum()
}

/// y += a x.
#[inline(always)]
pub fn add_scaled(y: &mut [f32], a: f32, x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

/// 1 / root mean square; epsilon is that of torch for FP32.
#[inline(always)]
pub fn inverse_rms(x: &[f32]) -> f32 {
    1.0 / (dot(x, x) / x.len() as f32 + f32::EPSILON).sqrt()
}

/// e^x to about two units in the last place, for x up to 88; smaller than -87 gives 0.
///
/// Cody and Waite's reduction and the polynomial of Cephes' `expf`.
#[inline(always)]
#[allow(clippy::excessive_precision)]
pub fn exp(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer in the low bits
    let clamped = x.clamp(-87.0, 88.0);
    let shifted = clamped * std::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = clamped - n * 0.693_359_375 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_15e-4f32;
    for c in [1.398_199_95e-3, 8.333_451_9e-3, 4.166_579_6e-2, 1.666_666_55e-1, 5.000_000_1e-1] {
        p = p * r + c;
    }
    let y = p * r * r + r + 1.0;
    let power = f32::from_bits(((shifted.to_bits() as i32 - MAGIC.to_bits() as i32 + 127) << 23) as u32);
    if x < -87.0 { 0.0 } else { y * power }
}

/// Scores to weights that sum to one; scores of minus infinity get none.
#[inline(always)]
pub fn softmax(scores: &mut [f32]) {
    let largest = scores.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
    for score in scores.iter_mut() {
        *score = exp(*score - largest);
    }
    let scale = 1.0 / scores.iter().sum::<f32>();
    for score in scores.iter_mut() {
        *score *= scale;
    }
}

/// First half gates the second: silu(a) * b.
#[inline(always)]
pub fn swiglu(both: &[f32], out: &mut [f32]) {
    let (gate, value) = both.split_at(out.len());
    for ((out, &g), &v) in out.iter_mut().zip(gate).zip(value) {
        *out = g / (1.0 + exp(-g)) * v;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_the_library() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0;
            assert!((exp(x) / x.exp() - 1.0).abs() < 4e-7, "{x}");
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn softmax_sums_to_one_and_ignores_what_is_masked() {
        let mut scores = [1.0, f32::NEG_INFINITY, 3.0, 80.0];
        softmax(&mut scores);
        assert_eq!(scores[1], 0.0);
        assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
