//! IQ2_XXS: signs, lattice points and scales per 32 weights (spec/quants.md §5).

use super::fit::{self, Projection};
use super::lanes::{LANES, LaneTask, Lanes, Proof};
use super::{MAX_MAGNITUDE, Overflow, finite, weights};
use crate::iq2_grid::GRID;
use crate::layout::{Iq2Xxs, QK};
use half::f16;
use std::sync::LazyLock;

/// Weights that share a scale.
const GROUP: usize = 32;
/// Groups in a block.
const GROUPS: usize = QK / GROUP;
/// Weights that share a lattice point.
const TUPLE: usize = 8;
/// Tuples in a group.
const TUPLES: usize = GROUP / TUPLE;
/// The lattice points of a group.
type Points = [u8; TUPLES];
/// Lattice points.
const POINTS: usize = 256;
/// Vectors of lattice points.
const CHUNKS: usize = POINTS / LANES;
/// Groups whose largest magnitude is below this are stored as zero scale.
const NEGLIGIBLE: f32 = 1e-15;

/// Stores blocks, with importance for the columns of a row; or the number of one that does not fit.
pub(super) struct Store<'a> {
    pub x: &'a [[f32; QK]],
    pub per_row: Option<&'a [[f32; QK]]>,
    pub out: &'a mut [[u8; Iq2Xxs::BYTES]],
}

impl LaneTask for Store<'_> {
    type Output = Result<(), usize>;

    #[inline(always)]
    fn run<V: Lanes>(self, proof: Proof<V>) -> Self::Output {
        let mut errors = vec![Errors::NONE; QK / TUPLE];
        for (n, (x, block)) in self.x.iter().zip(self.out).enumerate() {
            if x.iter().any(|x| x.abs() > MAX_MAGNITUDE) {
                return Err(n);
            }
            let importance = self.per_row.map(|row| &row[n % row.len()]);
            store(proof, x, importance, &mut errors, block).map_err(|Overflow| n)?;
        }
        Ok(())
    }
}

#[inline(always)]
fn store<V: Lanes>(
    proof: Proof<V>,
    x: &[f32; QK],
    importance: Option<&[f32; QK]>,
    errors: &mut [Errors],
    block: &mut [u8; Iq2Xxs::BYTES],
) -> Result<(), Overflow> {
    // Columns count the same where nothing is known of them: weighing by x² alone leaves half as much error again.
    let w = weights::from_importance(x, importance.unwrap_or(&[1.0; QK]), weights::mean_square(x));
    let root_w = fit::mapped(&w, f32::sqrt);
    let mut fields = Iq2Xxs { d: f16::ZERO, scales: [0; GROUPS], points: [0; QK / TUPLE], signs: [0; QK / TUPLE] };
    let magnitudes = split_signs(x, &w, &mut fields.signs);
    let tuples = magnitudes.as_chunks().0.iter().zip(root_w.as_chunks().0);
    for (errors, (x, root_w)) in errors.iter_mut().zip(tuples) {
        errors.fill(proof, x, root_w);
    }
    let group =
        |g: usize| Group { x: &magnitudes.as_chunks().0[g], w: &w.as_chunks().0[g], errors: &errors.as_chunks().0[g] };
    let mut scales = [0.0; GROUPS];
    for (g, scale) in scales.iter_mut().enumerate() {
        *scale = group(g).fit_scale(proof);
    }
    let d = scales.iter().copied().fold(0.0, f32::max) / 31.0;
    fields.d = finite(f16::from_f32(d))?;
    if fields.d > f16::ZERO {
        for (g, scale) in scales.into_iter().enumerate() {
            let nearest = fit::round_code(0.5 * (scale / d - 1.0), 15.0);
            let (code, points) = group(g).store(proof, fields.d.to_f32(), nearest);
            fields.scales[g] = code;
            fields.points[g * TUPLES..][..TUPLES].copy_from_slice(&points);
        }
    }
    fields.pack(block);
    Ok(())
}

