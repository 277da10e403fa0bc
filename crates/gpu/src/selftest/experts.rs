//! Routed and shared experts against the formulas in f64 on dequantised weights.

use super::weights::{Random, Weights, matrix_bytes, shape};
use super::{Case, Shapes, Trial, Verdict, Work};
use crate::gpu::{Gpu, floats, words};
use crate::ops::experts::{DOWN_EXPANDED_ROWS_MAX, ExpertLimits, ExpertWeights, Experts};
use crate::ops::hyper::Expand;
use crate::ops::linear::{Limits, Linear, Tuning};
use crate::ops::route::{Router, Routing, route};
use crate::rows::{Rows, Vector};
use ds4_engine::{Precision, Result};
use ds4_quant::Format;

/// Clamps of the routed and of the shared experts: small enough that some values are clamped, and not all.
const CLAMPS: (f32, f32) = (0.6, 0.9);
/// What may be off, of the size of a row: the root of the mean square error, and any error. In exact mode it is f32 noise, in fast mode that
/// of bytes.
const EXACT: (f64, f64) = (1e-6, 5e-6);
const FAST: (f64, f64) = (2.5e-2, 1e-1);
/// Bytes that the whole stack of the model needs in one binding, and memory for it.
const STACK_BINDING: u64 = 1 << 30;
const STACK_MEMORY: u64 = 6 << 30;
/// Routes that a measurement goes through, so that weights are not in a cache.
const ROUTES: usize = 16;

/// Formats of gate, up and down, then of the shared ones.
pub type Recipe = [Format; 6];
/// As published: two bits.
pub const Q2: Recipe = [Format::Iq2Xxs, Format::Iq2Xxs, Format::Q2K, Format::Q8_0, Format::Q8_0, Format::Q8_0];
/// As published: four bits.
pub const Q4: Recipe = [Format::Q4K, Format::Q4K, Format::Q4K, Format::Q8_0, Format::Q8_0, Format::Q8_0];
/// Not quantised.
pub const FLOAT: Recipe = [Format::F16, Format::Bf16, Format::F32, Format::F16, Format::F32, Format::F16];
/// Whatever else there is.
pub const MIXED: Recipe = [Format::Q6K, Format::Q5K, Format::Iq2Xxs, Format::F32, Format::Q4K, Format::Q2K];

/// Experts of one layer.
pub struct Layer {
    limits: ExpertLimits,
    /// For fast arithmetic.
    tuning: Tuning,
    gate: Weights,
    up: Weights,
    down: Weights,
    shared_gate: Weights,
    shared_up: Weights,
    shared_down: Weights,
}

