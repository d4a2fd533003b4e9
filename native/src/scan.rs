//! Nearest vectors: sign bits let candidates through, INT8 bounds what can be among the best, FP64 decides.

use crate::each_isa;
use crate::pool;
use std::ops::Range;
use std::sync::Mutex;

/// Vectors as the scan reads them: `(n, d)` INT8 with one scale each, each number rounded to the nearest; their
/// sign bits, `d / 8` bytes a row; and the originals `(n, d)`.
pub struct Vectors<'a> {
    pub count: usize,
    pub width: usize,
    pub values: &'a [i8],
    pub scales: &'a [f32],
    pub signs: &'a [u8],
    pub exact: &'a [f32],
}

/// Places and similarities of the `out.len()` best among the candidates, the best first; ties go to the lower place.
/// With all vectors as candidates no better one is missed.
pub fn top(vectors: &Vectors, query: &[f32], candidates: usize, out: &mut [(f32, usize)]) {
    let wanted = out.len();
    let many = candidates.max(wanted).min(vectors.count);
    let places: Vec<usize> = if many == vectors.count {
        (0..vectors.count).collect()
    } else {
        let bits: Vec<u8> = query.chunks(8).map(sign_bits).collect();
        near(vectors.signs, vectors.width / 8, &bits, vectors.count, many)
            .into_iter()
            .map(|(_, place)| place)
            .collect()
    };
    let able = able(vectors, query, &places, wanted);
    let mut scored = in_parts(&able, vectors.width * 4, |part| {
        part.iter()
            .map(|&place| {
                (
                    similarity(row(vectors.exact, vectors.width, place), query),
                    place,
                )
            })
            .collect()
    });
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    for (slot, (score, place)) in out.iter_mut().zip(scored) {
        *slot = (score as f32, place);
    }
}

fn row<T>(values: &[T], width: usize, place: usize) -> &[T] {
    &values[place * width..][..width]
}

fn sign_bits(eight: &[f32]) -> u8 {
    eight
        .iter()
        .enumerate()
        .fold(0, |b, (i, v)| b | ((*v >= 0.0) as u8) << i)
}

/// A query in INT8, and how far that is from it.
struct Rounded {
    values: Vec<i8>,
    scale: f64,
    norm: f64,
    error: f64,
}

impl Rounded {
    fn of(query: &[f32]) -> Self {
        let largest = query.iter().fold(0f32, |a, v| a.max(v.abs()));
        let scale = largest.max(f32::MIN_POSITIVE) / 127.0;
        let values: Vec<i8> = query
            .iter()
            .map(|v| (v / scale).round_ties_even() as i8)
            .collect();
        let square = |v: f64| v * v;
        let norm: f64 = query.iter().map(|&v| square(v as f64)).sum();
        let parts = query.iter().zip(&values);
        let error: f64 = parts
            .map(|(&v, &r)| square(v as f64 - r as f64 * scale as f64))
            .sum();
        Self {
            values,
            scale: scale as f64,
            norm: norm.sqrt(),
            error: error.sqrt(),
        }
    }
}

/// Those of `places` that can be among the `wanted` best. INT8 gives each product a span that contains it: with
/// x = y + e and q = r + f, |x q - y r| <= |e| |q| + |y| |f|, where |e| is at most half a scale in every number.
fn able(vectors: &Vectors, query: &[f32], places: &[usize], wanted: usize) -> Vec<usize> {
    if places.len() <= wanted {
        return places.to_vec();
    }
    let rounded = Rounded::of(query);
    let half = 0.5001 * (vectors.width as f64).sqrt();
    let spans = in_parts(places, vectors.width, |part| {
        part.iter()
            .map(|&place| {
                let y = row(vectors.values, vectors.width, place);
                let scale = vectors.scales[place] as f64;
                let middle = dot_i8(y, &rounded.values) as f64 * scale * rounded.scale;
                let length = (dot_i8(y, y) as f64).sqrt() * scale;
                let off = half * scale * rounded.norm + length * rounded.error;
                (middle - off, middle + off, place)
            })
            .collect()
    });
    let mut lows: Vec<f64> = spans.iter().map(|span| span.0).collect();
    let (_, least, _) = lows.select_nth_unstable_by(wanted - 1, |a, b| b.total_cmp(a));
    let least = *least;
    spans
        .into_iter()
        .filter(|span| span.1 >= least)
        .map(|span| span.2)
        .collect()
}

/// What `work` makes of all places, by several threads and in any order.
fn in_parts<T: Send>(
    places: &[usize],
    bytes: usize,
    work: impl Fn(&[usize]) -> Vec<T> + Sync,
) -> Vec<T> {
    let all = Mutex::new(Vec::with_capacity(places.len()));
    pool::split(places.len(), 64, places.len() * bytes / 65_536, |part| {
        let made = work(&places[part]);
        all.lock().unwrap().extend(made);
    });
    all.into_inner().unwrap()
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
    /// Sum of products in FP64, in eight strands.
    fn similarity(a: &[f32], b: &[f32]) -> f64 {
        let mut sums = [0f64; 8];
        for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
            for l in 0..8 {
                sums[l] += a[l] as f64 * b[l] as f64;
            }
        }
        sums.iter().sum()
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
