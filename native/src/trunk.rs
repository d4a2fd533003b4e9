//! All layers of the trunk in one call: norm, low-bit products, rotary attention over a cache, gates.
//!
//! Shapes: b sequences, l new tokens, n cached ones, d width, 64 per head. What this computes is
//! `Trunk.forward` of nn/trunk.py with everything that may bend it; see `hooks`.

use crate::each_isa;
use crate::hooks::{self, Entries, Hooks, LowRank, add_branches, add_deltas, cross_attention};
use crate::layout::{Activations, Packed, RowsOf};
use crate::matmul::{Epilogue, matmul};
use crate::pool::{self, Shared};
use crate::vector::{add_scaled, dot, inverse_rms, softmax, swiglu};
use std::ops::Range;

pub const HEAD: usize = 64;
const UNIT: usize = 16_384; // numbers of row-wise work that are worth a thread

pub struct Layer<'a> {
    pub qkv: Packed<'a>,
    pub out: Packed<'a>,
    pub up: Packed<'a>,
    pub down: Packed<'a>,
    pub q_norm: &'a [f32],
    pub k_norm: &'a [f32],
    /// shift, scale and gate of attention, then of the feed-forward, `(6, d)`
    pub offset: &'a [f32],
    pub cross: Option<Cross<'a>>,
}

/// The slot that looks at the entries; x += tanh(gate) times what it sees.
pub struct Cross<'a> {
    pub q: Packed<'a>,
    pub kv: Packed<'a>,
    pub out: Packed<'a>,
    pub gate: &'a [f32],
}

pub struct Call<'a> {
    pub batch: usize,
    pub length: usize,
    pub past: usize,
    pub width: usize,
    /// `(b l, 6, d)`, or `(6, d)` when all tokens share a time
    pub modulation: &'a [f32],
    /// `(b l, 32)` each
    pub cos: &'a [f32],
    pub sin: &'a [f32],
    /// `(b, l, n + l)`, not zero where a query may look
    pub mask: &'a [u8],
    pub norm: &'a [f32],
    pub entries: Option<Entries<'a>>,
    /// one for each layer, and one for the place behind them
    pub hooks: &'a [Hooks<'a>],
}

/// Cached and fresh keys and values of one layer, `(b, heads, n, 64)` and `(b, heads, l, 64)`.
pub struct Memory<'a> {
    pub past: [&'a [f32]; 2],
    pub fresh: [&'a mut [f32]; 2],
}

#[derive(Default)]
pub struct Scratch {
    pub activations: Activations,
    wide: Vec<f32>,
    narrow: Vec<f32>,
    modulation: Vec<f32>,
    /// inputs of a product in FP32, for its deltas
    inputs: Vec<f32>,
    keys_values: Vec<f32>,
}

/// The first `count` numbers of a buffer that only grows.
fn room(buffer: &mut Vec<f32>, count: usize) -> &mut [f32] {
    if buffer.len() < count {
        buffer.resize(count, 0.0);
    }
    &mut buffer[..count]
}

/// Six vectors per token, or six for all tokens.
#[derive(Clone, Copy)]
struct Modulation<'a> {
    values: &'a [f32],
    width: usize,
    stride: usize,
}

impl<'a> Modulation<'a> {
    #[inline(always)]
    fn part(&self, row: usize, part: usize) -> &'a [f32] {
        &self.values[row * self.stride + part * self.width..][..self.width]
    }
}

/// The buffers of one product after another.
struct Work<'a> {
    activations: &'a mut Activations,
    wide: &'a mut Vec<f32>,
    inputs: &'a mut Vec<f32>,
}

