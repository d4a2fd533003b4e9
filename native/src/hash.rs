//! XXH3 with 128 bits and seed 0 (Collet, xxHash 0.8), the form for long inputs; see weights/format/hash.py.

use crate::matmul::{Isa, isa};
use crate::pool::{self, Shared};

const STRIPE: usize = 64;
const STRIPES: usize = 16; // of a block
const SHORTEST: usize = 256; // shorter inputs are padded with zeros
const PRIMES: [u64; 5] = [
    0x9E37_79B1_85EB_CA87,
    0xC2B2_AE3D_27D4_EB4F,
    0x1656_67B1_9E37_79F9,
    0x85EB_CA77_C2B2_AE63,
    0x27D4_EB2F_1656_67C5,
];
const PRIMES_32: [u64; 3] = [0x9E37_79B1, 0x85EB_CA77, 0xC2B2_AE3D];
const MIX: u64 = 0x1656_6791_9E37_79F9;
#[rustfmt::skip]
const SECRET: [u8; 192] = [
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c, 0xde, 0xd4, 0x6d, 0xe9,
    0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f, 0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78,
    0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21, 0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6,
    0x81, 0x3a, 0x26, 0x4c, 0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8, 0xa8, 0xfa, 0x76, 0x3f,
    0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d, 0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31,
    0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64, 0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff,
    0xfa, 0x13, 0x63, 0xeb, 0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce, 0x45, 0xcb, 0x3a, 0x8f,
    0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
];

/// Eight little-endian words.
#[inline(always)]
fn words(bytes: &[u8; STRIPE]) -> [u64; 8] {
    std::array::from_fn(|i| u64::from_le_bytes(bytes[8 * i..8 * i + 8].try_into().unwrap()))
}

fn secret(at: usize) -> [u64; 8] {
    words(SECRET[at..at + STRIPE].try_into().unwrap())
}

/// A stripe enters the lanes: as it is into its neighbour, multiplied with a part of the secret into its own.
#[inline(always)]
fn add(lanes: &mut [u64; 8], stripe: &[u8; STRIPE], secret: &[u64; 8]) {
    let data = words(stripe);
    for i in 0..8 {
        let key = data[i] ^ secret[i];
        lanes[i] = lanes[i]
            .wrapping_add(data[i ^ 1])
            .wrapping_add((key & 0xFFFF_FFFF) * (key >> 32));
    }
}

#[inline(always)]
fn scramble(lanes: &mut [u64; 8], secret: &[u64; 8]) {
    for i in 0..8 {
        lanes[i] = (lanes[i] ^ (lanes[i] >> 47) ^ secret[i]).wrapping_mul(PRIMES_32[0]);
    }
}

/// The lanes after all of `data`, which has at least 241 bytes, with `add` for a stripe.
#[inline(always)]
fn lanes(data: &[u8], add: impl Fn(&mut [u64; 8], &[u8; STRIPE], &[u64; 8])) -> [u64; 8] {
    let secrets: [_; STRIPES] = std::array::from_fn(|i| secret(8 * i));
    let end = secret(128);
    let [p1, p2, p3, p4, p5] = PRIMES;
    let mut lanes = [PRIMES_32[2], p1, p2, p3, p4, PRIMES_32[1], p5, PRIMES_32[0]];
    let blocks = (data.len() - 1) / (STRIPE * STRIPES);
    let (whole, rest) = data.split_at(blocks * STRIPE * STRIPES);
    for block in whole.as_chunks::<{ STRIPE * STRIPES }>().0 {
        for (stripe, secret) in block.as_chunks::<STRIPE>().0.iter().zip(&secrets) {
            add(&mut lanes, stripe, secret);
        }
        scramble(&mut lanes, &end);
    }
    let stripes = (rest.len() - 1) / STRIPE;
    for (stripe, secret) in rest.as_chunks::<STRIPE>().0[..stripes].iter().zip(&secrets) {
        add(&mut lanes, stripe, secret);
    }
    add(
        &mut lanes,
        data[data.len() - STRIPE..].try_into().unwrap(),
        &secret(121),
    );
    lanes
}

/// `add` in one register.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
fn add_avx512(lanes: &mut [u64; 8], stripe: &[u8; STRIPE], secret: &[u64; 8]) {
    use std::arch::x86_64::*;
    // SAFETY: each is 64 bytes long.
    unsafe {
        let data = _mm512_loadu_si512(stripe.as_ptr().cast());
        let key = _mm512_xor_si512(data, _mm512_loadu_si512(secret.as_ptr().cast()));
        let product = _mm512_mul_epu32(key, _mm512_srli_epi64(key, 32));
        let swapped = _mm512_shuffle_epi32(data, 0x4E);
        let sum = _mm512_add_epi64(_mm512_loadu_si512(lanes.as_ptr().cast()), swapped);
        _mm512_storeu_si512(lanes.as_mut_ptr().cast(), _mm512_add_epi64(sum, product));
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn lanes_avx512(data: &[u8]) -> [u64; 8] {
    lanes(data, |lanes, stripe, secret| {
        add_avx512(lanes, stripe, secret)
    })
}

/// `lanes` with what this machine has; AVX2 gains nothing over the baseline.
fn lanes_here(data: &[u8]) -> [u64; 8] {
    match isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` was detected on this machine.
        Isa::Avx512Vnni => unsafe { lanes_avx512(data) },
        _ => lanes(data, add),
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

fn merge(lanes: &[u64; 8], secret: &[u64; 8], start: u64) -> u64 {
    let mut sum = start;
    for i in (0..8).step_by(2) {
        sum = sum.wrapping_add(fold(lanes[i] ^ secret[i], lanes[i + 1] ^ secret[i + 1]));
    }
    sum = (sum ^ (sum >> 37)).wrapping_mul(MIX);
    sum ^ (sum >> 32)
}

/// The 128 bits, the higher 64 above.
pub fn digest(data: &[u8]) -> u128 {
    let mut padded = [0; SHORTEST];
    let bytes = if data.len() <= 240 {
        padded[..data.len()].copy_from_slice(data);
        &padded[..]
    } else {
        data
    };
    let lanes = lanes_here(bytes);
    let length = data.len() as u64;
    let low = merge(&lanes, &secret(11), length.wrapping_mul(PRIMES[0]));
    let high = merge(&lanes, &secret(117), !length.wrapping_mul(PRIMES[1]));
    u128::from(high) << 64 | u128::from(low)
}

/// Digests of several parts, on all threads; each part is one task.
pub fn digests(parts: &[&[u8]], out: &mut [u128]) {
    let total: usize = parts.iter().map(|part| part.len()).sum();
    let out = Shared::new(out);
    pool::split(parts.len(), 1, total >> 17, |range| {
        for i in range {
            // SAFETY: every part has a place of its own.
            unsafe { out.slice(i, 1)[0] = digest(parts[i]) };
        }
    });
}

#[cfg(test)]
mod tests {
    use super::digest;

    const KNOWN: u128 = 0x2332e6ba65f3f601b9d1981830063182; // by the xxhash package

    #[test]
    fn known_digests() {
        let data: Vec<u8> = (0..2367u32).map(|i| (i * i % 251) as u8).collect();
        assert_eq!(digest(&data), KNOWN);
    }
}