impl Layer {
    /// Random ones.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(gpu: &Gpu, limits: ExpertLimits, formats: Recipe) -> Result<Self> {
        let ExpertLimits { experts, ff, embd, .. } = limits;
        let mut random = Random(3);
        let mut make =
            |i: usize, rows, cols, count| Weights::random(gpu, &mut random, formats[i], shape(rows, cols, count));
        Ok(Self {
            limits,
            tuning: Tuning::of(Precision::Fast),
            gate: make(0, ff, embd, experts)?,
            up: make(1, ff, embd, experts)?,
            down: make(2, embd, ff, experts)?,
            shared_gate: make(3, ff, embd, 1)?,
            shared_up: make(4, ff, embd, 1)?,
            shared_down: make(5, embd, ff, 1)?,
        })
    }

    /// The same with another choice of kernels.
    #[must_use]
    pub fn tuned(self, tuning: Tuning) -> Self {
        Self { tuning, ..self }
    }

    /// As the operation takes them.
    pub(crate) fn weights(&self) -> ExpertWeights<'_> {
        ExpertWeights {
            gate: &self.gate.matrix,
            up: &self.up.matrix,
            down: &self.down.matrix,
            shared_gate: &self.shared_gate.matrix,
            shared_up: &self.shared_up.matrix,
            shared_down: &self.shared_down.matrix,
        }
    }

    /// Bytes of one routed expert, and of the shared one.
    fn bytes(&self) -> (usize, usize) {
        let of = |w: &Weights| {
            matrix_bytes(w.matrix.format, ds4_engine::backend::MatrixShape { count: 1, ..w.matrix.shape })
        };
        let sum = |all: [&Weights; 3]| all.into_iter().map(of).sum();
        (sum([&self.gate, &self.up, &self.down]), sum([&self.shared_gate, &self.shared_up, &self.shared_down]))
    }

    /// `y` of one row (`spec/model.md` §10).
    fn reference(&self, h: &[f32], routes: &[(u32, f32)]) -> Vec<f64> {
        let ff = self.limits.ff;
        let h: Vec<f64> = h.iter().map(|v| f64::from(*v)).collect();
        let mut y = vec![0.0; self.limits.embd];
        let dot = |w: &[f32], x: &[f64]| w.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>();
        let mut add = |[gate, up, down]: [&Weights; 3], expert: usize, most: f32, weight: f32| {
            let most = f64::from(most);
            let mid: Vec<f64> = (0..ff)
                .map(|i| {
                    let g = dot(&gate.row(expert * ff + i), &h).min(most);
                    let u = dot(&up.row(expert * ff + i), &h).clamp(-most, most);
                    g / (1.0 + (-g).exp()) * u * f64::from(weight)
                })
                .collect();
            let n = y.len();
            y.iter_mut().enumerate().for_each(|(i, y)| *y += dot(&down.row(expert * n + i), &mid));
        };
        add([&self.shared_gate, &self.shared_up, &self.shared_down], 0, CLAMPS.1, 1.0);
        routes.iter().for_each(|(e, weight)| add([&self.gate, &self.up, &self.down], *e as usize, CLAMPS.0, *weight));
        y
    }

    /// Computes `routes.len() / used` rows and compares those of `checked`.
    ///
    /// # Errors
    /// The device failed.
    pub fn check(
        &self,
        verdict: &mut Verdict,
        gpu: &Gpu,
        precision: Precision,
        routes: &[(u32, f32)],
        checked: &[usize],
        what: &str,
    ) -> Result<()> {
        let limits = self.linear_limits();
        self.check_by(verdict, gpu, Linear::new(gpu, precision, limits)?, routes, checked, what)
    }

    /// The same by `linear`, made for [`Layer::linear_limits`].
    ///
    /// # Errors
    /// The device failed.
    pub fn check_by(
        &self,
        verdict: &mut Verdict,
        gpu: &Gpu,
        linear: Linear,
        routes: &[(u32, f32)],
        checked: &[usize],
        what: &str,
    ) -> Result<()> {
        let rows = routes.len() / self.limits.used;
        let run = Run::by(self, gpu, linear, rows)?;
        run.go(self, gpu, &routes_on(gpu, routes)?)?;
        self.compare(verdict, gpu, &run, routes, checked, what)
    }

    /// Sizes of its products.
    pub fn linear_limits(&self) -> Limits {
        let ExpertLimits { rows, embd, .. } = self.limits;
        Limits { rows, cols: embd, normed_cols: embd }
    }

    /// The same with experts that a router chooses, whose logits are those of a product, and whose choice is that of the router's own kernel.
    ///
    /// # Errors
    /// The device failed.
    pub fn check_routed(&self, verdict: &mut Verdict, gpu: &Gpu, precision: Precision, rows: usize) -> Result<()> {
        let ExpertLimits { embd, used, experts, .. } = self.limits;
        let run = Run::new(self, gpu, precision, rows)?;
        let mut random = Random(9);
        let matrix = Weights::random(gpu, &mut random, Format::F16, shape(experts, embd, 1))?;
        let bias = Vector::new(gpu, &random.values(experts))?;
        let u32s = |n: usize, most: usize| words(&(0..n).map(|i| (i * 7 % most) as u32).collect::<Vec<_>>());
        let (table, ids) = (gpu.buffer_of("u32", &u32s(5 * used, experts))?, gpu.buffer_of("u32", &u32s(rows, 5))?);
        let z = super::linear::poisoned(gpu, rows, experts)?;
        // Few rows are also expanded, by projections of both kinds.
        let plain = [Routing::Learned(None), Routing::Learned(Some(&bias)), Routing::Hash(&table)].map(|r| (r, None));
        let expanding = [(Routing::Learned(None), Some(true)), (Routing::Hash(&table), Some(false))];
        let most = if rows <= DOWN_EXPANDED_ROWS_MAX { expanding.len() } else { 0 };
        let all = plain.into_iter().chain(expanding.into_iter().take(most));
        // Logits may be there already.
        for ((routing, expands), has_logits) in all.flat_map(|way| [(way, false), (way, true)]) {
            let bytes = 8 * (rows * used) as u64;
            let [routes, again] = [(); 2].map(|()| gpu.buffer_of("routes", &vec![0xff; bytes as usize]));
            let (routes, again) = (routes?, again?);
            let router = Router { matrix: &matrix.matrix, z: &z, has_logits, routing, ids: &ids, scale: 1.5 };
            if has_logits {
                run.linear.project(gpu, rows, &run.h, None, &[(router.matrix, &z)])?;
            }
            let w = self.weights();
            let go = |expand: Option<&Expand<'_>>| {
                let (linear, h, y) = (&run.linear, &run.h, &run.y);
                run.experts.run_routed(gpu, linear, rows, CLAMPS, &w, h, &router, &routes, y, expand)
            };
            gpu.upload(&run.y.buffer, 0, &floats(&vec![f32::NAN; rows * embd]));
            if let Some(is_f16) = expands {
                let streams = super::hyper::Streams::new(gpu, embd, rows, is_f16)?;
                streams.check_expanding(verdict, gpu, rows, true, &run.y, |expand| go(Some(expand)))?;
            } else {
                go(None)?;
            }
            route(gpu, precision, (experts, used), rows, &routing, &z, &ids, router.scale, &again)?;
            let found = gpu.download(&routes, 0, bytes)?;
            verdict.require(found == gpu.download(&again, 0, bytes)?, || "other experts than the router's".to_owned());
            let logits = z.read(gpu, rows)?;
            for (r, h) in run.values.chunks(embd).enumerate() {
                for e in 0..experts {
                    let row = matrix.row(e);
                    let (expected, size) = row.iter().zip(h).fold((0.0, 0.0), |(sum, size), (w, h)| {
                        let product = f64::from(*w) * f64::from(*h);
                        (sum + product, size + product.abs())
                    });
                    let found = f64::from(logits[r * experts + e]);
                    // Many rows go through matrix units, in half precision.
                    let tolerance = if precision == Precision::Exact { 1e-5 } else { 1e-3 };
                    let at = || format!("{precision:?} row {r} of {rows}, logit {e}: {found} for {expected}");
                    verdict.see((found - expected).abs(), tolerance * size, at);
                }
            }
            let pairs: Vec<(u32, f32)> = found
                .as_chunks::<8>()
                .0
                .iter()
                .map(|[a, b, c, d, rest @ ..]| (u32::from_le_bytes([*a, *b, *c, *d]), f32::from_le_bytes(*rest)))
                .collect();
            let is_known = pairs.iter().all(|(e, _)| (*e as usize) < experts);
            verdict.require(is_known, || format!("experts of {pairs:?}"));
            if is_known {
                let checked = [0, rows - 1];
                self.compare(verdict, gpu, &run, &pairs, &checked, "routed")?;
            }
        }
        Ok(())
    }

    fn compare(
        &self,
        verdict: &mut Verdict,
        gpu: &Gpu,
        run: &Run,
        routes: &[(u32, f32)],
        checked: &[usize],
        what: &str,
    ) -> Result<()> {
        let (ExpertLimits { embd, used, .. }, rows, precision) = (self.limits, run.rows, run.linear.precision());
        let found = run.y.read(gpu, rows)?;
        let (mean_most, most) = if precision == Precision::Exact { EXACT } else { FAST };
        for r in checked.iter().copied() {
            let expected = self.reference(&run.values[r * embd..][..embd], &routes[r * used..][..used]);
            let size = (expected.iter().map(|v| v * v).sum::<f64>() / embd as f64).sqrt();
            let mut square = 0.0;
            for (i, (found, expected)) in found[r * embd..].iter().zip(&expected).enumerate() {
                let error = (f64::from(*found) - expected).abs();
                square += error * error;
                let at = || format!("{what} {precision:?} row {r} of {rows}, value {i}: {found} for {expected}");
                verdict.see(error, most * size, at);
            }
            let mean = (square / embd as f64).sqrt();
            verdict.see(mean, mean_most * size, || {
                format!("{what} {precision:?} row {r} of {rows}: {mean:e} of {size:e}")
            });
        }
        let is_whole = found.iter().all(|v| v.is_finite());
        verdict.require(is_whole, || format!("{what} {precision:?} {rows} rows: some value is no number"));
        Ok(())
    }
}

