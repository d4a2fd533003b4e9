//! The kernels behind a C ABI. Every pointer is checked against a stated length here, at the seam; what lies
//! behind knows slices only. Functions return 0, or a number that the caller turns into a sentence.

pub mod lattice;
pub mod layout;
pub mod matmul;
pub mod pool;
pub mod random;
pub mod scan;
pub mod trunk;
pub mod vector;

use layout::{BLOCK, Packed};
use matmul::Epilogue;
use std::cell::RefCell;
use trunk::{Call, HEAD, Layer, Memory, Scratch};

pub const WRONG_BITS: i32 = 1;
pub const WRONG_SIZE: i32 = 2;
pub const NULL: i32 = 3;
pub const UNSUPPORTED: i32 = 4;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    static LATTICE: RefCell<lattice::Scratch> = RefCell::default();
}

/// Version of this interface; the caller refuses another.
#[unsafe(no_mangle)]
pub extern "C" fn bowstring_abi() -> u32 {
    2
}

/// Number of the instruction set in use.
#[unsafe(no_mangle)]
pub extern "C" fn bowstring_isa() -> u32 {
    matmul::isa() as u32
}

#[unsafe(no_mangle)]
pub extern "C" fn bowstring_choose_isa(number: u32) -> i32 {
    if matmul::choose(number) {
        0
    } else {
        UNSUPPORTED
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn bowstring_set_threads(count: usize) {
    pool::set_threads(count);
}

/// A matrix in packed form, as the caller holds it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Matrix {
    bits: u32,
    outputs: usize,
    inputs: usize,
    lines: *const u8,
    lines_length: usize,
    group_scales: *const u8,
    group_scales_length: usize,
    scales: *const f32,
    scales_length: usize,
}

impl Matrix {
    /// # Safety
    /// The pointers must be valid for their lengths during `'a`.
    unsafe fn view<'a>(&self) -> Result<Packed<'a>, i32> {
        let bits = self.bits as usize;
        if bits != 2 && bits != 4 {
            return Err(WRONG_BITS);
        }
        if self.lines.is_null() || self.group_scales.is_null() || self.scales.is_null() {
            return Err(NULL);
        }
        let groups = self.inputs.div_ceil(layout::GROUP);
        let blocks = self.outputs.div_ceil(BLOCK);
        let right = self.inputs > 0
            && self.outputs > 0
            && self.inputs <= matmul::MOST_INPUTS
            && Packed::bytes(bits, self.outputs, self.inputs) == Some(self.lines_length)
            && self.group_scales_length == blocks * groups * BLOCK
            && self.scales_length == self.outputs;
        if !right {
            return Err(WRONG_SIZE);
        }
        // SAFETY: lengths checked, validity promised by the caller.
        unsafe {
            Ok(Packed {
                bits,
                outputs: self.outputs,
                inputs: self.inputs,
                lines: std::slice::from_raw_parts(self.lines, self.lines_length),
                group_scales: std::slice::from_raw_parts(
                    self.group_scales,
                    self.group_scales_length,
                ),
                scales: std::slice::from_raw_parts(self.scales, self.scales_length),
            })
        }
    }
}

/// # Safety
/// `start` must be null or valid for `length`.
unsafe fn optional<'a>(start: *const f32, length: usize) -> Option<&'a [f32]> {
    // SAFETY: promised by the caller.
    if start.is_null() {
        None
    } else {
        Some(unsafe { std::slice::from_raw_parts(start, length) })
    }
}

/// `out (m, n) = x (m, k) times the matrix's rows, + bias (n), + residual (m, n)`; x is quantised to INT8 per row.
///
/// # Safety
/// Pointers must be valid for the stated shapes; bias and residual may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bowstring_matmul(
    matrix: *const Matrix,
    x: *const f32,
    rows: usize,
    bias: *const f32,
    residual: *const f32,
    out: *mut f32,
) -> i32 {
    if matrix.is_null() || x.is_null() || out.is_null() {
        return NULL;
    }
    // SAFETY: promised by the caller.
    unsafe {
        let w = match (*matrix).view() {
            Ok(w) => w,
            Err(fault) => return fault,
        };
        let (Some(inputs), Some(outputs)) =
            (rows.checked_mul(w.inputs), rows.checked_mul(w.outputs))
        else {
            return WRONG_SIZE;
        };
        let x = std::slice::from_raw_parts(x, inputs);
        let out = std::slice::from_raw_parts_mut(out, outputs);
        let epilogue = Epilogue {
            bias: optional(bias, w.outputs),
            gate: None,
            residual: optional(residual, outputs),
        };
        SCRATCH.with_borrow_mut(|Scratch { activations, .. }| {
            activations.quantise(x, w.inputs);
            matmul::matmul(&w, activations, &epilogue, out);
        });
    }
    0
}

/// One layer as the caller holds it; see `trunk::Layer`.
#[repr(C)]
pub struct LayerRef {
    qkv: Matrix,
    out: Matrix,
    up: Matrix,
    down: Matrix,
    q_norm: *const f32,
    k_norm: *const f32,
    offset: *const f32,
}

