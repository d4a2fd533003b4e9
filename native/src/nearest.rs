//! Nearest unit vectors: one sign bit a number lets few through, INT8 lets fewer, FP64 decides.
//!
//! A vector x is kept as sign bits of v = R (x - c), with a rotation R and a centre c, and as two numbers: the
//! product with a query q is <c, q> + <v, R c> + <v, R (q - c)>, and the last part is close to
//! |v|^2 / |v|_1 <sign v, R (q - c)> (Gao and Long 2024, RaBitQ). What that leaves out has a known spread.

use crate::matmul::{Isa, isa};
use crate::{NULL, WRONG_SIZE, each_isa, pool};
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Mutex;

const PLANES: usize = 4; // bits of a query's number while it is multiplied with signs
const ROUNDS: u64 = 3; // of a rotation
const LOST: f32 = 0.37; // share of a random vector's square that its signs do not hold: 1 - 2 / pi = .363
const FIRST: usize = 64; // rows that are compared first
const SPREADS: f64 = 5.0; // of INT8's error that are allowed for
const UNIT: f64 = 1.001; // length of the longest vector

/// Vectors that lie together. rows: a multiple of 8. codes: `(rows / 8, bits / 64, 8)`; mask: which rows are meant.
pub struct Shard<'a> {
    pub exact: &'a [f32],
    pub values: &'a [i8],
    pub scales: &'a [f32],
    pub codes: &'a [u64],
    pub biases: &'a [f32],
    pub factors: &'a [f32],
    pub centre: &'a [f32],
    pub mask: &'a [u8],
}

/// What is asked for. margin: spreads of the estimate's error that are allowed for; infinity compares all rows.
/// least: smaller products are not wanted.
#[derive(Clone, Copy)]
pub struct Wanted {
    pub count: usize,
    pub margin: f32,
    pub least: f32,
}

/// A row, by its shard and its place there, with its product with the query.
#[derive(Clone, Copy)]
pub struct Found {
    pub product: f64,
    pub shard: usize,
    pub row: usize,
}

/// Turns a vector of `bits` numbers; lengths and products stay. Signs are flipped at random, then Hadamard's
/// transform mixes the first and the last 2^k numbers.
pub fn rotate(v: &mut [f32]) {
    let part = 1 << v.len().ilog2();
    for round in 0..ROUNDS {
        for (i, x) in v.iter_mut().enumerate() {
            if scrambled(round << 32 | i as u64) >> 63 == 1 {
                *x = -*x;
            }
        }
        hadamard(&mut v[..part]);
        if part < v.len() {
            let start = v.len() - part;
            hadamard(&mut v[start..]);
        }
    }
}

/// splitmix64's mixing function.
fn scrambled(x: u64) -> u64 {
    let x = x
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 31
}

