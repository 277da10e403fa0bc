//! Scale searches on one group of values x with error weights w.
//!
//! Codes are whole numbers kept as f32. For fixed codes l the best scale is the least-squares one,
//! so every search tries code vectors and compares what they leave over.

use super::lanes::{LANES, Lanes, Proof};
use crate::activation::ROUNDING_SHIFT;

/// What a fit with `x ≈ scale·l − min` tries (fit A of spec/quants.md §5).
pub(super) struct AffineSearch {
    /// Largest code.
    pub code_max: f32,
    /// Candidate t maps the range of x to `code_max + first + step·t` codes.
    pub first: f32,
    /// See `first`.
    pub step: f32,
    /// Candidates t = 0…last.
    pub last: u16,
}

/// Codes `round((x + offset)·inverse)` in 0…code_max, of a group in each lane; 0 for NaN, which a group of equal values can give.
#[derive(Clone, Copy)]
struct Rounding<V> {
    inverse: V,
    /// `offset·inverse`
    start: V,
    shift: V,
    /// `shift + code_max`
    last: V,
}

impl<V: Lanes> Rounding<V> {
    #[inline(always)]
    fn new(proof: Proof<V>, inverse: V, offset: V, code_max: f32) -> Self {
        let shift = V::splat(proof, ROUNDING_SHIFT);
        Self { inverse, start: offset.mul(inverse), shift, last: V::splat(proof, ROUNDING_SHIFT + code_max) }
    }

    #[inline(always)]
    fn code(self, x: V) -> V {
        // Limited while shifted: beyond the shift's reach every number is outside of the codes.
        x.mul_add(self.inverse, self.start).add(self.shift).max(self.shift).min(self.last).sub(self.shift)
    }
}

/// Scale and minimum (both ≥ 0) with `x ≈ scale·l − min` for codes l in 0…code_max, the weighted squared error being the least, and `Σ w`; a
/// group of N in each lane.
#[inline(always)]
pub(super) fn affine<V: Lanes, const N: usize>(
    proof: Proof<V>,
    x: &[[f32; LANES]; N],
    w: &[[f32; LANES]; N],
    search: &AffineSearch,
) -> (V, V, V) {
    let (zero, code_max) = (V::splat(proof, 0.0), V::splat(proof, search.code_max));
    let (mut lo, mut hi) = (zero, V::splat(proof, f32::NEG_INFINITY));
    let (mut sum_w, mut sum_wx, mut sum_wxx) = (zero, zero, zero);
    let mut wx = [[0.0; LANES]; N];
    for i in 0..N {
        let (x, w) = (V::load(proof, &x[i]), V::load(proof, &w[i]));
        (lo, hi) = (x.min(lo), x.max(hi));
        let product = w.mul(x);
        product.store(&mut wx[i]);
        (sum_w, sum_wx, sum_wxx) = (sum_w.add(w), sum_wx.add(product), product.mul_add(x, sum_wxx));
    }
    let range = hi.sub(lo);
    // Counting from the best minimum so far, not always from lo, finds better minima.
    let (mut scale, mut offset) = (range.div(code_max), lo);
    let rounding = Rounding::new(proof, code_max.div(range), zero.sub(lo), search.code_max);
    let mut least = zero;
    for i in 0..N {
        let (x, w) = (V::load(proof, &x[i]), V::load(proof, &w[i]));
        let difference = rounding.code(x).mul_add(scale, offset.sub(x));
        least = w.mul(difference).mul_add(difference, least);
    }
    for t in 0..=search.last {
        let codes = V::splat(proof, search.first + search.step * f32::from(t) + search.code_max);
        let rounding = Rounding::new(proof, codes.div(hi.sub(offset)), zero.sub(offset), search.code_max);
        // Two sums of each, so that one addition need not wait for the one before it.
        let (mut sum_wl, mut sum_wll, mut sum_wxl) = ([zero; 2], [zero; 2], [zero; 2]);
        for i in 0..N {
            let code = rounding.code(V::load(proof, &x[i]));
            let product = V::load(proof, &w[i]).mul(code);
            sum_wl[i % 2] = sum_wl[i % 2].add(product);
            sum_wll[i % 2] = product.mul_add(code, sum_wll[i % 2]);
            sum_wxl[i % 2] = V::load(proof, &wx[i]).mul_add(code, sum_wxl[i % 2]);
        }
        let sum = |[a, b]: [V; 2]| a.add(b);
        let (sum_wl, sum_wll, sum_wxl) = (sum(sum_wl), sum(sum_wll), sum(sum_wxl));
        let determinant = sum_w.mul(sum_wll).sub(sum_wl.mul(sum_wl));
        let s = sum_w.mul(sum_wxl).sub(sum_wx.mul(sum_wl)).div(determinant);
        let m = sum_wll.mul(sum_wx).sub(sum_wl.mul(sum_wxl)).div(determinant);
        // The format subtracts a minimum and cannot add one.
        let adds = zero.less(m);
        let (s, m) = (V::select(adds, sum_wxl.div(sum_wll), s), V::select(adds, zero, m));
        // What the best scale and minimum for these codes leave over.
        let error = sum_wxx.sub(s.mul(sum_wxl)).sub(m.mul(sum_wx));
        // Equal codes have no determinant.
        let error = V::select(zero.less(determinant), error, V::splat(proof, f32::INFINITY));
        let better = error.less(least);
        least = V::select(better, error, least);
        scale = V::select(better, s, scale);
        offset = V::select(better, m, offset);
    }
    let is_range = lo.less(hi);
    (V::select(is_range, scale, zero), zero.sub(V::select(is_range, offset, lo)), sum_w)
}