/// Magnitudes of x, with the sign indices stored in `signs`.
///
/// A tuple can only have an even number of minus signs. Where x has an odd number, the element
/// that matters least gets the wrong sign, and its magnitude is negative here.
#[inline(always)]
fn split_signs(x: &[f32; QK], w: &[f32; QK], signs: &mut [u8; QK / TUPLE]) -> [f32; QK] {
    let mut magnitudes = fit::mapped(x, f32::abs);
    let tuples = magnitudes.as_chunks_mut::<TUPLE>().0.iter_mut();
    let sources = x.as_chunks::<TUPLE>().0.iter().zip(w.as_chunks::<TUPLE>().0);
    for ((magnitudes, (x, w)), index) in tuples.zip(sources).zip(signs) {
        let mut mask = 0u8;
        let mut least = 0;
        for j in 0..TUPLE {
            mask |= u8::from(x[j] < 0.0) << j;
            if w[j] * x[j] * x[j] < w[least] * x[least] * x[least] {
                least = j;
            }
        }
        if mask.count_ones() % 2 == 1 {
            mask ^= 1 << least;
            magnitudes[least] = -magnitudes[least];
        }
        *index = mask & 0x7f;
    }
    magnitudes
}

/// The weights under one scale.
struct Group<'a> {
    /// Magnitudes from [`split_signs`].
    x: &'a [f32; GROUP],
    /// Error weights.
    w: &'a [f32; GROUP],
    /// What each point leaves over.
    errors: &'a [Errors; TUPLES],
}

impl Group<'_> {
    /// The scale with `x ≈ scale·level` that leaves the least weighted squared error among a few
    /// candidates; 0 when there is nothing to store.
    #[inline(always)]
    fn fit_scale<V: Lanes>(&self, proof: Proof<V>) -> f32 {
        if self.x.iter().all(|x| x.abs() < NEGLIGIBLE) {
            return 0.0;
        }
        // Four equal steps give a first idea of how far the levels must reach.
        let step = fit::positive_scale(self.x, self.w, 4.0);
        let reach = 3.0 * step;
        let w = V::load(proof, self.w);
        let wx = w.mul(V::load(proof, self.x));
        let mut best = Projection::NONE;
        for t in -6i8..=6 {
            let inverse = (5.0 + 0.2 * f32::from(t)) / reach;
            let levels = V::load(proof, &levels(&self.nearest_points(proof, inverse)));
            let projection = Projection { xl: wx.mul(levels).sum(), ll: w.mul(levels).mul(levels).sum() };
            if projection.xl > 0.0 && projection.gain() > best.gain() {
                best = projection;
            }
        }
        best.scale()
    }

    /// The best scale code for block scale `d` among `nearest` and its neighbours, with its points.
    #[inline(always)]
    fn store<V: Lanes>(&self, proof: Proof<V>, d: f32, nearest: f32) -> (u8, Points) {
        let (w, minus_x) = (V::load(proof, self.w), V::splat(proof, 0.0).sub(V::load(proof, self.x)));
        let mut best = (f32::INFINITY, 0, [0; TUPLES]);
        for code in fit::around(nearest, 0.0, 15.0) {
            let scale = d * (2.0 * code + 1.0);
            let points = self.nearest_points(proof, 1.0 / scale);
            let difference = V::load(proof, &levels(&points)).mul_add(V::splat(proof, scale), minus_x);
            let error = w.mul(difference).mul(difference).sum();
            if error < best.0 {
                best = (error, code as u8, points);
            }
        }
        (best.1, best.2)
    }

    /// The nearest lattice point for each tuple of `x·inverse`.
    #[inline(always)]
    fn nearest_points<V: Lanes>(&self, proof: Proof<V>, inverse: f32) -> Points {
        let mut points = [0; TUPLES];
        for (point, errors) in points.iter_mut().zip(self.errors) {
            *point = errors.nearest(proof, inverse);
        }
        points
    }
}

/// The weighted squared errors of all lattice points against a tuple times any factor: `Σ r·(level − factor·x)²` is
/// `squares − 2·factor·products`, and something that is the same for all points.
///
/// Errors count by the root r of their weight: with the full weight, one important element would decide alone and the other seven
/// would be stored as whatever comes with it.
#[derive(Clone, Copy)]
struct Errors {
    /// `Σ r·level²`
    squares: [[f32; LANES]; CHUNKS],
    /// `Σ r·x·level`
    products: [[f32; LANES]; CHUNKS],
}

