//! How much each weight's error counts in the searches of a block.

use super::fit;
use super::lanes::{LANES, Lanes, Proof};
use crate::layout::QK;

/// Smallest error weight in a block, relative to its largest.
///
/// Without a floor, weights in columns that calibration never saw would be stored as anything at
/// all, and a group of them would have no best scale.
const FLOOR: f32 = 1e-6;

/// `q·sqrt(base·mean x² + x²)`, the weight of spec/quants.md §5 for importance q, a block in each lane.
#[inline(always)]
pub(super) fn of_blocks<V: Lanes>(
    proof: Proof<V>,
    x: &[[f32; LANES]; QK],
    importance: Option<&[[f32; LANES]; QK]>,
    base: f32,
    w: &mut [[f32; LANES]; QK],
) {
    let (zero, one) = (V::splat(proof, 0.0), V::splat(proof, 1.0));
    let mut squares = [zero; 4];
    for (i, x) in x.iter().enumerate() {
        let x = V::load(proof, x);
        squares[i % 4] = x.mul_add(x, squares[i % 4]);
    }
    let sum = squares[0].add(squares[1]).add(squares[2].add(squares[3]));
    let base = sum.mul(V::splat(proof, base / QK as f32));
    let root = |x: V| x.mul_add(x, base).sqrt();
    let mut most = zero;
    match importance {
        None => {
            for (w, x) in w.iter_mut().zip(x) {
                let weight = root(V::load(proof, x));
                most = weight.max(most);
                weight.store(w);
            }
        }
        // Normalised before and after, so that no importance scale can overflow or vanish.
        Some(q) => {
            let mut most_important = zero;
            for q in q {
                most_important = V::load(proof, q).max(most_important);
            }
            for ((w, x), q) in w.iter_mut().zip(x).zip(q) {
                let q = relative(proof, V::load(proof, q), most_important);
                let weight = q.mul(root(V::load(proof, x)));
                most = weight.max(most);
                weight.store(w);
            }
        }
    }
    let is_any = zero.less(most);
    let most = V::select(is_any, most, one);
    for w in w {
        let weight = V::select(is_any, V::load(proof, w), one);
        relative(proof, weight, most).store(w);
    }
}

/// `weight / most`, at least [`FLOOR`]; 1 if nothing has weight.
#[inline(always)]
fn relative<V: Lanes>(proof: Proof<V>, weight: V, most: V) -> V {
    let one = V::splat(proof, 1.0);
    V::select(V::splat(proof, 0.0).less(most), weight.div(most).max(V::splat(proof, FLOOR)), one)
}

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