/// Codes of N values in each lane, for [`affine`]'s scales and minima as they are stored.
#[inline(always)]
pub(super) fn affine_codes<V: Lanes, const N: usize>(
    proof: Proof<V>,
    x: &[[f32; LANES]; N],
    (step, offset): (V, V),
    code_max: f32,
    codes: &mut [[f32; LANES]; N],
) {
    let zero = V::splat(proof, 0.0);
    let inverse = V::select(zero.less(step), V::splat(proof, 1.0).div(step), zero);
    let rounding = Rounding::new(proof, inverse, offset, code_max);
    for (x, code) in x.iter().zip(codes) {
        rounding.code(V::load(proof, x)).store(code);
    }
}

/// Of the stored scales and minima near `nearest` those with the least weighted squared error, for the units `d` and `dmin`: rounding scale,
/// minimum and codes one after the other is seldom the best of all.
#[inline(always)]
pub(super) fn affine_near<V: Lanes, const N: usize>(
    proof: Proof<V>,
    x: &[[f32; LANES]; N],
    w: &[[f32; LANES]; N],
    nearest: (V, V),
    (d, dmin): (V, V),
    (scale_max, code_max): (f32, f32),
) -> (V, V) {
    let (zero, max) = (V::splat(proof, 0.0), V::splat(proof, scale_max));
    let mut best = nearest;
    let mut least = V::splat(proof, f32::INFINITY);
    for by_scale in [0.0, -1.0, 1.0] {
        for by_min in [0.0, -1.0, 1.0] {
            // Outside of the range is the border once more, which is not better than itself.
            let scale = nearest.0.add(V::splat(proof, by_scale)).max(zero).min(max);
            let min = nearest.1.add(V::splat(proof, by_min)).max(zero).min(max);
            let (step, offset) = (d.mul(scale), dmin.mul(min));
            let inverse = V::select(zero.less(step), V::splat(proof, 1.0).div(step), zero);
            let rounding = Rounding::new(proof, inverse, offset, code_max);
            let mut errors = [zero; 2];
            for i in 0..N {
                let x = V::load(proof, &x[i]);
                let difference = rounding.code(x).mul_add(step, zero.sub(x.add(offset)));
                errors[i % 2] = V::load(proof, &w[i]).mul(difference).mul_add(difference, errors[i % 2]);
            }
            let error = errors[0].add(errors[1]);
            let better = error.less(least);
            least = V::select(better, error, least);
            best = (V::select(better, scale, best.0), V::select(better, min, best.1));
        }
    }
    best
}

