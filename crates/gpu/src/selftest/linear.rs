//! Products of weight matrices with activations against f64 sums over dequantised weights.

use super::weights::{Random, Weights, block_most, close, matrix_bytes, product, shape};
use super::{Case, Shapes, Trial, Verdict, Work};
use crate::gpu::{Gpu, words};
use crate::ops::hyper::{Collapse, Expand};
use crate::ops::linear::{Limits, Linear, Tuning};
use crate::ops::units::Units;
use crate::parts;
use crate::rows::{Rows, Vector};
use crate::weights::Matrix;
use ds4_engine::backend::MatrixShape;
use ds4_engine::{Precision, Result};
use ds4_quant::Format;
use std::collections::HashMap;

/// What exact mode may err by, of Σ|w·x|; fast mode also by what rounding the activations to bytes changes at most, and by the second.
const EXACT: f64 = 4e-7;
const FAST: f64 = 1e-5;
/// Multiplications of a reference in f64 that still take no time.
const REFERENCE_PRODUCTS: usize = 1 << 25;
/// Bytes beyond which weights do not stay in a cache, and the most copies for that.
const ROTATION_BYTES: usize = 160 << 20;
const COPIES_MAX: usize = 48;
/// Rows of small cases: one, a few, and more than a pass serves.
const SMALL_ROWS: [usize; 3] = [1, 3, 17];

/// Products of `w` with the rows of `x`.
pub struct Product<'a> {
    /// What is computed, for messages.
    pub what: &'a str,
    /// Arithmetic.
    pub precision: Precision,
    /// Weights.
    pub w: &'a Weights,
    /// Activations, `x_width` a row.
    pub x: &'a [f32],
    /// Values of a row of `x`.
    pub x_width: usize,
    /// Results, `out_width` a row.
    pub out: &'a [f32],
    /// Values of a row of `out`.
    pub out_width: usize,
    /// Rows of the matrix for each group, which sees only its part of `x`; all where there are no groups.
    pub per_group: usize,
}

/// Compares all rows, and as many values of each as take no time; others must only be numbers.
pub fn compare(verdict: &mut Verdict, p: &Product<'_>) {
    let MatrixShape { rows: n, cols, .. } = p.w.matrix.shape;
    let rows = p.x.len() / p.x_width;
    let mut most = HashMap::new();
    for o in some(n, REFERENCE_PRODUCTS / (rows * cols)) {
        let (w, begin) = (p.w.row(o), o / p.per_group * cols);
        for r in 0..rows {
            let x = &p.x[r * p.x_width + begin..][..cols];
            let most = most.entry((r, begin)).or_insert_with(|| block_most(x));
            let (sum, size, change) = product(&w, x, most);
            let allowed = EXACT * size + if p.precision == Precision::Fast { change + FAST * size } else { 0.0 };
            let found = p.out[r * p.out_width + o];
            let error = (f64::from(found) - sum).abs();
            verdict.see(error, allowed, || format!("{}, row {r}, value {o}: {found} for {sum}", p.what));
        }
    }
    for (r, out) in p.out.chunks_exact(p.out_width).enumerate() {
        let missing = out[..n].iter().position(|v| !v.is_finite());
        verdict.require(missing.is_none(), || format!("{}, row {r}: no number at {missing:?}", p.what));
        let is_left = out[n..].iter().all(|v| v.is_nan());
        verdict.require(is_left, || format!("{}, row {r}: written beyond the matrix", p.what));
    }
}

/// Whether a product takes `x` rightly, as the operation before left it: as bytes, where it wrote them. Compared with the product of the values that can be read.
///
/// # Errors
/// The device failed.
pub fn compare_consumed(verdict: &mut Verdict, gpu: &Gpu, x: &Rows, rows: usize) -> Result<()> {
    let limits = Limits { rows, cols: x.width, normed_cols: x.width };
    let linear = Linear::new(gpu, Precision::Fast, limits)?;
    let values = x.read(gpu, rows)?;
    // Minima need the sums of the bytes as well.
    let fits = |format: &Format| x.width.is_multiple_of(format.block_len());
    for format in [Format::Q8_0, Format::Q4K].into_iter().filter(fits) {
        let w = Weights::random(gpu, &mut Random(12), format, shape(9, x.width, 1))?;
        let out = poisoned(gpu, rows, 9)?;
        linear.project(gpu, rows, x, None, &[(&w.matrix, &out)])?;
        let product = Product {
            what: "a product of what came out",
            precision: Precision::Fast,
            w: &w,
            x: &values,
            x_width: x.width,
            out: &out.read(gpu, rows)?,
            out_width: 9,
            per_group: 9,
        };
        compare(verdict, &product);
    }
    Ok(())
}