impl LayerRef {
    /// # Safety
    /// As `Matrix::view`; the norms hold 64 numbers each and the offset six times the width.
    unsafe fn view<'a>(&self, width: usize) -> Result<Layer<'a>, i32> {
        if self.q_norm.is_null() || self.k_norm.is_null() || self.offset.is_null() {
            return Err(NULL);
        }
        // SAFETY: promised by the caller.
        unsafe {
            let (qkv, out, up, down) = (
                self.qkv.view()?,
                self.out.view()?,
                self.up.view()?,
                self.down.view()?,
            );
            let fits = (qkv.inputs, qkv.outputs) == (width, 3 * width)
                && (out.inputs, out.outputs) == (width, width)
                && (up.inputs, down.outputs) == (width, width)
                && up.outputs == 2 * down.inputs;
            if !fits {
                return Err(WRONG_SIZE);
            }
            let slice = |start, length| std::slice::from_raw_parts(start, length);
            let (q_norm, k_norm) = (slice(self.q_norm, HEAD), slice(self.k_norm, HEAD));
            Ok(Layer {
                qkv,
                out,
                up,
                down,
                q_norm,
                k_norm,
                offset: slice(self.offset, 6 * width),
            })
        }
    }
}

/// Sizes of a call of the trunk; `modulations` is 1 or batch times length.
#[repr(C)]
pub struct Shape {
    batch: usize,
    length: usize,
    past: usize,
    width: usize,
    layers: usize,
    modulations: usize,
}

/// All layers: `x (b, l, d)` becomes the normalised hidden states; see `trunk::Call` for the rest.
///
/// # Safety
/// Pointers must be valid for the shapes. `past` and `fresh` hold two pointers per layer: keys and values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bowstring_trunk(
    shape: *const Shape,
    layers: *const LayerRef,
    x: *mut f32,
    modulation: *const f32,
    cos: *const f32,
    sin: *const f32,
    mask: *const u8,
    norm: *const f32,
    past: *const *const f32,
    fresh: *const *mut f32,
) -> i32 {
    if shape.is_null() || layers.is_null() || x.is_null() || past.is_null() || fresh.is_null() {
        return NULL;
    }
    if modulation.is_null() || cos.is_null() || sin.is_null() || mask.is_null() || norm.is_null() {
        return NULL;
    }
    // SAFETY: promised by the caller.
    unsafe {
        let shape = &*shape;
        let rows = shape.batch * shape.length;
        let d = shape.width;
        let timed = shape.modulations == 1 || shape.modulations == rows;
        if rows == 0 || d == 0 || d % HEAD != 0 || !timed {
            return WRONG_SIZE;
        }
        let described = std::slice::from_raw_parts(layers, shape.layers);
        let layers: Result<Vec<Layer>, i32> = described.iter().map(|layer| layer.view(d)).collect();
        let layers = match layers {
            Ok(layers) => layers,
            Err(fault) => return fault,
        };
        let (old, new) = (shape.batch * shape.past * d, rows * d);
        let mut memories = Vec::with_capacity(shape.layers);
        for i in 0..shape.layers {
            let pointers = [*past.add(2 * i), *past.add(2 * i + 1)];
            let targets = [*fresh.add(2 * i), *fresh.add(2 * i + 1)];
            if targets.iter().any(|p| p.is_null())
                || old > 0 && pointers.iter().any(|p| p.is_null())
            {
                return NULL;
            }
            memories.push(Memory {
                past: pointers.map(|p| {
                    if old == 0 {
                        &[][..]
                    } else {
                        std::slice::from_raw_parts(p, old)
                    }
                }),
                fresh: targets.map(|p| std::slice::from_raw_parts_mut(p, new)),
            });
        }
        let slice = |start, length| std::slice::from_raw_parts(start, length);
        let call = Call {
            batch: shape.batch,
            length: shape.length,
            past: shape.past,
            width: d,
            modulation: slice(modulation, shape.modulations * 6 * d),
            cos: slice(cos, rows * HEAD / 2),
            sin: slice(sin, rows * HEAD / 2),
            mask: std::slice::from_raw_parts(mask, rows * (shape.past + shape.length)),
            norm: slice(norm, d),
        };
        let x = std::slice::from_raw_parts_mut(x, new);
        SCRATCH
            .with_borrow_mut(|scratch| trunk::forward(&call, &layers, &mut memories, x, scratch));
    }
    0
}