/// Scale and codes with `x ≈ scale·l`, for codes l in 0…code_max (fit B of spec/quants.md §5), a group of N in each lane.
/// Negative values get code 0.
#[inline(always)]
pub(super) fn positive<V: Lanes, const N: usize>(
    proof: Proof<V>,
    x: &[[f32; LANES]; N],
    w: &[[f32; LANES]; N],
    code_max: f32,
    codes: &mut [[f32; LANES]; N],
) -> V {
    /// Sweeps over the codes; more than a few change nothing.
    const SWEEPS: usize = 5;

    let zero = V::splat(proof, 0.0);
    let mut hi = zero;
    for x in x {
        hi = V::load(proof, x).max(hi);
    }
    // Of two fractions, cross-multiplied. That codes explain nothing is `xl` = 0, with any `ll`.
    let explains_more = |xl: V, ll: V, than: (V, V)| than.0.mul(than.0).mul(ll).less(xl.mul(xl).mul(than.1));
    let (mut xl, mut ll, mut best) = (zero, V::splat(proof, 1.0), zero);
    let candidate = |t: f32| Rounding::new(proof, V::splat(proof, code_max + 0.1 * t).div(hi), zero, code_max);
    for t in -4i8..=4 {
        let rounding = candidate(t.into());
        let (mut candidate_xl, mut candidate_ll) = (zero, zero);
        for (x, w) in x.iter().zip(w) {
            let x = V::load(proof, x);
            let code = rounding.code(x);
            let product = V::load(proof, w).mul(code);
            (candidate_xl, candidate_ll) = (product.mul_add(x, candidate_xl), product.mul_add(code, candidate_ll));
        }
        let better = explains_more(candidate_xl, candidate_ll, (xl, ll));
        (xl, ll) = (V::select(better, candidate_xl, xl), V::select(better, candidate_ll, ll));
        best = V::select(better, rounding.inverse, best);
    }
    let rounding = Rounding::new(proof, best, zero, code_max);
    for (x, code) in x.iter().zip(&mut *codes) {
        rounding.code(V::load(proof, x)).store(code);
    }
    for _ in 0..SWEEPS {
        for ((x, w), code) in x.iter().zip(w).zip(&mut *codes) {
            let (x, w, before) = (V::load(proof, x), V::load(proof, w), V::load(proof, code));
            let product = w.mul(before);
            let (others_xl, others_ll) = (xl.sub(product.mul(x)), ll.sub(product.mul(before)));
            let rounding = Rounding::new(proof, others_ll.div(others_xl), zero, code_max);
            // Without the others there is no scale to go by: the code stays.
            let after = V::select(zero.less(others_xl.min(others_ll)), rounding.code(x), before);
            let product = w.mul(after);
            let (changed_xl, changed_ll) = (product.mul_add(x, others_xl), product.mul_add(after, others_ll));
            let better = explains_more(changed_xl, changed_ll, (xl, ll));
            V::select(better, after, before).store(code);
            (xl, ll) = (V::select(better, changed_xl, xl), V::select(better, changed_ll, ll));
        }
    }
    xl.div(ll)
}

/// Scale with `x ≈ scale·l` for codes l in 0…code_max: the start of a search. Negative values get code 0.
#[inline(always)]
pub(super) fn positive_scale<const N: usize>(x: &[f32; N], w: &[f32; N], code_max: f32) -> f32 {
    let hi = x.iter().copied().fold(0.0, |hi, x| if x > hi { x } else { hi });
    let mut best = Projection::NONE;
    for t in -4i8..=4 {
        let inverse = (code_max + 0.1 * f32::from(t)) / hi;
        let projection = Projection::of(x, w, &mapped(x, |x| round_code(x * inverse, code_max)));
        if projection.gain() > best.gain() {
            best = projection;
        }
    }
    best.scale()
}

/// Signed scale with `x ≈ scale·l` for codes l in −code_max…code_max − 1.
#[inline(always)]
pub(super) fn symmetric<const N: usize>(x: &[f32; N], w: &[f32; N], code_max: f32) -> f32 {
    let extreme = x.iter().copied().fold(0.0, |m: f32, x| if x.abs() > m.abs() { x } else { m });
    let mut best = Projection::NONE;
    for t in -9i8..=9 {
        // The code range reaches one further down than up, so the extreme goes to the bottom.
        let inverse = -(code_max + 0.1 * f32::from(t)) / extreme;
        let codes = mapped(x, |x| round(x * inverse).clamp(-code_max, code_max - 1.0));
        let projection = Projection::of(x, w, &codes);
        if projection.gain() > best.gain() {
            best = projection;
        }
    }
    best.scale()
}

/// Projection of x on the direction of the codes l: with the best scale, the weighted squared
/// error is `Σwx² − gain`.
#[derive(Clone, Copy)]
pub(super) struct Projection {
    /// `Σ w·x·l`
    pub xl: f32,
    /// `Σ w·l²`
    pub ll: f32,
}

impl Projection {
    pub const NONE: Self = Self { xl: 0.0, ll: 0.0 };

    #[inline(always)]
    pub fn of<const N: usize>(x: &[f32; N], w: &[f32; N], codes: &[f32; N]) -> Self {
        Self { xl: lane_sum::<N>(|i| w[i] * x[i] * codes[i]), ll: lane_sum::<N>(|i| w[i] * codes[i] * codes[i]) }
    }

