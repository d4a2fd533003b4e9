//! Row-wise mathematics in plain loops, compiled once for each instruction set.

/// Defines a function whose body is compiled for AVX-512, AVX2 and the baseline, and chosen at run time.
#[macro_export]
macro_rules! each_isa {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $type),*) $(-> $result)? {
            #[inline(always)]
            fn plain($($arg: $type),*) $(-> $result)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512($($arg: $type),*) $(-> $result)? {
                plain($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $type),*) $(-> $result)? {
                plain($($arg),*)
            }
            match $crate::matmul::isa() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `isa` was detected on this machine.
                $crate::matmul::Isa::Avx512Vnni => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `isa` was detected on this machine.
                $crate::matmul::Isa::Avx2 => unsafe { avx2($($arg),*) },
                _ => plain($($arg),*),
            }
        }
    };
}

pub const LANES: usize = 16;

/// The sum of 16 numbers, by halves.
#[inline(always)]
pub fn total(lanes: [f32; LANES]) -> f32 {
    let eight: [f32; 8] = std::array::from_fn(|l| lanes[l] + lanes[l + 8]);
    let four: [f32; 4] = std::array::from_fn(|l| eight[l] + eight[l + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

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
    for (l, (a, b)) in tail_a.iter().zip(tail_b).enumerate() {
        sums[l] += a * b;
    }
    total(sums)
}

/// y += a x.
#[inline(always)]
pub fn add_scaled<const N: usize>(y: &mut [f32; N], a: f32, x: &[f32; N]) {
    for i in 0..N {
        y[i] += a * x[i];
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
    for c in [
        1.398_199_95e-3,
        8.333_451_9e-3,
        4.166_579_6e-2,
        1.666_666_55e-1,
        5.000_000_1e-1,
    ] {
        p = p * r + c;
    }
    let y = p * r * r + r + 1.0;
    let power =
        f32::from_bits(((shifted.to_bits() as i32 - MAGIC.to_bits() as i32 + 127) << 23) as u32);
    if x < -87.0 { 0.0 } else { y * power }
}

/// Scores to weights that sum to one; scores of minus infinity get none.
#[inline(always)]
pub fn softmax(scores: &mut [f32]) {
    let mut tops = [f32::NEG_INFINITY; LANES];
    for chunk in scores.chunks(LANES) {
        for (top, &score) in tops.iter_mut().zip(chunk) {
            *top = if score > *top { score } else { *top };
        }
    }
    let largest = tops
        .into_iter()
        .fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
    let mut sums = [0f32; LANES];
    for chunk in scores.chunks_mut(LANES) {
        for (sum, score) in sums.iter_mut().zip(chunk) {
            *score = exp(*score - largest);
            *sum += *score;
        }
    }
    let scale = 1.0 / total(sums);
    for score in scores.iter_mut() {
        *score *= scale;
    }
}

#[inline(always)]
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// First half gates the second: silu(a) * b.
#[inline(always)]
pub fn swiglu(both: &[f32], out: &mut [f32]) {
    let (gate, value) = both.split_at(out.len());
    for ((out, &g), &v) in out.iter_mut().zip(gate).zip(value) {
        *out = silu(g) * v;
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
