//! A decoder over packed weights: rows of tokens in, hidden states out, keys and values appended in place.
//!
//! RMSNorm or LayerNorm with a weight and perhaps a shift, grouped-query attention with RoPE (rotated halves or interleaved pairs),
//! optional biases and QK-norm, SwiGLU or GELU, optional gates on what a layer adds: open models of the Llama family, and diffusion
//! transformers whose modulation is constant, as that of our own text stream. Who may look at whom among the rows of one call is causal, or a table. A row's numbers depend on what it sees,
//! in its order, and not on what else goes with it.

use crate::each_isa;
use crate::grouped::{self, Grouped, Rows, Then};
use crate::hooks::{Hooks, Inside, LowRank, add_branches, add_deltas, add_packed};
use crate::layout::{Activations, Packed};
use crate::matmul::{self, Epilogue};
use crate::pool::{self, Shared};
use crate::vector::{dot, exp, softmax};
use std::ops::Range;

pub const LANES: usize = 16; // a head's width is a multiple of it
const STRIP: usize = 64; // of a value, whose sums stay in registers
pub const ROOM: usize = 64; // a cache's capacity is a multiple of it
const TOGETHER: usize = 8; // rows whose attention is one task

/// The linear maps of a layer, in the order in which deltas name them.
pub const Q: usize = 0;
pub const K: usize = 1;
pub const V: usize = 2;
pub const OUT: usize = 3;
pub const GATE: usize = 4;
pub const UP: usize = 5;
pub const DOWN: usize = 6;

/// A matrix of either kind.
#[derive(Clone, Copy)]
pub enum Weights<'a> {
    Grouped(Grouped<'a>),
    Packed(Packed<'a>),
}

impl Weights<'_> {
    pub fn outputs(&self) -> usize {
        match self {
            Weights::Grouped(w) => w.outputs,
            Weights::Packed(w) => w.outputs,
        }
    }

    pub fn inputs(&self) -> usize {
        match self {
            Weights::Grouped(w) => w.inputs,
            Weights::Packed(w) => w.inputs,
        }
    }
}

/// `k` and `v` are absent where `q` holds all three, and `up` where `gate` holds both or GELU wants one.
pub struct Layer<'a> {
    pub attention_norm: &'a [f32],
    pub attention_shift: Option<&'a [f32]>,
    pub attention_gate: Option<&'a [f32]>,
    pub q: Weights<'a>,
    pub k: Option<Weights<'a>>,
    pub v: Option<Weights<'a>>,
    pub out: Weights<'a>,
    pub q_bias: Option<&'a [f32]>,
    pub k_bias: Option<&'a [f32]>,
    pub v_bias: Option<&'a [f32]>,
    pub q_norm: Option<&'a [f32]>,
    pub k_norm: Option<&'a [f32]>,
    pub ffn_norm: &'a [f32],
    pub ffn_shift: Option<&'a [f32]>,
    pub ffn_gate: Option<&'a [f32]>,
    pub gate: Weights<'a>,
    pub up: Option<Weights<'a>>,
    pub down: Weights<'a>,
    pub gate_bias: Option<&'a [f32]>,
    pub ffn_bias: Option<&'a [f32]>,
}

/// Sizes and kind of the body, and sizes of one call. planes: of activations, 1 for INT8 and 2 for twice that. Of each
/// layer there are keys `(kv_heads, capacity / ROOM, head, ROOM)`, which lie on their side so that scores need no sum within
/// a register, and values `(kv_heads, capacity, head)`; `past` tokens are filled.
#[derive(Clone, Copy)]
pub struct Shape {
    pub rows: usize,
    pub past: usize,
    pub capacity: usize,
    pub width: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head: usize,
    pub epsilon: f32,
    pub planes: usize,
    pub interleaved: bool,
    pub centred: bool,
    pub gelu: bool,
}

/// Rotations of the rows `(rows, head / 2)`; who may look at whom among them `(rows, rows)`, causal when there is none.
#[derive(Clone, Copy)]
pub struct Places<'a> {
    pub cos: &'a [f32],
    pub sin: &'a [f32],
    pub mask: Option<&'a [u8]>,
}

#[derive(Default)]
pub struct Scratch {
    quantised: Quantised,
    normal: Vec<f32>,
    qkv: Vec<f32>,
    attended: Vec<f32>,
    both: Vec<f32>,
    hidden: Vec<f32>,
    before: Vec<f32>,
    inside: Inside,
}