    /// 0 when there is nothing to project on.
    #[inline(always)]
    pub fn gain(self) -> f32 {
        if self.ll > 0.0 { self.xl * self.xl / self.ll } else { 0.0 }
    }

    /// The best scale, 0 when there is nothing to project on.
    #[inline(always)]
    pub fn scale(self) -> f32 {
        if self.ll > 0.0 { self.xl / self.ll } else { 0.0 }
    }
}

/// A rounded scale and its neighbours inside the stored range.
#[inline(always)]
pub(super) fn around(nearest: f32, min: f32, max: f32) -> impl Iterator<Item = f32> {
    [nearest, nearest - 1.0, nearest + 1.0].into_iter().filter(move |scale| (min..=max).contains(scale))
}

/// Nearest whole number, ties to even, for `|x| < 2^22`.
#[inline(always)]
pub(super) fn round(x: f32) -> f32 {
    (x + ROUNDING_SHIFT) - ROUNDING_SHIFT
}

/// Nearest code in 0…code_max; 0 for NaN, which a group of vanishing values can give.
#[inline(always)]
pub(super) fn round_code(x: f32, code_max: f32) -> f32 {
    // Limited first: the rounding is for small numbers only. One instruction each, which `max`, `min` and `clamp` are not.
    let x = if x > 0.0 { x } else { 0.0 };
    round(if x < code_max { x } else { code_max })
}

/// `f` of each value. Unlike `map` of arrays, it is always compiled into the caller, with the caller's instruction set.
#[inline(always)]
pub(super) fn mapped<const N: usize>(x: &[f32; N], f: impl Fn(f32) -> f32) -> [f32; N] {
    let mut y = [0.0; N];
    for (y, x) in y.iter_mut().zip(x) {
        *y = f(*x);
    }
    y
}

/// `Σ w·difference²`
#[inline(always)]
pub(super) fn squares<const N: usize>(w: &[f32; N], difference: impl Fn(usize) -> f32) -> f32 {
    lane_sum::<N>(|i| w[i] * difference(i).powi(2))
}

/// `Σ term(i)` for i in 0…N−1, N a multiple of 8: eight partial sums, which the compiler can keep in
/// vector registers.
#[inline(always)]
pub(super) fn lane_sum<const N: usize>(term: impl Fn(usize) -> f32) -> f32 {
    const LANES: usize = 8;
    const { assert!(N.is_multiple_of(LANES)) };
    let mut lanes = [0.0; LANES];
    for start in (0..N).step_by(LANES) {
        for (j, lane) in lanes.iter_mut().enumerate() {
            *lane += term(start + j);
        }
    }
    // Halves of a vector are added in parallel.
    let pairs: [f32; 4] = [lanes[0] + lanes[4], lanes[1] + lanes[5], lanes[2] + lanes[6], lanes[3] + lanes[7]];
    (pairs[0] + pairs[2]) + (pairs[1] + pairs[3])
}

#[cfg(test)]
mod tests {
    use super::super::lanes::{LaneTask, on_all};
    use super::*;

    const SEARCH: AffineSearch = AffineSearch { code_max: 15.0, first: -1.0, step: 0.1, last: 20 };

    fn close(a: f32, b: f32) -> bool {
        (a - b).abs() <= 1e-5 * b.abs()
    }