/// A product of `rows` rows that makes an output of `embd` values and expands it.
///
/// # Errors
/// The device failed.
pub fn check_expanding(
    verdict: &mut Verdict,
    gpu: &Gpu,
    linear: &Linear,
    w: &Weights,
    rows: usize,
    is_f16: bool,
) -> Result<()> {
    check_output(verdict, gpu, linear, w, rows, is_f16, true)
}

/// The same where the product leaves that to another kernel.
///
/// # Errors
/// The device failed.
pub fn check_expanded_apart(verdict: &mut Verdict, gpu: &Gpu, linear: &Linear, w: &Weights, rows: usize) -> Result<()> {
    check_output(verdict, gpu, linear, w, rows, true, false)
}

/// Products of the single row that is collapsed at their beginning, where `collapses` says so: the first for a norm, or for none.
///
/// # Errors
/// The device failed.
pub fn check_collapsing(
    verdict: &mut Verdict,
    gpu: &Gpu,
    linear: &Linear,
    weights: &[&Weights],
    is_for_norm: bool,
    collapses: bool,
) -> Result<()> {
    let Some(embd) = weights.first().map(|w| w.matrix.shape.cols) else { return Ok(()) };
    let streams = super::hyper::Streams::new(gpu, embd, 1, true)?;
    let norm = Vector::new(gpu, &Random(17).values(weights[0].matrix.shape.rows))?;
    let outputs = weights
        .iter()
        .map(|w| poisoned(gpu, 1, w.matrix.shape.rows.next_multiple_of(64)))
        .collect::<Result<Vec<_>>>()?;
    let product = |collapse: &Collapse<'_>| {
        let out: Vec<_> = weights.iter().map(|w| &w.matrix).zip(&outputs).collect();
        linear.project_collapsed(gpu, collapse, is_for_norm.then_some(&norm), &out)
    };
    let h = streams.check_collapsing(verdict, gpu, collapses, product)?;
    for (w, out) in weights.iter().zip(&outputs).filter(|_| collapses) {
        let what = format!("{}, collapsed", w.matrix.format);
        let (precision, width) = (linear.precision(), out.width);
        let out = out.read(gpu, 1)?;
        let (x, per_group) = (&h[..], w.matrix.shape.rows);
        compare(
            verdict,
            &Product { what: &what, precision, w, x, x_width: embd, out: &out, out_width: width, per_group },
        );
    }
    Ok(())
}

fn check_output(
    verdict: &mut Verdict,
    gpu: &Gpu,
    linear: &Linear,
    w: &Weights,
    rows: usize,
    is_f16: bool,
    expands: bool,
) -> Result<()> {
    let MatrixShape { rows: embd, cols, .. } = w.matrix.shape;
    let values = Random(rows as u64).values(rows * cols);
    let (x, y) = (Rows::of(gpu, &values, cols)?, poisoned(gpu, rows, embd)?);
    let streams = super::hyper::Streams::new(gpu, embd, rows, is_f16)?;
    let product = |expand: &Expand<'_>| linear.project_expanding(gpu, rows, &x, &w.matrix, &y, expand);
    let out = streams.check_expanding(verdict, gpu, rows, expands, &y, product)?;
    let (what, precision) = (format!("{}, expanded", w.matrix.format), linear.precision());
    let product =
        Product { what: &what, precision, w, x: &values, x_width: cols, out: &out, out_width: embd, per_group: embd };
    compare(verdict, &product);
    Ok(())
}

