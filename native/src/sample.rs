//! One token from logits: repetition penalty, temperature, top_k and top_p without a sort of the vocabulary, and a draw
//! by inverting the cumulative distribution in the order of the ids.

use crate::each_isa;
use crate::vector::{LANES, exp, total};

const LOWEST: f32 = -1e4; // a logit below the top that counts for nothing and can be multiplied by 0

/// What is done to logits before the draw. `top_k` 0 and `top_p` 1 keep everything; `temperature` 0 takes the largest.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Choice {
    pub temperature: f32,
    pub top_p: f32,
    pub repetition_penalty: f32,
    pub top_k: usize,
}

impl Choice {
    pub fn fits(&self) -> bool {
        self.temperature >= 0.0
            && self.temperature.is_finite()
            && self.top_p > 0.0
            && self.top_p <= 1.0
            && self.repetition_penalty > 0.0
            && self.repetition_penalty.is_finite()
    }
}

/// Divides the positive and multiplies the negative logits of tokens that were there (Keskar et al. 2019, section 4.1).
pub fn penalise(logits: &mut [f32], before: &[u32], penalty: f32) {
    let mut sorted = before.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    for token in sorted {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
}

/// A token, its probability before temperature and cuts, and the entropy of that belief in nats.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Draw {
    pub token: u32,
    pub probability: f32,
    pub entropy: f64,
}

/// The token that `u` in [0, 1) stands for. The logits are used up.
pub fn draw(logits: &mut [f32], before: &[u32], barred: &[u32], choice: &Choice, u: f32) -> Draw {
    if choice.repetition_penalty != 1.0 {
        penalise(logits, before, choice.repetition_penalty);
    }
    for &token in barred {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = f32::NEG_INFINITY;
        }
    }
    let (best, top, total, mean) = summary(logits);
    let entropy = (total as f64).ln() - mean as f64 / total as f64;
    let found = if choice.temperature == 0.0 { best } else { chosen(logits, best, top, choice, u) };
    let probability = ((logits[found] - top) as f64).exp() as f32 / total;
    Draw { token: found as u32, probability, entropy }
}

/// The place at which the sum of kept weights passes `u` of the whole.
fn chosen(logits: &[f32], best: usize, top: f32, choice: &Choice, u: f32) -> usize {
    let cut = threshold(logits, top, choice);
    let inverse = 1.0 / choice.temperature;
    let mut kept: Vec<(usize, f32)> = Vec::new();
    let mut sum = 0f32;
    for (i, &logit) in logits.iter().enumerate() {
        if logit >= cut {
            let weight = ((logit - top) * inverse).exp();
            sum += weight;
            kept.push((i, weight));
        }
    }
    let mut reached = 0f32;
    let wanted = u * sum;
    for &(i, weight) in &kept {
        reached += weight;
        if reached > wanted {
            return i;
        }
    }
    kept.last().map_or(best, |last| last.0)
}

each_isa! {
    /// Place and value of the largest logit, the sum of w = exp(logit - largest), and that of w (logit - largest).
    fn summary(logits: &[f32]) -> (usize, f32, f32, f32) {
        let mut most = [f32::NEG_INFINITY; LANES];
        for chunk in logits.chunks(LANES) {
            for (most, &logit) in most.iter_mut().zip(chunk) {
                *most = if logit > *most { logit } else { *most };
            }
        }
        let top = most.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let best = logits.iter().position(|&logit| logit == top).unwrap_or(0);
        let (mut sums, mut means) = ([0f32; LANES], [0f32; LANES]);
        let mut add = |l: usize, logit: f32| {
            let inside = (logit - top).max(LOWEST);
            let weight = exp(inside);
            sums[l] += weight;
            means[l] += weight * inside;
        };
        let (whole, rest) = logits.as_chunks::<LANES>();
        for chunk in whole {
            for l in 0..LANES {
                add(l, chunk[l]);
            }
        }
        for (l, &logit) in rest.iter().enumerate() {
            add(l, logit);
        }
        (best, top, total(sums), total(means))
    }
}

/// The least logit that is kept: of the `top_k` largest, then of the fewest that hold `top_p` of what they weigh together.
/// Logits equal to the last kept one are kept, too.
fn threshold(logits: &[f32], top: f32, choice: &Choice) -> f32 {
    let limited = choice.top_k > 0 && choice.top_k < logits.len();
    if !limited && choice.top_p >= 1.0 {
        return f32::NEG_INFINITY;
    }
    let mut large = if limited { candidates(logits, top, choice.top_k) } else { Vec::new() };
    if limited {
        let (_, kth, _) = large.select_nth_unstable_by(choice.top_k - 1, |a, b| b.total_cmp(a));
        let kth = *kth;
        if choice.top_p >= 1.0 {
            return kth;
        }
        large.retain(|&logit| logit >= kth);
    }
    let inverse = 1.0 / choice.temperature;
    let all = if limited { &large } else { logits };
    nucleus(all, top, inverse, choice.top_p)
}