/// What a step of `rows` rows needs besides weights.
struct Run {
    rows: usize,
    linear: Linear,
    experts: Experts,
    values: Vec<f32>,
    h: Rows,
    y: Rows,
}

impl Run {
    fn new(layer: &Layer, gpu: &Gpu, precision: Precision, rows: usize) -> Result<Self> {
        let tuning = if precision == Precision::Fast { layer.tuning } else { Tuning::of(precision) };
        Self::by(layer, gpu, Linear::tuned(gpu, precision, layer.linear_limits(), tuning)?, rows)
    }

    fn by(layer: &Layer, gpu: &Gpu, linear: Linear, rows: usize) -> Result<Self> {
        let embd = layer.limits.embd;
        let experts = Experts::new(gpu, &linear, layer.limits)?;
        // Small enough that not everything is clamped.
        let scale = 0.1 * (256.0 / embd as f32).sqrt();
        let values: Vec<f32> = Random(rows as u64).values(rows * embd).iter().map(|v| v * scale).collect();
        let (h, y) = (Rows::of(gpu, &values, embd)?, super::linear::poisoned(gpu, rows, embd)?);
        Ok(Self { rows, linear, experts, values, h, y })
    }

    fn go(&self, layer: &Layer, gpu: &Gpu, routes: &crate::gpu::Buffer) -> Result<()> {
        self.experts.run(gpu, &self.linear, self.rows, CLAMPS, &layer.weights(), &self.h, routes, &self.y)
    }
}