/// Products of many rows, by tiles of each size that these units have: a matrix, and groups so many that the largest tiles are taken.
///
/// # Errors
/// A kernel does not compile, or the device failed.
pub fn check_tiles(gpu: &Gpu, units: Option<&'static Units>) -> Result<Verdict> {
    let precision = Precision::Fast;
    let limits = Limits { rows: 44, cols: 4096, normed_cols: 128 };
    let linear = Linear::with_units(gpu, precision, limits, Tuning::of(precision), units)?;
    let mut verdict = Verdict::default();
    for (format, groups, per_group, cols, rows) in [(Format::F16, 1, 70, 128, 40), (Format::Q8_0, 128, 8, 32, 44)] {
        let (mut random, width, n) = (Random(18), groups * cols, groups * per_group);
        let w = Weights::random(gpu, &mut random, format, shape(n, cols, 1))?;
        let values = random.values(rows * width);
        let (x, out) = (Rows::of(gpu, &values, width)?, poisoned(gpu, rows, n)?);
        linear.project_grouped(gpu, rows, groups, &w.matrix, &x, &out)?;
        let (what, out) = (format!("{format}, {groups} groups"), out.read(gpu, rows)?);
        let (what, x) = (what.as_str(), &values[..]);
        compare(
            &mut verdict,
            &Product { what, precision, w: &w, x, x_width: width, out: &out, out_width: n, per_group },
        );
    }
    Ok(verdict)
}

/// At most about `most` of `n` numbers, spread evenly, the first and the last among them.
pub(super) fn some(n: usize, most: usize) -> Vec<usize> {
    // Odd, so that every place in a tile has its turn.
    let step = n.div_ceil(most.max(2)) | 1;
    let mut all: Vec<usize> = (0..n).step_by(if step <= 1 { 1 } else { step }).collect();
    if all.last().is_some_and(|last| last + 1 < n) {
        all.push(n - 1);
    }
    all
}

/// Rows that show what was not written.
///
/// # Errors
/// Out of memory.
pub fn poisoned(gpu: &Gpu, rows: usize, width: usize) -> Result<Rows> {
    Rows::of(gpu, &vec![f32::NAN; rows * width], width)
}

/// A width of rows that is as odd as the format allows.
pub fn odd_cols(format: Format) -> usize {
    match format.block_len() {
        1 => 72,
        32 => 96,
        _ => 512,
    }
}

const PRECISIONS: [Precision; 2] = [Precision::Exact, Precision::Fast];

/// Cases of products and embeddings.
pub(super) fn cases(shapes: Shapes) -> Vec<Case> {
    match shapes {
        Shapes::Small => {
            let mut all: Vec<Case> = Vec::new();
            for format in Format::ALL {
                let shape = format!("{format} 83×{}, rows {SMALL_ROWS:?}", odd_cols(format));
                all.push(Case::small("product", shape, move |trial| small(trial, format)));
            }
            all.push(Case::small("products, normed", "mixed formats ×256, rows [1, 4, 20]".to_owned(), mixed));
            all.push(Case::small("product of groups", "4×64×64 Q8_0, rows [1, 3, 18]".to_owned(), groups));
            all.push(Case::small(
                "product, expanded",
                "Q8_0 and Q4_K 256×256, rows [1, 4]".to_owned(),
                small_expanding,
            ));
            all.push(Case::small("embedding", "every format, 4 rows".to_owned(), embeddings));
            all
        }
        Shapes::Model => {
            let rows = [(1, Precision::Exact), (1, Precision::Fast), (4, Precision::Fast), (16, Precision::Fast)];
            let more = [(512, Precision::Exact), (512, Precision::Fast)];
            let mut all = Vec::new();
            for product in model_products() {
                for (rows, precision) in rows.into_iter().chain(more) {
                    let shape = format!("{}, {precision:?}, {rows} rows", product.name);
                    let product = product.clone();
                    all.push(Case::model("product", shape, move |trial| model(trial, &product, rows, precision)));
                }
            }
            for rows in [1, 2, 4] {
                let shape = format!("out_b, {:?}, {rows} rows", Precision::Fast);
                all.push(Case::model("product, expanded", shape, move |trial| model_expanding(trial, rows)));
            }
            all
        }
    }
}

fn limits(rows: usize) -> Limits {
    Limits { rows, cols: 4096, normed_cols: 4096 }
}

fn small(trial: &mut Trial<'_>, format: Format) -> Result<()> {
    let (gpu, cols) = (trial.gpu, odd_cols(format));
    for precision in PRECISIONS {
        let linear = Linear::new(gpu, precision, limits(64))?;
        let mut random = Random(7);
        let w = Weights::random(gpu, &mut random, format, shape(83, cols, 1))?;
        for rows in SMALL_ROWS {
            let values = random.values(rows * cols);
            let (x, out) = (Rows::of(gpu, &values, cols)?, poisoned(gpu, rows, 90)?);
            linear.project(gpu, rows, &x, None, &[(&w.matrix, &out)])?;
            let (what, out) = (format!("{precision:?}, {rows} rows"), out.read(gpu, rows)?);
            let product = Product {
                what: &what,
                precision,
                w: &w,
                x: &values,
                x_width: cols,
                out: &out,
                out_width: 90,
                per_group: 83,
            };
            compare(&mut trial.outcome.verdict, &product);
        }
    }
    Ok(())
}