/// The `wanted` best of `count` vectors for a query: similarities and places, the best first.
///
/// # Safety
/// Pointers must be valid for `values (n, d)`, `scales (n)`, `signs (n, d / 8)`, `exact (n, d)`, `query (d)`,
/// `similarities` and `places (wanted)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bowstring_top(
    count: usize,
    width: usize,
    values: *const i8,
    scales: *const f32,
    signs: *const u8,
    exact: *const f32,
    query: *const f32,
    candidates: usize,
    wanted: usize,
    similarities: *mut f32,
    places: *mut i64,
) -> i32 {
    if values.is_null() || scales.is_null() || signs.is_null() || exact.is_null() {
        return NULL;
    }
    if query.is_null() || similarities.is_null() || places.is_null() {
        return NULL;
    }
    let Some(cells) = count.checked_mul(width) else {
        return WRONG_SIZE;
    };
    if count == 0
        || width == 0
        || width % 8 != 0
        || width > 131_072
        || wanted == 0
        || wanted > count
    {
        return WRONG_SIZE;
    }
    // SAFETY: promised by the caller.
    unsafe {
        let vectors = scan::Vectors {
            count,
            width,
            values: std::slice::from_raw_parts(values, cells),
            scales: std::slice::from_raw_parts(scales, count),
            signs: std::slice::from_raw_parts(signs, cells / 8),
            exact: std::slice::from_raw_parts(exact, cells),
        };
        let mut found = vec![(0.0, 0); wanted];
        scan::top(
            &vectors,
            std::slice::from_raw_parts(query, width),
            candidates,
            &mut found,
        );
        for (i, (similarity, place)) in found.into_iter().enumerate() {
            *similarities.add(i) = similarity;
            *places.add(i) = place as i64;
        }
    }
    0
}

/// One token per row of `logits (rows, v)`, drawn at `u (rows)`.
///
/// # Safety
/// Pointers must be valid for the stated shapes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bowstring_draw(
    logits: *const f32,
    rows: usize,
    width: usize,
    u: *const f32,
    temperature: f32,
    tokens: *mut i64,
) -> i32 {
    if logits.is_null() || u.is_null() || tokens.is_null() {
        return NULL;
    }
    let Some(cells) = rows.checked_mul(width) else {
        return WRONG_SIZE;
    };
    if cells == 0 || temperature.is_nan() || temperature <= 0.0 {
        return WRONG_SIZE;
    }
    // SAFETY: promised by the caller.
    unsafe {
        let slice = |start, length| std::slice::from_raw_parts(start, length);
        scan::draw(
            slice(logits, cells),
            slice(u, rows),
            temperature,
            std::slice::from_raw_parts_mut(tokens, rows),
        );
    }
    0
}

/// Standard normal numbers of `count` samples, `out (count, each)`, as `Rng.normal` gives them.
///
/// # Safety
/// Pointers must be valid for the stated shapes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bowstring_normals(
    seed: u64,
    samples: *const i64,
    steps: *const i64,
    stream: u32,
    count: usize,
    each: usize,
    out: *mut f32,
) -> i32 {
    if samples.is_null() || steps.is_null() || out.is_null() {
        return NULL;
    }
    let Some(cells) = count.checked_mul(each).filter(|&cells| cells > 0) else {
        return WRONG_SIZE;
    };
    // SAFETY: promised by the caller.
    unsafe {
        let (samples, steps) = (
            std::slice::from_raw_parts(samples, count),
            std::slice::from_raw_parts(steps, count),
        );
        let out = std::slice::from_raw_parts_mut(out, cells);
        let mut words = vec![0f32; 2 * each];
        for ((out, &sample), &step) in out.chunks_exact_mut(each).zip(samples).zip(steps) {
            let (sample, step) = (sample as u32, step as u32);
            random::normals(
                random::Counter {
                    seed,
                    sample,
                    step,
                    stream,
                },
                out,
                &mut words,
            );
        }
    }
    0
}

/// Sweeps of the chains `x (count, h, w)`; each chain's energy, accepted trajectories and last log ratio come back.
///
/// # Safety
/// Pointers must be valid for the stated shapes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bowstring_lattice(
    terms: *const lattice::Terms,
    moves: *const lattice::Moves,
    seed: u64,
    samples: *const i64,
    steps: *const i64,
    stream: u32,
    count: usize,
    height: usize,
    width: usize,
    x: *mut f32,
    reports: *mut f64,
) -> i32 {
    if terms.is_null() || moves.is_null() || samples.is_null() || steps.is_null() {
        return NULL;
    }
    if x.is_null() || reports.is_null() {
        return NULL;
    }
    let sites = height
        .checked_mul(width)
        .filter(|&sites| sites > 0 && sites < 1 << 31);
    let Some((sites, cells)) = sites.and_then(|n| Some((n, n.checked_mul(count)?))) else {
        return WRONG_SIZE;
    };
    // SAFETY: promised by the caller.
    unsafe {
        let (terms, moves) = (*terms, *moves);
        let samples = std::slice::from_raw_parts(samples, count);
        let steps = std::slice::from_raw_parts(steps, count);
        let fields = pool::Shared::new(std::slice::from_raw_parts_mut(x, cells));
        let reports = pool::Shared::new(std::slice::from_raw_parts_mut(reports, 3 * count));
        pool::split(count, 1, count, |part| {
            LATTICE.with_borrow_mut(|scratch| {
                for i in part {
                    let (sample, step) = (samples[i] as u32, steps[i] as u32);
                    let at = random::Counter {
                        seed,
                        sample,
                        step,
                        stream,
                    };
                    let field = fields.slice(i * sites, sites);
                    let said = lattice::sweeps(terms, width, moves, at, field, scratch);
                    reports.slice(3 * i, 3).copy_from_slice(&[
                        said.energy,
                        said.accepted,
                        said.log_ratio,
                    ]);
                }
            });
        });
    }
    0
}
