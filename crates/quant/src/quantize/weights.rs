//! How much each weight's error counts in the searches of one block.

use super::fit;
use crate::layout::QK;

/// Smallest error weight in a block, relative to its largest.
///
/// Without a floor, weights in columns that calibration never saw would be stored as anything at
/// all, and a group of them would have no best scale.
const FLOOR: f32 = 1e-6;

/// Mean of `x²`.
#[inline(always)]
pub(super) fn mean_square(x: &[f32]) -> f32 {
    x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32
}

/// `q·sqrt(base + x²)`, the weight of spec/quants.md §5 for importance q.
#[inline(always)]
pub(super) fn from_importance(x: &[f32; QK], importance: &[f32; QK], base: f32) -> [f32; QK] {
    // Normalised before and after, so that no importance scale can overflow or vanish.
    let q = normalised(importance);
    let mut w = [0.0; QK];
    for i in 0..QK {
        w[i] = q[i] * (base + x[i] * x[i]).sqrt();
    }
    normalised(&w)
}

/// Scales weights to a maximum of 1 and lifts them to [`FLOOR`]. All zero counts as all equal.
#[inline(always)]
pub(super) fn normalised(weights: &[f32; QK]) -> [f32; QK] {
    let max = weights.iter().copied().fold(0.0, f32::max);
    if max == 0.0 {
        return [1.0; QK];
    }
    fit::mapped(weights, |w| (w / max).max(FLOOR))
}