impl Errors {
    const NONE: Self = Self { squares: [[0.0; LANES]; CHUNKS], products: [[0.0; LANES]; CHUNKS] };

    #[inline(always)]
    fn fill<V: Lanes>(&mut self, proof: Proof<V>, x: &[f32; TUPLE], root_w: &[f32; TUPLE]) {
        let zero = V::splat(proof, 0.0);
        let points = self.squares.iter_mut().zip(&mut self.products);
        for ((to_squares, to_products), elements) in points.zip(LEVELS.iter()) {
            let (mut squares, mut products) = (zero, zero);
            for (j, element) in elements.iter().enumerate() {
                squares = V::splat(proof, root_w[j]).mul_add(V::load(proof, &element.squares), squares);
                products = V::splat(proof, root_w[j] * x[j]).mul_add(V::load(proof, &element.levels), products);
            }
            squares.store(to_squares);
            products.store(to_products);
        }
    }

    /// The point with the least error against the tuple times `factor`.
    #[inline(always)]
    fn nearest<V: Lanes>(&self, proof: Proof<V>, factor: f32) -> u8 {
        let factor = V::splat(proof, -2.0 * factor);
        let (mut least, mut chunk) = (V::splat(proof, f32::INFINITY), V::splat(proof, 0.0));
        for (n, (squares, products)) in self.squares.iter().zip(&self.products).enumerate() {
            let error = V::load(proof, products).mul_add(factor, V::load(proof, squares));
            chunk = V::select(error.less(least), V::splat(proof, n as f32), chunk);
            least = error.min(least);
        }
        let lane = least.least_lane();
        (chunk.to_array()[lane] as usize * LANES + lane) as u8
    }
}

/// The levels of the points of a group.
#[inline(always)]
fn levels(points: &Points) -> [f32; GROUP] {
    let mut levels = [0.0; GROUP];
    for (levels, &point) in levels.as_chunks_mut().0.iter_mut().zip(points) {
        *levels = LATTICE[usize::from(point)];
    }
    levels
}

/// The lattice points as levels.
static LATTICE: LazyLock<[[f32; TUPLE]; 256]> =
    LazyLock::new(|| GRID.map(|point| point.to_le_bytes().map(|eighths| f32::from(eighths) / 8.0)));

/// One element of a vector of points.
struct Element {
    levels: [f32; LANES],
    squares: [f32; LANES],
}

/// The same by vectors of points.
static LEVELS: LazyLock<Box<[[Element; TUPLE]; CHUNKS]>> = LazyLock::new(|| {
    let levels = |chunk: usize, j: usize| std::array::from_fn(|lane| LATTICE[chunk * LANES + lane][j]);
    let element = |levels: [f32; LANES]| Element { levels, squares: levels.map(|level| level * level) };
    Box::new(std::array::from_fn(|chunk| std::array::from_fn(|j| element(levels(chunk, j)))))
});

#[cfg(test)]
mod tests {
    use super::super::lanes::on_all;
    use super::*;
    use crate::iq2_grid::sign_mask;

    /// `f` on each instruction set, which must find the same.
    fn agreed<T: PartialEq + std::fmt::Debug, U: LaneTask<Output = T>>(task: impl Fn() -> U) -> T {
        let mut all = on_all(task);
        assert!(all.iter().all(|found| *found == all[0]), "{all:?}");
        all.swap_remove(0)
    }