/// Rows as the matrices of either kind take them.
#[derive(Default)]
pub struct Quantised {
    rows: Rows,
    activations: Activations,
}

impl Quantised {
    pub fn quantise(&mut self, x: &[f32], width: usize, planes: usize, w: &Weights) {
        match w {
            Weights::Grouped(_) => self.rows.quantise(x, width, planes),
            Weights::Packed(_) => self.activations.quantise(x, width),
        }
    }

    /// `out = x w + bias`.
    pub fn times(&self, w: &Weights, bias: Option<&[f32]>, out: &mut [f32]) {
        match w {
            Weights::Grouped(w) => grouped::matmul(&self.rows, [(*w, Then { bias, ..Then::default() }, out)]),
            Weights::Packed(w) => {
                let epilogue = Epilogue { bias, ..Epilogue::default() };
                matmul::matmul(w, &self.activations, &epilogue, out);
            }
        }
    }

    /// `out = x w + bias` of several matrices that take the same rows.
    fn times_all<const N: usize>(&self, products: [(&Weights, Option<&[f32]>, &mut [f32]); N]) {
        if products.iter().all(|(w, ..)| matches!(w, Weights::Grouped(_))) {
            let grouped = products.map(|(w, bias, out)| match w {
                Weights::Grouped(w) => (*w, Then { bias, ..Then::default() }, out),
                Weights::Packed(_) => unreachable!(),
            });
            return grouped::matmul(&self.rows, grouped);
        }
        for (w, bias, out) in products {
            self.times(w, bias, out);
        }
    }

    /// `out += gate * (x w) + bias`; `before` is room for what was there.
    fn add(
        &self,
        w: &Weights,
        gate: Option<&[f32]>,
        bias: Option<&[f32]>,
        out: &mut [f32],
        before: &mut Vec<f32>,
    ) {
        match w {
            Weights::Grouped(w) => {
                grouped::matmul(&self.rows, [(*w, Then { bias, gate, add: true }, out)]);
            }
            Weights::Packed(w) => {
                let before = room(before, out.len());
                before.copy_from_slice(out);
                let epilogue = Epilogue { bias, gate, residual: Some(before) };
                matmul::matmul(w, &self.activations, &epilogue, out);
            }
        }
    }
}

/// `out += gate * (deltas of x)`; `before` is room for them.
fn add_gated(
    deltas: &[LowRank],
    x: &[f32],
    gate: Option<&[f32]>,
    out: &mut [f32],
    rows: usize,
    before: &mut Vec<f32>,
) {
    let Some(gate) = gate else {
        return add_deltas(deltas, x, out, rows);
    };
    if deltas.is_empty() {
        return;
    }
    let made = room(before, out.len());
    made.fill(0.0);
    add_deltas(deltas, x, made, rows);
    for (out, made) in out.chunks_exact_mut(gate.len()).zip(made.chunks_exact(gate.len())) {
        for ((out, made), gate) in out.iter_mut().zip(made).zip(gate) {
            *out += gate * made;
        }
    }
}

fn room(buffer: &mut Vec<f32>, count: usize) -> &mut [f32] {
    if buffer.len() < count {
        buffer.resize(count, 0.0);
    }
    &mut buffer[..count]
}

/// Where the rows of one thing lie in a buffer that holds several: row i begins at `start + i * stride`.
#[derive(Clone, Copy)]
struct Part {
    start: usize,
    stride: usize,
}

impl Part {
    #[inline(always)]
    fn at(&self, row: usize) -> usize {
        self.start + row * self.stride
    }
}

/// Parts of `widths` in a buffer of `rows`: side by side where one matrix made them, one after the other else.
fn parts<const N: usize>(rows: usize, widths: [usize; N], fused: bool) -> [Part; N] {
    let whole: usize = widths.iter().sum();
    let mut before = 0;
    widths.map(|width| {
        let part = if fused {
            Part { start: before, stride: whole }
        } else {
            Part { start: rows * before, stride: width }
        };
        before += width;
        part
    })
}

