//! All layers of the trunk in one call: norm, low-bit products, rotary attention over a cache, gates.
//!
//! Shapes: b sequences, l new tokens, n cached ones, d width, 64 per head. What this computes is
//! `Trunk.forward` of net/trunk.py without its cross-attention slot.

use crate::layout::{Activations, Packed};
use crate::matmul::{Epilogue, matmul};
use crate::pool::{self, Shared};
use crate::vector::{add_scaled, dot, inverse_rms, softmax, swiglu, vectorised};

pub const HEAD: usize = 64;

pub struct Layer<'a> {
    pub qkv: Packed<'a>,
    pub out: Packed<'a>,
    pub up: Packed<'a>,
    pub down: Packed<'a>,
    pub q_norm: &'a [f32],
    pub k_norm: &'a [f32],
    /// shift, scale and gate of attention, then of the feed-forward, `(6, d)`
    pub offset: &'a [f32],
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
}

/// Cached and fresh keys and values of one layer, `(b, heads, n, 64)` and `(b, heads, l, 64)`.
pub struct Memory<'a> {
    pub past: [&'a [f32]; 2],
    pub fresh: [&'a mut [f32]; 2],
}

pub fn forward(call: &Call, layers: &[Layer], memories: &mut [Memory], x: &mut [f32], scratch: &mut Scratch) {
    let rows = call.batch * call.length;
    for (layer, memory) in layers.iter().zip(memories) {
        scratch.modulate(call, layer.offset);
        let Scratch { activations, wide, narrow, modulation, .. } = scratch;
        let per_token = modulation.len() > 6 * call.width;
        let part = |i: usize| move |row: usize| row * gates_stride(per_token, call.width) + i * call.width;
        normalise(call, x, modulation, part(0), part(1), activations);
        wide.resize(rows * layer.qkv.outputs, 0.0);
        matmul(&layer.qkv, activations, &Epilogue::default(), wide);
        attention(call, layer, wide, memory, narrow);
        quantise(narrow, call.width, activations);
        let gates = Gates { values: modulation, first: 2 * call.width, stride: gates_stride(per_token, call.width) };
        add(&layer.out, activations, gates, x, wide);
        normalise(call, x, modulation, part(3), part(4), activations);
        wide.resize(rows * layer.up.outputs, 0.0);
        matmul(&layer.up, activations, &Epilogue::default(), wide);
        let hidden = layer.down.inputs;
        narrow.resize(rows * hidden, 0.0);
        vectorised(|| {
            for (both, out) in wide.chunks_exact(2 * hidden).zip(narrow.chunks_exact_mut(hidden)) {
                swiglu(both, out);
            }
        });
        quantise(narrow, hidden, activations);
        let gates = Gates { values: modulation, first: 5 * call.width, stride: gates_stride(per_token, call.width) };
        add(&layer.down, activations, gates, x, wide);
    }
    vectorised(|| {
        for row in x.chunks_exact_mut(call.width) {
            let scale = inverse_rms(row);
            for (x, w) in row.iter_mut().zip(call.norm) {
                *x = *x * scale * w;
            }
        }
    });
}

fn gates_stride(per_token: bool, width: usize) -> usize {
    if per_token { 6 * width } else { 0 }
}

#[derive(Default)]
pub struct Scratch {
    pub activations: Activations,
    wide: Vec<f32>,
    narrow: Vec<f32>,
    modulation: Vec<f32>,
}

impl Scratch {
    /// modulation + offset, per token or once for all.
    fn modulate(&mut self, call: &Call, offset: &[f32]) {
        self.modulation.clear();
        for one in call.modulation.chunks_exact(offset.len()) {
            self.modulation.extend(one.iter().zip(offset).map(|(a, b)| a + b));
        }
    }
}

struct Gates<'a> {
    values: &'a [f32],
    first: usize,
    stride: usize,
}

/// x += gate * (w a).
fn add(w: &Packed, a: &Activations, gates: Gates, x: &mut [f32], buffer: &mut Vec<f32>) {
    if gates.stride == 0 {
        buffer.clear();
        buffer.extend_from_slice(x);
        let gate = Some(&gates.values[gates.first..][..w.outputs]);
        return matmul(w, a, &Epilogue { gate, bias: None, residual: Some(buffer) }, x);
    }
    buffer.resize(x.len(), 0.0);
    matmul(w, a, &Epilogue::default(), buffer);
    for (row, (x, y)) in x.chunks_exact_mut(w.outputs).zip(buffer.chunks_exact(w.outputs)).enumerate() {
        let gate = &gates.values[gates.first + row * gates.stride..][..w.outputs];
        for ((x, y), g) in x.iter_mut().zip(y).zip(gate) {
            *x += g * y;
        }
    }
}

