//! Q2_K, Q4_K, Q5_K: scale and minimum per group; Q6_K: signed scale per group.

use super::fit::{self, AffineSearch};
use super::lanes::{LANES, LaneTask, Lanes, Proof, on_lanes};
use super::{MAX_MAGNITUDE, Overflow, Search, finite, weights};
use crate::layout::{Q2K, Q4K, Q5K, Q6K, QK};
use half::f16;

/// How one affine format is fitted. Columns count the same where nothing is known of them.
pub(super) struct Rule {
    /// Largest stored scale and minimum.
    scale_max: f32,
    /// Part of the mean square of the block in the weight of an error.
    base: f32,
    search: AffineSearch,
}

const fn search(code_max: f32) -> AffineSearch {
    AffineSearch { code_max, first: -0.9, step: 0.05, last: 36 }
}

/// A block with `x ≈ d·scale·code − dmin·min` for G groups.
pub(super) struct AffineBlock<const G: usize> {
    d: f16,
    dmin: f16,
    scales: [u8; G],
    mins: [u8; G],
    codes: [u8; QK],
}

/// A format with a scale and a minimum for each of `G` groups of a block.
pub(super) trait Affine<const G: usize, const BYTES: usize> {
    /// How it is fitted.
    const RULE: Rule;
    /// Its bytes.
    fn pack(fields: AffineBlock<G>, block: &mut [u8; BYTES]);
}

macro_rules! affine {
    ($format:ident, $groups:literal, $rule:expr) => {
        impl Affine<$groups, { $format::BYTES }> for $format {
            const RULE: Rule = $rule;
            fn pack(fields: AffineBlock<$groups>, block: &mut [u8; $format::BYTES]) {
                let AffineBlock { d, dmin, scales, mins, codes } = fields;
                $format { d, dmin, scales, mins, codes }.pack(block);
            }
        }
    };
}
affine!(Q2K, 16, Rule { scale_max: 15.0, base: 1.0, search: search(3.0) });
affine!(Q4K, 8, Rule { scale_max: 63.0, base: 2.0, search: search(15.0) });
affine!(Q5K, 8, Rule { scale_max: 63.0, base: 2.0, search: search(31.0) });

/// As many blocks as there are lanes, value i of all of them together.
type Blocks = [[f32; LANES]; QK];

/// Stores blocks of `G` groups of `N` weights, with importance for the columns of a row; or the number of a block that does not fit.
pub(super) fn store<F: Affine<G, BYTES>, const G: usize, const N: usize, const BYTES: usize>(
    x: &[[f32; QK]],
    per_row: Option<&[[f32; QK]]>,
    out: &mut [[u8; BYTES]],
) -> Result<(), usize> {
    let zeros = || Box::new([[0.0; LANES]; QK]);
    let (mut values, mut w, mut codes) = (zeros(), zeros(), zeros());
    let mut importance = per_row.map(|_| zeros());
    for (n, (from, blocks)) in x.chunks(LANES).zip(out.chunks_mut(LANES)).enumerate() {
        let first = n * LANES;
        if let Some(n) = from.iter().position(|x| x.iter().any(|x| x.abs() > MAX_MAGNITUDE)) {
            return Err(first + n);
        }
        transpose(&mut values, |lane| &from[lane.min(from.len() - 1)]);
        if let (Some(importance), Some(row)) = (&mut importance, per_row) {
            transpose(importance, |lane| &row[(first + lane) % row.len()]);
        }
        let (importance, rule) = (importance.as_deref(), &F::RULE);
        let fitted = on_lanes(Fit::<G, N> { x: &values, importance, w: &mut w, codes: &mut codes, rule });
        for (lane, block) in blocks.iter_mut().enumerate() {
            let whole = |d: f32| finite(f16::from_f32(d)).map_err(|Overflow| first + lane);
            F::pack(
                AffineBlock {
                    d: whole(fitted.d[lane])?,
                    dmin: whole(fitted.dmin[lane])?,
                    scales: fitted.scales.map(|scales| scales[lane] as u8),
                    mins: fitted.mins.map(|mins| mins[lane] as u8),
                    codes: std::array::from_fn(|i| codes[i][lane] as u8),
                },
                block,
            );
        }
    }
    Ok(())
}

/// Value i of the block of each lane.
fn transpose<'a>(to: &mut Blocks, block: impl Fn(usize) -> &'a [f32; QK]) {
    let blocks: [&[f32; QK]; LANES] = std::array::from_fn(block);
    for (i, to) in to.iter_mut().enumerate() {
        for (to, block) in to.iter_mut().zip(blocks) {
            *to = block[i];
        }
    }
}

/// The search of as many blocks as there are lanes.
pub(super) struct Fit<'a, const G: usize, const N: usize> {
    x: &'a Blocks,
    importance: Option<&'a Blocks>,
    /// For the weights of errors.
    w: &'a mut Blocks,
    /// For the codes.
    codes: &'a mut Blocks,
    rule: &'a Rule,
}