/// A few more than the `count` largest logits: those within a distance of the top that doubles until it holds enough.
fn candidates(logits: &[f32], top: f32, count: usize) -> Vec<f32> {
    let mut reach = 4.0f32;
    loop {
        let cut = top - reach;
        let found: Vec<f32> = logits.iter().copied().filter(|&logit| logit >= cut).collect();
        if found.len() >= count {
            return found;
        }
        if reach > 1e6 {
            return logits.to_vec();
        }
        reach *= 2.0;
    }
}

/// The least logit of the fewest that hold `share` of the weight, found by narrowing a range of logits.
fn nucleus(logits: &[f32], top: f32, inverse: f32, share: f32) -> f32 {
    let weight = |logit: f32| ((logit - top) * inverse).exp() as f64;
    let total: f64 = logits.iter().map(|&logit| weight(logit)).sum();
    let mut rest = share as f64 * total;
    let mut pool: Vec<f32> = logits.iter().copied().filter(|l| l.is_finite()).collect();
    let mut least = top;
    while !pool.is_empty() {
        let middle = (pool.len() - 1) / 2;
        let (_, pivot, _) = pool.select_nth_unstable_by(middle, |a, b| b.total_cmp(a));
        let pivot = *pivot;
        let upper: f64 = pool[..=middle].iter().map(|&logit| weight(logit)).sum();
        if upper >= rest {
            least = pivot;
            if middle == 0 {
                return least;
            }
            // the upper half suffices: look whether fewer do
            let without: f64 = upper - weight(pivot);
            if without < rest {
                return least;
            }
            pool.truncate(middle);
        } else {
            least = pivot;
            rest -= upper;
            pool.drain(..=middle);
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits() -> Vec<f32> {
        (0..1000).map(|i| ((i * 7919 % 1000) as f32 / 100.0).sin() * 5.0).collect()
    }

    #[test]
    fn cuts_agree_with_a_sort() {
        for (top_k, top_p) in [(0, 0.9f32), (40, 1.0), (40, 0.5), (7, 0.99), (0, 0.05), (1, 0.3)] {
            let choice = Choice { temperature: 0.8, top_p, repetition_penalty: 1.0, top_k };
            let all = logits();
            let mut sorted = all.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let top = sorted[0];
            if top_k > 0 {
                sorted.truncate(top_k);
            }
            let weights: Vec<f64> = sorted.iter().map(|l| (((l - top) / 0.8) as f64).exp()).collect();
            let total: f64 = weights.iter().sum();
            let mut sum = 0.0;
            let mut expected = *sorted.last().unwrap();
            for (logit, weight) in sorted.iter().zip(weights) {
                sum += weight;
                if sum >= top_p as f64 * total - 1e-9 {
                    expected = *logit;
                    break;
                }
            }
            let found = threshold(&all, top, &choice);
            assert!((found - expected).abs() < 1e-5, "{top_k} {top_p}: {found} {expected}");
        }
    }

    #[test]
    fn frequencies_are_the_law() {
        let choice = Choice { temperature: 1.0, top_p: 1.0, repetition_penalty: 1.0, top_k: 0 };
        let mut counts = [0usize; 3];
        for i in 0..3000 {
            let mut logits = [0.0f32, 2f32.ln(), 3f32.ln()];
            counts[draw(&mut logits, &[], &[], &choice, i as f32 / 3000.0).token as usize] += 1;
        }
        assert_eq!(counts, [500, 1000, 1500]);
    }

    #[test]
    fn entropy_is_that_of_what_may_be_drawn() {
        let mut logits = [1.0f32; 20];
        let choice = Choice { temperature: 0.0, top_p: 1.0, repetition_penalty: 1.0, top_k: 0 };
        let found = draw(&mut logits, &[], &[0, 1, 19, 99], &choice, 0.0);
        assert_eq!(found.token, 2);
        assert!((found.entropy - 17f64.ln()).abs() < 1e-6 && (found.probability - 1.0 / 17.0).abs() < 1e-7);
    }

    #[test]
    fn what_was_there_is_less_likely() {
        let mut logits = [2.0f32, -2.0, 1.0];
        penalise(&mut logits, &[0, 1, 0], 2.0);
        assert_eq!(logits, [1.0, -4.0, 1.0]);
    }
}
