//! Hyper-connections, norms and the router against the formulas in f64.

use super::weights::{Random, close};
use super::{Case, Shapes, Trial, Verdict, Work};
use crate::gpu::{Gpu, floats, to_floats, words};
use crate::ops::hyper::{Collapse, Expand, Hyper, MIX, Mixing, Site, rms_norm};
use crate::ops::route::{Routing, route};
use crate::rows::{Rows, Vector};
use ds4_engine::{Config, Precision, Result};
use half::f16;

/// Values that a row is projected to.
const VALUES: usize = 24;
/// Multiplications of a reference in f64 that still take no time.
const REFERENCE_PRODUCTS: usize = 1 << 26;

fn config(embd: usize) -> Config {
    Config { embd, ..super::attention::config(super::attention::SMALL, &[]) }
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// Mix values of one row: `values` products with the normed row.
fn products(project: &[f32], x: &[f32], values: usize, eps: f64) -> Vec<f64> {
    let square: f64 = x.iter().map(|v| f64::from(*v).powi(2)).sum();
    let inverse = 1.0 / (square / x.len() as f64 + eps).sqrt();
    let row = |r: usize| {
        project[r * x.len()..][..x.len()].iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum::<f64>()
    };
    (0..values).map(|r| row(r) * inverse).collect()
}

fn collapsed(x: &[f64], pre: &[f64], norm: &[f32], eps: f64) -> Vec<f64> {
    let e = norm.len();
    let h: Vec<f64> = (0..e).map(|d| (0..4).map(|s| pre[s] * x[s * e + d]).sum()).collect();
    let inverse = 1.0 / (h.iter().map(|v| v * v).sum::<f64>() / e as f64 + eps).sqrt();
    h.iter().zip(norm).map(|(h, w)| h * inverse * f64::from(*w)).collect()
}

/// `C` of the raw values: softmax, then rows and columns in turns.
fn sinkhorn(config: &Config, gate: impl Fn(usize) -> f64) -> Vec<f64> {
    let eps = f64::from(config.hc_eps);
    let mut c: Vec<Vec<f64>> = (0..4).map(|i| (0..4).map(|j| gate(8 + 4 * i + j)).collect()).collect();
    for row in &mut c {
        let most = row.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = row.iter().map(|v| (v - most).exp()).sum();
        row.iter_mut().for_each(|v| *v = (*v - most).exp() / sum + eps);
    }
    for round in 0..config.sinkhorn {
        if round > 0 {
            for row in &mut c {
                let sum = row.iter().sum::<f64>() + eps;
                row.iter_mut().for_each(|v| *v /= sum);
            }
        }
        for j in 0..4 {
            let sum = c.iter().map(|row| row[j]).sum::<f64>() + eps;
            c.iter_mut().for_each(|row| row[j] /= sum);
        }
    }
    c.into_iter().flatten().collect()
}

/// One site's weights, and a step's values, on both sides.
pub(crate) struct Streams {
    config: Config,
    hyper: Hyper,
    is_f16: bool,
    project: Vec<f32>,
    scale: Vec<f32>,
    base: Vec<f32>,
    norm: Vec<f32>,
    x: Vec<f32>,
    mix: Vec<f32>,
    y: Vec<f32>,
    project_on: crate::gpu::Buffer,
    vectors: [Vector; 3],
    x_on: Rows,
    mix_on: Rows,
    y_on: Rows,
    h_on: Rows,
}

impl Streams {
    pub(crate) fn new(gpu: &Gpu, embd: usize, rows: usize, is_f16: bool) -> Result<Self> {
        let (config, mut random) = (config(embd), Random(embd as u64 + rows as u64));
        let mut project = random.values(VALUES * 4 * embd);
        if is_f16 {
            project.iter_mut().for_each(|v| *v = f16::from_f32(*v).to_f32());
        }
        let bytes = match is_f16 {
            true => project.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
            false => floats(&project),
        };
        let (scale, base, norm) = (random.values(3), random.values(VALUES), random.values(embd));
        let (x, mix, y) = (random.values(rows * 4 * embd), random.values(rows * MIX), random.values(rows * embd));
        Ok(Self {
            hyper: Hyper::new(gpu, &config, rows, Precision::Fast)?,
            project_on: gpu.buffer_of("fn", &bytes)?,
            vectors: [Vector::new(gpu, &scale)?, Vector::new(gpu, &base)?, Vector::new(gpu, &norm)?],
            x_on: Rows::of(gpu, &x, 4 * embd)?,
            mix_on: Rows::of(gpu, &mix, MIX)?,
            y_on: Rows::of(gpu, &y, embd)?,
            h_on: super::linear::poisoned(gpu, rows, embd)?,
            config,
            is_f16,
            project,
            scale,
            base,
            norm,
            x,
            mix,
            y,
        })
    }

    fn site(&self) -> Site<'_> {
        let [scale, base, norm] = &self.vectors;
        Site { project: self.mixing(), scale, base, norm }
    }

    fn mixing(&self) -> Mixing<'_> {
        Mixing { project: &self.project_on, is_f16: self.is_f16 }
    }

    fn expand(&self, gpu: &Gpu, rows: usize, y: &Rows) -> Result<()> {
        self.hyper.expand(gpu, rows, &self.mix_on, y, &self.x_on, Some(self.mixing()))
    }

    fn collapse(&self, gpu: &Gpu, rows: usize) -> Result<()> {
        self.hyper.collapse(gpu, rows, &self.site(), &self.x_on, &self.mix_on, &self.h_on)
    }

    fn expand_collapse(&self, gpu: &Gpu, rows: usize) -> Result<()> {
        self.expand(gpu, rows, &self.y_on)?;
        self.collapse(gpu, rows)
    }

    /// Lets `product` make the output `y`, and expand it or not; then the streams are expanded if they are not, and collapsed. Whether the
    /// product expanded it is returned.
    pub(crate) fn take(
        &self,
        gpu: &Gpu,
        rows: usize,
        y: &Rows,
        product: impl FnOnce(&Expand<'_>) -> Result<bool>,
    ) -> Result<bool> {
        let is_expanded = product(&self.hyper.expand_into(self.mixing(), &self.x_on, &self.mix_on))?;
        if !is_expanded {
            self.expand(gpu, rows, y)?;
        }
        self.collapse(gpu, rows)?;
        Ok(is_expanded)
    }

    /// The same where the product must expand it, or must not: compares the streams with what this output gives, and returns it.
    pub(super) fn check_expanding(
        &self,
        verdict: &mut Verdict,
        gpu: &Gpu,
        rows: usize,
        expands: bool,
        y: &Rows,
        product: impl FnOnce(&Expand<'_>) -> Result<bool>,
    ) -> Result<Vec<f32>> {
        let is_expanded = self.take(gpu, rows, y, product)?;
        verdict.require(is_expanded == expands, || format!("whether {rows} rows were expanded: {is_expanded}"));
        let y = y.read(gpu, rows)?;
        self.compare(verdict, gpu, rows, &y)?;
        Ok(y)
    }

    /// The single row that `product` must collapse at its beginning, or must not: compares what it leaves, and returns h.
    pub(super) fn check_collapsing(
        &self,
        verdict: &mut Verdict,
        gpu: &Gpu,
        collapses: bool,
        product: impl FnOnce(&Collapse<'_>) -> Result<bool>,
    ) -> Result<Vec<f32>> {
        self.expand(gpu, 1, &self.y_on)?;
        let collapse = self.hyper.collapse_into(1, self.site(), &self.x_on, &self.mix_on, &self.h_on);
        let is_collapsed = collapse.map_or(Ok(false), |collapse| product(&collapse))?;
        verdict.require(is_collapsed == collapses, || format!("whether a row was collapsed: {is_collapsed}"));
        if is_collapsed {
            self.compare(verdict, gpu, 1, &self.y)?;
            super::linear::compare_consumed(verdict, gpu, &self.h_on, 1)?;
        }
        self.h_on.read(gpu, 1)
    }

    /// Compares what is there after `y` was expanded, then collapsed.
    fn compare(&self, verdict: &mut Verdict, gpu: &Gpu, rows: usize, y: &[f32]) -> Result<()> {
        let (embd, eps, hc_eps) = (self.config.embd, f64::from(self.config.rms_eps), f64::from(self.config.hc_eps));
        let (x, mix, h) = (self.x_on.read(gpu, rows)?, self.mix_on.read(gpu, rows)?, self.h_on.read(gpu, rows)?);
        for r in checked(embd, rows) {
            let (old, m, y) =
                (&self.x[r * 4 * embd..][..4 * embd], &self.mix[r * MIX..][..MIX], &y[r * embd..][..embd]);
            let new: Vec<f64> = (0..4 * embd)
                .map(|i| {
                    let (t, d) = (i / embd, i % embd);
                    let streams: f64 = (0..4).map(|s| f64::from(m[4 + 4 * s + t]) * f64::from(old[s * embd + d])).sum();
                    f64::from(m[t]) * f64::from(y[d]) + streams
                })
                .collect();
            let got_row = &x[r * 4 * embd..][..4 * embd];
            close(verdict, "expanded", got_row, &new, 1e-6);
            let raw = products(&self.project, got_row, VALUES, eps);
            let gate = |i: usize, at: usize| raw[i] * f64::from(self.scale[at]) + f64::from(self.base[i]);
            let pre: Vec<f64> = (0..4).map(|i| sigmoid(gate(i, 0)) + hc_eps).collect();
            let mut want: Vec<f64> = (0..4).map(|t| 2.0 * sigmoid(gate(4 + t, 1))).collect();
            want.extend(sinkhorn(&self.config, |i| gate(i, 2)));
            close(verdict, "mix", &mix[r * MIX..][..MIX], &want, 1e-5);
            let wide: Vec<f64> = got_row.iter().map(|v| f64::from(*v)).collect();
            close(verdict, "h", &h[r * embd..][..embd], &collapsed(&wide, &pre, &self.norm, eps), 1e-5);
        }
        Ok(())
    }
}

/// Rows that are compared.
fn checked(embd: usize, rows: usize) -> Vec<usize> {
    super::linear::some(rows, REFERENCE_PRODUCTS / (VALUES * 4 * embd))
}

/// Hyper-connections of `rows` rows of four streams of `embd` values: expand and collapse, the head's collapse, expand alone.
///
/// # Errors
/// The device failed.
pub fn check_streams(verdict: &mut Verdict, gpu: &Gpu, embd: usize, rows: usize, is_f16: bool) -> Result<()> {
    let s = Streams::new(gpu, embd, rows, is_f16)?;
    let (eps, hc_eps) = (f64::from(s.config.rms_eps), f64::from(s.config.hc_eps));
    s.expand_collapse(gpu, rows)?;
    s.compare(verdict, gpu, rows, &s.y)?;
    let got_x = s.x_on.read(gpu, rows)?;

    // The head collapses chosen rows.
    let chosen: Vec<usize> = checked(embd, rows).into_iter().rev().step_by(2).collect();
    let e_on = super::linear::poisoned(gpu, chosen.len(), embd)?;
    s.hyper.head(gpu, &chosen, &s.site(), &s.x_on, &e_on)?;
    let e = e_on.read(gpu, chosen.len())?;
    for (i, r) in chosen.iter().enumerate() {
        let row = &got_x[r * 4 * embd..][..4 * embd];
        let raw = products(&s.project, row, 4, eps);
        let pre: Vec<f64> =
            (0..4).map(|i| sigmoid(raw[i] * f64::from(s.scale[0]) + f64::from(s.base[i])) + hc_eps).collect();
        let wide: Vec<f64> = row.iter().map(|v| f64::from(*v)).collect();
        close(verdict, "e", &e[i * embd..][..embd], &collapsed(&wide, &pre, &s.norm, eps), 1e-5);
    }
    super::linear::compare_consumed(verdict, gpu, &s.h_on, rows)?;
    super::linear::compare_consumed(verdict, gpu, &e_on, chosen.len())?;

    // Expand alone gives the same X as before.
    let (x_on, mix_on) = (Rows::of(gpu, &s.x, 4 * embd)?, Rows::of(gpu, &s.mix, MIX)?);
    s.hyper.expand(gpu, rows, &mix_on, &s.y_on, &x_on, None)?;
    let is_same = x_on.read(gpu, rows)? == got_x;
    verdict.require(is_same, || "expand alone gives other values than expand and collapse".to_owned());
    Ok(())
}

/// RMSNorm in place of `rows` rows of `width` values.
///
/// # Errors
/// The device failed.
pub fn check_norm(verdict: &mut Verdict, gpu: &Gpu, width: usize, rows: usize) -> Result<()> {
    let mut random = Random(width as u64);
    let (x, norm) = (random.values(width * rows), random.values(width));
    let x_on = Rows::of(gpu, &x, width)?;
    rms_norm(gpu, rows, &Vector::new(gpu, &norm)?, 1e-6, &x_on)?;
    for (got, x) in x_on.read(gpu, rows)?.chunks(width).zip(x.chunks(width)) {
        let square: f64 = x.iter().map(|v| f64::from(*v).powi(2)).sum();
        let inverse = 1.0 / (square / width as f64 + 1e-6).sqrt();
        let want: Vec<f64> = x.iter().zip(&norm).map(|(x, w)| f64::from(*x) * inverse * f64::from(*w)).collect();
        close(verdict, "normed", got, &want, 1e-6);
    }
    Ok(())
}

/// How experts are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// By a table of token ids.
    Hash,
    /// By their logits.
    Plain,
    /// By their logits and a bias.
    Biased,
}

/// A router's inputs, on both sides.
struct Router {
    config: Config,
    choice: Choice,
    z: Vec<f32>,
    bias: Vec<f32>,
    table: Vec<u32>,
    ids: Vec<u32>,
    z_on: Rows,
    bias_on: Vector,
    table_on: crate::gpu::Buffer,
    ids_on: crate::gpu::Buffer,
    routes_on: crate::gpu::Buffer,
}

impl Router {
    fn new(gpu: &Gpu, experts: usize, used: usize, rows: usize, choice: Choice) -> Result<Self> {
        let config = Config { experts, experts_used: used, ..config(64) };
        let mut random = Random(experts as u64);
        let mut z: Vec<f32> = random.values(rows * experts).iter().map(|v| v * 30.0).collect();
        // Ties go to the lower id.
        (z[1], z[2], z[3]) = (29.5, 29.5, 29.5);
        let bias = random.values(experts);
        let table: Vec<u32> = (0..10 * used as u32).map(|i| i * 7 % experts as u32).collect();
        let ids: Vec<u32> = (0..rows as u32).map(|r| r % 10).collect();
        let on = |values: &[u32]| gpu.buffer_of("u32", &words(values));
        Ok(Self {
            z_on: Rows::of(gpu, &z, experts)?,
            bias_on: Vector::new(gpu, &bias)?,
            table_on: on(&table)?,
            ids_on: on(&ids)?,
            routes_on: on(&vec![u32::MAX; 2 * rows * used])?,
            config,
            choice,
            z,
            bias,
            table,
            ids,
        })
    }

    fn go(&self, gpu: &Gpu, precision: Precision) -> Result<()> {
        let routing = match self.choice {
            Choice::Hash => Routing::Hash(&self.table_on),
            Choice::Plain => Routing::Learned(None),
            Choice::Biased => Routing::Learned(Some(&self.bias_on)),
        };
        let sizes = (self.config.experts, self.config.experts_used);
        let (rows, scale) = (self.ids.len(), self.config.expert_scale);
        route(gpu, precision, sizes, rows, &routing, &self.z_on, &self.ids_on, scale, &self.routes_on)
    }

    fn check(&self, verdict: &mut Verdict, gpu: &Gpu, precision: Precision, tolerance: f64) -> Result<()> {
        self.go(gpu, precision)?;
        let (experts, used, rows, choice) =
            (self.config.experts, self.config.experts_used, self.ids.len(), self.choice);
        let routes = gpu.download(&self.routes_on, 0, 8 * (rows * used) as u64)?;
        let pairs: Vec<u32> = to_floats(&routes).iter().map(|v| v.to_bits()).collect();
        for r in 0..rows {
            let p: Vec<f64> =
                self.z[r * experts..][..experts].iter().map(|z| f64::from(*z).exp().ln_1p().sqrt()).collect();
            let mut best: Vec<usize> = (0..experts).collect();
            let score = |e: usize| p[e] as f32 + if choice == Choice::Biased { self.bias[e] } else { 0.0 };
            best.sort_by(|a, b| score(*b).total_cmp(&score(*a)).then(a.cmp(b)));
            let want: Vec<usize> = match choice {
                Choice::Hash => self.table[self.ids[r] as usize * used..][..used].iter().map(|e| *e as usize).collect(),
                _ => best[..used].to_vec(),
            };
            let got: Vec<usize> = (0..used).map(|i| pairs[2 * (r * used + i)] as usize).collect();
            // Scores that the device rounds differently may change places, equal ones may not.
            let is_near = |a: usize, b: usize| a < experts && (1e-30..1e-5).contains(&(score(a) - score(b)).abs());
            let is_right = got.iter().zip(&want).all(|(g, w)| g == w || choice != Choice::Hash && is_near(*g, *w));
            verdict.require(is_right, || format!("{precision:?} row {r}, {choice:?}: experts {got:?}, not {want:?}"));
            let want = if is_right { got } else { want };
            let sum: f64 = want.iter().map(|e| p[*e]).sum();
            for (i, e) in want.iter().enumerate() {
                let weight = f64::from(f32::from_bits(pairs[2 * (r * used + i) + 1]));
                let expected = f64::from(self.config.expert_scale) * p[*e] / sum.max(2f64.powi(-14));
                let at = || format!("{precision:?} row {r}, {choice:?}: weight {weight}, not {expected}");
                verdict.see((weight - expected).abs(), tolerance * expected, at);
            }
        }
        Ok(())
    }
}

/// `used` of `experts` experts for `rows` rows, and their weights, in both kinds of arithmetic.
///
/// # Errors
/// The device failed.
pub fn check_router(
    verdict: &mut Verdict,
    gpu: &Gpu,
    experts: usize,
    used: usize,
    rows: usize,
    choice: Choice,
) -> Result<()> {
    let router = Router::new(gpu, experts, used, rows, choice)?;
    router.check(verdict, gpu, Precision::Exact, 1e-6)?;
    // A driver's logarithm may be off by 2^-21 near 1, half of which is 2.4e-5 of the smallest that it is asked for.
    router.check(verdict, gpu, Precision::Fast, 5e-5)
}

const CHOICES: [Choice; 3] = [Choice::Hash, Choice::Plain, Choice::Biased];

/// Cases of hyper-connections, norms and the router.
pub(super) fn cases(shapes: Shapes) -> Vec<Case> {
    let mut all = Vec::new();
    match shapes {
        Shapes::Small => {
            all.push(Case::small("hyper-connections", "4×64, 4×128, 4×256, rows [1, 3, 17]".to_owned(), |trial| {
                for (embd, rows) in [(64, 1), (128, 3), (256, 17), (256, 37)] {
                    for is_f16 in [true, false] {
                        check_streams(&mut trial.outcome.verdict, trial.gpu, embd, rows, is_f16)?;
                    }
                }
                Ok(())
            }));
            all.push(Case::small("norm", "1, 7 and 1024 values".to_owned(), |trial| {
                let sizes = [(1, 1), (7, 2), (1024, 3)];
                sizes.into_iter().try_for_each(|(n, rows)| check_norm(&mut trial.outcome.verdict, trial.gpu, n, rows))
            }));
            all.push(Case::small("router", "2 of 6, 3 of 8, rows [5, 1]".to_owned(), |trial| {
                let sizes = [(6, 2, 5), (8, 3, 1)].into_iter().flat_map(|size| CHOICES.map(|choice| (size, choice)));
                sizes.into_iter().try_for_each(|((experts, used, rows), choice)| {
                    check_router(&mut trial.outcome.verdict, trial.gpu, experts, used, rows, choice)
                })
            }));
        }
        Shapes::Model => {
            for rows in [1, 16, 512] {
                let shape = format!("4×4096, {rows} rows");
                all.push(Case::model("hyper-connections", shape, move |trial| model_streams(trial, rows)));
            }
            for rows in [1, 512] {
                let shape = format!("6 of 256, {rows} rows");
                all.push(Case::model("router", shape, move |trial| model_router(trial, rows)));
            }
        }
    }
    all
}

fn model_streams(trial: &mut Trial<'_>, rows: usize) -> Result<()> {
    let (gpu, embd) = (trial.gpu, 4096);
    check_streams(&mut trial.outcome.verdict, gpu, embd, rows, true)?;
    check_norm(&mut trial.outcome.verdict, gpu, embd, rows)?;
    let s = Streams::new(gpu, embd, rows, true)?;
    let products = 2 * VALUES * 4 * embd;
    let work = Work { bytes: (products + rows * (2 * 16 + 4 + 4) * embd) as f64, operations: (rows * products) as f64 };
    trial.time("expand and collapse", work, |_| s.expand_collapse(gpu, rows))
}

fn model_router(trial: &mut Trial<'_>, rows: usize) -> Result<()> {
    let gpu = trial.gpu;
    for choice in CHOICES {
        check_router(&mut trial.outcome.verdict, gpu, 256, 6, rows, choice)?;
    }
    let router = Router::new(gpu, 256, 6, rows, Choice::Biased)?;
    let work = Work { bytes: (4 * rows * 256 + 1024 + 8 * 6 * rows) as f64, operations: 0.0 };
    trial.time("choose", work, |_| router.go(gpu, Precision::Fast))
}
