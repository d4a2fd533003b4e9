//! Weights of 2, 4 or 8 bits in groups of 32 with an FP16 scale and perhaps an FP16 minimum: what Q4_0, Q4_1 and Q8_0
//! hold, bit for bit, in the order that the kernels read.
//!
//! Outputs are cut into blocks of 16, inputs into groups of 32 and those into lines of 64 bytes. Byte 4 l + i of a line
//! belongs to output l of the block; its field j (the lowest bits first) is input 4 j + i of the line. Scales and minima
//! lie as `(block, group, 16)`.
//!
//! `value(n, k) = scale * (code - zero) + minimum`, zero being 2, 8 or 128 where there are no minima, else 0. Activations
//! are INT8 in groups of 32 of their own, in one plane or in two, the second being what the first leaves of each number.
//! A group's sum is exact in integers: at most 32 * 255 * 127.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use crate::each_isa;
use crate::matmul::{Isa, isa};
use crate::pool::{self, Shared};
use std::ops::Range;

pub const BLOCK: usize = 16;
pub const GROUP: usize = 32;
pub const LINE: usize = 64;

#[derive(Clone, Copy)]
pub struct Grouped<'a> {
    pub bits: usize,
    pub outputs: usize,
    pub inputs: usize,
    pub lines: &'a [u8],
    pub scales: &'a [u16],
    pub minima: Option<&'a [u16]>,
}

impl Grouped<'_> {
    pub fn groups(&self) -> usize {
        self.inputs / GROUP
    }

    pub fn blocks(&self) -> usize {
        self.outputs.div_ceil(BLOCK)
    }

    /// Bytes of one group of one block.
    pub fn group_bytes(&self) -> usize {
        GROUP * BLOCK * self.bits / 8
    }

    pub fn zero(&self) -> i32 {
        match (self.minima, self.bits) {
            (Some(_), _) => 0,
            (None, bits) => 1 << (bits - 1),
        }
    }

    /// Whether the parts have the sizes that the shape gives; no product overflows.
    pub fn fits(&self) -> bool {
        let cells = self.blocks().checked_mul(self.groups());
        let sized =
            |unit: usize, length: usize| cells.and_then(|c| c.checked_mul(unit)) == Some(length);
        matches!(self.bits, 2 | 4 | 8)
            && self.outputs > 0
            && self.inputs > 0
            && self.inputs.is_multiple_of(GROUP)
            && sized(self.group_bytes(), self.lines.len())
            && sized(BLOCK, self.scales.len())
            && self.minima.is_none_or(|m| m.len() == self.scales.len())
    }

    fn code(&self, n: usize, k: usize) -> i32 {
        let fields = 8 / self.bits;
        let (group, within) = (k / GROUP, k % GROUP);
        let start = ((n / BLOCK) * self.groups() + group) * self.group_bytes();
        let line = within / (4 * fields);
        let byte = self.lines[start + line * LINE + 4 * (n % BLOCK) + within % 4];
        (byte >> (self.bits * (within % (4 * fields) / 4))) as i32 & ((1 << self.bits) - 1)
    }

    /// One output's weights as FP32, as an embedding's row.
    pub fn row(&self, n: usize, out: &mut [f32]) {
        for (k, out) in out.iter_mut().enumerate() {
            let at = ((n / BLOCK) * self.groups() + k / GROUP) * BLOCK + n % BLOCK;
            let value = half(self.scales[at]) * (self.code(n, k) - self.zero()) as f32;
            *out = value + self.minima.map_or(0.0, |m| half(m[at]));
        }
    }
}

/// An FP16 number's bits as FP32.
pub fn half(bits: u16) -> f32 {
    let (sign, exponent, fraction) = (
        bits as u32 >> 15,
        bits as u32 >> 10 & 31,
        bits as u32 & 1023,
    );
    match exponent {
        0 => (1.0 - 2.0 * sign as f32) * fraction as f32 * 2f32.powi(-24),
        31 => f32::from_bits(sign << 31 | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign << 31 | (exponent + 112) << 23 | fraction << 13),
    }
}

/// INT8 activations of several rows; a scale and a sum for each group of 32. Two planes of a row lie one behind the
/// other and count as two rows here. Vectors only grow.
#[derive(Default)]
pub struct Rows {
    pub rows: usize,
    pub planes: usize,
    pub width: usize,
    pub values: Vec<i8>,
    pub scales: Vec<f32>,
    pub sums: Vec<i32>,
    /// scale times sum
    pub moments: Vec<f32>,
}

impl Rows {
    /// Quantises rows of `width` numbers each: scale = max |x| / 127 of a group, values to nearest even. A second plane
    /// has 1 / 254 of that scale: together they are a number of 16 bits.
    pub fn quantise(&mut self, x: &[f32], width: usize, planes: usize) {
        let rows = x.len() / width * planes;
        (self.rows, self.planes, self.width) = (rows, planes, width);
        self.values.resize(self.values.len().max(rows * width), 0);
        self.scales
            .resize(self.scales.len().max(rows * width / GROUP), 0.0);
        self.sums
            .resize(self.sums.len().max(rows * width / GROUP), 0);
        self.moments
            .resize(self.moments.len().max(rows * width / GROUP), 0.0);
        let parts = (
            Shared::new(&mut self.values),
            Shared::new(&mut self.scales),
            Shared::new(&mut self.sums),
            Shared::new(&mut self.moments),
        );
        pool::split(rows / planes, 1, rows * width / 32_768, |part| {
            quantise_rows(x, width, planes, &parts, part)
        });
    }
}

type Parts = (Shared<i8>, Shared<f32>, Shared<i32>, Shared<f32>);