each_isa! {
    fn hadamard(v: &mut [f32]) {
        let mut half = 1;
        while half < v.len() {
            for pair in v.chunks_exact_mut(2 * half) {
                let (a, b) = pair.split_at_mut(half);
                for (a, b) in a.iter_mut().zip(b) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
            half *= 2;
        }
        let scale = 1.0 / (v.len() as f32).sqrt();
        for x in v {
            *x *= scale;
        }
    }
}

/// A query as one shard sees it: its rotated distance from the centre in odd multiples of `step`, by bit planes.
struct Asked {
    base: f32,
    step: f32,
    spread: f32,
    planes: Vec<[u64; PLANES]>,
    /// places of the first 64 in which signs may differ
    most: u64,
}

impl Asked {
    fn of(rotated: &[f32], centre: &[f32], least: f32) -> Self {
        let away: Vec<f32> = rotated.iter().zip(centre).map(|(q, c)| q - c).collect();
        let base: f64 = rotated
            .iter()
            .zip(centre)
            .map(|(q, c)| *q as f64 * *c as f64)
            .sum();
        let largest = away.iter().fold(f32::MIN_POSITIVE, |a, x| a.max(x.abs()));
        let top = (1 << PLANES) - 1;
        let step = largest / top as f32;
        let mut planes = vec![[0u64; PLANES]; away.len() / 64];
        for (i, x) in away.iter().enumerate() {
            let level = ((x / step + top as f32) / 2.0)
                .round()
                .clamp(0.0, top as f32) as u64;
            for (j, plane) in planes[i / 64].iter_mut().enumerate() {
                *plane |= (level >> j & 1) << (i % 64);
            }
        }
        let square: f32 = away.iter().map(|x| x * x).sum();
        let spread = (LOST * square + away.len() as f32 * step * step / 3.0).sqrt();
        Self {
            base: base as f32,
            step,
            spread,
            planes,
            most: most_differing(square, least),
        }
    }
}

/// In how many of 64 places the signs of a row can differ from a query's, with q - c of this square length, if their
/// product is at least `least`: |x - q|^2 is then 2 - 2 least at most, which bounds the angle between x - c and q - c,
/// and a place differs with that angle's share of pi. Five standard deviations are allowed for.
fn most_differing(square: f32, least: f32) -> u64 {
    let apart = (2.0 - 2.0 * least).max(0.0) * UNIT as f32;
    if apart.is_nan() || apart >= square {
        return 64;
    }
    let share = (apart / square).sqrt().asin() / std::f32::consts::PI;
    (64.0 * share + 5.0 * (64.0 * share * (1.0 - share)).sqrt()) as u64
}

/// Estimates of the products of all rows of a part of a shard; minus infinity where the mask is zero.
fn estimate(shard: &Shard, asked: &Asked, first: usize, out: &mut [f32]) {
    let words = asked.planes.len();
    let end = first + out.len();
    let codes = &shard.codes[first * words..end * words];
    let (biases, factors) = (&shard.biases[first..end], &shard.factors[first..end]);
    let mask = &shard.mask[first..end];
    #[cfg(target_arch = "x86_64")]
    if isa() == Isa::Avx512Vnni && is_x86_feature_detected!("avx512vpopcntdq") {
        // SAFETY: detected.
        return unsafe { estimate_by_counting(codes, biases, factors, mask, asked, out) };
    }
    estimate_anywhere(codes, biases, factors, mask, asked, out)
}

/// `estimate_blocks`, whose loop the compiler does not keep in registers; two blocks at a time.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512vpopcntdq,avx2,fma")]
fn estimate_by_counting(
    codes: &[u64],
    biases: &[f32],
    factors: &[f32],
    mask: &[u8],
    asked: &Asked,
    out: &mut [f32],
) {
    use std::arch::x86_64::*;
    let words = asked.planes.len();
    let most = _mm256_set1_ps((((1 << PLANES) - 1) * 64 * words) as f32);
    let (base, step) = (_mm256_set1_ps(asked.base), _mm256_set1_ps(asked.step));
    let nothing = _mm256_set1_ps(f32::NEG_INFINITY);
    let signs = _mm512_set1_epi64(asked.planes[0][PLANES - 1] as i64);
    let most_differing = _mm512_set1_epi64(asked.most as i64);
    let mask = mask.as_chunks::<8>().0;
    let meant = |block: usize| u64::from_le_bytes(mask[block]) != 0;
    let blocks = mask.len();
    assert!(codes.len() == blocks * 8 * words && out.len() == 8 * blocks);
    assert!(biases.len() == 8 * blocks && factors.len() == 8 * blocks);
    for first in (0..blocks).step_by(2) {
        let second = (first + 1).min(blocks - 1);
        let both = [first, second];
        let mut counts = [[_mm512_setzero_si512(); PLANES]; 2];
        let near = |block: usize| {
            // SAFETY: lengths are asserted above.
            let word = unsafe { _mm512_loadu_si512(codes.as_ptr().add(8 * block * words).cast()) };
            let differing = _mm512_popcnt_epi64(_mm512_xor_si512(word, signs));
            _mm512_cmple_epu64_mask(differing, most_differing) != 0
        };
        let few = asked.most < 64;
        if few && !near(first) && !near(second) {
            out[8 * first..8 * second + 8].fill(f32::NEG_INFINITY);
            continue;
        }
        if meant(first) || meant(second) {
            for (w, planes) in asked.planes.iter().enumerate() {
                // SAFETY: lengths are asserted above.
                let word = both.map(|block| unsafe {
                    _mm512_loadu_si512(codes.as_ptr().add(8 * (block * words + w)).cast())
                });
                for j in 0..PLANES {
                    let plane = _mm512_set1_epi64(planes[j] as i64);
                    for b in 0..2 {
                        let differing = _mm512_popcnt_epi64(_mm512_xor_si512(word[b], plane));
                        counts[b][j] = _mm512_add_epi64(counts[b][j], differing);
                    }
                }
            }
        }
        for (counts, block) in counts.iter().zip(both) {
            let mut all = counts[PLANES - 1];
            for j in (0..PLANES - 1).rev() {
                all = _mm512_add_epi64(_mm512_add_epi64(all, all), counts[j]);
            }
            let doubled = _mm512_cvtepi64_ps(_mm512_add_epi64(all, all));
            let product = _mm256_mul_ps(_mm256_sub_ps(most, doubled), step);
            // SAFETY: lengths are asserted above.
            unsafe {
                let bias = _mm256_loadu_ps(biases.as_ptr().add(8 * block));
                let factor = _mm256_loadu_ps(factors.as_ptr().add(8 * block));
                let whole = _mm256_fmadd_ps(factor, product, _mm256_add_ps(base, bias));
                let keep = _mm_loadl_epi64(mask[block].as_ptr().cast());
                let keep = _mm256_cmpgt_epi32(_mm256_cvtepu8_epi32(keep), _mm256_setzero_si256());
                let kept = _mm256_blendv_ps(nothing, whole, _mm256_castsi256_ps(keep));
                _mm256_storeu_ps(out.as_mut_ptr().add(8 * block), kept);
            }
        }
    }
}

each_isa! {
    fn estimate_anywhere(
        codes: &[u64],
        biases: &[f32],
        factors: &[f32],
        mask: &[u8],
        asked: &Asked,
        out: &mut [f32],
    ) {
        estimate_blocks(codes, biases, factors, mask, asked, out)
    }
}

#[inline(always)]
fn estimate_blocks(
    codes: &[u64],
    biases: &[f32],
    factors: &[f32],
    mask: &[u8],
    asked: &Asked,
    out: &mut [f32],
) {
    let words = asked.planes.len();
    let most = ((1 << PLANES) - 1) * 64 * words as i32;
    let blocks = codes
        .chunks_exact(8 * words)
        .zip(out.as_chunks_mut::<8>().0);
    let terms = biases
        .as_chunks::<8>()
        .0
        .iter()
        .zip(factors.as_chunks::<8>().0);
    for ((mask, (codes, out)), (biases, factors)) in
        mask.as_chunks::<8>().0.iter().zip(blocks).zip(terms)
    {
        if u64::from_le_bytes(*mask) == 0 {
            *out = [f32::NEG_INFINITY; 8];
            continue;
        }
        let mut counts = [[0u64; 8]; PLANES];
        for (word, planes) in codes.as_chunks::<8>().0.iter().zip(&asked.planes) {
            for (counts, plane) in counts.iter_mut().zip(planes) {
                for l in 0..8 {
                    counts[l] += (word[l] ^ plane).count_ones() as u64;
                }
            }
        }
        for l in 0..8 {
            let differing: u64 = (0..PLANES).map(|j| counts[j][l] << j).sum();
            let product = (most - 2 * differing as i32) as f32 * asked.step;
            let whole = asked.base + biases[l] + factors[l] * product;
            out[l] = if mask[l] == 0 {
                f32::NEG_INFINITY
            } else {
                whole
            };
        }
    }
}

/// A number that is ordered as the float is.
fn ordered(x: f32) -> i32 {
    let bits = x.to_bits() as i32;
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

/// The smallest product that can still be among the wanted ones, by what is known to be there.
#[derive(Clone)]
struct Floor {
    count: usize,
    least: f32,
    kept: BinaryHeap<Reverse<(i32, u32)>>,
}

impl Floor {
    fn new(wanted: Wanted) -> Self {
        Self {
            count: wanted.count,
            least: wanted.least,
            kept: BinaryHeap::new(),
        }
    }

    fn at_least(&mut self, product: f32) {
        if self.kept.len() < self.count {
            self.kept
                .push(Reverse((ordered(product), product.to_bits())));
        } else if let Some(mut smallest) = self.kept.peek_mut()
            && ordered(product) > smallest.0.0
        {
            *smallest = Reverse((ordered(product), product.to_bits()));
        }
    }

    fn value(&self) -> f32 {
        match self.kept.peek() {
            Some(Reverse((_, bits))) if self.kept.len() == self.count => {
                f32::from_bits(*bits).max(self.least)
            }
            _ => self.least,
        }
    }
}

/// Rows with the largest estimates, as (shard, row).
fn likeliest(estimates: &[f32], starts: &[usize], count: usize) -> Vec<(usize, usize)> {
    let mut kept: BinaryHeap<Reverse<(i32, usize)>> = BinaryHeap::new();
    let mut least = f32::NEG_INFINITY;
    for (chunk, sixteen) in estimates.chunks(16).enumerate() {
        if !sixteen.iter().fold(false, |any, x| any | (*x > least)) {
            continue;
        }
        for (i, &x) in sixteen.iter().enumerate() {
            if x > least {
                if kept.len() == count {
                    kept.pop();
                }
                kept.push(Reverse((ordered(x), 16 * chunk + i)));
                if kept.len() == count {
                    least = kept.peek().map_or(least, |r| estimates[r.0.1]);
                }
            }
        }
    }
    let place = |at: usize| {
        let shard = starts.partition_point(|&start| start <= at) - 1;
        (shard, at - starts[shard])
    };
    kept.into_iter().map(|Reverse((_, at))| place(at)).collect()
}

/// A query in INT8: numbers, scale, and how far from a product with it the real one can be, as a + b * a row's scale.
struct Rounded {
    values: Vec<i8>,
    scale: f64,
    off: f64,
    off_scale: f64,
}

impl Rounded {
    fn of(query: &[f32], certain: bool) -> Self {
        let largest = query.iter().fold(f32::MIN_POSITIVE, |a, v| a.max(v.abs()));
        let scale = largest / 127.0;
        let values: Vec<i8> = query
            .iter()
            .map(|v| (v / scale).round_ties_even() as i8)
            .collect();
        let norm = query
            .iter()
            .map(|&v| (v as f64).powi(2))
            .sum::<f64>()
            .sqrt();
        let pairs = query.iter().zip(&values);
        let error = pairs
            .map(|(&v, &r)| (v as f64 - r as f64 * scale as f64).powi(2))
            .sum::<f64>()
            .sqrt();
        let width = (query.len() as f64).sqrt();
        // with x = y + e and q = r + f, |x q - y r| <= |e| |q| + |y| |f|, and |e| is at most half a scale in each number;
        // errors of random signs add up to less
        let (off, off_scale) = if certain {
            (UNIT * error, 0.5001 * width * (norm + error))
        } else {
            (
                SPREADS * UNIT * error / width,
                SPREADS * norm / 12f64.sqrt(),
            )
        };
        Self {
            values,
            scale: scale as f64,
            off,
            off_scale,
        }
    }
}

/// What one part of a shard adds to the candidates: products in INT8 with their error, as (lower, upper, row).
struct Sifting<'a> {
    shard: &'a Shard<'a>,
    rounded: &'a Rounded,
    certain: bool,
    reach: f32,
    first: usize,
}

impl Sifting<'_> {
    /// Asks for the numbers of a row, which come while others are looked at.
    #[inline(always)]
    fn fetch(&self, row: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let width = self.rounded.values.len();
            let numbers = &self.shard.values[row * width..][..width];
            for line in numbers.chunks(64) {
                // SAFETY: the line lies in the slice.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr()) };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = row;
    }
}

const WAITING: usize = 24; // rows that are weighed together, while as many come from memory

each_isa! {
    fn sift(work: &Sifting, estimates: &[f32], floor: &mut Floor, out: &mut Vec<(f32, f32, usize)>) {
        let mut waiting = [0usize; 2 * WAITING + 8];
        let (mut many, mut least) = (0, floor.value());
        for (chunk, some) in estimates.as_chunks::<8>().0.iter().enumerate() {
            let start = work.first + 8 * chunk;
            let factors = work.shard.factors[start..].first_chunk::<8>().unwrap();
            let mut able = [false; 8];
            for l in 0..8 {
                let upper = if work.certain { some[l] } else { some[l] + work.reach * factors[l] };
                able[l] = upper > f32::NEG_INFINITY && (work.certain || upper >= least);
            }
            if able == [false; 8] {
                continue;
            }
            for l in 0..8 {
                if able[l] {
                    if !work.certain {
                        work.fetch(start + l);
                    }
                    waiting[many] = start + l;
                    many += 1;
                }
            }
            if many >= 2 * WAITING {
                weigh(work, &waiting[..WAITING], floor, out);
                waiting.copy_within(WAITING..many, 0);
                (many, least) = (many - WAITING, floor.value());
            }
        }
        for some in waiting[..many].chunks(WAITING) {
            weigh(work, some, floor, out);
        }
    }
}

/// What of at most `WAITING` rows can be among the wanted.
#[inline(always)]
fn weigh(work: &Sifting, rows: &[usize], floor: &mut Floor, out: &mut Vec<(f32, f32, usize)>) {
    let mut sums = [0i32; WAITING];
    products(work.shard.values, &work.rounded.values, rows, &mut sums);
    for (&row, &sum) in rows.iter().zip(&sums) {
        let scale = work.shard.scales[row] as f64;
        let middle = sum as f64 * scale * work.rounded.scale;
        let off = work.rounded.off + work.rounded.off_scale * scale;
        let (lower, upper) = ((middle - off) as f32, (middle + off) as f32);
        if upper >= floor.value() {
            out.push((lower, upper, row));
            floor.at_least(lower);
        }
    }
}

/// Products of some rows `(d,)` with a query, in whole numbers.
#[inline(always)]
fn products(values: &[i8], query: &[i8], rows: &[usize], out: &mut [i32]) {
    #[cfg(target_arch = "x86_64")]
    if isa() == Isa::Avx512Vnni {
        // SAFETY: detected.
        return unsafe { products_by_vnni(values, query, rows, out) };
    }
    for (&row, out) in rows.iter().zip(out) {
        let pairs = values[row * query.len()..].iter().zip(query);
        *out = pairs.map(|(a, b)| *a as i32 * *b as i32).sum();
    }
}

const ABREAST: usize = 4; // rows whose sums are in flight together

/// `products`, of 64 numbers at a time. One factor has to be without a sign: 128 is added to a row's numbers, and
/// taken off again as often as the query has it; sums may wrap meanwhile.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn products_by_vnni(values: &[i8], query: &[i8], rows: &[usize], out: &mut [i32]) {
    use std::arch::x86_64::*;
    let width = query.len();
    let sign = _mm512_set1_epi8(i8::MIN);
    let added = query.iter().map(|&q| q as i32).sum::<i32>() << 7;
    for (rows, out) in rows.chunks(ABREAST).zip(out.chunks_mut(ABREAST)) {
        let own: [&[i8]; ABREAST] =
            std::array::from_fn(|r| &values[rows[r.min(rows.len() - 1)] * width..][..width]);
        let mut sums = [_mm512_setzero_si512(); ABREAST];
        for start in (0..width).step_by(64) {
            let here = u64::MAX >> (64 - (width - start).min(64));
            // SAFETY: numbers behind the width are masked.
            let q = unsafe { _mm512_maskz_loadu_epi8(here, query.as_ptr().add(start)) };
            for (sum, own) in sums.iter_mut().zip(own) {
                // SAFETY: as above.
                let x = unsafe { _mm512_maskz_loadu_epi8(here, own.as_ptr().add(start)) };
                *sum = _mm512_dpbusd_epi32(*sum, _mm512_xor_si512(x, sign), q);
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = _mm512_reduce_add_epi32(sum).wrapping_sub(added);
        }
    }
}

each_isa! {
    /// Sum of products in FP64, in eight strands.
    fn product(a: &[f32], b: &[f32]) -> f64 {
        let mut sums = [0f64; 8];
        for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
            for l in 0..8 {
                sums[l] += a[l] as f64 * b[l] as f64;
            }
        }
        sums.iter().sum()
    }
}