/// Runs all layers over `x (rows, width)` in place; fresh keys and values go behind the cached ones. `hooks` bend each
/// layer.
pub fn forward(
    shape: &Shape,
    places: &Places,
    layers: &[Layer],
    hooks: &[Hooks],
    caches: &mut [[&mut [f32]; 2]],
    x: &mut [f32],
    scratch: &mut Scratch,
) {
    let (rows, d) = (shape.rows, shape.width);
    let (wide, narrow) = (shape.heads * shape.head, shape.kv_heads * shape.head);
    let Scratch { quantised, normal, qkv, attended, both, hidden, before, inside } = scratch;
    for ((layer, hook), cache) in layers.iter().zip(hooks).zip(caches) {
        let normal = room(normal, rows * d);
        normalise(x, layer.attention_norm, layer.attention_shift, shape.epsilon, shape.centred, normal);
        quantised.quantise(normal, d, shape.planes, &layer.q);
        let qkv = room(qkv, rows * (wide + 2 * narrow));
        let [q, k, v] = parts(rows, [wide, narrow, narrow], layer.k.is_none());
        if let (Some(wk), Some(wv)) = (&layer.k, &layer.v) {
            let (q, rest) = qkv.split_at_mut(rows * wide);
            let (k, v) = rest.split_at_mut(rows * narrow);
            quantised.times_all([(&layer.q, layer.q_bias, &mut *q), (wk, layer.k_bias, &mut *k), (wv, layer.v_bias, &mut *v)]);
            add_deltas(&hook.deltas[Q], normal, q, rows);
            add_deltas(&hook.deltas[K], normal, k, rows);
            add_deltas(&hook.deltas[V], normal, v, rows);
        } else {
            quantised.times(&layer.q, layer.q_bias, qkv);
            add_deltas(&hook.deltas[Q], normal, qkv, rows);
        }
        turn(qkv, q, shape.heads, layer.q_norm, shape, places);
        turn(qkv, k, shape.kv_heads, layer.k_norm, shape, places);
        append(shape, qkv, k, v, cache);
        let attended = room(attended, rows * wide);
        attention(shape, places, qkv, q, cache, attended);
        quantised.quantise(attended, wide, shape.planes, &layer.out);
        quantised.add(&layer.out, layer.attention_gate, None, x, before);
        add_gated(&hook.deltas[OUT], attended, layer.attention_gate, x, rows, before);
        normalise(x, layer.ffn_norm, layer.ffn_shift, shape.epsilon, shape.centred, normal);
        quantised.quantise(normal, d, shape.planes, &layer.gate);
        let h = layer.down.inputs();
        let (both, hidden) = (room(both, 2 * rows * h), room(hidden, rows * h));
        if let Some(up) = &layer.up {
            let (gate, value) = both.split_at_mut(rows * h);
            quantised.times_all([(&layer.gate, None, &mut *gate), (up, None, &mut *value)]);
            add_deltas(&hook.deltas[GATE], normal, gate, rows);
            add_deltas(&hook.deltas[UP], normal, value, rows);
            activate(both, parts(rows, [h, h], false), hidden, h);
        } else if shape.gelu {
            quantised.times(&layer.gate, layer.gate_bias, hidden);
            add_deltas(&hook.deltas[GATE], normal, hidden, rows);
            gelu(hidden);
        } else {
            quantised.times(&layer.gate, None, both);
            add_deltas(&hook.deltas[GATE], normal, both, rows);
            activate(both, parts(rows, [h, h], true), hidden, h);
        }
        quantised.quantise(hidden, h, shape.planes, &layer.down);
        quantised.add(&layer.down, layer.ffn_gate, layer.ffn_bias, x, before);
        add_gated(&hook.deltas[DOWN], hidden, layer.ffn_gate, x, rows, before);
        add_branches(&hook.branches, x, d);
        add_packed(&hook.packed, x, d, inside);
    }
}

each_isa! {
    /// Every row, its mean taken off where it is centred, over its root mean square, times the norm's weights, plus a shift.
    fn normalise(x: &[f32], norm: &[f32], shift: Option<&[f32]>, epsilon: f32, centred: bool, out: &mut [f32]) {
        for (x, out) in x.chunks_exact(norm.len()).zip(out.chunks_exact_mut(norm.len())) {
            let mean = if centred { x.iter().sum::<f32>() / norm.len() as f32 } else { 0.0 };
            for (out, x) in out.iter_mut().zip(x) {
                *out = x - mean;
            }
            let scale = 1.0 / (dot(out, out) / norm.len() as f32 + epsilon).sqrt();
            for (out, w) in out.iter_mut().zip(norm) {
                *out = *out * scale * w;
            }
            if let Some(shift) = shift {
                for (out, b) in out.iter_mut().zip(shift) {
                    *out += b;
                }
            }
        }
    }
}

