//! Counter-based numbers, the same words as `rng.py`: a pure function of (seed, sample, step, stream, place).

use crate::each_isa;

const LANES: usize = 16;
const MULTIPLIERS: (u32, u32) = (0xD251_1F53, 0xCD9E_8D57);
const WEYL: (u32, u32) = (0x9E37_79B9, 0xBB67_AE85);
const FORK: u32 = 0x464F_524B; // a step that no loop reaches
const UNIT: f32 = 1.0 / 16_777_216.0; // 2^-24

/// Who asks, and what for.
#[derive(Clone, Copy)]
pub struct Counter {
    pub seed: u64,
    pub sample: u32,
    pub step: u32,
    pub stream: u32,
}

impl Counter {
    /// An independent stream for another use, as `Rng.fork`: a digit in base 64, or a seed drawn anew where it
    /// does not fit.
    pub fn fork(self, number: u32) -> Self {
        let digits = self.stream as u64 * 64 + number as u64 + 1;
        if number < 63 && digits <= u32::MAX as u64 {
            let stream = digits as u32;
            return Self { stream, ..self };
        }
        let own = Self {
            sample: u32::MAX,
            step: FORK,
            ..self
        };
        let [low, high, ..] = own.words(number);
        let seed = (high as u64) << 32 | low as u64;
        Self {
            seed,
            stream: 0,
            ..self
        }
    }

    /// One uniform number in [0, 1).
    pub fn uniform(self) -> f32 {
        (self.words(0)[0] >> 8) as f32 * UNIT
    }

    /// The words at one place: Philox4x32-10 (Salmon et al. 2011).
    pub fn words(self, place: u32) -> [u32; 4] {
        let [mut a, mut b, mut c, mut d] = [place, self.stream, self.step, self.sample];
        let (mut k0, mut k1) = (self.seed as u32, (self.seed >> 32) as u32);
        for _ in 0..10 {
            let (p0, p1) = (
                a as u64 * MULTIPLIERS.0 as u64,
                c as u64 * MULTIPLIERS.1 as u64,
            );
            (a, b, c, d) = (
                (p1 >> 32) as u32 ^ b ^ k0,
                p1 as u32,
                (p0 >> 32) as u32 ^ d ^ k1,
                p0 as u32,
            );
            k0 = k0.wrapping_add(WEYL.0);
            k1 = k1.wrapping_add(WEYL.1);
        }
        [a, b, c, d]
    }
}

/// `Counter::words` at 16 places from `first` on.
#[inline(always)]
fn blocks(at: Counter, first: u32, c: &mut [[u32; LANES]; 4]) {
    for l in 0..LANES {
        c[0][l] = first + l as u32;
        c[1][l] = at.stream;
        c[2][l] = at.step;
        c[3][l] = at.sample;
    }
    let (mut k0, mut k1) = (at.seed as u32, (at.seed >> 32) as u32);
    for _ in 0..10 {
        for l in 0..LANES {
            let p0 = c[0][l] as u64 * MULTIPLIERS.0 as u64;
            let p1 = c[2][l] as u64 * MULTIPLIERS.1 as u64;
            let (x, y) = (c[1][l] ^ k0, c[3][l] ^ k1);
            c[0][l] = (p1 >> 32) as u32 ^ x;
            c[1][l] = p1 as u32;
            c[2][l] = (p0 >> 32) as u32 ^ y;
            c[3][l] = p0 as u32;
        }
        k0 = k0.wrapping_add(WEYL.0);
        k1 = k1.wrapping_add(WEYL.1);
    }
}

each_isa! {
    /// The first words of a counter, 24 bits each, as `Rng._words`.
    fn words(at: Counter, out: &mut [f32]) {
        let mut lanes = [[0u32; LANES]; 4];
        for (i, part) in out.chunks_mut(4 * LANES).enumerate() {
            blocks(at, (i * LANES) as u32, &mut lanes);
            let mut flat = [0f32; 4 * LANES];
            for l in 0..LANES {
                for w in 0..4 {
                    flat[4 * l + w] = (lanes[w][l] >> 8) as f32;
                }
            }
            let n = part.len();
            part.copy_from_slice(&flat[..n]);
        }
    }
}