/// The same after a norm.
pub fn normed(x: &[f32], gains: &[f32], eps: f32) -> Vec<f32> {
    x.chunks_exact(gains.len())
        .flat_map(|x| {
            let square: f64 = x.iter().map(|v| f64::from(*v).powi(2)).sum();
            let factor = 1.0 / (square / gains.len() as f64 + f64::from(eps)).sqrt();
            x.iter().zip(gains).map(move |(v, g)| (f64::from(*v) * factor * f64::from(*g)) as f32)
        })
        .collect()
}

fn mixed(trial: &mut Trial<'_>) -> Result<()> {
    let formats = [Format::Q8_0, Format::F16, Format::Iq2Xxs, Format::Q2K, Format::F32, Format::Q4K, Format::Q8_0];
    let gpu = trial.gpu;
    for precision in PRECISIONS {
        let linear = Linear::new(gpu, precision, limits(64))?;
        let (mut random, cols, eps) = (Random(8), 256, 1e-6f32);
        let all = (0..)
            .zip(formats)
            .map(|(i, format)| Weights::random(gpu, &mut random, format, shape(16 + 9 * i, cols, 1)))
            .collect::<Result<Vec<_>>>()?;
        let gains = random.values(cols);
        let norm = Vector::new(gpu, &gains)?;
        for rows in [1, 4, 20] {
            let values = random.values(rows * cols);
            let x = Rows::of(gpu, &values, cols)?;
            let outs = all.iter().map(|w| poisoned(gpu, rows, w.matrix.shape.rows)).collect::<Result<Vec<_>>>()?;
            let list: Vec<(&Matrix, &Rows)> = all.iter().map(|w| &w.matrix).zip(&outs).collect();
            linear.project(gpu, rows, &x, Some((&norm, eps)), &list)?;
            let expected = normed(&values, &gains, eps);
            for (w, out) in all.iter().zip(&outs) {
                let (what, n) = (format!("{} {precision:?}, {rows} rows", w.matrix.format), out.width);
                let out = out.read(gpu, rows)?;
                let product = Product {
                    what: &what,
                    precision,
                    w,
                    x: &expected,
                    x_width: cols,
                    out: &out,
                    out_width: n,
                    per_group: n,
                };
                compare(&mut trial.outcome.verdict, &product);
            }
        }
    }
    Ok(())
}

fn groups(trial: &mut Trial<'_>) -> Result<()> {
    let (gpu, cols, groups, per_group) = (trial.gpu, 64, 4, 64);
    for precision in PRECISIONS {
        let linear = Linear::new(gpu, precision, limits(64))?;
        let mut random = Random(9);
        let w = Weights::random(gpu, &mut random, Format::Q8_0, shape(groups * per_group, cols, 1))?;
        for rows in [1, 3, 18] {
            let (width, n) = (groups * cols, groups * per_group);
            let values = random.values(rows * width);
            let (x, out_on) = (Rows::of(gpu, &values, width)?, poisoned(gpu, rows, n)?);
            linear.project_grouped(gpu, rows, groups, &w.matrix, &x, &out_on)?;
            let (what, out) = (format!("{precision:?}, {rows} rows"), out_on.read(gpu, rows)?);
            let product = Product {
                what: &what,
                precision,
                w: &w,
                x: &values,
                x_width: width,
                out: &out,
                out_width: n,
                per_group,
            };
            compare(&mut trial.outcome.verdict, &product);
            compare_consumed(&mut trial.outcome.verdict, gpu, &out_on, rows)?;
        }
    }
    Ok(())
}

fn embeddings(trial: &mut Trial<'_>) -> Result<()> {
    let gpu = trial.gpu;
    let linear = Linear::new(gpu, Precision::Exact, limits(64))?;
    for format in Format::ALL {
        let cols = odd_cols(format);
        let table = Weights::random(gpu, &mut Random(11), format, shape(20, cols, 1))?;
        compare_embedding(&mut trial.outcome.verdict, gpu, &linear, &table)?;
    }
    Ok(())
}

