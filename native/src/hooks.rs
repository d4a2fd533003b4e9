//! What bends a forward beside its weights: low-rank deltas of linear maps, residual branches and added vectors per
//! layer, and the entries that cross-attention looks at. All of it in FP32.
//!
//! Shapes: m rows (tokens), k inputs, n outputs, r rank, d width, 64 per head.

use crate::each_isa;
use crate::grouped::{self, Grouped, Rows, Then};
use crate::pool::{self, Shared};
use crate::trunk::HEAD;
use crate::vector::{LANES, add_scaled, dot, inverse_rms, silu, softmax, total};
use std::ops::Range;

/// The linear maps of a layer, in the order in which deltas name them.
pub const MAPS: usize = 7;
pub const QKV: usize = 0;
pub const OUT: usize = 1;
pub const UP: usize = 2;
pub const DOWN: usize = 3;
pub const CROSS_Q: usize = 4;
pub const CROSS_KV: usize = 5;
pub const CROSS_OUT: usize = 6;

/// y += scale B (A x), `a (r, k)`, `b (r, n)`: a row of it is what one number of A x adds. Without b, y += scale A x.
pub struct LowRank<'a> {
    pub rank: usize,
    pub scale: f32,
    pub a: &'a [f32],
    pub b: &'a [f32],
}

/// x += scale up silu(down norm(x) + control), `down (r, d)`, `up (r, d)`, `control (m, r)`, `(r)` or empty.
pub struct Branch<'a> {
    pub rank: usize,
    pub scale: f32,
    pub down: &'a [f32],
    pub up: &'a [f32],
    pub control: &'a [f32],
}

/// A `Branch` whose matrices are packed, `down (r, d)` and `up (d, r)`; `control (r)` or empty.
pub struct PackedBranch<'a> {
    pub scale: f32,
    pub down: Grouped<'a>,
    pub up: Grouped<'a>,
    pub control: &'a [f32],
}

/// Buffers of packed branches.
#[derive(Default)]
pub struct Inside {
    rows: Rows,
    normal: Vec<f32>,
    inside: Vec<f32>,
}

/// What happens at one layer; of the place behind the last layer only `added` counts.
#[derive(Default)]
pub struct Hooks<'a> {
    /// vectors added to the tokens before the layer, `(m, d)`
    pub added: Option<&'a [f32]>,
    pub deltas: [Vec<LowRank<'a>>; MAPS],
    pub branches: Vec<Branch<'a>>,
    pub packed: Vec<PackedBranch<'a>>,
    /// keys and values of the known entries, `(b, known, 2 d)` or empty
    pub known: &'a [f32],
}

/// Entries of cross-attention, `values (b, e, d)`, and behind them `known` others of which layers may have keys and
/// values; `mask (b, l, e + known)` is not zero where a token may look.
pub struct Entries<'a> {
    pub count: usize,
    pub known: usize,
    pub values: &'a [f32],
    pub mask: &'a [u8],
}

const UNIT: usize = 32_768; // multiplications that are worth a thread

/// Adds every delta of a map: `x (m, k)`, `y (m, n)`.
pub fn add_deltas(deltas: &[LowRank], x: &[f32], y: &mut [f32], rows: usize) {
    let (k, n) = (x.len() / rows, y.len() / rows);
    for delta in deltas {
        let out = Shared::new(y);
        pool::split(rows, 1, rows * delta.rank * (k + n) / UNIT, |part| delta_rows(delta, x, k, n, &out, part));
    }
}

each_isa! {
    fn delta_rows(delta: &LowRank, x: &[f32], k: usize, n: usize, y: &Shared<f32>, part: Range<usize>) {
        let mut inside = vec![0f32; delta.rank];
        for row in part {
            let x = &x[row * k..][..k];
            for (h, a) in inside.chunks_mut(3).zip(delta.a.chunks(3 * k)) {
                if let [h0, h1, h2] = h {
                    [*h0, *h1, *h2] = three_dots(a, x);
                } else {
                    h.iter_mut().zip(a.chunks_exact(k)).for_each(|(h, a)| *h = dot(a, x));
                }
            }
            inside.iter_mut().for_each(|h| *h *= delta.scale);
            // SAFETY: each row belongs to one task.
            let y = unsafe { y.slice(row * n, n) };
            if delta.b.is_empty() {
                y.iter_mut().zip(&inside).for_each(|(y, h)| *y += h);
            } else {
                add_rows(&inside, delta.b, y);
            }
        }
    }
}

