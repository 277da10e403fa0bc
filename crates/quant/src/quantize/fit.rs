//! Scale searches on one group of values x with error weights w.
//!
//! Codes are whole numbers kept as f32. For fixed codes l the best scale is the least-squares one,
//! so every search tries code vectors and compares what they leave over.

use crate::activation::ROUNDING_SHIFT;

/// What a fit with `x ≈ scale·l − min` tries, and how it compares (fit A of spec/quants.md §5).
pub(super) struct AffineSearch {
    /// Largest code.
    pub code_max: f32,
    /// Candidate t maps the range of x to `code_max + first + step·t` codes.
    pub first: f32,
    /// See `first`.
    pub step: f32,
    /// Candidates t = 0…last.
    pub last: u16,
    /// What is compared.
    pub metric: Metric,
}

/// What an error costs besides its weight.
#[derive(Clone, Copy)]
pub(super) enum Metric {
    Absolute,
    Squared,
}

impl Metric {
    /// `Σ w·cost(difference)`
    #[inline(always)]
    pub fn sum<const N: usize>(self, w: &[f32; N], difference: impl Fn(usize) -> f32) -> f32 {
        // The choice stays outside of the sum, which can then be vectorised.
        match self {
            Metric::Absolute => lane_sum::<N>(|i| w[i] * difference(i).abs()),
            Metric::Squared => lane_sum::<N>(|i| w[i] * difference(i).powi(2)),
        }
    }
}

/// Scale and minimum (both ≥ 0) with `x ≈ scale·l − min` for codes l in 0…code_max.
#[inline(always)]
pub(super) fn affine<const N: usize>(x: &[f32; N], w: &[f32; N], search: &AffineSearch) -> (f32, f32) {
    let lo = x.iter().copied().fold(0.0, f32::min);
    let hi = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if lo == hi {
        return (0.0, -lo);
    }
    // Counting from the best minimum so far, not always from lo, finds better minima.
    let codes_for = |range: f32, offset: f32| {
        let inverse = range / (hi - offset);
        mapped(x, |x| round_code((x - offset) * inverse, search.code_max))
    };
    let error = |codes: &[f32; N], scale: f32, offset: f32| search.metric.sum(w, |i| scale * codes[i] + offset - x[i]);

    let (mut scale, mut offset) = ((hi - lo) / search.code_max, lo);
    let mut least = error(&codes_for(search.code_max, lo), scale, offset);
    let sum_w = lane_sum::<N>(|i| w[i]);
    let sum_wx = lane_sum::<N>(|i| w[i] * x[i]);
    for t in 0..=search.last {
        let codes = codes_for(search.first + search.step * f32::from(t) + search.code_max, offset);
        let sum_wl = lane_sum::<N>(|i| w[i] * codes[i]);
        let sum_wll = lane_sum::<N>(|i| w[i] * codes[i] * codes[i]);
        let sum_wxl = lane_sum::<N>(|i| w[i] * x[i] * codes[i]);
        let determinant = sum_w * sum_wll - sum_wl * sum_wl;
        if determinant <= 0.0 {
            continue;
        }
        let mut s = (sum_w * sum_wxl - sum_wx * sum_wl) / determinant;
        let mut m = (sum_wll * sum_wx - sum_wl * sum_wxl) / determinant;
        if m > 0.0 {
            // The format subtracts a minimum and cannot add one.
            m = 0.0;
            s = sum_wxl / sum_wll;
        }
        let e = error(&codes, s, m);
        if e < least {
            (least, scale, offset) = (e, s, m);
        }
    }
    (scale, -offset)
}

