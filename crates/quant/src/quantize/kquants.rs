//! Q2_K, Q4_K, Q5_K: scale and minimum per group; Q6_K: signed scale per group.

use super::fit::{self, AffineSearch, Metric};
use super::{Overflow, Search, finite, weights};
use crate::layout::{Q2K, Q4K, Q5K, Q6K, QK};
use half::f16;

/// How one affine format is fitted.
struct Rule {
    /// Largest stored scale and minimum.
    scale_max: f32,
    plain: AffineSearch,
    weighted: AffineSearch,
}

const Q2_K: Rule = Rule {
    scale_max: 15.0,
    plain: AffineSearch { code_max: 3.0, first: -0.5, step: 0.1, last: 15, metric: Metric::Absolute },
    weighted: weighted_search(3.0),
};

const Q4_K: Rule = Rule {
    scale_max: 63.0,
    plain: AffineSearch { code_max: 15.0, first: -1.0, step: 0.1, last: 20, metric: Metric::Squared },
    weighted: weighted_search(15.0),
};

const Q5_K: Rule = Rule {
    scale_max: 63.0,
    plain: AffineSearch { code_max: 31.0, first: -1.0, step: 0.1, last: 20, metric: Metric::Squared },
    weighted: weighted_search(31.0),
};

const fn weighted_search(code_max: f32) -> AffineSearch {
    AffineSearch { code_max, first: -0.9, step: 0.05, last: 36, metric: Metric::Squared }
}

#[derive(Clone, Copy)]
pub(super) struct SearchQ2K;

impl Search<{ Q2K::BYTES }> for SearchQ2K {
    #[inline(always)]
    fn store(
        &self,
        x: &[f32; QK],
        importance: Option<&[f32; QK]>,
        block: &mut [u8; Q2K::BYTES],
    ) -> Result<(), Overflow> {
        let w = match importance {
            Some(q) => weights::from_importance(x, q, weights::mean_square(x)),
            None => weights::normalised(&fit::mapped(x, f32::abs)),
        };
        let fit = affine::<16, 16>(x, &w, importance.is_some(), &Q2_K)?;
        let fields = Q2K { d: fit.d, dmin: fit.dmin, scales: fit.scales, mins: fit.mins, codes: fit.codes };
        fields.pack(block);
        Ok(())
    }
}

#[derive(Clone, Copy)]
pub(super) struct SearchQ4K;

impl Search<{ Q4K::BYTES }> for SearchQ4K {
    #[inline(always)]
    fn store(
        &self,
        x: &[f32; QK],
        importance: Option<&[f32; QK]>,
        block: &mut [u8; Q4K::BYTES],
    ) -> Result<(), Overflow> {
        let w = weights_by_32(x, importance);
        let fit = affine::<8, 32>(x, &w, importance.is_some(), &Q4_K)?;
        let fields = Q4K { d: fit.d, dmin: fit.dmin, scales: fit.scales, mins: fit.mins, codes: fit.codes };
        fields.pack(block);
        Ok(())
    }
}

#[derive(Clone, Copy)]
pub(super) struct SearchQ5K;

impl Search<{ Q5K::BYTES }> for SearchQ5K {
    #[inline(always)]
    fn store(
        &self,
        x: &[f32; QK],
        importance: Option<&[f32; QK]>,
        block: &mut [u8; Q5K::BYTES],
    ) -> Result<(), Overflow> {
        let w = weights_by_32(x, importance);
        let fit = affine::<8, 32>(x, &w, importance.is_some(), &Q5_K)?;
        let fields = Q5K { d: fit.d, dmin: fit.dmin, scales: fit.scales, mins: fit.mins, codes: fit.codes };
        fields.pack(block);
        Ok(())
    }
}

#[derive(Clone, Copy)]
pub(super) struct SearchQ6K;

impl Search<{ Q6K::BYTES }> for SearchQ6K {
    #[inline(always)]
    fn store(
        &self,
        x: &[f32; QK],
        importance: Option<&[f32; QK]>,
        block: &mut [u8; Q6K::BYTES],
    ) -> Result<(), Overflow> {
        let w = match importance {
            // Codes this fine need no preference for large weights.
            Some(q) => weights::normalised(q),
            None => plain_weights(x),
        };
        let (x_groups, w_groups) = (x.as_chunks::<16>().0, w.as_chunks::<16>().0);
        let scales: [f32; 16] = std::array::from_fn(|g| fit::symmetric(&x_groups[g], &w_groups[g], 32.0));
        // Like the codes, the stored scales reach one further down than up.
        let extreme = scales.into_iter().fold(0.0, |m: f32, s| if s.abs() > m.abs() { s } else { m });
        let d = finite(f16::from_f32(-extreme / 128.0))?;
        let mut fields = Q6K { d, scales: [0; 16], codes: [32; QK] };
        let d = d.to_f32();
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        for (g, stored) in fields.codes.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let (x, w) = (&x_groups[g], &w_groups[g]);
            let nearest = fit::round((scales[g] * inverse).clamp(-128.0, 127.0));
            let mut least = f32::INFINITY;
            for scale in fit::around(nearest, -128.0, 127.0) {
                let step = d * scale;
                let inverse = if step == 0.0 { 0.0 } else { 1.0 / step };
                let codes = fit::mapped(x, |x| fit::round_code(x * inverse + 32.0, 63.0));
                let error = Metric::Squared.sum(w, |i| step * (codes[i] - 32.0) - x[i]);
                if error < least {
                    least = error;
                    fields.scales[g] = scale as i8;
                    store_codes(&codes, stored);
                }
            }
        }
        fields.pack(block);
        Ok(())
    }
}

