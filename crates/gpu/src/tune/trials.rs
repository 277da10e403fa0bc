//! What is timed: the products that a token and a prompt wait for, on random weights.

use super::{ExpertFormats, Plan};
use crate::gpu::{Buffer, Gpu, words};
use crate::ops::experts::{ExpertLimits, Experts};
use crate::ops::hyper::Expand;
use crate::ops::linear::{Limits, Linear, Tuning};
use crate::ops::route::{Router, Routing};
use crate::ops::units::has_units;
use crate::rows::Rows;
use crate::selftest::WARM_SECONDS;
use crate::selftest::experts::Layer;
use crate::selftest::hyper::Streams;
use crate::selftest::weights::{Random, Weights, matrix_bytes, shape};
use crate::weights::Matrix;
use ds4_engine::backend::MatrixShape;
use ds4_engine::{Error, Precision, Result};
use ds4_quant::Format;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Instant;

/// Most rows of a step besides prompts.
const ROWS_MAX: usize = 4;
/// Experts of the layer at most, and how many a row uses.
const EXPERTS_MAX: usize = 16;
const USED: usize = 6;
/// Inputs that take turns, so that other experts are chosen.
const INPUTS: usize = 16;
/// Most calls of one measurement.
const CALLS_MAX: usize = 2000;
/// Clamps of the routed and of the shared experts.
const CLAMPS: (f32, f32) = (10.0, 10.0);

/// One thing that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Work {
    /// The product that makes the output of attention, up to the collapse that follows, for so many rows.
    Output(usize),
    /// The product that makes queries.
    Query(usize),
    /// A layer's experts, up to the collapse that follows.
    Experts(usize),
    /// A dense product for a prompt.
    Prompt,
    /// One with weights as experts have them.
    PromptExperts,
}

/// Kernels and scratch memory of one tuning for one work.
struct Made {
    linear: Linear,
    experts: Option<Experts>,
}

/// Routed and shared experts with a router.
struct Routed {
    layer: Layer,
    limits: ExpertLimits,
    router: Weights,
    logits: Rows,
    ids: Buffer,
    routes: Buffer,
    inputs: Vec<Rows>,
}

/// Weights and activations on the device.
pub(super) struct Trials<'a> {
    gpu: &'a Gpu,
    plan: Plan,
    /// All of the same size, seen as matrices of several shapes.
    dense: Vec<Weights>,
    routed: Option<Routed>,
    streams: Streams,
    wide: Rows,
    narrow: Rows,
    queries: Rows,
    y: Rows,
    /// Input and output of prompts, where they are timed.
    prompt: Option<[Rows; 2]>,
    made: HashMap<(Work, Tuning), Made>,
}

impl Routed {
    /// As many experts as `bytes` have room for, if any.
    fn new(gpu: &Gpu, formats: ExpertFormats, plan: &Plan, bytes: usize) -> Result<Option<Self>> {
        let Plan { embd, ff, .. } = *plan;
        let [gate, up, down] = formats;
        let of = |format, rows, cols| matrix_bytes(format, shape(rows, cols, 1));
        let one = of(gate, ff, embd) + of(up, ff, embd) + of(down, embd, ff);
        let shared = 3 * of(Format::Q8_0, ff, embd);
        let experts = (bytes.saturating_sub(shared) / one.max(1)).min(EXPERTS_MAX);
        if experts == 0 {
            return Ok(None);
        }
        let limits = ExpertLimits { rows: ROWS_MAX, used: USED.min(experts), experts, ff, embd };
        let mut random = Random(4);
        let recipe = [gate, up, down, Format::Q8_0, Format::Q8_0, Format::Q8_0];
        let input = |_| Rows::of(gpu, &random.values(ROWS_MAX * embd), embd);
        let inputs = (0..INPUTS).map(input).collect::<Result<_>>()?;
        Ok(Some(Self {
            layer: Layer::new(gpu, limits, recipe)?,
            router: Weights::random(gpu, &mut random, Format::F16, shape(experts, embd, 1))?,
            logits: Rows::new(gpu, ROWS_MAX, experts)?,
            ids: gpu.buffer_of("ids", &words(&[0; ROWS_MAX]))?,
            routes: gpu.buffer("routes", 8 * (ROWS_MAX * limits.used) as u64)?,
            inputs,
            limits,
        }))
    }
}

