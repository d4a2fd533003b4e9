//! Every instruction set of this machine gives the portable kernel's sums, to the last bit and on every tail.

use bowstring_native::layout::{Activations, BLOCK, GROUP, Packed};
use bowstring_native::matmul::{self, Epilogue, Isa, MOST_INPUTS, choose, supported};

/// Numbers without a pattern (splitmix64).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    fn reals(&mut self, count: usize) -> Vec<f32> {
        (0..count)
            .map(|_| self.next() as i32 as f32 / 2f32.powi(31))
            .collect()
    }
}

fn compare(bits: usize, outputs: usize, inputs: usize, rows: usize, noise: &mut Noise) {
    let groups = inputs.div_ceil(GROUP);
    let lines = noise.bytes(Packed::bytes(bits, outputs, inputs).unwrap());
    let group_scales = noise.bytes(outputs.div_ceil(BLOCK) * groups * BLOCK);
    let (scales, x) = (noise.reals(outputs), noise.reals(rows * inputs));
    let (bias, gate, residual) = (
        noise.reals(outputs),
        noise.reals(outputs),
        noise.reals(rows * outputs),
    );
    let w = Packed {
        bits,
        outputs,
        inputs,
        lines: &lines,
        group_scales: &group_scales,
        scales: &scales,
    };
    let epilogue = Epilogue {
        bias: Some(&bias),
        gate: Some(&gate),
        residual: Some(&residual),
    };
    let mut results = Vec::new();
    for isa in [Isa::Portable, Isa::Avx2, Isa::Avx512Vnni, Isa::Neon] {
        if supported(isa) {
            assert!(choose(isa as u32));
            let mut activations = Activations::default();
            activations.quantise(&x, inputs);
            let mut out = vec![0f32; rows * outputs];
            matmul::matmul(&w, &activations, &epilogue, &mut out);
            results.push((isa, out));
        }
    }
    for (isa, out) in &results[1..] {
        assert!(
            *out == results[0].1,
            "{isa:?}: {bits} bits, {outputs} x {inputs}, {rows} rows"
        );
    }
}

#[test]
fn all_instruction_sets_agree() {
    let noise = &mut Noise(7);
    for bits in [2, 4] {
        for (outputs, inputs) in [
            (1, 1),
            (15, 63),
            (16, 64),
            (17, 65),
            (33, 200),
            (80, 130),
            (129, 320),
        ] {
            for rows in [1, 2, 3, 4, 5, 6, 7, 13] {
                compare(bits, outputs, inputs, rows, noise);
            }
        }
        compare(bits, 16, MOST_INPUTS, 2, noise);
    }
}