pub fn forward(
    call: &Call,
    layers: &[Layer],
    memories: &mut [Memory],
    x: &mut [f32],
    scratch: &mut Scratch,
) {
    let (rows, d) = (call.batch * call.length, call.width);
    let Scratch {
        activations,
        wide,
        narrow,
        modulation,
        inputs,
        keys_values,
    } = scratch;
    let mut work = Work {
        activations,
        wide,
        inputs,
    };
    for ((layer, memory), hook) in layers.iter().zip(memories).zip(call.hooks) {
        add_vectors(hook.added, x);
        modulation.clear();
        for one in call.modulation.chunks_exact(6 * d) {
            modulation.extend(one.iter().zip(layer.offset).map(|(a, b)| a + b));
        }
        let stride = if modulation.len() > 6 * d { 6 * d } else { 0 };
        let modulated = Modulation {
            values: modulation,
            width: d,
            stride,
        };
        let qkv = normalised(
            &layer.qkv,
            &hook.deltas[hooks::QKV],
            x,
            modulated,
            0,
            &mut work,
        );
        let attended = room(narrow, rows * d);
        attention(call, layer, qkv, memory, attended);
        work.activations.quantise(attended, d);
        add(
            &layer.out,
            &hook.deltas[hooks::OUT],
            Some(attended),
            modulated,
            2,
            x,
            &mut work,
        );
        let entries = call
            .entries
            .as_ref()
            .filter(|e| e.count > 0 || !hook.known.is_empty());
        if let (Some(cross), Some(entries)) = (&layer.cross, entries) {
            look_across(
                call,
                cross,
                entries,
                hook,
                x,
                narrow,
                keys_values,
                &mut work,
            );
        }
        feed_forward(layer, hook, x, modulated, &mut work);
        add_branches(&hook.branches, x, d);
    }
    add_vectors(call.hooks[layers.len()].added, x);
    normalise_last(x, call.norm);
}

fn add_vectors(added: Option<&[f32]>, x: &mut [f32]) {
    for (x, y) in x.iter_mut().zip(added.unwrap_or_default()) {
        *x += y;
    }
}

/// w times the modulated norm of x, its deltas added.
fn normalised<'a>(
    w: &Packed,
    deltas: &[LowRank],
    x: &[f32],
    modulation: Modulation,
    first: usize,
    work: &'a mut Work,
) -> &'a mut [f32] {
    let rows = x.len() / w.inputs;
    let kept = if deltas.is_empty() { 0 } else { x.len() };
    let kept = room(work.inputs, kept);
    normalise(x, modulation, first, work.activations, kept);
    let out = room(work.wide, rows * w.outputs);
    matmul(w, work.activations, &Epilogue::default(), out);
    add_deltas(deltas, kept, out, rows);
    out
}

/// x += tanh(gate) * out(attention over the entries of q(norm(x))).
#[allow(clippy::too_many_arguments)]
fn look_across(
    call: &Call,
    cross: &Cross,
    entries: &Entries,
    hook: &Hooks,
    x: &mut [f32],
    narrow: &mut Vec<f32>,
    keys_values: &mut Vec<f32>,
    work: &mut Work,
) {
    let (d, count) = (call.width, call.batch * entries.count);
    let keys_values = room(keys_values, count * 2 * d);
    if count > 0 {
        work.activations.quantise(entries.values, d);
        matmul(
            &cross.kv,
            work.activations,
            &Epilogue::default(),
            keys_values,
        );
        add_deltas(
            &hook.deltas[hooks::CROSS_KV],
            entries.values,
            keys_values,
            count,
        );
    }
    let still = vec![0f32; 2 * d]; // neither shift nor scale
    let plain = Modulation {
        values: &still,
        width: d,
        stride: 0,
    };
    let q = normalised(&cross.q, &hook.deltas[hooks::CROSS_Q], x, plain, 0, work);
    let seen = room(narrow, x.len());
    cross_attention(q, keys_values, hook.known, entries, d, call.length, seen);
    work.activations.quantise(seen, d);
    let gate: Vec<f32> = cross.gate.iter().map(|g| g.tanh()).collect();
    let gate = Modulation {
        values: &gate,
        width: d,
        stride: 0,
    };
    add(
        &cross.out,
        &hook.deltas[hooks::CROSS_OUT],
        Some(seen),
        gate,
        0,
        x,
        work,
    );
}

/// x += gate * down(silu(a) b), (a, b) = up(norm(x)).
fn feed_forward(
    layer: &Layer,
    hook: &Hooks,
    x: &mut [f32],
    modulation: Modulation,
    work: &mut Work,
) {
    let rows = x.len() / modulation.width;
    let inner = layer.down.inputs;
    normalised(&layer.up, &hook.deltas[hooks::UP], x, modulation, 3, work);
    let deltas = &hook.deltas[hooks::DOWN];
    let kept = room(
        work.inputs,
        if deltas.is_empty() { 0 } else { rows * inner },
    );
    let both = &work.wide[..rows * 2 * inner];
    let views = work.activations.reshape(rows, inner);
    let copies = Shared::new(kept);
    pool::split(rows, 1, rows * inner / UNIT, |part| {
        gate_rows(both, inner, &views, &copies, part)
    });
    add(&layer.down, deltas, None, modulation, 5, x, work);
}