impl<'a> Trials<'a> {
    pub(super) fn new(gpu: &'a Gpu, experts: ExpertFormats, plan: Plan) -> Result<Self> {
        let (embd, mut random) = (plan.embd, Random(3));
        let of = shape(embd, 2 * embd, 1);
        let mut dense = vec![Weights::random(gpu, &mut random, Format::Q8_0, of)?];
        for _ in 1..plan.copies {
            dense.push(dense[0].again(gpu)?);
        }
        let left = plan.weight_bytes.saturating_sub(plan.copies * matrix_bytes(Format::Q8_0, of));
        let mut rows = |width: usize| Rows::of(gpu, &random.values(ROWS_MAX * width), width);
        let queries = of.rows * of.cols / (embd / 4);
        let has_prompts = has_units(gpu.caps(), Precision::Fast);
        let prompt = || -> Result<[Rows; 2]> {
            let values = Random(5).values(plan.prompt * embd);
            Ok([Rows::of(gpu, &values, embd)?, Rows::new(gpu, plan.prompt, 2 * embd)?])
        };
        Ok(Self {
            wide: rows(2 * embd)?,
            narrow: rows(embd / 4)?,
            y: rows(embd)?,
            queries: Rows::new(gpu, ROWS_MAX, queries)?,
            streams: Streams::new(gpu, embd, ROWS_MAX, true)?,
            routed: Routed::new(gpu, experts, &plan, left)?,
            prompt: has_prompts.then(prompt).transpose()?,
            made: HashMap::new(),
            dense,
            gpu,
            plan,
        })
    }

    /// Whether it is timed here.
    pub(super) fn has(&self, work: Work) -> bool {
        match work {
            Work::Output(_) | Work::Query(_) => true,
            Work::Experts(_) => self.routed.is_some(),
            Work::Prompt => self.prompt.is_some(),
            Work::PromptExperts => self.prompt.is_some() && self.routed.is_some(),
        }
    }

    /// The time of `other` as a part of that of `best`, for all `works` in turns: a kernel that is run again and again finds its own code in caches
    /// from which a step's other kernels and weights have driven it.
    ///
    /// # Errors
    /// One of them does not run, or `is_over` said so.
    pub(super) fn ratio(
        &mut self,
        works: &[Work],
        best: Tuning,
        other: Tuning,
        is_over: &dyn Fn() -> bool,
    ) -> Result<f64> {
        let over = || Error::Device("nothing more is to be tried".to_owned());
        let check = || if is_over() { Err(over()) } else { Ok(()) };
        let works: Vec<Work> = works.iter().copied().filter(|work| self.has(*work)).collect();
        if works.is_empty() {
            return Ok(1.0);
        }
        // All is compiled before anything is measured, so that the device does not idle in between.
        for work in &works {
            for tuning in [best, other] {
                check()?;
                self.make(*work, tuning)?;
                self.seconds(&[*work], tuning, 1)?;
            }
        }
        if !self.gpu.caps().is_software {
            let start = Instant::now();
            while start.elapsed().as_secs_f64() < WARM_SECONDS {
                self.seconds(&works, best, 1)?;
            }
        }
        check()?;
        let one = self.seconds(&works, best, 1)?;
        let calls = ((works.len() as f64 * self.plan.seconds / one) as usize).clamp(1, CALLS_MAX);
        let ratios = (0..self.plan.rounds.max(1)).map(|round| {
            check()?;
            // Whatever drifts favours neither.
            let order = if round % 2 == 0 { [best, other] } else { [other, best] };
            let [a, b] = order.map(|tuning| self.seconds(&works, tuning, calls));
            let (a, b) = (a?, b?);
            Ok(if round % 2 == 0 { b / a } else { a / b })
        });
        Ok(median(ratios.collect::<Result<_>>()?))
    }