fn routes_on(gpu: &Gpu, routes: &[(u32, f32)]) -> Result<crate::gpu::Buffer> {
    let pairs: Vec<u32> = routes.iter().flat_map(|(e, w)| [*e, w.to_bits()]).collect();
    gpu.buffer_of("routes", &words(&pairs))
}

/// Any experts for `rows` rows.
pub fn random_routes(limits: ExpertLimits, rows: usize, seed: u64) -> Vec<(u32, f32)> {
    let mut random = Random(rows as u64 + seed);
    (0..rows * limits.used).map(|_| (random.bits() % limits.experts as u32, 0.3 + random.value().abs())).collect()
}

/// Cases of experts.
pub(super) fn cases(shapes: Shapes) -> Vec<Case> {
    let mut all = Vec::new();
    match shapes {
        Shapes::Small => {
            for (name, recipe) in [("q2", Q2), ("q4", Q4), ("floats", FLOAT), ("mixed", MIXED)] {
                let shape = format!("{name}, 3 of 8, 256×256, rows [1, 7, 48]");
                all.push(Case::small("experts", shape, move |trial| small(trial, name, recipe)));
            }
        }
        Shapes::Model => {
            for (name, recipe) in [("q2", Q2), ("q4", Q4)] {
                for (rows, precision) in [
                    (1, Precision::Exact),
                    (1, Precision::Fast),
                    (4, Precision::Fast),
                    (16, Precision::Fast),
                    (512, Precision::Fast),
                ] {
                    let shape = format!("{name}, 6 and a shared one, 2048×4096, {precision:?}, {rows} rows");
                    all.push(Case::model("experts", shape, move |trial| model(trial, name, recipe, rows, precision)));
                }
            }
        }
    }
    all
}

fn small(trial: &mut Trial<'_>, name: &str, recipe: Recipe) -> Result<()> {
    let limits = ExpertLimits { rows: 48, used: 3, experts: 8, ff: 256, embd: 256 };
    let layer = Layer::new(trial.gpu, limits, recipe)?;
    for precision in [Precision::Exact, Precision::Fast] {
        for rows in [1, 7, 48] {
            let (routes, all): (_, Vec<usize>) = (random_routes(limits, rows, 77), (0..rows).collect());
            layer.check(&mut trial.outcome.verdict, trial.gpu, precision, &routes, &all, name)?;
            layer.check_routed(&mut trial.outcome.verdict, trial.gpu, precision, rows)?;
        }
    }
    Ok(())
}

fn model(trial: &mut Trial<'_>, name: &str, recipe: Recipe, rows: usize, precision: Precision) -> Result<()> {
    let gpu = trial.gpu;
    let has_room = gpu.caps().binding_bytes >= STACK_BINDING && gpu.info().memory.is_none_or(|all| all >= STACK_MEMORY);
    let experts = if has_room && !gpu.caps().is_software { 256 } else { 16 };
    let limits = ExpertLimits { rows, used: 6, experts, ff: 2048, embd: 4096 };
    let layer = Layer::new(gpu, limits, recipe)?;
    let routes = random_routes(limits, rows, 77);
    let checked: Vec<usize> = if rows > 1 { vec![0, rows - 1] } else { vec![0] };
    layer.check(&mut trial.outcome.verdict, gpu, precision, &routes, &checked, name)?;
    let run = Run::new(&layer, gpu, precision, rows)?;
    let several: Vec<Vec<(u32, f32)>> = (0..ROUTES as u64).map(|i| random_routes(limits, rows, 100 + i)).collect();
    let distinct: usize = several
        .iter()
        .map(|routes| {
            let mut seen: Vec<u32> = routes.iter().map(|(e, _)| *e).collect();
            seen.sort_unstable();
            seen.dedup();
            seen.len()
        })
        .sum();
    let on = several.iter().map(|routes| routes_on(gpu, routes)).collect::<Result<Vec<_>>>()?;
    let (one, shared) = layer.bytes();
    let work = Work {
        bytes: (distinct * one) as f64 / ROUTES as f64 + (shared + 8 * rows * limits.embd) as f64,
        operations: (2 * rows * (limits.used + 1) * 3 * limits.ff * limits.embd) as f64,
    };
    trial.time(name, work, |i| run.go(&layer, gpu, &on[i % ROUTES]))
}