/// Products of three rows of `a (3, k)` with `x (k)`, their sums in flight together.
#[inline(always)]
fn three_dots(a: &[f32], x: &[f32]) -> [f32; 3] {
    let k = x.len();
    let (a0, rest) = a.split_at(k);
    let (a1, a2) = rest.split_at(k);
    let (mut s0, mut s1, mut s2) = ([0f32; LANES], [0f32; LANES], [0f32; LANES]);
    let (head, tail) = x.as_chunks::<LANES>();
    let [(h0, t0), (h1, t1), (h2, t2)] = [a0, a1, a2].map(|a| a.as_chunks::<LANES>());
    for (((x, a0), a1), a2) in head.iter().zip(h0).zip(h1).zip(h2) {
        for l in 0..LANES {
            s0[l] += a0[l] * x[l];
        }
        for l in 0..LANES {
            s1[l] += a1[l] * x[l];
        }
        for l in 0..LANES {
            s2[l] += a2[l] * x[l];
        }
    }
    for (l, x) in tail.iter().enumerate() {
        s0[l] += t0[l] * x;
        s1[l] += t1[l] * x;
        s2[l] += t2[l] * x;
    }
    [total(s0), total(s1), total(s2)]
}

/// y += h b, `h (r)`, `b (r, n)`, `y (n)`; four rows at a time, so that y is read and written seldom.
#[inline(always)]
fn add_rows(h: &[f32], b: &[f32], y: &mut [f32]) {
    let n = y.len();
    let (fours, rest) = h.as_chunks::<4>();
    for (h, b) in fours.iter().zip(b.chunks_exact(4 * n)) {
        let (b0, b) = b.split_at(n);
        let (b1, b) = b.split_at(n);
        let (b2, b3) = b.split_at(n);
        for ((((y, b0), b1), b2), b3) in y.iter_mut().zip(b0).zip(b1).zip(b2).zip(b3) {
            *y += (h[0] * b0 + h[1] * b1) + (h[2] * b2 + h[3] * b3);
        }
    }
    let b = &b[4 * n * fours.len()..];
    if let [h0, h1, h2] = rest {
        let (b0, b) = b.split_at(n);
        let (b1, b2) = b.split_at(n);
        for (((y, b0), b1), b2) in y.iter_mut().zip(b0).zip(b1).zip(b2) {
            *y += h0 * b0 + h1 * b1 + h2 * b2;
        }
        return;
    }
    for (&h, b) in rest.iter().zip(b.chunks_exact(n)) {
        for (y, b) in y.iter_mut().zip(b) {
            *y += h * b;
        }
    }
}

/// x += every branch of a layer, one after the other.
pub fn add_branches(branches: &[Branch], x: &mut [f32], d: usize) {
    let rows = x.len() / d;
    for branch in branches {
        let out = Shared::new(x);
        pool::split(rows, 1, rows * branch.rank * 2 * d / UNIT, |part| branch_rows(branch, d, &out, part));
    }
}

each_isa! {
    fn branch_rows(branch: &Branch, d: usize, x: &Shared<f32>, part: Range<usize>) {
        let mut inside = vec![0f32; branch.rank];
        let each = if branch.control.len() == branch.rank { 0 } else { branch.rank };
        for row in part {
            // SAFETY: each row belongs to one task.
            let x = unsafe { x.slice(row * d, d) };
            let inverse = inverse_rms(x);
            for (i, down) in branch.down.chunks_exact(d).enumerate() {
                let control = if branch.control.is_empty() { 0.0 } else { branch.control[row * each + i] };
                inside[i] = branch.scale * silu(dot(down, x) * inverse + control);
            }
            add_rows(&inside, branch.up, x);
        }
    }
}