/// Natural logarithm of a positive normal number (the polynomial of Cephes' `logf`).
#[inline(always)]
#[allow(clippy::excessive_precision)]
fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    let mut e = ((bits >> 23) as i32 - 126) as f32;
    let m = f32::from_bits((bits & 0x007f_ffff) | 0x3f00_0000); // [0.5, 1)
    let low = m < std::f32::consts::FRAC_1_SQRT_2;
    e -= if low { 1.0 } else { 0.0 };
    let z = if low { m + m - 1.0 } else { m - 1.0 };
    let mut p = 7.037_683_6e-2f32;
    for c in [
        -1.151_461e-1,
        1.167_699_9e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_8e-1,
        2.000_071_5e-1,
        -2.499_999_4e-1,
        3.333_333_1e-1,
    ] {
        p = p * z + c;
    }
    let square = z * z;
    p * z * square - 2.121_944_4e-4 * e - 0.5 * square + z + 0.693_359_375 * e
}

/// cos(2 pi turns) for turns in [0, 1): folded to an eighth of a turn, then Taylor's series.
#[inline(always)]
fn cos_turns(turns: f32) -> f32 {
    let half = (turns - 0.5).abs(); // cos(2 pi u) = - cos(2 pi half), half in [0, 0.5]
    let quarter = half - 0.25; // = sin(2 pi quarter), quarter in [-0.25, 0.25]
    let x = quarter * std::f32::consts::TAU;
    let s = x * x;
    let mut p = -2.505_21e-8f32;
    for c in [
        2.755_731_9e-6,
        -1.984_127e-4,
        8.333_333_3e-3,
        -1.666_666_7e-1,
    ] {
        p = p * s + c;
    }
    x + x * s * p
}

each_isa! {
    fn box_muller(u: &[f32], v: &[f32], out: &mut [f32]) {
        for ((out, &u), &v) in out.iter_mut().zip(u).zip(v) {
            *out = (-2.0 * ln((u + 1.0) * UNIT)).max(0.0).sqrt() * cos_turns(v * UNIT);
        }
    }
}

/// Standard normal numbers (Box and Muller 1958), as `Rng.normal`; `scratch` holds twice as many numbers.
pub fn normals(at: Counter, out: &mut [f32], scratch: &mut [f32]) {
    if scratch.len() <= 8 {
        for (i, part) in scratch.chunks_mut(4).enumerate() {
            for (out, word) in part.iter_mut().zip(at.words(i as u32)) {
                *out = (word >> 8) as f32;
            }
        }
    } else {
        words(at, scratch);
    }
    let (u, v) = scratch.split_at(out.len());
    box_muller(u, v, out);
}

/// A small sequential generator (SplitMix64) for what a counter would be slow at: growing clusters.
pub struct Sequence(u64);

impl Sequence {
    pub fn of(at: Counter) -> Self {
        let [a, b, ..] = at.words(0);
        Self((a as u64) << 32 | b as u64)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 * UNIT
    }

    pub fn below(&mut self, n: usize) -> usize {
        ((self.next() >> 32) * n as u64 >> 32) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_its_published_answer_one_by_one_and_in_lanes() {
        let mut lanes = [[0u32; LANES]; 4];
        let at = Counter {
            seed: 0,
            sample: 0,
            step: 0,
            stream: 0,
        };
        blocks(at, 0, &mut lanes);
        let first = lanes.map(|lane| lane[0]);
        assert_eq!(first, [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let other = Counter {
            seed: 1 << 40 | 3,
            sample: 5,
            step: 7,
            stream: 9,
        };
        blocks(other, 2, &mut lanes);
        for l in 0..LANES {
            assert_eq!(lanes.map(|lane| lane[l]), other.words(2 + l as u32));
        }
    }

    #[test]
    fn forks_of_all_numbers_differ() {
        let at = Counter {
            seed: 3,
            sample: 1,
            step: 2,
            stream: 0,
        };
        let mut seen: Vec<_> = (0..200)
            .flat_map(|k| [at.fork(k), at.fork(0).fork(k), at.fork(70).fork(k)])
            .map(|c| (c.seed, c.stream))
            .collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 600);
    }

    #[test]
    fn logarithm_and_cosine_agree_with_the_library() {
        for i in 1..=100_000 {
            let u = i as f32 / 100_000.0;
            assert!(
                (ln(u) - u.ln()).abs() <= 3e-7 * u.ln().abs().max(1.0),
                "{u}"
            );
            let turns = u * 0.999_999;
            let wanted = (turns as f64 * std::f64::consts::TAU).cos();
            assert!((cos_turns(turns) as f64 - wanted).abs() < 1e-6, "{turns}");
        }
    }
}
