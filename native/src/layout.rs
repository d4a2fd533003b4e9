//! How low-bit weights lie in memory; the file on disk has the same bytes.
//!
//! Outputs are cut into blocks of 16, inputs into groups of 64 and those into lines of 64 bytes. Byte 4 l + i of a
//! line belongs to output l of the block; its field j (2 or 4 bits, the lowest first) is the code of
//! input 4 j + i of the line. A 512-bit register thus holds, for each of 16 outputs, four inputs in a row.
//! Each block and group has 16 scale codes of one byte, each output one FP32 scale.

use crate::each_isa;
use crate::pool::{self, Shared};
use std::ops::Range;

pub const BLOCK: usize = 16;
pub const GROUP: usize = 64;
pub const LINE: usize = 64;

/// Weights of one matrix: `value(n, k) = (code(n, k) * step - zero) * group_scale(n, k / 64) * scale(n)`.
#[derive(Clone, Copy)]
pub struct Packed<'a> {
    pub bits: usize,
    pub outputs: usize,
    pub inputs: usize,
    pub lines: &'a [u8],
    pub group_scales: &'a [u8],
    pub scales: &'a [f32],
}

/// What is added to each code's product so that codes become signed: codes 0..3 stand for -3, -1, 1, 3
/// (twice the code minus 3), codes 0..15 for -8..7.
pub const fn zero(bits: usize) -> i32 {
    if bits == 2 { 3 } else { 8 }
}

impl Packed<'_> {
    pub fn groups(&self) -> usize {
        self.inputs.div_ceil(GROUP)
    }

    pub fn blocks(&self) -> usize {
        self.outputs.div_ceil(BLOCK)
    }

    pub fn lines_per_group(&self) -> usize {
        GROUP * BLOCK * self.bits / 8 / LINE
    }

    pub fn bytes(bits: usize, outputs: usize, inputs: usize) -> Option<usize> {
        let cells = outputs
            .div_ceil(BLOCK)
            .checked_mul(inputs.div_ceil(GROUP))?;
        cells.checked_mul(GROUP * BLOCK * bits / 8)
    }

    /// The signed integer that a code stands for, before any scale.
    pub fn level(&self, n: usize, k: usize) -> i32 {
        let fields = 8 / self.bits;
        let line_inputs = 4 * fields;
        let per_block = self.groups() * self.lines_per_group();
        let line = (n / BLOCK) * per_block + k / line_inputs;
        let within = k % line_inputs;
        let byte = self.lines[line * LINE + 4 * (n % BLOCK) + within % 4];
        let code = (byte >> (self.bits * (within / 4))) as i32 & ((1 << self.bits) - 1);
        if self.bits == 2 {
            2 * code - zero(2)
        } else {
            code - zero(4)
        }
    }

    pub fn group_scale(&self, n: usize, group: usize) -> i32 {
        self.group_scales[((n / BLOCK) * self.groups() + group) * BLOCK + n % BLOCK] as i32
    }
}

/// INT8 activations of several rows, padded with zeros to whole groups.
///
/// `sums` has four numbers per group, because the kernels split a group in two ways: the first 32 inputs and the
/// others (a run of 4-bit codes), and in each those whose place in their quadruple is 0 or 1, and 2 or 3 (a byte
/// multiply-add with 16-bit lanes). Vectors only grow: what lies behind `rows` is of an earlier, larger call.
#[derive(Default)]
pub struct Activations {
    pub rows: usize,
    pub width: usize,
    pub values: Vec<i8>,
    pub scales: Vec<f32>,
    pub sums: Vec<[i16; 4]>,
}

impl Activations {
    /// Room for other rows, to be filled through the views that come back.
    pub fn reshape(&mut self, rows: usize, inputs: usize) -> RowsOf {
        let width = inputs.div_ceil(GROUP) * GROUP;
        (self.rows, self.width) = (rows, width);
        if self.values.len() < rows * width {
            self.values.resize(rows * width, 0);
        }
        if self.scales.len() < rows {
            self.scales.resize(rows, 0.0);
        }
        if self.sums.len() < rows * width / GROUP {
            self.sums.resize(rows * width / GROUP, [0; 4]);
        }
        RowsOf {
            width,
            values: Shared::new(&mut self.values),
            scales: Shared::new(&mut self.scales),
            sums: Shared::new(&mut self.sums),
        }
    }

    /// Quantises rows of `width` numbers each.
    pub fn quantise(&mut self, x: &[f32], width: usize) {
        let rows = x.len() / width;
        let views = self.reshape(rows, width);
        pool::split(rows, 1, x.len() / 32_768, |part| {
            quantise_rows(x, width, &views, part)
        });
    }
}

each_isa! {
    fn quantise_rows(x: &[f32], width: usize, out: &RowsOf, part: Range<usize>) {
        for row in part {
            out.set(row, &x[row * width..][..width]);
        }
    }
}

/// The rows of some activations, to be written by several tasks.
pub struct RowsOf {
    width: usize,
    values: Shared<i8>,
    scales: Shared<f32>,
    sums: Shared<[i16; 4]>,
}

impl RowsOf {
    /// Quantises one row: scale = max |x| / 127, values to nearest even; not-a-number or infinity poisons the scale.
    #[inline(always)]
    pub fn set(&self, row: usize, x: &[f32]) {
        const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer in the low bits
        // SAFETY: each row belongs to one task.
        let (values, scale, sums) = unsafe {
            (
                self.values.slice(row * self.width, self.width),
                &mut self.scales.slice(row, 1)[0],
                self.sums
                    .slice(row * self.width / GROUP, self.width / GROUP),
            )
        };
        let largest = f32::from_bits(
            x.iter()
                .map(|v| v.to_bits() & 0x7fff_ffff)
                .max()
                .unwrap_or(0),
        );
        let finite = largest.is_finite();
        *scale = if finite { largest / 127.0 } else { f32::NAN };
        let inverse = if finite && largest > 0.0 {
            127.0 / largest
        } else {
            0.0
        };
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        if finite {
            for (value, &v) in values.iter_mut().zip(x) {
                *value = (v * inverse + MAGIC).to_bits() as i8;
            }
        } else {
            values.fill(0);
        }
        values[x.len()..].fill(0);
        for (group, sums) in values.as_chunks::<GROUP>().0.iter().zip(sums) {
            for (half, sums) in group
                .as_chunks::<{ GROUP / 2 }>()
                .0
                .iter()
                .zip(sums.as_chunks_mut::<2>().0)
            {
                let mut lanes = [0i16; 4];
                for four in half.as_chunks::<4>().0 {
                    for i in 0..4 {
                        lanes[i] += four[i] as i16;
                    }
                }
                *sums = [lanes[0] + lanes[1], lanes[2] + lanes[3]];
            }
        }
    }
}
