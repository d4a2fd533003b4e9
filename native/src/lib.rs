//! The kernels behind a C ABI. Every pointer is checked against a stated length here, at the seam; what lies
//! behind knows slices only. Functions return 0, or a number that the caller turns into a sentence.

pub mod decoder;
pub mod grouped;
pub mod hash;
pub mod hooks;
pub mod index;
pub mod lattice;
pub mod layout;
pub mod linear;
pub mod matmul;
pub mod nearest;
pub mod open;
pub mod pool;
pub mod random;
pub mod sample;
pub mod scan;
pub mod trunk;
pub mod vector;

use hooks::{Branch, Entries, Hooks, LowRank, MAPS};
use layout::{BLOCK, Packed};
use matmul::Epilogue;
use std::cell::RefCell;
use trunk::{Call, Cross, HEAD, Layer, Memory, Scratch};

pub const WRONG_BITS: i32 = 1;
pub const WRONG_SIZE: i32 = 2;
pub const NULL: i32 = 3;
pub const UNSUPPORTED: i32 = 4;
pub const OTHER_BYTES: i32 = 5;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    static LATTICE: RefCell<lattice::Scratch> = RefCell::default();
}

/// Version of this interface; the caller refuses another.
#[unsafe(no_mangle)]
pub extern "C" fn bowstring_abi() -> u32 {
    11
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

/// Numbers of `x (m, k)`, `w (n, k)` and `out (m, n)`; none where they overflow.
fn linear_sizes(rows: usize, outputs: usize, inputs: usize) -> Option<[usize; 3]> {
    Some([
        rows.checked_mul(inputs)?,
        outputs.checked_mul(inputs)?,
        rows.checked_mul(outputs)?,
    ])
}

/// `out (m, n) = x (m, k) w^T + bias`, `w (n, k)`, all in FP32.
///
/// # Safety
/// Pointers must be valid for the stated shapes; bias may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bowstring_linear(
    x: *const f32,
    w: *const f32,
    bias: *const f32,
    rows: usize,
    outputs: usize,
    inputs: usize,
    out: *mut f32,
) -> i32 {
    if x.is_null() || w.is_null() || out.is_null() {
        return NULL;
    }
    let Some([given, weights, made]) = linear_sizes(rows, outputs, inputs) else {
        return WRONG_SIZE;
    };
    if given == 0 || weights == 0 {
        return WRONG_SIZE;
    }
    // SAFETY: promised by the caller.
    unsafe {
        let slice = |start, length| std::slice::from_raw_parts(start, length);
        let out = std::slice::from_raw_parts_mut(out, made);
        linear::linear(
            slice(x, given),
            slice(w, weights),
            optional(bias, outputs),
            inputs,
            out,
        );
    }
    0
}

/// `out (m, n) = x (m, k) w^T + bias`, `w = codes (n, k)` times `scales (n, k / 32)`, as `bowstring_linear` of that FP32 matrix.
///
/// # Safety
/// Pointers must be valid for the stated shapes; bias may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bowstring_linear_eight(
    x: *const f32,
    codes: *const i8,
    scales: *const f32,
    bias: *const f32,
    rows: usize,
    outputs: usize,
    inputs: usize,
    out: *mut f32,
) -> i32 {
    if x.is_null() || codes.is_null() || scales.is_null() || out.is_null() {
        return NULL;
    }
    let Some([given, weights, made]) = linear_sizes(rows, outputs, inputs) else {
        return WRONG_SIZE;
    };
    if given == 0 || weights == 0 || !inputs.is_multiple_of(linear::GROUP) {
        return WRONG_SIZE;
    }
    // SAFETY: promised by the caller.
    unsafe {
        linear::linear_eight(
            std::slice::from_raw_parts(x, given),
            std::slice::from_raw_parts(codes, weights),
            std::slice::from_raw_parts(scales, weights / linear::GROUP),
            optional(bias, outputs),
            inputs,
            std::slice::from_raw_parts_mut(out, made),
        );
    }
    0
}

/// One layer as the caller holds it; see `trunk::Layer`. Without a gate it has no cross-attention.
#[repr(C)]
pub struct LayerRef {
    qkv: Matrix,
    out: Matrix,
    up: Matrix,
    down: Matrix,
    cross_q: Matrix,
    cross_kv: Matrix,
    cross_out: Matrix,
    q_norm: *const f32,
    k_norm: *const f32,
    offset: *const f32,
    gate: *const f32,
}