    fn make(&mut self, work: Work, tuning: Tuning) -> Result<()> {
        if let Entry::Vacant(place) = self.made.entry((work, tuning)) {
            let rows = if matches!(work, Work::Prompt | Work::PromptExperts) { self.plan.prompt } else { ROWS_MAX };
            let cols = if matches!(work, Work::Output(_)) { 2 * self.plan.embd } else { self.plan.embd };
            let linear = Linear::tuned(self.gpu, Precision::Fast, Limits { rows, cols, normed_cols: 0 }, tuning)?;
            let experts = match (work, &self.routed) {
                (Work::Experts(_), Some(routed)) => Some(Experts::new(self.gpu, &linear, routed.limits)?),
                _ => None,
            };
            place.insert(Made { linear, experts });
        }
        Ok(())
    }

    /// Seconds of all `works` once, of `calls` times.
    fn seconds(&self, works: &[Work], tuning: Tuning, calls: usize) -> Result<f64> {
        let missing = || Error::Device("kernels that were not made".to_owned());
        let made = |work: &Work| self.made.get(&(*work, tuning)).map(|made| (*work, made)).ok_or_else(missing);
        let made: Vec<(Work, &Made)> = works.iter().map(made).collect::<Result<_>>()?;
        let start = Instant::now();
        for i in 0..calls {
            made.iter().try_for_each(|(work, made)| self.call(*work, made, i))?;
        }
        self.gpu.wait()?;
        Ok((start.elapsed().as_secs_f64() / calls as f64).max(1e-9))
    }

    /// Call number `i`.
    fn call(&self, work: Work, made: &Made, i: usize) -> Result<()> {
        let (gpu, linear) = (self.gpu, &made.linear);
        let dense = &self.dense[i % self.dense.len()].matrix;
        match work {
            Work::Output(rows) => {
                let product =
                    |expand: &Expand<'_>| linear.project_expanding(gpu, rows, &self.wide, dense, &self.y, expand);
                self.streams.take(gpu, rows, &self.y, product).map(|_| ())
            }
            Work::Query(rows) => {
                let w = seen_as(dense, self.queries.width, self.narrow.width);
                linear.project(gpu, rows, &self.narrow, None, &[(&w, &self.queries)])
            }
            Work::Experts(rows) => {
                let (Some(routed), Some(experts)) = (&self.routed, &made.experts) else { return Ok(()) };
                let Routed { logits, ids, routes, .. } = routed;
                let (matrix, routing) = (&routed.router.matrix, Routing::Learned(None));
                let router = Router { matrix, z: logits, has_logits: false, routing, ids, scale: 1.0 };
                let (weights, h) = (routed.layer.weights(), &routed.inputs[i % routed.inputs.len()]);
                let layer = |expand: &Expand<'_>| {
                    let expand = Some(expand);
                    experts.run_routed(gpu, linear, rows, CLAMPS, &weights, h, &router, routes, &self.y, expand)
                };
                self.streams.take(gpu, rows, &self.y, layer).map(|_| ())
            }
            Work::Prompt => {
                let Some([x, out]) = &self.prompt else { return Ok(()) };
                let w = seen_as(dense, out.width, x.width);
                linear.project(gpu, self.plan.prompt, x, None, &[(&w, out)])
            }
            Work::PromptExperts => {
                let (Some([x, out]), Some(routed)) = (&self.prompt, &self.routed) else { return Ok(()) };
                let rows = (routed.limits.experts * routed.limits.ff).min(out.width);
                let w = seen_as(routed.layer.weights().gate, rows, x.width);
                linear.project(gpu, self.plan.prompt, x, None, &[(&w, out)])
            }
        }
    }
}

/// The same weights, or the first of them, as one matrix of another shape: rows lie one after the other in each plane.
fn seen_as(m: &Matrix, rows: usize, cols: usize) -> Matrix {
    let shape = MatrixShape { rows, cols, count: 1 };
    Matrix { buffer: Arc::clone(&m.buffer), format: m.format, shape, planes: m.planes }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_outlier_of_five_is_not_the_median() {
        assert_eq!(median(vec![1.0, 9.0, 1.1, 0.1, 1.05]), 1.05);
    }
}