/// Rows of a table with at least 20 rows go to each of the four streams.
///
/// # Errors
/// The device failed.
pub fn compare_embedding(verdict: &mut Verdict, gpu: &Gpu, linear: &Linear, table: &Weights) -> Result<()> {
    let (ids, cols) = ([3u32, 19, 0, 3], table.matrix.shape.cols);
    let (ids_buffer, x) = (gpu.buffer_of("ids", &words(&ids))?, poisoned(gpu, 4, 4 * cols)?);
    linear.embed(gpu, 4, &ids_buffer, &table.matrix, &x)?;
    let found = x.read(gpu, 4)?;
    for (stream, found) in found.chunks_exact(cols).enumerate() {
        let want: Vec<f64> = table.row(ids[stream / 4] as usize).iter().map(|v| f64::from(*v)).collect();
        // The subtraction of a minimum may be fused with the product before it.
        close(verdict, &format!("{} stream {stream}", table.matrix.format), found, &want, 1e-6);
    }
    Ok(())
}

/// A product of the model: matrices of one input.
#[derive(Clone)]
pub struct ModelProduct {
    /// Its name.
    pub name: &'static str,
    /// Format and shape of each matrix.
    pub parts: Vec<(Format, MatrixShape)>,
    /// Groups, each of which sees its own part of the input.
    pub groups: usize,
    /// Whether the input is normed on the way.
    pub is_normed: bool,
}

impl ModelProduct {
    /// Bytes of all matrices.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|(format, shape)| matrix_bytes(*format, *shape)).sum()
    }

    /// Multiplications for a row.
    pub fn products(&self) -> usize {
        self.parts.iter().map(|(_, shape)| shape.rows * shape.cols).sum()
    }

    /// How many copies of the matrices exceed every cache.
    pub fn copies(&self) -> usize {
        (ROTATION_BYTES / self.bytes() + 1).min(COPIES_MAX)
    }
}

fn small_expanding(trial: &mut Trial<'_>) -> Result<()> {
    let gpu = trial.gpu;
    for precision in PRECISIONS {
        let linear = Linear::new(gpu, precision, limits(4))?;
        for format in [Format::Q8_0, Format::Q4K] {
            let w = Weights::random(gpu, &mut Random(15), format, shape(256, 256, 1))?;
            for (rows, is_f16) in [(1, true), (1, false), (4, true)] {
                check_expanding(&mut trial.outcome.verdict, gpu, &linear, &w, rows, is_f16)?;
            }
        }
        let of = |format, rows| Weights::random(gpu, &mut Random(18), format, shape(rows, 256, 1));
        let weights = [of(Format::Q8_0, 96)?, of(Format::F16, 9)?];
        // Bytes are made by subgroups.
        let collapses = precision == Precision::Exact || parts::can_emit(gpu.caps(), 256);
        check_collapsing(&mut trial.outcome.verdict, gpu, &linear, &weights.each_ref(), true, collapses)?;
    }
    Ok(())
}

/// The last product of attention up to the collapse at the next site: with the expand apart, and at its end.
fn model_expanding(trial: &mut Trial<'_>, rows: usize) -> Result<()> {
    let (gpu, of) = (trial.gpu, shape(4096, 8192, 1));
    let linear = Linear::new(gpu, Precision::Fast, Limits { rows, cols: of.cols, normed_cols: 0 })?;
    let mut weights = vec![Weights::random(gpu, &mut Random(15), Format::Q8_0, of)?];
    check_expanding(&mut trial.outcome.verdict, gpu, &linear, &weights[0], rows, true)?;
    let bytes = matrix_bytes(Format::Q8_0, of);
    if !gpu.caps().is_software {
        for _ in 0..(ROTATION_BYTES / bytes).min(COPIES_MAX) {
            weights.push(weights[0].again(gpu)?);
        }
    }
    let x = Rows::of(gpu, &Random(16).values(rows * of.cols), of.cols)?;
    let y = poisoned(gpu, rows, of.rows)?;
    let streams = super::hyper::Streams::new(gpu, of.rows, rows, true)?;
    let work = Work { bytes: bytes as f64, operations: 2.0 * (rows * of.rows * of.cols) as f64 };
    trial.time("expand apart", work, |i| {
        let w = &weights[i % weights.len()].matrix;
        let product = |_: &Expand<'_>| linear.project(gpu, rows, &x, None, &[(w, &y)]).map(|()| false);
        streams.take(gpu, rows, &y, product).map(|_| ())
    })?;
    trial.time("expanded at the end", work, |i| {
        let w = &weights[i % weights.len()].matrix;
        streams.take(gpu, rows, &y, |expand| linear.project_expanding(gpu, rows, &x, w, &y, expand)).map(|_| ())
    })
}

