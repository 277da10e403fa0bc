//! IQ2_XXS: signs, lattice points and scales per 32 weights (spec/quants.md §5).

use super::fit::{self, Metric, Projection};
use super::{Overflow, Search, finite, weights};
use crate::iq2_grid::{GRID, WORDS};
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
/// Between the levels 8/8, 25/8 and 43/8 of an element, in units of `d·(2c+1)`.
const LEVEL_BOUNDS: [f32; 2] = [(8.0 + 25.0) / 16.0, (25.0 + 43.0) / 16.0];
/// The levels themselves.
const LEVELS: [f32; 3] = [1.0, 3.125, 5.375];
/// Half a tuple.
const HALF: usize = TUPLE / 2;
/// Vectors of four codes.
const HALF_WORDS: usize = 3usize.pow(HALF as u32);
/// Vectors of eight codes 0, 1, 2, of which the lattice has 256.
const CODE_WORDS: usize = 3usize.pow(TUPLE as u32);
/// Groups whose largest magnitude is below this are stored as zero scale.
const NEGLIGIBLE: f32 = 1e-15;

#[derive(Clone, Copy)]
pub(super) struct SearchIq2Xxs;

impl Search<{ Iq2Xxs::BYTES }> for SearchIq2Xxs {
    #[inline(always)]
    fn store(
        &self,
        x: &[f32; QK],
        importance: Option<&[f32; QK]>,
        block: &mut [u8; Iq2Xxs::BYTES],
    ) -> Result<(), Overflow> {
        // Columns count the same where nothing is known of them: weighing by x² alone leaves half as much error again.
        let w = weights::from_importance(x, importance.unwrap_or(&[1.0; QK]), weights::mean_square(x));
        let root_w = fit::mapped(&w, f32::sqrt);
        let mut fields = Iq2Xxs { d: f16::ZERO, scales: [0; GROUPS], points: [0; QK / TUPLE], signs: [0; QK / TUPLE] };
        let magnitudes = split_signs(x, &w, &mut fields.signs);
        let groups: [Group<'_>; GROUPS] = std::array::from_fn(|g| Group {
            x: &magnitudes.as_chunks().0[g],
            w: &w.as_chunks().0[g],
            root_w: &root_w.as_chunks().0[g],
        });
        let mut scales = [0.0; GROUPS];
        for (scale, group) in scales.iter_mut().zip(&groups) {
            *scale = group.fit_scale();
        }
        let d = scales.iter().copied().fold(0.0, f32::max) / 31.0;
        fields.d = finite(f16::from_f32(d))?;
        if fields.d > f16::ZERO {
            let points = fields.points.as_chunks_mut().0.iter_mut();
            let targets = points.zip(&mut fields.scales);
            for ((group, scale), (points, code)) in groups.iter().zip(scales).zip(targets) {
                let nearest = fit::round_code(0.5 * (scale / d - 1.0), 15.0);
                (*code, *points) = group.store(fields.d.to_f32(), nearest);
            }
        }
        fields.pack(block);
        Ok(())
    }
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
    /// Their square roots.
    root_w: &'a [f32; GROUP],
}