/// x += gate * (w a + deltas); `inputs` are a in FP32, or None where the work holds them.
fn add(
    w: &Packed,
    deltas: &[LowRank],
    inputs: Option<&[f32]>,
    modulation: Modulation,
    part: usize,
    x: &mut [f32],
    work: &mut Work,
) {
    let rows = x.len() / w.outputs;
    let buffer = room(work.wide, x.len());
    if modulation.stride == 0 && deltas.is_empty() {
        buffer.copy_from_slice(x);
        let gate = Some(modulation.part(0, part));
        let epilogue = Epilogue {
            gate,
            bias: None,
            residual: Some(buffer),
        };
        return matmul(w, work.activations, &epilogue, x);
    }
    matmul(w, work.activations, &Epilogue::default(), buffer);
    if !deltas.is_empty() {
        let inputs = inputs.unwrap_or(&work.inputs[..rows * w.inputs]);
        add_deltas(deltas, inputs, buffer, rows);
    }
    let both = x
        .chunks_exact_mut(w.outputs)
        .zip(buffer.chunks_exact(w.outputs));
    for (row, (x, y)) in both.enumerate() {
        for ((x, y), g) in x.iter_mut().zip(y).zip(modulation.part(row, part)) {
            *x += g * y;
        }
    }
}

/// rms-norm, then x (1 + scale) + shift, quantised; `first` is the part of the shift, the scale follows it. Where
/// `kept` has room, the numbers go there, too, as they were before.
fn normalise(
    x: &[f32],
    modulation: Modulation,
    first: usize,
    activations: &mut Activations,
    kept: &mut [f32],
) {
    let d = modulation.width;
    let rows = x.len() / d;
    let views = activations.reshape(rows, d);
    let kept = Shared::new(kept);
    pool::split(rows, 1, x.len() / UNIT, |part| {
        normalise_rows(x, modulation, first, &views, &kept, part)
    });
}

/// Keeps a row where there is room for rows.
fn keep(kept: &Shared<f32>, row: usize, values: &[f32]) {
    if !kept.is_empty() {
        // SAFETY: each row belongs to one task.
        unsafe { kept.slice(row * values.len(), values.len()) }.copy_from_slice(values);
    }
}

each_isa! {
    fn normalise_rows(
        x: &[f32], modulation: Modulation, first: usize, out: &RowsOf, kept: &Shared<f32>, part: Range<usize>,
    ) {
        let d = modulation.width;
        let mut buffer = vec![0f32; d];
        for row in part {
            let x = &x[row * d..][..d];
            let (shift, scale) = (modulation.part(row, first), modulation.part(row, first + 1));
            let inverse = inverse_rms(x);
            for (((y, x), a), b) in buffer.iter_mut().zip(x).zip(scale).zip(shift) {
                *y = x * inverse * (1.0 + a) + b;
            }
            out.set(row, &buffer);
            keep(kept, row, &buffer);
        }
    }
}

each_isa! {
    fn gate_rows(both: &[f32], inner: usize, out: &RowsOf, kept: &Shared<f32>, part: Range<usize>) {
        let mut buffer = vec![0f32; inner];
        for row in part {
            swiglu(&both[row * 2 * inner..][..2 * inner], &mut buffer);
            out.set(row, &buffer);
            keep(kept, row, &buffer);
        }
    }
}

each_isa! {
    fn normalise_last(x: &mut [f32], norm: &[f32]) {
        for row in x.chunks_exact_mut(norm.len()) {
            let scale = inverse_rms(row);
            for (x, w) in row.iter_mut().zip(norm) {
                *x = *x * scale * w;
            }
        }
    }
}

/// A head's vector: rms-norm, weight, rotation.
#[inline(always)]
fn turned(x: &[f32], norm: &[f32], cos: &[f32], sin: &[f32], out: &mut [f32; HEAD]) {
    const HALF: usize = HEAD / 2;
    let inverse = inverse_rms(x);
    let (low, high) = out.split_at_mut(HALF);
    for i in 0..HALF {
        let a = x[i] * inverse * norm[i];
        let b = x[i + HALF] * inverse * norm[i + HALF];
        low[i] = a * cos[i] - b * sin[i];
        high[i] = b * cos[i] + a * sin[i];
    }
}

/// Softmax attention of every head over cached and fresh keys; `qkv (b l, 3 d)` -> `out (b l, d)`.
fn attention(call: &Call, layer: &Layer, qkv: &[f32], memory: &mut Memory, out: &mut [f32]) {
    let tasks = call.batch * call.width / HEAD;
    let work = tasks * call.length * (call.past + call.length) * HEAD;
    let [keys, values] = &mut memory.fresh;
    let places = Places {
        keys: Shared::new(keys),
        values: Shared::new(values),
        out: Shared::new(out),
    };
    let past = memory.past;
    pool::split(tasks, 1, work / 32_768, |part| {
        attend(call, layer, qkv, past, &places, part)
    });
}

