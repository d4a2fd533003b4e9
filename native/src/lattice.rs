//! Markov chains of fields on a torus: Hamiltonian trajectories, and flips of Wolff's clusters.
//!
//! An energy is four numbers: E / kT = sum of - near/2 x N - own/2 x^2 + cubic/4 x^4 - field x, where N is the
//! sum of the four neighbours. `energy/mcmc/chains.py` and `lattice.py` hold the readable twins.

use crate::each_isa;
use crate::random::{Counter, Sequence, normals};

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Terms {
    pub near: f32,
    pub own: f32,
    pub cubic: f32,
    pub field: f32,
}

/// How a sweep moves: a trajectory of about `integration_steps` of `step_size` (0: none), then flips of
/// `cluster_updates` clusters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Moves {
    pub step_size: f32,
    pub jitter: f32,
    pub integration_steps: usize,
    pub cluster_updates: usize,
    pub sweeps: usize,
}

/// What one chain reports.
#[derive(Default)]
pub struct Report {
    pub energy: f64,
    pub accepted: f64,
    /// - (change of the total energy) of the last trajectory: the logarithm of its acceptance ratio
    pub log_ratio: f64,
}

/// Rows above, at and below, and the momentum row that they push.
#[inline(always)]
fn kick_row(t: Terms, s: f32, above: &[f32], x: &[f32], below: &[f32], p: &mut [f32]) {
    let w = x.len();
    let push = |near: f32, x: f32| t.near * near + x * (t.own - t.cubic * x * x) + t.field;
    p[0] += s * push(above[0] + below[0] + x[w - 1] + x[1 % w], x[0]);
    if w > 1 {
        let last = w - 1;
        p[last] += s * push(above[last] + below[last] + x[last - 1] + x[0], x[last]);
    }
    if w > 2 {
        let n = w - 2;
        let (above, below) = (&above[1..=n], &below[1..=n]);
        let (left, here, right) = (&x[..n], &x[1..=n], &x[2..]);
        let p = &mut p[1..=n];
        for j in 0..n {
            let near = above[j] + below[j] + left[j] + right[j];
            p[j] += s * (t.near * near + here[j] * (t.own - t.cubic * here[j] * here[j]) + t.field);
        }
    }
}

/// p += s force(x).
#[inline(always)]
fn kick(t: Terms, s: f32, w: usize, x: &[f32], p: &mut [f32]) {
    let h = x.len() / w;
    for i in 0..h {
        let row = |i: usize| &x[i * w..][..w];
        kick_row(
            t,
            s,
            row((i + h - 1) % h),
            row(i),
            row((i + 1) % h),
            &mut p[i * w..][..w],
        );
    }
}

/// x += s p.
#[inline(always)]
fn drift(s: f32, p: &[f32], x: &mut [f32]) {
    for (x, &p) in x.iter_mut().zip(p) {
        *x += s * p;
    }
}

/// E / kT, rows in FP32 and their sum in FP64.
#[inline(always)]
fn energy(t: Terms, w: usize, x: &[f32]) -> f64 {
    let h = x.len() / w;
    let mut total = 0f64;
    for i in 0..h {
        let (here, below) = (&x[i * w..][..w], &x[(i + 1) % h * w..][..w]);
        let (mut bonds, mut local) = (here[w - 1] * here[0], 0f32);
        bonds += crate::vector::dot(&here[..w - 1], &here[1..]);
        bonds += crate::vector::dot(here, below);
        let mut lanes = [0f32; 16];
        for part in here.chunks(16) {
            for (lane, &v) in lanes.iter_mut().zip(part) {
                let square = v * v;
                *lane += square * (0.25 * t.cubic * square - 0.5 * t.own) - t.field * v;
            }
        }
        local += lanes.iter().sum::<f32>();
        total += local as f64 - t.near as f64 * bonds as f64;
    }
    total
}

#[inline(always)]
fn square(p: &[f32]) -> f64 {
    p.chunks(64)
        .map(|part| crate::vector::dot(part, part) as f64)
        .sum()
}

/// Room for one chain's momenta, its proposal, random words and the cluster's edge.
#[derive(Default)]
pub struct Scratch {
    p: Vec<f32>,
    y: Vec<f32>,
    words: Vec<f32>,
    edge: Vec<u32>,
}

each_isa! {
    /// Leapfrog: `count` kick-drift-kick steps. Potential and kinetic energy at the end.
    pub fn leapfrog(t: Terms, w: usize, size: f32, count: usize, x: &mut [f32], p: &mut [f32]) -> (f64, f64) {
        kick(t, 0.5 * size, w, x, p);
        for i in 0..count {
            drift(size, p, x);
            kick(t, if i + 1 < count { size } else { 0.5 * size }, w, x, p);
        }
        (energy(t, w, x), 0.5 * square(p))
    }
}