impl LayerRef {
    /// # Safety
    /// As `Matrix::view`; the norms hold 64 numbers each, the offset six times the width, the gate the width.
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
                cross: self.cross(width)?,
            })
        }
    }

    /// # Safety
    /// As `view`.
    unsafe fn cross<'a>(&self, width: usize) -> Result<Option<Cross<'a>>, i32> {
        // SAFETY: promised by the caller.
        unsafe {
            let Some(gate) = optional(self.gate, width) else {
                return Ok(None);
            };
            let (q, kv, out) = (
                self.cross_q.view()?,
                self.cross_kv.view()?,
                self.cross_out.view()?,
            );
            let fits = (q.inputs, q.outputs) == (width, width)
                && (kv.inputs, kv.outputs) == (width, 2 * width)
                && (out.inputs, out.outputs) == (width, width);
            if !fits {
                return Err(WRONG_SIZE);
            }
            Ok(Some(Cross { q, kv, out, gate }))
        }
    }
}

/// A low-rank delta of a layer's linear map, or (with `map` = `MAPS`) a residual branch behind the layer; see `hooks`.
/// `a` is `(r, k)` or down, `b` is `(r, n)` or up, or null where r = n and `a` is the delta itself; `control` may be null, and holds `controls` rows of r numbers.
#[repr(C)]
pub struct LowRankRef {
    layer: usize,
    map: usize,
    rank: usize,
    a: *const f32,
    a_length: usize,
    b: *const f32,
    b_length: usize,
    control: *const f32,
    controls: usize,
    scale: f32,
}

impl LowRankRef {
    /// Puts it where it belongs: `size` tells inputs and outputs of a map of a layer.
    ///
    /// # Safety
    /// The pointers must be valid for their lengths.
    unsafe fn place<'a>(
        &self,
        hooks: &mut [Hooks<'a>],
        size: impl Fn(usize, usize) -> Option<(usize, usize)>,
        rows: usize,
    ) -> Result<(), i32> {
        if self.a.is_null() || self.b.is_null() && self.map == MAPS {
            return Err(NULL);
        }
        let (inputs, outputs) = size(self.layer, self.map).ok_or(WRONG_SIZE)?;
        let outward = if self.b.is_null() {
            self.rank == outputs && self.b_length == 0
        } else {
            self.rank.checked_mul(outputs) == Some(self.b_length)
        };
        let controls = if self.control.is_null() { 0 } else { self.controls };
        let right = self.rank > 0
            && self.rank.checked_mul(inputs) == Some(self.a_length)
            && outward
            && (controls <= 1 || controls == rows);
        if !right {
            return Err(WRONG_SIZE);
        }
        // SAFETY: lengths checked, validity promised by the caller.
        let (a, b, control) = unsafe {
            (
                std::slice::from_raw_parts(self.a, self.a_length),
                optional(self.b, self.b_length).unwrap_or_default(),
                optional(self.control, controls * self.rank).unwrap_or_default(),
            )
        };
        let (rank, scale, hook) = (self.rank, self.scale, &mut hooks[self.layer]);
        if self.map == MAPS {
            hook.branches.push(Branch { rank, scale, down: a, up: b, control });
        } else {
            hook.deltas[self.map].push(LowRank { rank, scale, a, b });
        }
        Ok(())
    }
}

/// Inputs and outputs of what may be bent in the trunk.
fn sizes(layers: &[Layer], layer: usize, map: usize, width: usize) -> Option<(usize, usize)> {
    let layer = layers.get(layer)?;
    match (map, &layer.cross) {
        (hooks::QKV, _) => Some((width, 3 * width)),
        (hooks::OUT, _) | (MAPS, _) => Some((width, width)),
        (hooks::UP, _) => Some((width, layer.up.outputs)),
        (hooks::DOWN, _) => Some((layer.down.inputs, width)),
        (hooks::CROSS_Q | hooks::CROSS_OUT, Some(_)) => Some((width, width)),
        (hooks::CROSS_KV, Some(_)) => Some((width, 2 * width)),
        _ => None,
    }
}