    /// The points nearest to tuples times a factor, all errors counting the same but for the first element's.
    struct Nearest<'a>(&'a [[f32; TUPLE]], f32);

    impl LaneTask for Nearest<'_> {
        type Output = Vec<u8>;

        #[inline(always)]
        fn run<V: Lanes>(self, proof: Proof<V>) -> Vec<u8> {
            let mut errors = Errors::NONE;
            let nearest = |x| {
                errors.fill(proof, x, &[2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
                errors.nearest(proof, self.1)
            };
            self.0.iter().map(nearest).collect()
        }
    }

    #[test]
    fn the_nearest_point_is_found() {
        let tuples: Vec<[f32; TUPLE]> =
            (0..500).map(|n| std::array::from_fn(|j| (n * 7 + j * j * 13 + n * j % 11) as f32 % 61.0 / 25.0)).collect();
        let error = |x: &[f32; TUPLE], point: u8| {
            let levels = LATTICE[usize::from(point)];
            let of = |j: usize| (if j == 0 { 2.0 } else { 1.0 }) * (levels[j] - 2.5 * x[j]).powi(2);
            (0..TUPLE).map(of).sum::<f32>()
        };
        for (x, found) in tuples.iter().zip(agreed(|| Nearest(&tuples, 2.5))) {
            let least = (0..=255).map(|point| error(x, point)).fold(f32::INFINITY, f32::min);
            assert!(error(x, found) <= least + 1e-3, "{x:?}: point {found}");
        }
        assert_eq!(agreed(|| Nearest(&*LATTICE, 1.0)), (0..=255).collect::<Vec<u8>>());
    }

    /// The scale of a group, and its code and points in units of 0.37 / 7.
    struct GroupOf<'a>(&'a [f32; GROUP]);

    impl LaneTask for GroupOf<'_> {
        type Output = (f32, (u8, Points));

        #[inline(always)]
        fn run<V: Lanes>(self, proof: Proof<V>) -> Self::Output {
            let mut errors = [Errors::NONE; TUPLES];
            for (errors, x) in errors.iter_mut().zip(self.0.as_chunks().0) {
                errors.fill(proof, x, &[1.0; TUPLE]);
            }
            let group = Group { x: self.0, w: &[1.0; GROUP], errors: &errors };
            (group.fit_scale(proof), group.store(proof, 0.37 / 7.0, 2.0))
        }
    }

    #[test]
    fn groups_made_of_lattice_points_are_recovered() {
        for n in 0..64 {
            let points = [n, n + 64, n + 128, n + 192];
            let x = levels(&points).map(|level| 0.37 * level);
            let (scale, stored) = agreed(|| GroupOf(&x));
            assert!((scale - 0.37).abs() < 1e-6, "points {points:?}: scale {scale}");
            // 0.37 is 7 = 2·3 + 1 units.
            assert_eq!(stored, (3, points));
        }
    }

    #[test]
    fn every_instruction_set_finds_the_same_blocks() {
        let hash = |n: usize| ((n as u32 + 7).wrapping_mul(2_654_435_761) >> 8) as f32;
        let x: Vec<[f32; QK]> = (0..6).map(|n| std::array::from_fn(|i| hash(QK * n + i) / 1e6 - 8.0)).collect();
        let importance = [std::array::from_fn(|i| (i * i % 31) as f32)];
        for per_row in [None, Some(&importance[..])] {
            struct Stored<'a>(&'a [[f32; QK]], Option<&'a [[f32; QK]]>);
            impl LaneTask for Stored<'_> {
                type Output = Vec<[u8; Iq2Xxs::BYTES]>;

                #[inline(always)]
                fn run<V: Lanes>(self, proof: Proof<V>) -> Self::Output {
                    let mut out = vec![[0; Iq2Xxs::BYTES]; self.0.len()];
                    Store { x: self.0, per_row: self.1, out: &mut out }.run(proof).unwrap();
                    out
                }
            }
            agreed(|| Stored(&x, per_row));
        }
    }

    #[test]
    fn signs_survive_except_the_least_one_of_odd_tuples() {
        let x: [f32; QK] = std::array::from_fn(|i| if i * i % 7 < 3 { -1.0 } else { 1.0 } * (1.0 + i as f32));
        let mut signs = [0; QK / TUPLE];
        let magnitudes = split_signs(&x, &[1.0; QK], &mut signs);
        let mut odd = 0;
        for (t, index) in signs.into_iter().enumerate() {
            for j in 0..TUPLE {
                let sign = if sign_mask(index) >> j & 1 == 1 { -1.0 } else { 1.0 };
                assert_eq!(magnitudes[TUPLE * t + j] * sign, x[TUPLE * t + j]);
                // Magnitudes grow with the index, so only the first of a tuple may be sacrificed.
                assert!(magnitudes[TUPLE * t + j] > 0.0 || j == 0);
            }
            odd += usize::from(magnitudes[TUPLE * t] < 0.0);
        }
        assert!(odd > 0 && odd < signs.len());
    }
}