/// What is found besides the codes; `d` and `dmin` not rounded.
#[derive(PartialEq)]
pub(super) struct Fitted<const G: usize> {
    d: [f32; LANES],
    dmin: [f32; LANES],
    scales: [[f32; LANES]; G],
    mins: [[f32; LANES]; G],
}

impl<const G: usize, const N: usize> LaneTask for Fit<'_, G, N> {
    type Output = Fitted<G>;

    #[inline(always)]
    fn run<V: Lanes>(self, proof: Proof<V>) -> Fitted<G> {
        const { assert!(G * N == QK) };
        weights::of_blocks(proof, self.x, self.importance, self.rule.base, self.w);
        fit_blocks::<V, G, N>(proof, self.x, self.w, self.codes, self.rule)
    }
}

/// Fits the groups, rounds their scales and minima to the stored integers, then takes the nearest codes with what is really stored.
#[inline(always)]
fn fit_blocks<V: Lanes, const G: usize, const N: usize>(
    proof: Proof<V>,
    x: &Blocks,
    w: &Blocks,
    codes: &mut Blocks,
    rule: &Rule,
) -> Fitted<G> {
    let (x, w) = (x.as_chunks::<N>().0, w.as_chunks::<N>().0);
    let none = [[0.0; LANES]; G];
    let (mut scales, mut mins, mut group_weights) = (none, none, none);
    for g in 0..G {
        let (scale, min, weight) = fit::affine(proof, &x[g], &w[g], &rule.search);
        scale.store(&mut scales[g]);
        min.store(&mut mins[g]);
        weight.store(&mut group_weights[g]);
    }
    let (mut d, mut dmin) = ([0.0; LANES], [0.0; LANES]);
    let mut fitted = Fitted { d, dmin, scales: none, mins: none };
    fit::positive(proof, &scales, &group_weights, rule.scale_max, &mut fitted.scales).store(&mut fitted.d);
    fit::positive(proof, &mins, &group_weights, rule.scale_max, &mut fitted.mins).store(&mut fitted.dmin);
    for lane in 0..LANES {
        (d[lane], dmin[lane]) = (f16::from_f32(fitted.d[lane]).to_f32(), f16::from_f32(fitted.dmin[lane]).to_f32());
    }
    let (d, dmin) = (V::load(proof, &d), V::load(proof, &dmin));
    for (g, codes) in codes.as_chunks_mut::<N>().0.iter_mut().enumerate() {
        let code_max = rule.search.code_max;
        let nearest = (V::load(proof, &fitted.scales[g]), V::load(proof, &fitted.mins[g]));
        let (scale, min) = fit::affine_near(proof, &x[g], &w[g], nearest, (d, dmin), (rule.scale_max, code_max));
        fit::affine_codes(proof, &x[g], (d.mul(scale), dmin.mul(min)), code_max, codes);
        scale.store(&mut fitted.scales[g]);
        min.store(&mut fitted.mins[g]);
    }
    fitted
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
                let error = fit::squares(w, |i| step * (codes[i] - 32.0) - x[i]);
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

#[cfg(test)]
mod tests {
    use super::super::lanes::on_all;
    use super::*;

    /// The codes as well.
    struct WithCodes<'a, const G: usize, const N: usize>(Fit<'a, G, N>);

    impl<const G: usize, const N: usize> LaneTask for WithCodes<'_, G, N> {
        type Output = (Fitted<G>, Box<Blocks>);

        #[inline(always)]
        fn run<V: Lanes>(self, proof: Proof<V>) -> Self::Output {
            let Fit { x, importance, w, codes, rule } = self.0;
            let fitted = Fit::<G, N> { x, importance, w, codes: &mut *codes, rule }.run(proof);
            (fitted, Box::new(*codes))
        }
    }

    #[test]
    fn every_instruction_set_finds_the_same_blocks() {
        fn all<const G: usize, const N: usize>(rule: &Rule) {
            let hash = |n: usize| ((n as u32 + 7).wrapping_mul(2_654_435_761) >> 8) as f32;
            let value = |n: usize| hash(n) / 1e6 - 8.0;
            let blocks = |f: &dyn Fn(usize) -> f32| -> Box<Blocks> {
                Box::new(std::array::from_fn(|i| std::array::from_fn(|lane| f(QK * lane + i))))
            };
            let (x, q) = (blocks(&value), blocks(&|n| hash(n * 31)));
            for importance in [None, Some(&*q)] {
                let fitted = on_all(|| {
                    let zeros = || Box::new([[0.0; LANES]; QK]);
                    let (w, codes) = (Box::leak(zeros()), Box::leak(zeros()));
                    WithCodes(Fit::<G, N> { x: &x, importance, w, codes, rule })
                });
                assert!(fitted.iter().all(|blocks| *blocks == fitted[0]));
            }
        }
        all::<16, 16>(&<Q2K as Affine<16, { Q2K::BYTES }>>::RULE);
        all::<8, 32>(&<Q4K as Affine<8, { Q4K::BYTES }>>::RULE);
    }
}