/// Everything a call of the trunk is given; see `trunk::Call` and `hooks`. `modulations` is 1 or batch times length;
/// `past` and `fresh` hold two pointers per layer, keys and values; `added` one per layer and one more, each of which
/// may be null, as all of them may.
#[repr(C)]
pub struct TrunkRef {
    batch: usize,
    length: usize,
    past: usize,
    width: usize,
    layers: usize,
    modulations: usize,
    entries: usize,
    known: usize,
    low_ranks: usize,
    layer: *const LayerRef,
    x: *mut f32,
    modulation: *const f32,
    cos: *const f32,
    sin: *const f32,
    mask: *const u8,
    norm: *const f32,
    past_values: *const *const f32,
    fresh_values: *const *mut f32,
    entry_values: *const f32,
    entry_mask: *const u8,
    known_values: *const *const f32,
    added: *const *const f32,
    low_rank: *const LowRankRef,
}

impl TrunkRef {
    fn complete(&self) -> bool {
        let wanted = [
            self.layer.is_null(),
            self.x.is_null(),
            self.modulation.is_null(),
            self.cos.is_null(),
            self.sin.is_null(),
            self.mask.is_null(),
            self.norm.is_null(),
            self.past_values.is_null(),
            self.fresh_values.is_null(),
            self.entries > 0 && self.entry_values.is_null(),
            self.known > 0 && self.known_values.is_null(),
            (self.entries > 0 || self.known > 0) && self.entry_mask.is_null(),
            self.low_ranks > 0 && self.low_rank.is_null(),
        ];
        !wanted.contains(&true)
    }

    /// Tokens of the call; None when they, or their masks and caches, are more than an address can count.
    fn rows(&self) -> Option<usize> {
        let rows = self.batch.checked_mul(self.length)?;
        let seen = self.past.checked_add(self.length)?;
        rows.checked_mul(seen)?;
        let entries = self.entries.checked_add(self.known)?;
        rows.checked_mul(entries)?;
        let most = self.batch.checked_mul(seen.max(entries))?;
        most.checked_mul(self.width)?.checked_mul(24)?;
        Some(rows)
    }

    /// # Safety
    /// As `bowstring_trunk`.
    unsafe fn memories<'a>(&self, old: usize, new: usize) -> Result<Vec<Memory<'a>>, i32> {
        let mut memories = Vec::with_capacity(self.layers);
        for i in 0..self.layers {
            // SAFETY: promised by the caller.
            let (pointers, targets) = unsafe {
                let (past, fresh) = (self.past_values.add(2 * i), self.fresh_values.add(2 * i));
                ([*past, *past.add(1)], [*fresh, *fresh.add(1)])
            };
            let lacks_past = old > 0 && pointers.iter().any(|p| p.is_null());
            if lacks_past || targets.iter().any(|p| p.is_null()) {
                return Err(NULL);
            }
            memories.push(Memory {
                past: pointers.map(|p| match old {
                    0 => &[][..],
                    // SAFETY: promised by the caller.
                    _ => unsafe { std::slice::from_raw_parts(p, old) },
                }),
                // SAFETY: promised by the caller.
                fresh: targets.map(|p| unsafe { std::slice::from_raw_parts_mut(p, new) }),
            });
        }
        Ok(memories)
    }

    /// # Safety
    /// As `bowstring_trunk`.
    unsafe fn hooks<'a>(&self, layers: &[Layer], rows: usize) -> Result<Vec<Hooks<'a>>, i32> {
        let mut hooks: Vec<Hooks> = (0..=self.layers).map(|_| Hooks::default()).collect();
        // SAFETY: promised by the caller.
        unsafe {
            if !self.added.is_null() {
                for (i, hook) in hooks.iter_mut().enumerate() {
                    hook.added = optional(*self.added.add(i), rows * self.width);
                }
            }
            if self.known > 0 {
                let size = self.batch * self.known * 2 * self.width;
                for (i, hook) in hooks.iter_mut().take(self.layers).enumerate() {
                    hook.known = optional(*self.known_values.add(i), size).unwrap_or_default();
                }
            }
            for i in 0..self.low_ranks {
                let one = &*self.low_rank.add(i);
                one.place(&mut hooks, |layer, map| sizes(layers, layer, map, self.width), rows)?;
            }
        }
        Ok(hooks)
    }

