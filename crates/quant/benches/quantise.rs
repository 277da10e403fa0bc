//! Speed of the quantisers, one thread, beside the floor of docs/performance.md, "Quantising":
//! `cargo bench -p ds4-quant --bench quantise -- [FILTER]`.
//!
//! Weights are normally distributed, a band of the size that `ds4 quantize` gives a thread. Rounds alternate between the rate at which this core
//! does multiply-adds and the formats, so that both meet the same disturbances; each figure is the best of its rounds.

use ds4_quant::{Format, quantize};
use std::hint::black_box;
use std::time::Instant;

/// Columns of a row.
const COLS: usize = 4096;
/// 1 MB of f32.
const WEIGHTS: usize = 1 << 18;
const ROUNDS: usize = 9;
/// Operations on a lane for a weight of Q2_K or Q4_K: 37 ranges of 9, the first one of 8, 9 neighbours of 9, sums 6, codes 5, weights 5.
const AFFINE: f64 = 37.0 * 9.0 + 8.0 + 9.0 * 9.0 + 6.0 + 5.0 + 5.0;
/// For a weight of IQ2_XXS, of which eight have 256 points: 2 to fill in a point and element, 4 a point and each of 16 scales, 9 and 13 trials of
/// 8 and 3, 3 errors of 3, weights and signs 12.
const LATTICE: f64 = 256.0 * 2.0 + 16.0 * 256.0 * 4.0 / 8.0 + 9.0 * 8.0 + 13.0 * 3.0 + 3.0 * 3.0 + 12.0;

/// Chains of multiply-adds that do not wait for one another.
const CHAINS: usize = 12;

/// Multiply-adds that this core does a second, with its widest vectors; a plain count elsewhere.
fn multiply_adds(steps: usize) -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the feature is there.
            let time = seconds(|| unsafe { x86::avx512(steps) });
            return (steps * CHAINS * 16) as f64 / time;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the features are there.
            let time = seconds(|| unsafe { x86::avx2(steps) });
            return (steps * CHAINS * 8) as f64 / time;
        }
    }
    let mut sums = black_box([[1.0f32; 4]; CHAINS]);
    let time = seconds(|| {
        for _ in 0..steps {
            sums.iter_mut().flatten().for_each(|sum| *sum = sum.mul_add(0.999, 0.001));
        }
        black_box(&sums);
    });
    (steps * CHAINS * 4) as f64 / time
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::CHAINS;
    use std::arch::x86_64::*;
    use std::hint::black_box;

    #[target_feature(enable = "avx512f")]
    pub unsafe fn avx512(steps: usize) {
        let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
        let mut sums = [b; CHAINS];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, a, b);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn avx2(steps: usize) {
        let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
        let mut sums = [b; CHAINS];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, a, b);
            }
        }
        black_box(sums);
    }
}

/// Deterministic, roughly normal values: sums of twelve uniform ones.
fn gaussian(len: usize) -> Vec<f32> {
    let mut seed = 1u64;
    let mut uniform = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1 << 24) as f32
    };
    (0..len).map(|_| 0.02 * ((0..12).map(|_| uniform()).sum::<f32>() - 6.0)).collect()
}

fn seconds(f: impl FnOnce()) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_secs_f64()
}

struct Line {
    format: Format,
    weighted: bool,
    /// Operations on one lane for each weight that the search cannot do without.
    operations: f64,
    best: f64,
}

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default().to_lowercase();
    let x = gaussian(WEIGHTS);
    let importance: Vec<f32> = gaussian(COLS).iter().map(|q| q * q).collect();
    let mut lines: Vec<Line> = [
        (Format::Q8_0, false, 9.0),
        (Format::Q2K, false, AFFINE),
        (Format::Q2K, true, AFFINE),
        (Format::Q4K, false, AFFINE),
        (Format::Q4K, true, AFFINE),
        (Format::Iq2Xxs, false, LATTICE),
        (Format::Iq2Xxs, true, LATTICE),
    ]
    .into_iter()
    .filter(|(format, ..)| format.name().to_lowercase().contains(&filter))
    .map(|(format, weighted, operations)| Line { format, weighted, operations, best: f64::INFINITY })
    .collect();
    let mut issue: f64 = 0.0;
    for _ in 0..ROUNDS {
        issue = issue.max(multiply_adds(1 << 21));
        for line in &mut lines {
            let mut out = vec![0; line.format.row_bytes(WEIGHTS).unwrap_or(0)];
            let q = line.weighted.then_some(&importance[..]);
            let time = seconds(|| quantize(line.format, black_box(&x), q, &mut out).expect("finite weights"));
            line.best = line.best.min(time);
        }
    }
    println!("multiply-adds: {:.1} G lanes/s", issue / 1e9);
    println!(
        "{:<8} {:>6} {:>12} {:>12} {:>12} {:>6}",
        "format", "matrix", "M weights/s", "operations", "floor", "share"
    );
    for Line { format, weighted, operations, best } in lines {
        let (rate, floor) = (WEIGHTS as f64 / best, issue / operations);
        let matrix = if weighted { "yes" } else { "no" };
        println!(
            "{:<8} {matrix:>6} {:>12.2} {operations:>12.1} {:>12.2} {:>6.3}",
            format.name(),
            rate / 1e6,
            floor / 1e6,
            rate / floor
        );
    }
}