    /// [`affine`] of one group in all lanes.
    struct Affine<'a, const N: usize>(&'a [f32; N]);

    impl<const N: usize> LaneTask for Affine<'_, N> {
        type Output = (f32, f32);

        #[inline(always)]
        fn run<V: Lanes>(self, proof: Proof<V>) -> (f32, f32) {
            let (scale, min, _) = affine::<V, N>(proof, &self.0.map(|x| [x; LANES]), &[[1.0; LANES]; N], &SEARCH);
            assert!(scale.to_array().iter().all(|s| *s == scale.to_array()[0]));
            (scale.to_array()[5], min.to_array()[5])
        }
    }

    fn affine_of<const N: usize>(x: &[f32; N]) -> (f32, f32) {
        let all = on_all(|| Affine(x));
        assert!(all.iter().all(|found| *found == all[0]), "{all:?}");
        all[0]
    }

    #[test]
    fn affine_recovers_values_made_of_codes() {
        let (scale, min) = affine_of::<32>(&std::array::from_fn(|i| 0.25 * (i * 7 % 16) as f32 - 1.1));
        assert!(close(scale, 0.25) && close(min, 1.1), "{scale} {min}");
    }

    #[test]
    fn affine_never_adds_a_minimum() {
        let (scale, min) = affine_of::<32>(&std::array::from_fn(|i| 5.0 + 0.01 * i as f32));
        assert!(scale > 0.0 && min == 0.0, "{scale} {min}");
    }

    #[test]
    fn affine_stores_a_constant_as_its_minimum() {
        assert_eq!(affine_of(&[-3.5; 16]), (0.0, 3.5));
        assert_eq!(affine_of(&[0.0; 16]), (0.0, 0.0));
    }

    /// [`positive`] of one group in all lanes.
    struct Positive<'a, const N: usize>(&'a [f32; N], &'a [f32; N], f32);

    impl<const N: usize> LaneTask for Positive<'_, N> {
        type Output = (f32, [f32; N]);

        #[inline(always)]
        fn run<V: Lanes>(self, proof: Proof<V>) -> (f32, [f32; N]) {
            let (x, w) = (self.0.map(|x| [x; LANES]), self.1.map(|w| [w; LANES]));
            let mut codes = [[0.0; LANES]; N];
            let scale = positive::<V, N>(proof, &x, &w, self.2, &mut codes);
            (scale.to_array()[9], codes.map(|code| code[9]))
        }
    }

    fn positive_of<const N: usize>(x: &[f32; N], w: &[f32; N], code_max: f32) -> (f32, [f32; N]) {
        let all = on_all(|| Positive(x, w, code_max));
        assert!(all.iter().all(|found| *found == all[0]), "{all:?}");
        all[0]
    }

    #[test]
    fn positive_recovers_codes_and_ignores_negative_values() {
        let mut x: [f32; 16] = std::array::from_fn(|i| 0.5 * i as f32);
        x[0] = -0.1;
        let (scale, codes) = positive_of(&x, &[1.0; 16], 15.0);
        assert!(close(scale, 0.5), "{scale}");
        assert_eq!(codes, std::array::from_fn(|i| i as f32));
        assert!(close(positive_scale(&x, &[1.0; 16], 15.0), 0.5));
        assert_eq!(positive_of(&[-1.0; 8], &[1.0; 8], 15.0), (0.0, [0.0; 8]));
    }

    #[test]
    fn positive_prefers_what_weighs_more() {
        // One code for 1.0 and 1.4: the scale follows the heavier one.
        let x: [f32; 8] = std::array::from_fn(|i| if i == 0 { 1.4 } else { 1.0 });
        let heavy_first: [f32; 8] = std::array::from_fn(|i| if i == 0 { 1000.0 } else { 1.0 });
        assert!(positive_of(&x, &heavy_first, 1.0).0 > 1.39);
        assert!(positive_of(&x, &[1.0; 8], 1.0).0 < 1.06);
    }

    #[test]
    fn positive_leaves_no_better_single_code() {
        for seed in 0..20u32 {
            let pick = |i: usize| ((i as u32 + 1) * (2 * seed + 7919) % 997) as f32;
            let x: [f32; 16] = std::array::from_fn(|i| 0.01 * pick(i));
            let w: [f32; 16] = std::array::from_fn(|i| (0.01 * pick(i + 16)).powi(3));
            let (_, codes) = positive_of(&x, &w, 15.0);
            let gain = Projection::of(&x, &w, &codes).gain();
            for i in 0..16 {
                for step in [-1.0, 1.0] {
                    let mut changed = codes;
                    changed[i] = (codes[i] + step).clamp(0.0, 15.0);
                    assert!(Projection::of(&x, &w, &changed).gain() <= 1.000001 * gain, "seed {seed}, code {i}");
                }
            }
        }
    }

    #[test]
    fn symmetric_puts_the_extreme_at_the_far_end() {
        // Codes −32…31 step 4 with scale 0.5 and, mirrored, −0.5.
        let x: [f32; 16] = std::array::from_fn(|i| 0.5 * (i as f32 * 4.0 - 32.0));
        assert!(close(symmetric(&x, &[1.0; 16], 32.0), 0.5));
        assert!(close(symmetric(&x.map(|x| -x), &[1.0; 16], 32.0), -0.5));
        assert_eq!(symmetric(&[0.0; 16], &[1.0; 16], 32.0), 0.0);
    }

    #[test]
    fn rounding_takes_even_neighbours_on_ties() {
        assert_eq!([0.5, 1.5, 2.5, -0.5, -1.5, 2.4].map(round), [0.0, 2.0, 2.0, 0.0, -2.0, 2.0]);
        assert_eq!([f32::NAN, f32::INFINITY, -1.0, 2.5].map(|x| round_code(x, 3.0)), [0.0, 3.0, 0.0, 2.0]);
    }
}
