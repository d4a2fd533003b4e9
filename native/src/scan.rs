//! Nearest vectors in three passes: sign bits of all, INT8 of many, FP32 of few.

use crate::each_isa;
use crate::pool;
use std::ops::Range;
use std::sync::Mutex;

/// Unit vectors as the scan reads them: `(n, d)` INT8 with one scale each, and their sign bits, `d / 8` bytes a row.
pub struct Vectors<'a> {
    pub count: usize,
    pub width: usize,
    pub values: &'a [i8],
    pub scales: &'a [f32],
    pub signs: &'a [u8],
    /// the originals `(n, d)` for the last pass, or nothing
    pub exact: Option<&'a [f32]>,
}

/// Places and similarities of the `out.len()` best, the best first; ties go to the lower place.
pub fn top(vectors: &Vectors, query: &[f32], candidates: usize, out: &mut [(f32, usize)]) {
    let d = vectors.width;
    let wanted = out.len();
    let many = candidates.max(wanted).min(vectors.count);
    let bits: Vec<u8> = query
        .chunks(8)
        .map(|c| {
            c.iter()
                .enumerate()
                .fold(0, |b, (i, v)| b | ((*v >= 0.0) as u8) << i)
        })
        .collect();
    let row_bytes = d / 8;
    let near = near(vectors.signs, row_bytes, &bits, vectors.count, many);
    let largest = query.iter().fold(0f32, |a, v| a.max(v.abs()));
    let scale = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    let small: Vec<i8> = query.iter().map(|v| (v * scale).round() as i8).collect();
    let few = if vectors.exact.is_some() {
        (4 * wanted).min(near.len())
    } else {
        wanted.min(near.len())
    };
    let mut scored: Vec<(f32, usize)> = near
        .into_iter()
        .map(|(_, place)| {
            (
                dot_i8(&vectors.values[place * d..][..d], &small) as f32 * vectors.scales[place],
                place,
            )
        })
        .collect();
    sort(&mut scored);
    scored.truncate(few);
    if let Some(exact) = vectors.exact {
        for (score, place) in &mut scored {
            *score = similarity(&exact[*place * d..][..d], query);
        }
        sort(&mut scored);
    } else {
        scored
            .iter_mut()
            .for_each(|(score, _)| *score /= scale.max(f32::MIN_POSITIVE));
    }
    for (slot, one) in out.iter_mut().zip(scored) {
        *slot = one;
    }
}

fn sort(scored: &mut [(f32, usize)]) {
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
}

/// The `wanted` rows that differ from `bits` in the fewest places, found in parts.
fn near(
    signs: &[u8],
    row_bytes: usize,
    bits: &[u8],
    count: usize,
    wanted: usize,
) -> Vec<(f32, usize)> {
    let all = Mutex::new(Vec::new());
    pool::split(count, 64, count * row_bytes / 65_536, |part| {
        let mut scored = distances(signs, row_bytes, bits, part);
        if scored.len() > wanted {
            scored
                .select_nth_unstable_by(wanted - 1, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            scored.truncate(wanted);
        }
        all.lock().unwrap().extend(scored);
    });
    let mut all = all.into_inner().unwrap();
    sort(&mut all);
    all.truncate(wanted);
    all
}

each_isa! {
    fn distances(signs: &[u8], row_bytes: usize, bits: &[u8], part: Range<usize>) -> Vec<(f32, usize)> {
        part.map(|place| (-(differing(&signs[place * row_bytes..][..row_bytes], bits) as f32), place)).collect()
    }
}

each_isa! {
    fn similarity(a: &[f32], b: &[f32]) -> f32 {
        crate::vector::dot(a, b)
    }
}

#[inline(always)]
fn differing(a: &[u8], b: &[u8]) -> u32 {
    let (words_a, rest_a) = a.as_chunks::<8>();
    let (words_b, rest_b) = b.as_chunks::<8>();
    let words = words_a
        .iter()
        .zip(words_b)
        .map(|(a, b)| (u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b)).count_ones());
    words.sum::<u32>()
        + rest_a
            .iter()
            .zip(rest_b)
            .map(|(a, b)| (a ^ b).count_ones())
            .sum::<u32>()
}

each_isa! {
    /// Exact integer product; |a|, |b| <= 127 keeps it below 2^31 up to 133,000 numbers.
    pub fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
        a.iter().zip(b).map(|(a, b)| *a as i32 * *b as i32).sum()
    }
}

each_isa! {
/// Tokens by inverting the cumulative distribution of softmax(logits / temperature) at u, `(rows, v)` and `(rows,)`.
pub fn draw(logits: &[f32], u: &[f32], temperature: f32, tokens: &mut [i64]) {
    let width = logits.len() / u.len();
    let mut weights = vec![0f32; width];
        for ((row, &u), token) in logits.chunks_exact(width).zip(u).zip(tokens) {
            let largest = row.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
            for (w, &l) in weights.iter_mut().zip(row) {
                *w = crate::vector::exp((l - largest) / temperature);
            }
            let target = u * weights.iter().sum::<f32>();
            let mut total = 0.0;
            let mut last = 0;
            *token = -1;
            for (i, &w) in weights.iter().enumerate() {
                total += w;
                if w > 0.0 {
                    last = i as i64;
                    if total > target {
                        *token = last;
                        break;
                    }
                }
            }
            if *token < 0 {
                *token = last; // rounding left the sum below u
            }
        }
}
}