each_isa! {
    fn energy_of(t: Terms, w: usize, x: &[f32]) -> f64 {
        energy(t, w, x)
    }
}

each_isa! {
    fn kinetic(p: &[f32]) -> f64 {
        0.5 * square(p)
    }
}

/// Grows a cluster of equal sign from a random site with the bonds' own probabilities, and flips it
/// (Wolff 1989). With |x| fixed a field is an Ising model, so this is exact when `field` is 0.
fn flip(t: Terms, w: usize, x: &mut [f32], rng: &mut Sequence, edge: &mut Vec<u32>) {
    let n = x.len();
    let start = rng.below(n);
    let sign = x[start].signum();
    x[start] = -x[start];
    edge.clear();
    edge.push(start as u32);
    while let Some(site) = edge.pop() {
        let site = site as usize;
        let (row, column) = (site - site % w, site % w);
        let up = if row == 0 { n - w } else { row - w };
        let down = if row + w == n { 0 } else { row + w };
        let left = if column == 0 { w - 1 } else { column - 1 };
        let right = if column + 1 == w { 0 } else { column + 1 };
        let size = 2.0 * t.near * x[site].abs();
        for other in [up + column, down + column, row + left, row + right] {
            let v = x[other];
            if v * sign > 0.0 && rng.uniform() >= crate::vector::exp(-size * v.abs()) {
                x[other] = -v;
                edge.push(other as u32);
            }
        }
    }
}

/// `moves.sweeps` sweeps of one chain `x (h, w)`.
pub fn sweeps(
    t: Terms,
    w: usize,
    moves: Moves,
    at: Counter,
    x: &mut [f32],
    s: &mut Scratch,
) -> Report {
    let n = x.len();
    s.p.resize(n, 0.0);
    s.y.resize(n, 0.0);
    s.words.resize(2 * n, 0.0);
    let mut report = Report {
        energy: energy_of(t, w, x),
        ..Report::default()
    };
    for i in 0..moves.sweeps {
        let here = if i == 0 { at } else { at.fork(15 + i as u32) };
        if moves.integration_steps > 0 {
            normals(here, &mut s.p, &mut s.words);
            let spread = moves.jitter * (2.0 * here.fork(6).uniform() - 1.0);
            let count = (moves.integration_steps as f32 * (1.0 + spread))
                .round_ties_even()
                .max(1.0) as usize;
            s.y.copy_from_slice(x);
            let before = report.energy + kinetic(&s.p);
            let (there, left) = leapfrog(t, w, moves.step_size, count, &mut s.y, &mut s.p);
            report.log_ratio = before - there - left;
            if (here.fork(5).uniform() as f64).ln() < report.log_ratio {
                x.copy_from_slice(&s.y);
                report.energy = there;
                report.accepted += 1.0;
            }
        }
        if moves.cluster_updates > 0 {
            let mut rng = Sequence::of(here.fork(7));
            for _ in 0..moves.cluster_updates {
                flip(t, w, x, &mut rng, &mut s.edge);
            }
            if t.near != 0.0 {
                report.energy = energy_of(t, w, x);
            }
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHI4: Terms = Terms {
        near: 0.65,
        own: 0.0,
        cubic: 2.0,
        field: 0.1,
    };

    #[test]
    fn the_force_is_minus_the_slope_of_the_energy() {
        for (h, w) in [(1, 1), (2, 2), (3, 5), (4, 17)] {
            let at = Counter {
                seed: 1,
                sample: 0,
                step: 0,
                stream: 0,
            };
            let (mut x, mut words) = (vec![0f32; h * w], vec![0f32; 2 * h * w]);
            normals(at, &mut x, &mut words);
            let mut force = vec![0f32; h * w];
            kick(PHI4, 1.0, w, &x, &mut force);
            for i in 0..h * w {
                let (mut up, mut down) = (x.clone(), x.clone());
                up[i] += 0.01;
                down[i] -= 0.01;
                let slope = (energy(PHI4, w, &up) - energy(PHI4, w, &down)) / 0.02;
                assert!(
                    (slope + force[i] as f64).abs() < 5e-3,
                    "{h} x {w}: {slope} {}",
                    force[i]
                );
            }
        }
    }

    #[test]
    fn a_trajectory_runs_back_to_where_it_began() {
        let at = Counter {
            seed: 2,
            sample: 0,
            step: 0,
            stream: 0,
        };
        let (mut x, mut p, mut words) = (vec![0f32; 64], vec![0f32; 64], vec![0f32; 128]);
        normals(at, &mut x, &mut words);
        normals(at.fork(1), &mut p, &mut words);
        let start = x.clone();
        leapfrog(PHI4, 8, 0.1, 20, &mut x, &mut p);
        p.iter_mut().for_each(|p| *p = -*p);
        leapfrog(PHI4, 8, 0.1, 20, &mut x, &mut p);
        assert!(x.iter().zip(&start).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}