/// rms-norm, then x (1 + scale) + shift, quantised.
fn normalise(
    call: &Call,
    x: &[f32],
    modulation: &[f32],
    shift: impl Fn(usize) -> usize,
    scale: impl Fn(usize) -> usize,
    activations: &mut Activations,
) {
    let d = call.width;
    activations.resize(x.len() / d, d);
    let mut buffer = vec![0f32; d];
    vectorised(|| {
        for (row, x) in x.chunks_exact(d).enumerate() {
            let (shift, scale) = (&modulation[shift(row)..][..d], &modulation[scale(row)..][..d]);
            let inverse = inverse_rms(x);
            for (((y, x), a), b) in buffer.iter_mut().zip(x).zip(scale).zip(shift) {
                *y = x * inverse * (1.0 + a) + b;
            }
            activations.set(row, &buffer);
        }
    });
}

fn quantise(x: &[f32], width: usize, activations: &mut Activations) {
    activations.resize(x.len() / width, width);
    vectorised(|| {
        for (row, x) in x.chunks_exact(width).enumerate() {
            activations.set(row, x);
        }
    });
}

/// A head's vector: rms-norm, weight, rotation.
#[inline(always)]
fn turned(x: &[f32], norm: &[f32], cos: &[f32], sin: &[f32], out: &mut [f32]) {
    let inverse = inverse_rms(x);
    for i in 0..HEAD / 2 {
        let a = x[i] * inverse * norm[i];
        let b = x[i + HEAD / 2] * inverse * norm[i + HEAD / 2];
        out[i] = a * cos[i] - b * sin[i];
        out[i + HEAD / 2] = b * cos[i] + a * sin[i];
    }
}

/// Softmax attention of every head over cached and fresh keys; `qkv (b l, 3 d)` -> `out (b l, d)`.
fn attention(call: &Call, layer: &Layer, qkv: &[f32], memory: &mut Memory, out: &mut Vec<f32>) {
    let (d, l, n) = (call.width, call.length, call.past);
    let heads = d / HEAD;
    out.resize(call.batch * l * d, 0.0);
    let [fresh_k, fresh_v] = &mut memory.fresh;
    let (fresh_k, fresh_v, out) = (Shared::new(fresh_k), Shared::new(fresh_v), Shared::new(out));
    let [past_k, past_v] = memory.past;
    let work = call.batch * heads * l * (n + l) * HEAD;
    pool::split(call.batch * heads, 1, work / 32_768, |tasks| {
        let mut scores = vec![0f32; n + l];
        vectorised(|| {
            for task in tasks {
                let (b, h) = (task / heads, task % heads);
                // SAFETY: each sequence and head is one task.
                let (keys, values) = unsafe { (fresh_k.slice(task * l * HEAD, l * HEAD), fresh_v.slice(task * l * HEAD, l * HEAD)) };
                let angle = |i: usize| (&call.cos[(b * l + i) * 32..][..32], &call.sin[(b * l + i) * 32..][..32]);
                for i in 0..l {
                    let row = &qkv[(b * l + i) * 3 * d..][..3 * d];
                    let (cos, sin) = angle(i);
                    turned(&row[d + h * HEAD..][..HEAD], layer.k_norm, cos, sin, &mut keys[i * HEAD..][..HEAD]);
                    values[i * HEAD..][..HEAD].copy_from_slice(&row[2 * d + h * HEAD..][..HEAD]);
                }
                let seen_k = &past_k[task * n * HEAD..][..n * HEAD];
                let seen_v = &past_v[task * n * HEAD..][..n * HEAD];
                for i in 0..l {
                    let row = &qkv[(b * l + i) * 3 * d..][..3 * d];
                    let mask = &call.mask[(b * l + i) * (n + l)..][..n + l];
                    let mut q = [0f32; HEAD];
                    let (cos, sin) = angle(i);
                    turned(&row[h * HEAD..][..HEAD], layer.q_norm, cos, sin, &mut q);
                    q.iter_mut().for_each(|q| *q *= 0.125); // 1 / sqrt(64)
                    let all = seen_k.as_chunks::<HEAD>().0.iter().chain(keys.as_chunks::<HEAD>().0);
                    for ((score, key), &may) in scores.iter_mut().zip(all).zip(mask) {
                        *score = if may != 0 { dot(&q, key) } else { f32::NEG_INFINITY };
                    }
                    softmax(&mut scores);
                    let mut y = [0f32; HEAD];
                    let all = seen_v.as_chunks::<HEAD>().0.iter().chain(values.as_chunks::<HEAD>().0);
                    for (&weight, value) in scores.iter().zip(all) {
                        if weight > 0.0 {
                            add_scaled(&mut y, weight, value);
                        }
                    }
                    // SAFETY: each sequence and head writes its own columns.
                    unsafe { out.slice((b * l + i) * d + h * HEAD, HEAD) }.copy_from_slice(&y);
                }
            }
        });
    });
}
