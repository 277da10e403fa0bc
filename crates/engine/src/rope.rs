//! Rotary embedding on the last `R` dims of a head, consecutive pairs (`spec/model.md` §5).

use crate::config::{Config, LayerKind, RopeConfig};
use std::f64::consts::PI;

/// Frequencies of one kind of layer, one a pair: single-precision values, held in f64.
#[derive(Clone, Debug)]
pub struct Rope {
    family: usize,
    frequencies: Vec<f64>,
}

impl Rope {
    /// The frequencies that layers of `kind` use: plain for sliding layers, YaRN-interpolated for the others.
    pub fn new(config: &Config, kind: LayerKind) -> Self {
        let (r, c) = (config.rot, &config.rope);
        let (family, mut frequencies) = match kind {
            LayerKind::Sliding => (0, plain(c.base, r)),
            LayerKind::Csa | LayerKind::Hca => (1, yarn(c, r)),
        };
        // The model was trained with single-precision frequencies; only their product with the position is exact here.
        frequencies.iter_mut().for_each(|f| *f = f64::from(*f as f32));
        Self { family, frequencies }
    }

    /// Which of the two it is: 0 that of sliding layers, 1 that of compressed ones.
    pub fn family(&self) -> usize {
        self.family
    }

    /// Rotated dims.
    pub fn dims(&self) -> usize {
        2 * self.frequencies.len()
    }

    /// `(cos θ_k, sin θ_k)` for every pair at `position`. The angle is reduced in f64, so long contexts stay exact.
    pub fn table(&self, position: usize) -> Vec<(f32, f32)> {
        let angle = |f: &f64| {
            let (sin, cos) = (position as f64 * f).sin_cos();
            (cos as f32, sin as f32)
        };
        self.frequencies.iter().map(angle).collect()
    }
}

/// Rotates the pairs of `tail` by `table`.
#[inline]
pub fn rotate(tail: &mut [f32], table: &[(f32, f32)]) {
    for (pair, (cos, sin)) in tail.chunks_exact_mut(2).zip(table) {
        (pair[0], pair[1]) = (pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos);
    }
}

/// Undoes [`rotate`].
#[inline]
pub fn rotate_back(tail: &mut [f32], table: &[(f32, f32)]) {
    for (pair, (cos, sin)) in tail.chunks_exact_mut(2).zip(table) {
        (pair[0], pair[1]) = (pair[0] * cos + pair[1] * sin, pair[1] * cos - pair[0] * sin);
    }
}

fn plain(base: f64, dims: usize) -> Vec<f64> {
    (0..dims / 2).map(|k| base.powf(-2.0 * k as f64 / dims as f64)).collect()
}

fn yarn(c: &RopeConfig, dims: usize) -> Vec<f64> {
    let bound = |beta: f64| dims as f64 * (c.original_context / (beta * 2.0 * PI)).ln() / (2.0 * c.compress_base.ln());
    let low = bound(c.beta_fast).floor().max(0.0);
    let high = bound(c.beta_slow).ceil().min(dims as f64 - 1.0);
    let span = (high - low).max(0.001);
    let blend = |(k, f): (usize, f64)| {
        let keep = 1.0 - ((k as f64 - low) / span).clamp(0.0, 1.0);
        f / c.factor * (1.0 - keep) + f * keep
    };
    plain(c.compress_base, dims).into_iter().enumerate().map(blend).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published() -> RopeConfig {
        RopeConfig {
            base: 10000.0,
            compress_base: 160_000.0,
            factor: 16.0,
            original_context: 65536.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
        }
    }

    #[test]
    fn yarn_keeps_the_first_sixteen_pairs_and_divides_from_the_twenty_fifth() {
        let (all, base) = (yarn(&published(), 64), plain(160_000.0, 64));
        for k in 0..32 {
            let ratio = all[k] / base[k];
            match k {
                0..=15 => assert_eq!(ratio, 1.0, "pair {k}"),
                25.. => assert!((ratio - 1.0 / 16.0).abs() < 1e-12, "pair {k}"),
                _ => assert!(ratio < 1.0 && ratio > 1.0 / 16.0, "pair {k}"),
            }
        }
    }

    #[test]
    fn rotating_and_back_restores_the_vector() {
        let rope = Rope { family: 1, frequencies: yarn(&published(), 64) };
        for position in [0, 1, 1000, 1 << 20] {
            let table = rope.table(position);
            let start: Vec<f32> = (0..64).map(|i| (i as f32 * 0.37).sin()).collect();
            let mut v = start.clone();
            rotate(&mut v, &table);
            rotate_back(&mut v, &table);
            for (a, b) in v.iter().zip(&start) {
                assert!((a - b).abs() < 1e-6);
            }
        }
    }
}
