//! Tokens drawn by their logits.

use crate::each_isa;

each_isa! {
/// Tokens by inverting the cumulative distribution of softmax(logits / temperature) at u, `(rows, v)` and `(rows,)`.
pub fn draw(logits: &[f32], u: &[f32], temperature: f32, tokens: &mut [i64]) {
    let width = logits.len() / u.len();
    let mut weights = vec![0f32; width];
        for ((row, &u), token) in logits.chunks_exact(width).zip(u).zip(tokens) {
            let largest = row.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
            for (w, &l) in weights.iter_mut().zip(row) {
                *w = crate::vector::exp((l - largest) / temperature);
            }
            let target = u * weights.iter().sum::<f32>();
            let mut total = 0.0;
            let mut last = 0;
            *token = -1;
            for (i, &w) in weights.iter().enumerate() {
                total += w;
                if w > 0.0 {
                    last = i as i64;
                    if total > target {
                        *token = last;
                        break;
                    }
                }
            }
            if *token < 0 {
                *token = last; // rounding left the sum below u
            }
        }
}
}