impl Group<'_> {
    /// The scale with `x ≈ scale·level` that leaves the least weighted squared error among a few
    /// candidates; 0 when there is nothing to store.
    #[inline(always)]
    fn fit_scale(&self) -> f32 {
        if self.x.iter().all(|x| x.abs() < NEGLIGIBLE) {
            return 0.0;
        }
        // Four equal steps give a first idea of how far the levels must reach.
        let (step, _) = fit::positive(self.x, self.w, 4.0);
        let reach = 3.0 * step;
        let mut best = Projection::NONE;
        for t in -6i8..=6 {
            let inverse = (5.0 + 0.2 * f32::from(t)) / reach;
            let levels = levels(&self.nearest_points(inverse));
            let projection = Projection::of(self.x, self.w, &levels);
            if projection.xl > 0.0 && projection.gain() > best.gain() {
                best = projection;
            }
        }
        best.scale()
    }

    /// The best scale code for block scale `d` among `nearest` and its neighbours, with its points.
    #[inline(always)]
    fn store(&self, d: f32, nearest: f32) -> (u8, Points) {
        let mut best = (f32::INFINITY, 0, [0; TUPLES]);
        for code in fit::around(nearest, 0.0, 15.0) {
            let scale = d * (2.0 * code + 1.0);
            let points = self.nearest_points(1.0 / scale);
            let levels = levels(&points);
            let error = Metric::Squared.sum(self.w, |i| scale * levels[i] - self.x[i]);
            if error < best.0 {
                best = (error, code as u8, points);
            }
        }
        (best.1, best.2)
    }

    /// A lattice point for each tuple of `x·inverse`.
    #[inline(always)]
    fn nearest_points(&self, inverse: f32) -> Points {
        let mut points = [0; TUPLES];
        let tuples = self.x.as_chunks::<TUPLE>().0.iter().zip(self.root_w.as_chunks().0);
        for (point, (x, root_w)) in points.iter_mut().zip(tuples) {
            let scaled = fit::mapped(x, |x| x * inverse);
            *point = match NEIGHBOURS.of(code_word(&scaled)) {
                [only] => *only,
                near => least_error(near, &scaled, root_w),
            };
        }
        points
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

/// The point of `near` with the least squared error against `scaled`.
///
/// Errors count by the root of their weight: with the full weight, one important element would
/// decide alone and the other seven would be stored as whatever comes with it.
#[inline(always)]
fn least_error(near: &[u8], scaled: &[f32; TUPLE], root_w: &[f32; TUPLE]) -> u8 {
    // The errors of all halves that a point can have: two looks are then enough for a point.
    let (scaled, root_w) = (scaled.as_chunks().0, root_w.as_chunks().0);
    let errors = [half_errors(&scaled[0], &root_w[0]), half_errors(&scaled[1], &root_w[1])];
    let mut best = (f32::INFINITY, 0);
    for &n in near {
        let [first, second] = HALVES[usize::from(n)];
        let error = errors[0][usize::from(first)] + errors[1][usize::from(second)];
        if error < best.0 {
            best = (error, n);
        }
    }
    best.1
}

/// Weighted squared errors of the [`HALF_WORDS`] half code vectors against half a tuple.
#[inline(always)]
fn half_errors(scaled: &[f32; HALF], root_w: &[f32; HALF]) -> [f32; HALF_WORDS] {
    let mut one = [[0.0; 3]; HALF];
    for (j, errors) in one.iter_mut().enumerate() {
        *errors = fit::mapped(&LEVELS, |level| root_w[j] * (level - scaled[j]).powi(2));
    }
    let [mut low, mut high] = [[0.0; 9]; 2];
    for i in 0..9 {
        low[i] = one[0][i % 3] + one[1][i / 3];
        high[i] = one[2][i % 3] + one[3][i / 3];
    }
    let mut all = [0.0; HALF_WORDS];
    for (errors, high) in all.as_chunks_mut::<9>().0.iter_mut().zip(high) {
        *errors = fit::mapped(&low, |low| low + high);
    }
    all
}

/// Number, in base 3, of the code vector nearest to `scaled`.
#[inline(always)]
fn code_word(scaled: &[f32; TUPLE]) -> usize {
    let mut word = 0;
    for &x in scaled.iter().rev() {
        let [low, high] = LEVEL_BOUNDS;
        word = 3 * word + usize::from(x > low) + usize::from(x > high);
    }
    word
}

/// The two half code vectors of each lattice point, as numbers in base 3.
static HALVES: LazyLock<[[u8; 2]; 256]> = LazyLock::new(|| {
    WORDS.map(|word| {
        let code = |j: usize| (word >> (2 * j) & 3) as u8;
        [0, HALF].map(|first| (0..HALF).rev().fold(0, |number, j| 3 * number + code(first + j)))
    })
});

/// The lattice points as levels.
static LATTICE: LazyLock<[[f32; TUPLE]; 256]> =
    LazyLock::new(|| GRID.map(|point| point.to_le_bytes().map(|eighths| f32::from(eighths) / 8.0)));

static NEIGHBOURS: LazyLock<Neighbours> = LazyLock::new(Neighbours::new);

/// For every code vector the lattice points worth trying: those in its two nearest distance
/// shells, counting in codes, or only itself when it is in the lattice.
struct Neighbours {
    /// Code vector n has the points from `starts[n]` to `starts[n + 1]`.
    starts: Vec<u32>,
    points: Vec<u8>,
}

impl Neighbours {
    fn new() -> Self {
        let mut table = Self { starts: vec![0], points: Vec::new() };
        for word in 0..CODE_WORDS {
            let codes: [u16; TUPLE] = std::array::from_fn(|j| (word / 3usize.pow(j as u32) % 3) as u16);
            let distances = WORDS.map(|point| {
                let differences = codes.iter().enumerate().map(|(j, &code)| code.abs_diff((point >> (2 * j)) & 3));
                differences.map(|difference| difference * difference).sum::<u16>()
            });
            let nearest = distances.iter().copied().min().unwrap_or(0);
            let second = distances.iter().copied().filter(|&d| d > nearest).min();
            let reach = if nearest == 0 { 0 } else { second.unwrap_or(nearest) };
            let within = (0..=255).filter(|&n: &u8| distances[usize::from(n)] <= reach);
            table.points.extend(within);
            table.starts.push(table.points.len() as u32);
        }
        table
    }

    #[inline(always)]
    fn of(&self, code_word: usize) -> &[u8] {
        &self.points[self.starts[code_word] as usize..self.starts[code_word + 1] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iq2_grid::sign_mask;

    fn codes(word: usize) -> [usize; TUPLE] {
        std::array::from_fn(|j| word / 3usize.pow(j as u32) % 3)
    }

    fn distance(word: usize, point: usize) -> usize {
        let code_of = |level: f32| [1.0, 3.125, 5.375].iter().position(|&l| l == level).unwrap();
        codes(word).into_iter().zip(LATTICE[point]).map(|(c, level)| c.abs_diff(code_of(level)).pow(2)).sum()
    }

    #[test]
    fn lattice_points_are_their_own_only_neighbour() {
        for point in 0..=255u8 {
            let word = code_word(&LATTICE[usize::from(point)]);
            assert_eq!(NEIGHBOURS.of(word), [point]);
        }
    }

    #[test]
    fn neighbours_are_the_two_nearest_shells() {
        assert_eq!(NEIGHBOURS.starts.len(), CODE_WORDS + 1);
        for word in (0..CODE_WORDS).step_by(13) {
            let near = NEIGHBOURS.of(word);
            let mut shells: Vec<usize> = (0..256).map(|point| distance(word, point)).collect();
            shells.sort_unstable();
            shells.dedup();
            if shells[0] == 0 {
                continue;
            }
            let expected: Vec<u8> =
                (0..=255u8).filter(|&point| distance(word, usize::from(point)) <= shells[1]).collect();
            assert_eq!(near, expected, "code vector {word}");
        }
    }

    #[test]
    fn groups_made_of_lattice_points_are_recovered() {
        for n in 0..64 {
            let points = [n, n + 64, n + 128, n + 192];
            let x = levels(&points).map(|level| 0.37 * level);
            let group = Group { x: &x, w: &[1.0; GROUP], root_w: &[1.0; GROUP] };
            let scale = group.fit_scale();
            assert!((scale - 0.37).abs() < 1e-6, "points {points:?}: scale {scale}");
            // 0.37 is 7 = 2·3 + 1 units.
            assert_eq!(group.store(0.37 / 7.0, 2.0), (3, points));
        }
    }

    #[test]
    fn code_words_round_to_the_nearest_level() {
        for word in 0..CODE_WORDS {
            // 8, 25 and 43 eighths, and values that are just nearer to them than to the next.
            for levels in [[1.0, 3.125, 5.375], [2.06, 4.24, 9.0], [-1.0, 2.07, 4.26]] {
                assert_eq!(code_word(&codes(word).map(|code| levels[code])), word);
            }
        }
        assert_eq!(code_word(&[-10.0; 8]), 0);
        assert_eq!(code_word(&[100.0; 8]), CODE_WORDS - 1);
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