/// x += every packed branch of a layer, one after the other.
pub fn add_packed(branches: &[PackedBranch], x: &mut [f32], d: usize, room: &mut Inside) {
    let rows = x.len() / d;
    for branch in branches {
        let rank = branch.down.outputs;
        room.normal.resize(x.len(), 0.0);
        room.inside.resize(rows * rank, 0.0);
        over_rms(x, d, &mut room.normal);
        room.rows.quantise(&room.normal, d, 1);
        grouped::matmul(&room.rows, [(branch.down, Then::default(), &mut room.inside[..])]);
        activate(&mut room.inside, branch.control, rank, branch.scale);
        room.rows.quantise(&room.inside, rank, 1);
        grouped::matmul(&room.rows, [(branch.up, Then { add: true, ..Then::default() }, &mut *x)]);
    }
}

each_isa! {
    /// Every row over its root mean square.
    fn over_rms(x: &[f32], d: usize, out: &mut [f32]) {
        for (x, out) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
            let inverse = inverse_rms(x);
            for (out, x) in out.iter_mut().zip(x) {
                *out = x * inverse;
            }
        }
    }
}

each_isa! {
    /// scale silu(x + control), row by row, in place.
    fn activate(x: &mut [f32], control: &[f32], rank: usize, scale: f32) {
        for x in x.chunks_exact_mut(rank) {
            for (x, c) in x.iter_mut().zip(control) {
                *x += c;
            }
            for x in x {
                *x = scale * silu(*x);
            }
        }
    }
}

/// Attention of `q (b l, d)` over the keys and values of the entries, `kv (b e, 2 d)` and then the `known` ones; who may look at nothing gets nothing.
pub fn cross_attention(
    q: &[f32],
    kv: &[f32],
    known: &[f32],
    entries: &Entries,
    d: usize,
    length: usize,
    out: &mut [f32],
) {
    let heads = d / HEAD;
    let tasks = q.len() / d / length * heads;
    let stride = entries.count + entries.known;
    let out = Shared::new(out);
    let more = if known.is_empty() { 0 } else { entries.known };
    let places = [(kv, entries.count), (known, more)];
    pool::split(tasks, 1, q.len() * stride / UNIT, |part| {
        look(q, &places, entries.mask, d, length, &out, part)
    });
}

each_isa! {
    fn look(
        q: &[f32], places: &[(&[f32], usize); 2], mask: &[u8], d: usize, length: usize,
        out: &Shared<f32>, tasks: Range<usize>,
    ) {
        let [(fresh, some), (known, more)] = *places;
        let (heads, count, stride) = (d / HEAD, some + more, mask.len() * d / q.len());
        let mut scores = vec![0f32; count];
        for task in tasks {
            let (b, h) = (task / heads, task % heads);
            let part = |e: usize, first: usize| -> &[f32; HEAD] {
                let (kv, row) = if e < some { (fresh, b * some + e) } else { (known, b * more + e - some) };
                kv[row * 2 * d + first + h * HEAD..][..HEAD].try_into().unwrap()
            };
            for token in b * length..(b + 1) * length {
                let mask = &mask[token * stride..][..count];
                let q = &q[token * d + h * HEAD..][..HEAD];
                for (e, (score, &may)) in scores.iter_mut().zip(mask).enumerate() {
                    *score = if may != 0 { 0.125 * dot(q, part(e, 0)) } else { f32::NEG_INFINITY };
                }
                let mut y = [0f32; HEAD];
                if mask.iter().any(|&may| may != 0) {
                    softmax(&mut scores);
                    for (e, &weight) in scores.iter().enumerate() {
                        add_scaled(&mut y, weight, part(e, d));
                    }
                }
                // SAFETY: each sequence and head writes its own columns.
                unsafe { out.slice(token * d + h * HEAD, HEAD) }.copy_from_slice(&y);
            }
        }
    }
}