/// `q·sqrt(2·mean x² of the block + x²)`, or [`plain_weights`].
#[inline(always)]
fn weights_by_32(x: &[f32; QK], importance: Option<&[f32; QK]>) -> [f32; QK] {
    match importance {
        Some(q) => weights::from_importance(x, q, 2.0 * weights::mean_square(x)),
        None => plain_weights(x),
    }
}

/// `sqrt(mean x² of the 32 weights) + |x|`
#[inline(always)]
fn plain_weights(x: &[f32; QK]) -> [f32; QK] {
    let mut w = [0.0; QK];
    for (w, x) in w.as_chunks_mut::<32>().0.iter_mut().zip(x.as_chunks().0) {
        let rms = weights::mean_square(x).sqrt();
        *w = fit::mapped(x, |x: f32| rms + x.abs());
    }
    weights::normalised(&w)
}

#[inline(always)]
fn store_codes<const N: usize>(codes: &[f32; N], stored: &mut [u8; N]) {
    for (stored, code) in stored.iter_mut().zip(codes) {
        *stored = *code as u8;
    }
}

/// A block of `G` groups with `x ≈ d·scale·code − dmin·min`.
struct AffineFit<const G: usize> {
    d: f16,
    dmin: f16,
    scales: [u8; G],
    mins: [u8; G],
    codes: [u8; QK],
}

/// Fits `G` groups of `N` weights, rounds their scales and minima to the stored integers, then takes
/// the nearest codes with what is really stored, trying neighbouring integers as well: rounding
/// scale, minimum and codes one after the other is seldom the best of all.
#[inline(always)]
fn affine<const G: usize, const N: usize>(
    x: &[f32; QK],
    w: &[f32; QK],
    weighted: bool,
    rule: &Rule,
) -> Result<AffineFit<G>, Overflow> {
    const { assert!(G * N == QK) };
    let search = if weighted { &rule.weighted } else { &rule.plain };
    let (x, w) = (x.as_chunks::<N>().0, w.as_chunks::<N>().0);
    let (mut scales, mut mins) = ([0.0; G], [0.0; G]);
    for g in 0..G {
        (scales[g], mins[g]) = fit::affine(&x[g], &w[g], search);
    }
    let round_all = |values: &[f32; G]| {
        if weighted {
            let group_weights = std::array::from_fn(|g| w[g].iter().sum());
            fit::positive(values, &group_weights, rule.scale_max)
        } else {
            spread(values, rule.scale_max)
        }
    };
    let (d, scales) = round_all(&scales);
    let (dmin, mins) = round_all(&mins);
    let mut fit = AffineFit {
        d: finite(f16::from_f32(d))?,
        dmin: finite(f16::from_f32(dmin))?,
        scales: scales.map(|s| s as u8),
        mins: mins.map(|m| m as u8),
        codes: [0; QK],
    };
    let (d, dmin) = (fit.d.to_f32(), fit.dmin.to_f32());
    for (g, stored) in fit.codes.as_chunks_mut::<N>().0.iter_mut().enumerate() {
        let mut least = f32::INFINITY;
        for scale in fit::around(scales[g], 0.0, rule.scale_max) {
            for min in fit::around(mins[g], 0.0, rule.scale_max) {
                let (step, offset) = (d * scale, dmin * min);
                let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
                let codes = fit::mapped(&x[g], |x| fit::round_code((x + offset) * inverse, search.code_max));
                let error = search.metric.sum(&w[g], |i| step * codes[i] - offset - x[g][i]);
                if error < least {
                    least = error;
                    (fit.scales[g], fit.mins[g]) = (scale as u8, min as u8);
                    store_codes(&codes, stored);
                }
            }
        }
    }
    Ok(fit)
}

/// Integers 0…`max` that divide the range from 0 to the largest value evenly, and their unit.
#[inline(always)]
fn spread<const G: usize>(values: &[f32; G], max: f32) -> (f32, [f32; G]) {
    let hi = values.iter().copied().fold(0.0, f32::max);
    if hi == 0.0 {
        return (0.0, [0.0; G]);
    }
    (hi / max, values.map(|v| fit::round_code(v * (max / hi), max)))
}