thread_local! {
    static ESTIMATES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Rows with the largest products with a query, the largest first.
pub fn nearest(shards: &[Shard], query: &[f32], wanted: Wanted) -> Vec<Found> {
    ESTIMATES.with_borrow_mut(|estimates| {
        let starts: Vec<usize> = shards
            .iter()
            .scan(0, |end, shard| {
                let start = *end;
                *end += shard.mask.len();
                Some(start)
            })
            .collect();
        estimates.resize(shards.iter().map(|shard| shard.mask.len()).sum(), 0.0);
        search(shards, query, wanted, estimates, &starts)
    })
}

fn search(
    shards: &[Shard],
    query: &[f32],
    wanted: Wanted,
    estimates: &mut [f32],
    starts: &[usize],
) -> Vec<Found> {
    let width = query.len();
    let mut rotated = vec![0f32; shards[0].centre.len()];
    rotated[..width].copy_from_slice(query);
    rotate(&mut rotated);
    let asked: Vec<Asked> = shards
        .iter()
        .map(|shard| Asked::of(&rotated, shard.centre, wanted.least))
        .collect();
    let shared = pool::Shared::new(estimates);
    for ((shard, asked), &start) in shards.iter().zip(&asked).zip(starts) {
        let rows = shard.mask.len();
        pool::split(rows, 64, rows * rotated.len() / 8 / 65_536, |part| {
            // SAFETY: parts do not overlap.
            estimate(shard, asked, part.start, unsafe {
                shared.slice(start + part.start, part.len())
            });
        });
    }
    let exact =
        |shard: usize, row: usize| product(&shards[shard].exact[row * width..][..width], query);
    let mut floor = Floor::new(wanted);
    for (shard, row) in likeliest(estimates, starts, FIRST.max(2 * wanted.count)) {
        floor.at_least((exact(shard, row) - 1e-6) as f32);
    }
    let certain = wanted.margin == f32::INFINITY;
    let rounded = Rounded::of(query, certain);
    let all = Mutex::new((floor.value(), Vec::new()));
    for (number, (shard, asked)) in shards.iter().zip(&asked).enumerate() {
        let rows = shard.mask.len();
        let here = &estimates[starts[number]..][..rows];
        pool::split(rows, 64, rows * width / 65_536, |part| {
            let work = Sifting {
                shard,
                rounded: &rounded,
                certain,
                reach: wanted.margin * asked.spread,
                first: part.start,
            };
            let least = all.lock().unwrap().0;
            let (mut floor, mut made) = (Floor::new(Wanted { least, ..wanted }), Vec::new());
            sift(&work, &here[part], &mut floor, &mut made);
            let mut all = all.lock().unwrap();
            all.0 = all.0.max(floor.value());
            all.1.extend(
                made.into_iter()
                    .map(|(lower, upper, row)| (lower, upper, number, row)),
            );
        });
    }
    let (least, able) = all.into_inner().unwrap();
    let mut last = Floor::new(Wanted { least, ..wanted });
    able.iter().for_each(|one| last.at_least(one.0));
    let least = last.value();
    let mut found: Vec<Found> = able
        .into_iter()
        .filter(|one| one.1 >= least)
        .map(|(_, _, shard, row)| Found {
            product: exact(shard, row),
            shard,
            row,
        })
        .filter(|one| one.product >= wanted.least as f64)
        .collect();
    found.sort_by(|a, b| {
        b.product
            .total_cmp(&a.product)
            .then((a.shard, a.row).cmp(&(b.shard, b.row)))
    });
    found.truncate(wanted.count);
    found
}

/// `Shard` as the caller has it.
#[repr(C)]
pub struct ShardRef {
    rows: usize,
    exact: *const f32,
    values: *const i8,
    scales: *const f32,
    codes: *const u64,
    biases: *const f32,
    factors: *const f32,
    centre: *const f32,
    mask: *const u8,
}

impl ShardRef {
    fn is_whole(&self) -> bool {
        let floats = [
            self.exact,
            self.scales,
            self.biases,
            self.factors,
            self.centre,
        ];
        let others = self.values.is_null() || self.codes.is_null() || self.mask.is_null();
        !others && !floats.iter().any(|one| one.is_null())
    }

    /// # Safety
    /// Pointers must be valid for the stated shapes.
    unsafe fn shard(&self, width: usize, bits: usize) -> Shard<'_> {
        let rows = self.rows;
        // SAFETY: promised by the caller.
        unsafe {
            Shard {
                exact: std::slice::from_raw_parts(self.exact, rows * width),
                values: std::slice::from_raw_parts(self.values, rows * width),
                scales: std::slice::from_raw_parts(self.scales, rows),
                codes: std::slice::from_raw_parts(self.codes, rows * bits / 64),
                biases: std::slice::from_raw_parts(self.biases, rows),
                factors: std::slice::from_raw_parts(self.factors, rows),
                centre: std::slice::from_raw_parts(self.centre, bits),
                mask: std::slice::from_raw_parts(self.mask, rows),
            }
        }
    }
}

