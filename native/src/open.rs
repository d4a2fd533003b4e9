//! The C ABI of open language models: grouped matrices, the decoder, one token from logits.

use crate::decoder::{self, LANES, Layer, Places, ROOM, Scratch, Shape, Weights};
use crate::grouped::{self, Grouped, Rows, Then};
use crate::hooks::{Hooks, MAPS, PackedBranch};
use crate::sample::{self, Choice, Draw};
use crate::{LowRankRef, NULL, WRONG_SIZE};
use std::cell::RefCell;
use std::ffi::c_void;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    static ROWS: RefCell<Rows> = RefCell::default();
    static LOGITS: RefCell<Vec<f32>> = RefCell::default();
}

pub const GROUPED: u32 = 1;
pub const PACKED: u32 = 2;

/// A matrix, as the caller holds it. kind 0 is none. Grouped: FP16 `scales`, `more` is FP16 minima or null. Packed: one FP32 of
/// `scales` an output, `more` is a byte a group.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WeightsRef {
    kind: u32,
    bits: u32,
    outputs: usize,
    inputs: usize,
    lines: *const u8,
    lines_length: usize,
    scales: *const c_void,
    scales_length: usize,
    more: *const c_void,
    more_length: usize,
}

impl WeightsRef {
    /// # Safety
    /// The pointers must be valid for their lengths during `'a`.
    unsafe fn view<'a>(&self) -> Result<Weights<'a>, i32> {
        if self.lines.is_null() || self.scales.is_null() {
            return Err(NULL);
        }
        if self.kind == PACKED {
            let matrix = crate::Matrix {
                bits: self.bits,
                outputs: self.outputs,
                inputs: self.inputs,
                lines: self.lines,
                lines_length: self.lines_length,
                group_scales: self.more.cast(),
                group_scales_length: self.more_length,
                scales: self.scales.cast(),
                scales_length: self.scales_length,
            };
            // SAFETY: validity is promised by the caller.
            return unsafe { matrix.view() }.map(Weights::Packed);
        }
        // SAFETY: validity is promised by the caller.
        let view = unsafe {
            Grouped {
                bits: self.bits as usize,
                outputs: self.outputs,
                inputs: self.inputs,
                lines: std::slice::from_raw_parts(self.lines, self.lines_length),
                scales: std::slice::from_raw_parts(self.scales.cast(), self.scales_length),
                minima: (!self.more.is_null())
                    .then(|| std::slice::from_raw_parts(self.more.cast(), self.more_length)),
            }
        };
        if self.kind == GROUPED && view.fits() { Ok(Weights::Grouped(view)) } else { Err(WRONG_SIZE) }
    }

    /// # Safety
    /// As `view`.
    unsafe fn perhaps<'a>(&self) -> Result<Option<Weights<'a>>, i32> {
        // SAFETY: promised by the caller.
        if self.kind == 0 { Ok(None) } else { unsafe { self.view() }.map(Some) }
    }

    /// # Safety
    /// As `view`.
    unsafe fn grouped<'a>(&self) -> Result<Grouped<'a>, i32> {
        // SAFETY: promised by the caller.
        match unsafe { self.view() }? {
            Weights::Grouped(w) => Ok(w),
            Weights::Packed(_) => Err(WRONG_SIZE),
        }
    }
}

#[repr(C)]
pub struct DecoderLayerRef {
    attention_norm: *const f32,
    attention_shift: *const f32,
    attention_gate: *const f32,
    q: WeightsRef,
    k: WeightsRef,
    v: WeightsRef,
    out: WeightsRef,
    q_bias: *const f32,
    k_bias: *const f32,
    v_bias: *const f32,
    q_norm: *const f32,
    k_norm: *const f32,
    ffn_norm: *const f32,
    ffn_shift: *const f32,
    ffn_gate: *const f32,
    gate: WeightsRef,
    up: WeightsRef,
    down: WeightsRef,
    gate_bias: *const f32,
    ffn_bias: *const f32,
}