/// The products of DeepSeek V4 Flash, and matrices of its experts' formats.
pub fn model_products() -> Vec<ModelProduct> {
    let q8 = |rows, cols| (Format::Q8_0, shape(rows, cols, 1));
    let f16 = |rows, cols| (Format::F16, shape(rows, cols, 1));
    let of = |format, rows, cols| vec![(format, shape(rows, cols, 1))];
    let case = |name, parts| ModelProduct { name, parts, groups: 1, is_normed: false };
    vec![
        case("q_a", vec![q8(1024, 4096)]),
        ModelProduct { is_normed: true, ..case("q_b, normed", vec![q8(32768, 1024)]) },
        case("kv", vec![q8(512, 4096)]),
        ModelProduct { groups: 8, ..case("out_a, 8 groups", vec![q8(8192, 4096)]) },
        case("out_b", vec![q8(4096, 8192)]),
        case("compressor", vec![f16(1024, 4096)]),
        case("router", vec![f16(256, 4096)]),
        case("from h, dense layer", vec![q8(1024, 4096), q8(512, 4096)]),
        case(
            "from h, ratio 4",
            vec![
                q8(1024, 4096),
                q8(512, 4096),
                f16(1024, 4096),
                f16(1024, 4096),
                f16(256, 4096),
                f16(256, 4096),
                f16(64, 4096),
            ],
        ),
        ModelProduct { is_normed: true, ..case("index q, normed with q_b", vec![q8(32768, 1024), f16(8192, 1024)]) },
        case("shared gate and up", vec![q8(2048, 4096), q8(2048, 4096)]),
        case("iq2_xxs", of(Format::Iq2Xxs, 32768, 4096)),
        case("q2_k", of(Format::Q2K, 32768, 2048)),
        case("q4_k", of(Format::Q4K, 16384, 4096)),
        case("head", vec![q8(129_280, 4096)]),
    ]
}

fn model(trial: &mut Trial<'_>, p: &ModelProduct, rows: usize, precision: Precision) -> Result<()> {
    let (gpu, mut random, cols) = (trial.gpu, Random(10), p.parts[0].1.cols);
    let width = p.groups * cols;
    let linear = Linear::new(gpu, precision, Limits { rows, cols: width, normed_cols: cols })?;
    let first = p
        .parts
        .iter()
        .map(|(format, shape)| Weights::random(gpu, &mut random, *format, *shape))
        .collect::<Result<Vec<_>>>()?;
    let (values, gains, eps) = (random.values(rows * width), random.values(cols), 1e-6);
    let (x, norm) = (Rows::of(gpu, &values, width)?, Vector::new(gpu, &gains)?);
    let outs = p.parts.iter().map(|(_, of)| poisoned(gpu, rows, of.rows)).collect::<Result<Vec<_>>>()?;
    let go = |weights: &[Weights]| {
        if p.groups > 1 {
            return linear.project_grouped(gpu, rows, p.groups, &weights[0].matrix, &x, &outs[0]);
        }
        let list: Vec<(&Matrix, &Rows)> = weights.iter().map(|w| &w.matrix).zip(&outs).collect();
        linear.project(gpu, rows, &x, p.is_normed.then_some((&norm, eps)), &list)
    };
    go(&first)?;
    let expected = if p.is_normed { normed(&values, &gains, eps) } else { values };
    for (w, out) in first.iter().zip(&outs) {
        let (what, n) = (w.matrix.format.to_string(), out.width);
        let out = out.read(gpu, rows)?;
        let per_group = n / p.groups;
        let product =
            Product { what: &what, precision, w, x: &expected, x_width: width, out: &out, out_width: n, per_group };
        compare(&mut trial.outcome.verdict, &product);
    }
    let mut copies = vec![first];
    if !gpu.caps().is_software {
        for _ in 1..p.copies() {
            copies.push(copies[0].iter().map(|w| w.again(gpu)).collect::<Result<_>>()?);
        }
    }
    let outputs: usize = p.parts.iter().map(|(_, of)| of.rows).sum();
    let work = Work {
        bytes: (p.bytes() + 4 * rows * (width + outputs)) as f64,
        operations: 2.0 * (rows * p.products()) as f64,
    };
    trial.time(p.name, work, |i| go(&copies[i % copies.len()]))
}