each_isa! {
    fn quantise_rows(x: &[f32], width: usize, planes: usize, parts: &Parts, rows: Range<usize>) {
        const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer in the low bits
        for row in rows {
            let groups = x[row * width..][..width].as_chunks::<GROUP>().0;
            for (g, x) in groups.iter().enumerate() {
                let mut largest = 0u32;
                for v in x {
                    largest = largest.max(v.to_bits() & 0x7fff_ffff);
                }
                let largest = f32::from_bits(largest);
                let inverse = if largest > 1e-30 && largest.is_finite() { 127.0 / largest } else { 0.0 };
                let mut scale = if largest.is_finite() { largest / 127.0 } else { f32::NAN };
                let mut rest = *x;
                for v in &mut rest {
                    *v *= inverse;
                }
                for plane in row * planes..(row + 1) * planes {
                    // SAFETY: each row belongs to one task.
                    let (values, scales, sums, moments) = unsafe {
                        (
                            parts.0.slice(plane * width + g * GROUP, GROUP),
                            parts.1.slice(plane * width / GROUP + g, 1),
                            parts.2.slice(plane * width / GROUP + g, 1),
                            parts.3.slice(plane * width / GROUP + g, 1),
                        )
                    };
                    let mut sum = 0i32;
                    for (value, v) in values.iter_mut().zip(&mut rest) {
                        let shifted = *v + MAGIC;
                        *value = shifted.to_bits() as i8;
                        *v = (*v - (shifted - MAGIC)) * 254.0;
                        sum += *value as i32;
                    }
                    (scales[0], sums[0], moments[0]) = (scale, sum, scale * sum as f32);
                    scale /= 254.0;
                }
            }
        }
    }
}

/// What becomes of a product: `out = y * gate + bias`, or that added to what is there.
#[derive(Clone, Copy, Default)]
pub struct Then<'a> {
    pub bias: Option<&'a [f32]>,
    pub gate: Option<&'a [f32]>,
    pub add: bool,
}

impl Then<'_> {
    /// `y` are the planes of rows from `m` on, as many of each as a row has.
    #[inline(always)]
    fn write_all(
        &self,
        w: &Grouped,
        out: &Shared<f32>,
        m: usize,
        block: usize,
        planes: usize,
        y: &[[f32; BLOCK]],
    ) {
        if planes == 1 {
            for (r, y) in y.iter().enumerate() {
                self.write(w, out, m + r, block, y);
            }
        } else {
            for (r, [high, low]) in y.as_chunks::<2>().0.iter().enumerate() {
                self.write(
                    w,
                    out,
                    m / 2 + r,
                    block,
                    &std::array::from_fn(|l| high[l] + low[l]),
                );
            }
        }
    }

    #[inline(always)]
    fn write(&self, w: &Grouped, out: &Shared<f32>, m: usize, block: usize, y: &[f32; BLOCK]) {
        let first = block * BLOCK;
        let count = BLOCK.min(w.outputs - first);
        // SAFETY: this row and block belong to one task alone.
        let out = unsafe { out.slice(m * w.outputs + first, count) };
        if let Ok(out) = <&mut [f32; BLOCK]>::try_from(&mut *out) {
            let part = |of: &[f32]| -> [f32; BLOCK] { of[first..][..BLOCK].try_into().unwrap() };
            let mut y = *y;
            if let Some(gate) = self.gate.map(part) {
                y = std::array::from_fn(|l| y[l] * gate[l]);
            }
            if let Some(bias) = self.bias.map(part) {
                y = std::array::from_fn(|l| y[l] + bias[l]);
            }
            *out = if self.add {
                std::array::from_fn(|l| out[l] + y[l])
            } else {
                y
            };
            return;
        }
        for (l, out) in out.iter_mut().enumerate() {
            let y = self.gate.map_or(y[l], |g| y[l] * g[first + l]);
            let y = y + self.bias.map_or(0.0, |b| b[first + l]);
            *out = if self.add { *out + y } else { y };
        }
    }
}

/// Rows that a tile takes, `(first, end)` of each: as equal as may be, at most `most`, the planes of a row together.
fn tiles(x: &Rows, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let (rows, planes) = (x.rows / x.planes, x.planes);
    let count = rows.div_ceil((most / planes).max(1));
    (0..count).map(move |tile| {
        (
            rows * tile / count * planes,
            rows * (tile + 1) / count * planes,
        )
    })
}

/// A matrix, what becomes of its product, and where that goes.
pub type Product<'a> = (Grouped<'a>, Then<'a>, &'a mut [f32]);

/// `out[m, n] = x[m, :] . w[n, :]` of matrices that take the same rows, all their blocks shared among threads at once.
pub fn matmul<const N: usize>(x: &Rows, products: [Product; N]) {
    let isa = isa();
    let products = products.map(|(w, then, out)| {
        assert!(out.len() * x.planes == x.rows * w.outputs && x.width == w.inputs);
        (w, then, Shared::new(out))
    });
    let blocks: usize = products.iter().map(|(w, ..)| w.blocks()).sum();
    let work = blocks * BLOCK * x.width * x.rows;
    pool::split(blocks, 4, work / 262_144, |all: Range<usize>| {
        let mut before = 0;
        for (w, then, out) in &products {
            let own = |edge: usize| edge.clamp(before, before + w.blocks()) - before;
            let blocks = own(all.start)..own(all.end);
            before += w.blocks();
            match isa {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `isa` was detected on this machine.
                Isa::Avx512Vnni => unsafe { avx512::matmul(w, x, then, out, blocks) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `isa` was detected on this machine; every processor with AVX2 has F16C.
                Isa::Avx2 if is_x86_feature_detected!("f16c") => unsafe {
                    avx2::matmul(w, x, then, out, blocks)
                },
                _ => portable::matmul(w, x, then, out, blocks),
            }
        }
    });
}