#[repr(C)]
pub struct DecoderShape {
    layers: usize,
    rows: usize,
    past: usize,
    capacity: usize,
    width: usize,
    heads: usize,
    kv_heads: usize,
    head: usize,
    epsilon: f32,
    planes: u32,
    interleaved: u32,
    centred: u32,
    gelu: u32,
}

impl DecoderShape {
    fn view(&self) -> Option<Shape> {
        let sized = self.rows > 0
            && self.past.checked_add(self.rows)? <= self.capacity
            && self.capacity.is_multiple_of(ROOM)
            && self.width > 0
            && self.kv_heads > 0
            && self.head > 0
            && self.heads.is_multiple_of(self.kv_heads)
            && self.head.is_multiple_of(LANES)
            && matches!(self.planes, 1 | 2)
            && self.rows.checked_mul(self.rows.max(self.heads.checked_mul(self.head)?))? < 1 << 40;
        sized.then_some(Shape {
            rows: self.rows,
            past: self.past,
            capacity: self.capacity,
            width: self.width,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head: self.head,
            epsilon: self.epsilon,
            planes: self.planes as usize,
            interleaved: self.interleaved != 0,
            centred: self.centred != 0,
            gelu: self.gelu != 0,
        })
    }
}

/// # Safety
/// `start` must be null or valid for `length`.
unsafe fn optional<'a>(start: *const f32, length: usize) -> Option<&'a [f32]> {
    // SAFETY: promised by the caller.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start, length) })
}

/// # Safety
/// The pointers of `layer` must be valid during `'a`.
unsafe fn layer_of<'a>(layer: &DecoderLayerRef, s: &Shape) -> Result<Layer<'a>, i32> {
    // SAFETY: promised by the caller; a null norm is refused.
    let layer = unsafe {
        let down = layer.down.view()?;
        Layer {
            attention_norm: optional(layer.attention_norm, s.width).ok_or(NULL)?,
            attention_shift: optional(layer.attention_shift, s.width),
            attention_gate: optional(layer.attention_gate, s.width),
            q: layer.q.view()?,
            k: layer.k.perhaps()?,
            v: layer.v.perhaps()?,
            out: layer.out.view()?,
            q_bias: optional(layer.q_bias, s.heads * s.head),
            k_bias: optional(layer.k_bias, s.kv_heads * s.head),
            v_bias: optional(layer.v_bias, s.kv_heads * s.head),
            q_norm: optional(layer.q_norm, s.head),
            k_norm: optional(layer.k_norm, s.head),
            ffn_norm: optional(layer.ffn_norm, s.width).ok_or(NULL)?,
            ffn_shift: optional(layer.ffn_shift, s.width),
            ffn_gate: optional(layer.ffn_gate, s.width),
            gate: layer.gate.view()?,
            up: layer.up.perhaps()?,
            down,
            gate_bias: optional(layer.gate_bias, down.inputs()),
            ffn_bias: optional(layer.ffn_bias, s.width),
        }
    };
    let (wide, narrow, hidden) = (s.heads * s.head, s.kv_heads * s.head, layer.down.inputs());
    let is = |w: &Weights, outputs, inputs| w.outputs() == outputs && w.inputs() == inputs;
    let right = is(&layer.out, s.width, wide) && is(&layer.down, s.width, hidden);
    let attention = match (&layer.k, &layer.v) {
        (Some(k), Some(v)) => {
            is(&layer.q, wide, s.width) && is(k, narrow, s.width) && is(v, narrow, s.width)
        }
        (None, None) => is(&layer.q, wide + 2 * narrow, s.width) && layer.q_bias.is_none(),
        _ => false,
    };
    let ffn = match &layer.up {
        Some(up) => is(&layer.gate, hidden, s.width) && is(up, hidden, s.width) && !s.gelu,
        None if s.gelu => is(&layer.gate, hidden, s.width),
        None => is(&layer.gate, 2 * hidden, s.width),
    };
    if right && attention && ffn { Ok(layer) } else { Err(WRONG_SIZE) }
}

/// A packed residual branch behind a layer; see `hooks`. `control` may be null.
#[repr(C)]
pub struct PackedBranchRef {
    layer: usize,
    down: WeightsRef,
    up: WeightsRef,
    control: *const f32,
    scale: f32,
}