fn fits(width: usize, bits: usize) -> bool {
    width > 0 && width <= 131_072 && width.is_multiple_of(8) && bits == width.next_multiple_of(64)
}

/// The `wanted` rows of all shards with the largest products with a query; says how many there are.
///
/// # Safety
/// Pointers must be valid for `shards (count)` with rows of the stated shapes, `query (width)`, `products (wanted)`,
/// `places (wanted, 2)` and `found`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bowstring_nearest(
    shards: *const ShardRef,
    count: usize,
    width: usize,
    bits: usize,
    query: *const f32,
    wanted: usize,
    margin: f32,
    least: f32,
    products: *mut f32,
    places: *mut i64,
    found: *mut usize,
) -> i32 {
    if shards.is_null()
        || query.is_null()
        || products.is_null()
        || places.is_null()
        || found.is_null()
    {
        return NULL;
    }
    if count == 0 || wanted == 0 || !fits(width, bits) || margin.is_nan() || least.is_nan() {
        return WRONG_SIZE;
    }
    // SAFETY: promised by the caller.
    unsafe {
        let refs = std::slice::from_raw_parts(shards, count);
        if !refs.iter().all(ShardRef::is_whole) {
            return NULL;
        }
        if refs
            .iter()
            .any(|one| !one.rows.is_multiple_of(8) || one.rows.checked_mul(4 * width).is_none())
        {
            return WRONG_SIZE;
        }
        let shards: Vec<Shard> = refs.iter().map(|one| one.shard(width, bits)).collect();
        let query = std::slice::from_raw_parts(query, width);
        let best = nearest(
            &shards,
            query,
            Wanted {
                count: wanted,
                margin,
                least,
            },
        );
        *found = best.len();
        for (i, one) in best.into_iter().enumerate() {
            *products.add(i) = one.product as f32;
            *places.add(2 * i) = one.shard as i64;
            *places.add(2 * i + 1) = one.row as i64;
        }
    }
    0
}