each_isa! {
    /// silu(gate) * value, row by row.
    fn activate(both: &[f32], parts: [Part; 2], out: &mut [f32], h: usize) {
        let [gate, value] = parts;
        for (row, out) in out.chunks_exact_mut(h).enumerate() {
            let (g, v) = (&both[gate.at(row)..][..h], &both[value.at(row)..][..h]);
            for ((out, &g), &v) in out.iter_mut().zip(g).zip(v) {
                *out = g / (1.0 + exp(-g)) * v;
            }
        }
    }
}

each_isa! {
    /// x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), in place.
    fn gelu(x: &mut [f32]) {
        for x in x {
            let inner = 1.595_769_1 * (*x + 0.044_715 * *x * *x * *x);
            *x /= 1.0 + exp(-inner);
        }
    }
}

each_isa! {
    /// Every head's vector of every row: norm, if there is one, then rotation.
    fn turn(x: &mut [f32], part: Part, heads: usize, norm: Option<&[f32]>, shape: &Shape, places: &Places) {
        let (h, half) = (shape.head, shape.head / 2);
        let mut whole = vec![0f32; h];
        for row in 0..shape.rows {
            let (cos, sin) = (&places.cos[row * half..][..half], &places.sin[row * half..][..half]);
            for x in x[part.at(row)..][..heads * h].chunks_exact_mut(h) {
                if let Some(norm) = norm {
                    let scale = 1.0 / (dot(x, x) / h as f32 + shape.epsilon).sqrt();
                    for (x, w) in x.iter_mut().zip(norm) {
                        *x = *x * scale * w;
                    }
                }
                whole.copy_from_slice(x);
                for i in 0..half {
                    let (at, other) = if shape.interleaved { (2 * i, 2 * i + 1) } else { (i, i + half) };
                    x[at] = whole[at] * cos[i] - whole[other] * sin[i];
                    x[other] = whole[other] * cos[i] + whole[at] * sin[i];
                }
            }
        }
    }
}

/// Keys and values of the rows behind the filled part of a layer's cache.
fn append(shape: &Shape, qkv: &[f32], k: Part, v: Part, cache: &mut [&mut [f32]; 2]) {
    let (h, capacity) = (shape.head, shape.capacity);
    let width = shape.kv_heads * h;
    for row in 0..shape.rows {
        let place = shape.past + row;
        for (head, k) in qkv[k.at(row)..][..width].chunks_exact(h).enumerate() {
            let tile = &mut cache[0][(head * capacity + place / ROOM * ROOM) * h..][..h * ROOM];
            for (keys, k) in tile.chunks_exact_mut(ROOM).zip(k) {
                keys[place % ROOM] = *k;
            }
        }
        for (head, v) in qkv[v.at(row)..][..width].chunks_exact(h).enumerate() {
            cache[1][(head * capacity + place) * h..][..h].copy_from_slice(v);
        }
    }
}

/// Softmax attention: a task is one head of keys with the queries that share it, and some of the rows.
fn attention(
    shape: &Shape,
    places: &Places,
    qkv: &[f32],
    q: Part,
    cache: &[&mut [f32]; 2],
    out: &mut [f32],
) {
    let chunks = shape.rows.div_ceil(TOGETHER);
    let work = shape.heads * shape.rows * (shape.past + shape.rows) * shape.head;
    let out = Shared::new(out);
    pool::split(shape.kv_heads * chunks, 1, work / 16_384, |tasks| {
        attend(shape, places, qkv, q, [&*cache[0], &*cache[1]], &out, tasks)
    });
}

/// `sums += weights of tokens * values[token * h..][..N]`, one after the other.
#[inline(always)]
fn mix<const N: usize>(values: &[f32], h: usize, weights: impl Iterator<Item = (usize, f32)>, sums: &mut [f32]) {
    let sums: &mut [f32; N] = sums.try_into().unwrap();
    let mut own = *sums;
    for (token, weight) in weights {
        let value: &[f32; N] = values[token * h..][..N].try_into().unwrap();
        for l in 0..N {
            own[l] += weight * value[l];
        }
    }
    *sums = own;
}

/// The same for a whole head, in strips whose sums stay in registers.
#[inline(always)]
fn mix_head(values: &[f32], h: usize, weights: impl Iterator<Item = (usize, f32)> + Clone, sums: &mut [f32]) {
    for (at, sums) in (0..h).step_by(STRIP).zip(sums.chunks_mut(STRIP)) {
        if sums.len() == STRIP {
            mix::<STRIP>(&values[at..], h, weights.clone(), sums);
        } else {
            for (piece, sums) in sums.chunks_mut(LANES).enumerate() {
                mix::<LANES>(&values[at + piece * LANES..], h, weights.clone(), sums);
            }
        }
    }
}