impl PackedBranchRef {
    /// Puts it where it belongs.
    ///
    /// # Safety
    /// The pointers must be valid during `'a`.
    unsafe fn place<'a>(&self, hooks: &mut [Hooks<'a>], width: usize) -> Result<(), i32> {
        // SAFETY: promised by the caller.
        let (down, up) = unsafe { (self.down.grouped()?, self.up.grouped()?) };
        let hook = hooks.get_mut(self.layer).ok_or(WRONG_SIZE)?;
        if (down.inputs, up.outputs) != (width, width) || down.outputs != up.inputs {
            return Err(WRONG_SIZE);
        }
        // SAFETY: promised by the caller.
        let control = unsafe { optional(self.control, down.outputs) }.unwrap_or_default();
        hook.packed.push(PackedBranch { scale: self.scale, down, up, control });
        Ok(())
    }
}

/// Inputs and outputs of what may be bent in a decoder.
fn sizes(layers: &[Layer], layer: usize, map: usize, width: usize) -> Option<(usize, usize)> {
    let layer = layers.get(layer)?;
    let matrix = match map {
        decoder::Q => Some(&layer.q),
        decoder::K => layer.k.as_ref(),
        decoder::V => layer.v.as_ref(),
        decoder::OUT => Some(&layer.out),
        decoder::GATE => Some(&layer.gate),
        decoder::UP => layer.up.as_ref(),
        decoder::DOWN => Some(&layer.down),
        MAPS => return Some((width, width)),
        _ => None,
    };
    matrix.map(|w| (w.inputs(), w.outputs()))
}

/// `out (m, n) = x (m, k) times the matrix's rows, + bias (n)`; x is quantised to so many planes of INT8 in groups of 32.
///
/// # Safety
/// Pointers must be valid for the stated shapes; bias may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bowstring_grouped_matmul(
    matrix: *const WeightsRef,
    x: *const f32,
    rows: usize,
    planes: usize,
    bias: *const f32,
    out: *mut f32,
) -> i32 {
    if matrix.is_null() || x.is_null() || out.is_null() {
        return NULL;
    }
    if !matches!(planes, 1 | 2) {
        return WRONG_SIZE;
    }
    // SAFETY: promised by the caller.
    unsafe {
        let w = match (*matrix).grouped() {
            Ok(w) => w,
            Err(fault) => return fault,
        };
        let (Some(cells), Some(made)) = (rows.checked_mul(w.inputs), rows.checked_mul(w.outputs)) else {
            return WRONG_SIZE;
        };
        let (x, out) = (std::slice::from_raw_parts(x, cells), std::slice::from_raw_parts_mut(out, made));
        let then = Then { bias: optional(bias, w.outputs), ..Then::default() };
        ROWS.with_borrow_mut(|quantised| {
            quantised.quantise(x, w.inputs, planes);
            grouped::matmul(quantised, [(w, then, out)]);
        });
    }
    0
}

/// Rows `tokens (rows)` of a grouped matrix as FP32 `(rows, inputs)`.
///
/// # Safety
/// Pointers must be valid for the stated shapes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bowstring_grouped_rows(
    matrix: *const WeightsRef,
    tokens: *const u32,
    rows: usize,
    out: *mut f32,
) -> i32 {
    if matrix.is_null() || tokens.is_null() || out.is_null() {
        return NULL;
    }
    // SAFETY: promised by the caller.
    unsafe {
        let w = match (*matrix).grouped() {
            Ok(w) => w,
            Err(fault) => return fault,
        };
        let tokens = std::slice::from_raw_parts(tokens, rows);
        let Some(cells) = rows.checked_mul(w.inputs) else {
            return WRONG_SIZE;
        };
        if tokens.iter().any(|&token| token as usize >= w.outputs) {
            return WRONG_SIZE;
        }
        let out = std::slice::from_raw_parts_mut(out, cells);
        for (&token, out) in tokens.iter().zip(out.chunks_exact_mut(w.inputs)) {
            w.row(token as usize, out);
        }
    }
    0
}