    /// # Safety
    /// As `bowstring_trunk`.
    unsafe fn run(&self) -> Result<(), i32> {
        if !self.complete() {
            return Err(NULL);
        }
        let (rows, d) = (self.rows().ok_or(WRONG_SIZE)?, self.width);
        let timed = self.modulations == 1 || self.modulations == rows;
        if rows == 0 || d == 0 || d % HEAD != 0 || !timed {
            return Err(WRONG_SIZE);
        }
        // SAFETY: promised by the caller.
        unsafe {
            let described = std::slice::from_raw_parts(self.layer, self.layers);
            let layers: Result<Vec<Layer>, i32> = described.iter().map(|one| one.view(d)).collect();
            let layers = layers?;
            let (old, new) = (self.batch * self.past * d, rows * d);
            let mut memories = self.memories(old, new)?;
            let hooks = self.hooks(&layers, rows)?;
            let slice = |start, length| std::slice::from_raw_parts(start, length);
            let bytes = |start, length| std::slice::from_raw_parts(start, length);
            let (count, known) = (self.entries, self.known);
            let call = Call {
                batch: self.batch,
                length: self.length,
                past: self.past,
                width: d,
                modulation: slice(self.modulation, self.modulations * 6 * d),
                cos: slice(self.cos, rows * HEAD / 2),
                sin: slice(self.sin, rows * HEAD / 2),
                mask: bytes(self.mask, rows * (self.past + self.length)),
                norm: slice(self.norm, d),
                entries: (count + known > 0).then(|| Entries {
                    count,
                    known,
                    values: optional(self.entry_values, self.batch * count * d).unwrap_or_default(),
                    mask: bytes(self.entry_mask, rows * (count + known)),
                }),
                hooks: &hooks,
            };
            let x = std::slice::from_raw_parts_mut(self.x, new);
            SCRATCH.with_borrow_mut(|scratch| {
                trunk::forward(&call, &layers, &mut memories, x, scratch)
            });
        }
        Ok(())
    }
}

/// All layers: `x (b, l, d)` becomes the normalised hidden states.
///
/// # Safety
/// Pointers must be valid for the shapes that `TrunkRef` states.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bowstring_trunk(call: *const TrunkRef) -> i32 {
    if call.is_null() {
        return NULL;
    }
    // SAFETY: promised by the caller.
    match unsafe { (*call).run() } {
        Ok(()) => 0,
        Err(fault) => fault,
    }
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

/// Digests of `count` parts of `data (length)`, 16 bytes each, the higher 64 bits first, to `out (count, 16)`.
///
/// # Safety
/// Pointers must be valid for the stated shapes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bowstring_digests(
    data: *const u8,
    length: usize,
    offsets: *const usize,
    sizes: *const usize,
    count: usize,
    out: *mut u8,
) -> i32 {
    if data.is_null() || offsets.is_null() || sizes.is_null() || out.is_null() {
        return NULL;
    }
    // SAFETY: promised by the caller.
    unsafe {
        let data = std::slice::from_raw_parts(data, length);
        let places = std::slice::from_raw_parts(offsets, count)
            .iter()
            .zip(std::slice::from_raw_parts(sizes, count));
        let parts: Option<Vec<&[u8]>> = places
            .map(|(&at, &size)| data.get(at..at.checked_add(size)?))
            .collect();
        let Some(parts) = parts else {
            return WRONG_SIZE;
        };
        let mut found = vec![0; count];
        hash::digests(&parts, &mut found);
        let out = std::slice::from_raw_parts_mut(out, 16 * count);
        for (out, digest) in out.as_chunks_mut::<16>().0.iter_mut().zip(found) {
            *out = digest.to_be_bytes();
        }
    }
    0
}

/// Start and size of the five values of `count` row groups of a weights file, to `out (count, 5, 2)`; see `index`.
/// `at` is where their description begins, and becomes where it ends.
///
/// # Safety
/// Pointers must be valid for the stated shapes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bowstring_row_groups(
    file: *const u8,
    length: usize,
    count: usize,
    at: *mut usize,
    out: *mut [[usize; 2]; 5],
) -> i32 {
    if file.is_null() || at.is_null() || out.is_null() {
        return NULL;
    }
    // SAFETY: promised by the caller.
    unsafe {
        let file = std::slice::from_raw_parts(file, length);
        match index::row_groups(file, *at, std::slice::from_raw_parts_mut(out, count)) {
            Some(end) => *at = end,
            None => return OTHER_BYTES,
        }
    }
    0
}