/// Scale and codes with `x ≈ scale·l`, for codes l in 0…code_max (fit B of spec/quants.md §5).
/// Negative values get code 0.
#[inline(always)]
pub(super) fn positive<const N: usize>(x: &[f32; N], w: &[f32; N], code_max: f32) -> (f32, [f32; N]) {
    /// Sweeps over the codes; more than a few change nothing.
    const SWEEPS_MAX: usize = 5;

    let hi = x.iter().copied().fold(0.0, f32::max);
    let mut best = Projection::NONE;
    let mut codes = [0.0; N];
    for t in -4i8..=4 {
        let inverse = (code_max + 0.1 * f32::from(t)) / hi;
        let candidate = mapped(x, |x| round_code(x * inverse, code_max));
        let projection = Projection::of(x, w, &candidate);
        if projection.gain() > best.gain() {
            (best, codes) = (projection, candidate);
        }
    }
    for _ in 0..SWEEPS_MAX {
        let before = codes;
        for i in 0..N {
            let others = best.plus(-w[i], x[i], codes[i]);
            if others.xl <= 0.0 || others.ll <= 0.0 {
                continue;
            }
            let code = round_code(x[i] / others.scale(), code_max);
            let changed = others.plus(w[i], x[i], code);
            if code != codes[i] && changed.gain() > best.gain() {
                codes[i] = code;
                best = changed;
            }
        }
        if codes == before {
            break;
        }
    }
    (best.scale(), codes)
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

    #[inline(always)]
    fn plus(self, w: f32, x: f32, code: f32) -> Self {
        Self { xl: self.xl + w * x * code, ll: self.ll + w * code * code }
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
    // Limited first: the rounding is for small numbers only. `clamp` would let NaN through.
    round(x.max(0.0).min(code_max))
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
    use super::*;

    const SEARCH: AffineSearch =
        AffineSearch { code_max: 15.0, first: -1.0, step: 0.1, last: 20, metric: Metric::Squared };

    fn close(a: f32, b: f32) -> bool {
        (a - b).abs() <= 1e-5 * b.abs()
    }

    #[test]
    fn affine_recovers_values_made_of_codes() {
        let x: [f32; 32] = std::array::from_fn(|i| 0.25 * (i * 7 % 16) as f32 - 1.1);
        let (scale, min) = affine(&x, &[1.0; 32], &SEARCH);
        assert!(close(scale, 0.25) && close(min, 1.1), "{scale} {min}");
    }

    #[test]
    fn affine_never_adds_a_minimum() {
        let x: [f32; 32] = std::array::from_fn(|i| 5.0 + 0.01 * i as f32);
        let (scale, min) = affine(&x, &[1.0; 32], &SEARCH);
        assert!(scale > 0.0 && min == 0.0, "{scale} {min}");
    }

    #[test]
    fn affine_stores_a_constant_as_its_minimum() {
        assert_eq!(affine(&[-3.5; 16], &[1.0; 16], &SEARCH), (0.0, 3.5));
        assert_eq!(affine(&[0.0; 16], &[1.0; 16], &SEARCH), (0.0, 0.0));
    }

    #[test]
    fn positive_recovers_codes_and_ignores_negative_values() {
        let mut x: [f32; 16] = std::array::from_fn(|i| 0.5 * i as f32);
        x[0] = -0.1;
        let (scale, codes) = positive(&x, &[1.0; 16], 15.0);
        assert!(close(scale, 0.5), "{scale}");
        assert_eq!(codes, std::array::from_fn(|i| i as f32));
        assert_eq!(positive(&[-1.0; 8], &[1.0; 8], 15.0), (0.0, [0.0; 8]));
    }

    #[test]
    fn positive_prefers_what_weighs_more() {
        // One code for 1.0 and 1.4: the scale follows the heavier one.
        let x: [f32; 8] = std::array::from_fn(|i| if i == 0 { 1.4 } else { 1.0 });
        let heavy_first: [f32; 8] = std::array::from_fn(|i| if i == 0 { 1000.0 } else { 1.0 });
        assert!(positive(&x, &heavy_first, 1.0).0 > 1.39);
        assert!(positive(&x, &[1.0; 8], 1.0).0 < 1.06);
    }

    #[test]
    fn positive_leaves_no_better_single_code() {
        for seed in 0..20u32 {
            let pick = |i: usize| ((i as u32 + 1) * (2 * seed + 7919) % 997) as f32;
            let x: [f32; 16] = std::array::from_fn(|i| 0.01 * pick(i));
            let w: [f32; 16] = std::array::from_fn(|i| (0.01 * pick(i + 16)).powi(3));
            let (_, codes) = positive(&x, &w, 15.0);
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