/// All layers over `x (rows, width)` in place. `caches` holds keys `(kv_heads, capacity / 64, head, 64)` and
/// values `(kv_heads, capacity, head)` of each layer, which grow by `rows`. `mask (rows, rows)` may be null: causal. `low_ranks`
/// deltas and branches and `branches` packed ones bend the layers.
///
/// # Safety
/// Pointers must be valid for the stated shapes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bowstring_decoder(
    shape: *const DecoderShape,
    layers: *const DecoderLayerRef,
    cos: *const f32,
    sin: *const f32,
    mask: *const u8,
    caches: *const *mut f32,
    low_rank: *const LowRankRef,
    low_ranks: usize,
    branch: *const PackedBranchRef,
    branches: usize,
    x: *mut f32,
) -> i32 {
    if branches > 0 && branch.is_null() || low_ranks > 0 && low_rank.is_null() || shape.is_null() || layers.is_null() || cos.is_null() || sin.is_null() || caches.is_null() || x.is_null() {
        return NULL;
    }
    // SAFETY: promised by the caller.
    unsafe {
        let Some(view) = (*shape).view() else {
            return WRONG_SIZE;
        };
        let count = (*shape).layers;
        let described = std::slice::from_raw_parts(layers, count);
        let layers: Result<Vec<Layer>, i32> = described.iter().map(|layer| layer_of(layer, &view)).collect();
        let layers = match layers {
            Ok(layers) => layers,
            Err(fault) => return fault,
        };
        let mut hooks: Vec<Hooks> = (0..count).map(|_| Hooks::default()).collect();
        for i in 0..low_ranks {
            let one = &*low_rank.add(i);
            let placed = one.place(&mut hooks, |layer, map| sizes(&layers, layer, map, view.width), view.rows);
            if let Err(fault) = placed {
                return fault;
            }
        }
        for i in 0..branches {
            if let Err(fault) = (*branch.add(i)).place(&mut hooks, view.width) {
                return fault;
            }
        }
        let pointers = std::slice::from_raw_parts(caches, 2 * count);
        if pointers.iter().any(|pointer| pointer.is_null()) {
            return NULL;
        }
        let cells = view.kv_heads * view.capacity * view.head;
        let mut caches: Vec<[&mut [f32]; 2]> = pointers
            .chunks_exact(2)
            .map(|pair| {
                [
                    std::slice::from_raw_parts_mut(pair[0], cells),
                    std::slice::from_raw_parts_mut(pair[1], cells),
                ]
            })
            .collect();
        let half = view.rows * view.head / 2;
        let places = Places {
            cos: std::slice::from_raw_parts(cos, half),
            sin: std::slice::from_raw_parts(sin, half),
            mask: (!mask.is_null()).then(|| std::slice::from_raw_parts(mask, view.rows * view.rows)),
        };
        let x = std::slice::from_raw_parts_mut(x, view.rows * view.width);
        SCRATCH.with_borrow_mut(|scratch| {
            decoder::forward(&view, &places, &layers, &hooks, &mut caches, x, scratch);
        });
    }
    0
}

/// The token that `u` draws from `logits (v)`, which stay as they are; ids of `before` are made less likely, those of `barred` are out.
///
/// # Safety
/// Pointers must be valid for the stated shapes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bowstring_sample(
    logits: *const f32,
    width: usize,
    before: *const u32,
    before_length: usize,
    barred: *const u32,
    barred_length: usize,
    choice: *const Choice,
    u: f32,
    out: *mut Draw,
) -> i32 {
    if [logits.cast(), before, barred, choice.cast()].iter().any(|p| p.is_null()) || out.is_null() {
        return NULL;
    }
    // SAFETY: promised by the caller.
    unsafe {
        if width == 0 || !(*choice).fits() || !(0.0..1.0).contains(&u) {
            return WRONG_SIZE;
        }
        let logits = std::slice::from_raw_parts(logits, width);
        let before = std::slice::from_raw_parts(before, before_length);
        let barred = std::slice::from_raw_parts(barred, barred_length);
        *out = LOGITS.with_borrow_mut(|own| {
            own.clear();
            own.extend_from_slice(logits);
            sample::draw(own, before, barred, &*choice, u)
        });
    }
    0
}
