//! Low-bit weights times INT8 activations, exact in integers, then one multiplication per output.
//!
//! No sum overflows. A group's signed sum is at most 64 * 3 * 127 = 24,384 (2 bits) or 64 * 8 * 127 = 65,024
//! (4 bits), and half of it fits 16 bits. Times a scale code of at most 255 and over `MOST_INPUTS` / 64 groups it
//! stays below 2^31: 65,024 * 255 * 129 = 2,138,964,480.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use crate::layout::{Activations, BLOCK, Packed};
use crate::pool::{self, Shared};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

pub const MOST_INPUTS: usize = 129 * 64;

/// Multiplications that are worth a thread: below, waiting for another core costs more than it brings.
const UNIT: usize = 131_072;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Isa {
    Portable = 1,
    Avx2 = 2,
    Avx512Vnni = 3,
    Neon = 4,
}

static CHOSEN: AtomicU32 = AtomicU32::new(0);

pub fn supported(isa: Isa) -> bool {
    match isa {
        Isa::Portable => true,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
        }
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
        #[allow(unreachable_patterns)]
        _ => false,
    }
}

/// The instruction set in use: the best that the machine has, unless another was chosen.
pub fn isa() -> Isa {
    match CHOSEN.load(Ordering::Relaxed) {
        1 => Isa::Portable,
        2 => Isa::Avx2,
        3 => Isa::Avx512Vnni,
        4 => Isa::Neon,
        _ => {
            let best = [Isa::Avx512Vnni, Isa::Avx2, Isa::Neon, Isa::Portable];
            let found = best
                .into_iter()
                .find(|&isa| supported(isa))
                .unwrap_or(Isa::Portable);
            CHOSEN.store(found as u32, Ordering::Relaxed);
            found
        }
    }
}

/// Chooses an instruction set; false when the machine does not have it.
pub fn choose(number: u32) -> bool {
    let wanted = [Isa::Portable, Isa::Avx2, Isa::Avx512Vnni, Isa::Neon]
        .into_iter()
        .find(|&isa| isa as u32 == number);
    let fits = number == 0 || wanted.is_some_and(supported);
    if fits {
        CHOSEN.store(number, Ordering::Relaxed);
    }
    fits
}

/// What happens to an output after the product: `y * gate[n] + bias[n] + residual[m, n]`, each optional.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    pub bias: Option<&'a [f32]>,
    pub gate: Option<&'a [f32]>,
    pub residual: Option<&'a [f32]>,
}

impl Epilogue<'_> {
    /// Writes the outputs of one row and block. `sums` are exact.
    #[inline(always)]
    pub fn write(
        &self,
        w: &Packed,
        x: &Activations,
        out: &Shared<f32>,
        m: usize,
        block: usize,
        sums: &[i32; BLOCK],
    ) {
        let first = block * BLOCK;
        let count = BLOCK.min(w.outputs - first);
        let row = m * w.outputs + first;
        // SAFETY: this row and block belong to this task alone.
        let out = unsafe { out.slice(row, count) };
        // A whole block is an array, whose loops become single instructions; the last block may be a part of one.
        if let Ok(out) = <&mut [f32; BLOCK]>::try_from(&mut *out) {
            let whole = |from: &[f32], at: usize| -> [f32; BLOCK] {
                from[at..at + BLOCK].try_into().unwrap()
            };
            *out = self.finish(
                sums,
                x.scales[m],
                whole(&w.scales, first),
                first,
                row,
                whole,
            );
        } else {
            let part = |from: &[f32], at: usize| -> [f32; BLOCK] {
                let mut padded = [0.0; BLOCK];
                padded[..count].copy_from_slice(&from[at..at + count]);
                padded
            };
            let y = self.finish(sums, x.scales[m], part(w.scales, first), first, row, part);
            out.copy_from_slice(&y[..count]);
        }
    }

    #[inline(always)]
    fn finish(
        &self,
        sums: &[i32; BLOCK],
        scale: f32,
        scales: [f32; BLOCK],
        first: usize,
        row: usize,
        load: impl Fn(&[f32], usize) -> [f32; BLOCK],
    ) -> [f32; BLOCK] {
        let mut y: [f32; BLOCK] = std::array::from_fn(|l| sums[l] as f32 * (scale * scales[l]));
        if let Some(gate) = self.gate {
            let gate = load(gate, first);
            y = std::array::from_fn(|l| y[l] * gate[l]);
        }
        if let Some(bias) = self.bias {
            let bias = load(bias, first);
            y = std::array::from_fn(|l| y[l] + bias[l]);
        }
        if let Some(residual) = self.residual {
            let residual = load(residual, row);
            y = std::array::from_fn(|l| y[l] + residual[l]);
        }
        y
    }
}

/// `out[m, n] = x[m, :] . w[n, :]`, and the epilogue; blocks of outputs are shared among threads.
pub fn matmul(w: &Packed, x: &Activations, epilogue: &Epilogue, out: &mut [f32]) {
    assert!(out.len() == x.rows * w.outputs && x.width == w.groups() * crate::layout::GROUP);
    let out = Shared::new(out);
    let isa = isa();
    let work = w.outputs * w.inputs * x.rows;
    pool::split(
        w.blocks(),
        4,
        work / UNIT,
        |blocks: Range<usize>| match isa {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `isa` was detected on this machine.
            Isa::Avx512Vnni => unsafe { avx512::matmul(w, x, epilogue, &out, blocks) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `isa` was detected on this machine.
            Isa::Avx2 => unsafe { avx2::matmul(w, x, epilogue, &out, blocks) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: `isa` was detected on this machine.
            Isa::Neon => unsafe { neon::matmul(w, x, epilogue, &out, blocks) },
            _ => portable::matmul(w, x, epilogue, &out, blocks),
        },
    );
}