const TURNED: usize = 4; // queries from which on it pays

/// Products of a query with keys that lie side by side, `(64, columns)`, sixteen keys at a time.
#[inline(always)]
fn across(q: &[f32; HEAD], keys: &[f32], columns: usize, scores: &mut [f32]) {
    for (chunk, scores) in scores.chunks_mut(16).enumerate() {
        let mut sums = [0f32; 16];
        for (i, &q) in q.iter().enumerate() {
            let keys: &[f32; 16] = keys[i * columns + 16 * chunk..][..16].try_into().unwrap();
            add_scaled(&mut sums, q, keys);
        }
        scores.copy_from_slice(&sums[..scores.len()]);
    }
}

struct Places {
    keys: Shared<f32>,
    values: Shared<f32>,
    out: Shared<f32>,
}

each_isa! {
    fn attend(call: &Call, layer: &Layer, qkv: &[f32], past: [&[f32]; 2], places: &Places, tasks: Range<usize>) {
        let (d, l, n) = (call.width, call.length, call.past);
        let heads = d / HEAD;
        let mut scores = vec![0f32; n + l];
        let mut visible = Vec::with_capacity(n + l);
        let mut turned_keys = Vec::new();
        for task in tasks {
            let (b, h) = (task / heads, task % heads);
            // SAFETY: each sequence and head is one task.
            let (keys, values) =
                unsafe { (places.keys.slice(task * l * HEAD, l * HEAD), places.values.slice(task * l * HEAD, l * HEAD)) };
            let (keys, values) = (keys.as_chunks_mut::<HEAD>().0, values.as_chunks_mut::<HEAD>().0);
            for i in 0..l {
                let token = b * l + i;
                let row = &qkv[token * 3 * d..][..3 * d];
                let (cos, sin) = (&call.cos[token * 32..][..32], &call.sin[token * 32..][..32]);
                turned(&row[d + h * HEAD..][..HEAD], layer.k_norm, cos, sin, &mut keys[i]);
                values[i].copy_from_slice(&row[2 * d + h * HEAD..][..HEAD]);
            }
            let seen_keys = past[0][task * n * HEAD..][..n * HEAD].as_chunks::<HEAD>().0;
            let seen_values = past[1][task * n * HEAD..][..n * HEAD].as_chunks::<HEAD>().0;
            // With several queries it pays to turn the keys on their side: scores then need no sum within a register.
            let columns = (n + l).next_multiple_of(16);
            if l >= TURNED {
                turned_keys.resize(HEAD * columns, 0.0);
                for (j, key) in seen_keys.iter().chain(&*keys).enumerate() {
                    for (i, &k) in key.iter().enumerate() {
                        turned_keys[i * columns + j] = k;
                    }
                }
            }
            for i in 0..l {
                let token = b * l + i;
                let mask = &call.mask[token * (n + l)..][..n + l];
                let (cos, sin) = (&call.cos[token * 32..][..32], &call.sin[token * 32..][..32]);
                let mut q = [0f32; HEAD];
                turned(&qkv[token * 3 * d + h * HEAD..][..HEAD], layer.q_norm, cos, sin, &mut q);
                q = q.map(|q| q * 0.125); // 1 / sqrt(64)
                if l >= TURNED {
                    across(&q, &turned_keys, columns, &mut scores);
                } else {
                    for (score, key) in scores.iter_mut().zip(seen_keys.iter().chain(&*keys)) {
                        *score = dot(&q, key);
                    }
                }
                // Only what may be seen takes part in sums, so no number depends on what else a pass holds.
                visible.clear();
                visible.extend((0..n + l).filter(|&j| mask[j] != 0));
                for (to, &from) in visible.iter().enumerate() {
                    scores[to] = scores[from];
                }
                let weights = &mut scores[..visible.len()];
                softmax(weights);
                let mut y = [0f32; HEAD];
                for (&weight, &j) in weights.iter().zip(&visible) {
                    add_scaled(&mut y, weight, if j < n { &seen_values[j] } else { &values[j - n] });
                }
                // SAFETY: each sequence and head writes its own columns.
                unsafe { places.out.slice(token * d + h * HEAD, HEAD) }.copy_from_slice(&y);
            }
        }
    }
}