each_isa! {
    /// Rows of a task go through the keys and the values together, `ROOM` tokens after `ROOM` tokens, which stay near
    /// meanwhile. What a row sums, it sums in the order that it has alone.
    fn attend(
        shape: &Shape,
        places: &Places,
        qkv: &[f32],
        q: Part,
        cache: [&[f32]; 2],
        out: &Shared<f32>,
        tasks: Range<usize>,
    ) {
        let (h, n, rows) = (shape.head, shape.past, shape.rows);
        let (chunks, sharing) = (rows.div_ceil(TOGETHER), shape.heads / shape.kv_heads);
        let most = TOGETHER.min(rows) * sharing;
        let width = (n + rows).next_multiple_of(ROOM);
        let scale = 1.0 / (h as f32).sqrt();
        let mut scores = vec![0f32; most * width];
        let (mut queries, mut sums) = (vec![0f32; most * h], vec![0f32; most * h]);
        let (mut seen, mut ends) = (Vec::new(), Vec::new());
        for task in tasks {
            let (group, part) = (task / chunks, folded(task % chunks, chunks));
            let first = part * TOGETHER;
            let count = TOGETHER.min(rows - first) * sharing;
            let row_of = |query: usize| first + query / sharing;
            // no row sees a key behind its own, unless there is a table
            let own_of = |query: usize| if places.mask.is_some() { n + rows } else { n + row_of(query) + 1 };
            for (query, to) in queries.chunks_exact_mut(h).take(count).enumerate() {
                let head = group * sharing + query % sharing;
                for (to, from) in to.iter_mut().zip(&qkv[q.at(row_of(query)) + head * h..][..h]) {
                    *to = from * scale;
                }
            }
            let keys = &cache[0][group * shape.capacity * h..][..shape.capacity * h];
            for (tile, keys) in keys.chunks_exact(h * ROOM).take(own_of(count - 1).div_ceil(ROOM)).enumerate() {
                for query in 0..count {
                    let mut sums = [0f32; ROOM];
                    for (&q, keys) in queries[query * h..][..h].iter().zip(keys.as_chunks::<ROOM>().0) {
                        for l in 0..ROOM {
                            sums[l] += q * keys[l];
                        }
                    }
                    scores[query * width + ROOM * tile..][..ROOM].copy_from_slice(&sums);
                }
            }
            // what is seen moves together, so that sums have the order that they have without the rest
            (seen.clear(), ends.clear(), ends.push(0));
            if let Some(mask) = places.mask {
                for may in mask[first * rows..].chunks_exact(rows).take(count / sharing) {
                    seen.extend((0..rows).filter(|&at| may[at] != 0));
                    ends.push(seen.len());
                }
            }
            let straight_of = |query: usize| if places.mask.is_some() { n } else { own_of(query) };
            let seen_of = |query: usize| match places.mask {
                Some(_) => &seen[ends[query / sharing]..ends[query / sharing + 1]],
                None => &seen[..0],
            };
            for (query, scores) in scores.chunks_exact_mut(width).take(count).enumerate() {
                for (to, &at) in seen_of(query).iter().enumerate() {
                    scores[n + to] = scores[n + at];
                }
                softmax(&mut scores[..straight_of(query) + seen_of(query).len()]);
            }
            let values = &cache[1][group * shape.capacity * h..][..(n + rows) * h];
            let sums = &mut sums[..count * h];
            sums.fill(0.0);
            for start in (0..straight_of(count - 1)).step_by(ROOM) {
                for (query, sums) in sums.chunks_exact_mut(h).enumerate() {
                    let end = straight_of(query).min(start + ROOM).max(start);
                    let weights = scores[query * width..][..width][start..end].iter().copied();
                    mix_head(values, h, (start..end).zip(weights), sums);
                }
            }
            for (query, sums) in sums.chunks_exact_mut(h).enumerate() {
                let weights = scores[query * width..][..width][straight_of(query)..].iter().copied();
                mix_head(values, h, seen_of(query).iter().map(|at| n + at).zip(weights), sums);
                let place = row_of(query) * shape.heads + group * sharing + query % sharing;
                // SAFETY: each row and head belongs to one task.
                unsafe { out.slice(place * h, h) }.copy_from_slice(sums);
            }
        }
    }
}

/// The place of number `i` of `count` in the order first, last, second, last but one, so that neighbours cost alike.
fn folded(i: usize, count: usize) -> usize {
    if i.is_multiple_of(2) { i / 2 } else { count - 1 - i / 2 }
}