/// Rotates `rows` vectors of `width` numbers, filled up with zeros to `bits`.
///
/// # Safety
/// Pointers must be valid for `given (rows, width)` and `out (rows, bits)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bowstring_rotate(
    given: *const f32,
    rows: usize,
    width: usize,
    bits: usize,
    out: *mut f32,
) -> i32 {
    if given.is_null() || out.is_null() {
        return NULL;
    }
    if !fits(width, bits) || rows.checked_mul(4 * bits).is_none() {
        return WRONG_SIZE;
    }
    // SAFETY: promised by the caller.
    unsafe {
        let given = std::slice::from_raw_parts(given, rows * width);
        let out = std::slice::from_raw_parts_mut(out, rows * bits);
        for (given, out) in given.chunks_exact(width).zip(out.chunks_exact_mut(bits)) {
            out[..width].copy_from_slice(given);
            out[width..].fill(0.0);
            rotate(out);
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_keeps_lengths_and_products() {
        let mut rows: Vec<Vec<f32>> = (0..2)
            .map(|r| {
                (0..192)
                    .map(|i| (scrambled(r * 1000 + i) >> 40) as f32 / 1e7 - 0.8)
                    .collect()
            })
            .collect();
        let dot = |a: &[f32], b: &[f32]| {
            a.iter()
                .zip(b)
                .map(|(a, b)| *a as f64 * *b as f64)
                .sum::<f64>()
        };
        let before = (dot(&rows[0], &rows[1]), dot(&rows[0], &rows[0]));
        rows.iter_mut().for_each(|row| rotate(row));
        assert!((dot(&rows[0], &rows[1]) - before.0).abs() < 1e-4 * before.1);
        assert!((dot(&rows[0], &rows[0]) - before.1).abs() < 1e-4 * before.1);
    }

    #[test]
    fn floats_are_ordered_as_numbers_are() {
        let rising = [
            f32::NEG_INFINITY,
            -2.0,
            -0.5,
            -0.0,
            0.0,
            1e-9,
            3.0,
            f32::INFINITY,
        ];
        assert!(
            rising
                .windows(2)
                .all(|two| ordered(two[0]) <= ordered(two[1]))
        );
    }
}
