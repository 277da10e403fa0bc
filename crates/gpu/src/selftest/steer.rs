//! Steering against the formula in f64.

use super::weights::Random;
use super::{Case, Shapes, Trial, Verdict, Work};
use crate::gpu::Gpu;
use crate::ops::steer::steer;
use crate::rows::{Rows, Vector};
use ds4_engine::Result;

/// A direction of length 1, and rows.
fn inputs(width: usize, rows: usize, seed: u64) -> (Vec<f32>, Vec<f32>) {
    let mut random = Random(seed | 1);
    let mut v = random.values(width);
    let length = v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt().max(1e-6) as f32;
    v.iter_mut().for_each(|v| *v /= length);
    (v, random.values(rows * width))
}

/// `rows` rows of `width` values, and one behind them that must stay.
///
/// # Errors
/// The device failed.
pub fn check_steer(verdict: &mut Verdict, gpu: &Gpu, width: usize, rows: usize, scale: f32, seed: u64) -> Result<()> {
    let (v, y) = inputs(width, rows + 1, seed);
    let y_on = Rows::of(gpu, &y, width)?;
    steer(gpu, rows, &Vector::new(gpu, &v)?, scale, &y_on)?;
    let got = y_on.read(gpu, rows + 1)?;
    for (r, (got, y)) in got.chunks(width).zip(y.chunks(width)).enumerate() {
        if r == rows {
            verdict.require(got == y, || "a row that is none of the step's was changed".to_owned());
            continue;
        }
        let products = || y.iter().zip(&v).map(|(y, v)| f64::from(*y) * f64::from(*v));
        let (along, size) = (products().sum::<f64>(), products().map(f64::abs).sum::<f64>());
        for (i, ((got, y), v)) in got.iter().zip(y).zip(&v).enumerate() {
            let part = f64::from(scale) * f64::from(*v);
            let want = f64::from(*y) - part * along;
            let allowed = 1e-6 * (f64::from(*y).abs() + part.abs() * size) + 1e-30;
            verdict.see((f64::from(*got) - want).abs(), allowed, || format!("row {r}, value {i}: {got}, not {want}"));
        }
    }
    Ok(())
}

/// Cases of steering.
pub(super) fn cases(shapes: Shapes) -> Vec<Case> {
    match shapes {
        Shapes::Small => vec![Case::small("steering", "1, 7, 256 and 1000 values".to_owned(), |trial| {
            let sizes = [(1, 1, 1.0), (7, 2, -3.0), (256, 9, 0.5), (1000, 3, 100.0), (64, 2, 0.0)];
            sizes.into_iter().try_for_each(|(width, rows, scale)| {
                check_steer(&mut trial.outcome.verdict, trial.gpu, width, rows, scale, 5)
            })
        })],
        Shapes::Model => [1, 512]
            .map(|rows| Case::model("steering", format!("4096 values, {rows} rows"), move |trial| model(trial, rows)))
            .into(),
    }
}

fn model(trial: &mut Trial<'_>, rows: usize) -> Result<()> {
    let (gpu, width) = (trial.gpu, 4096);
    check_steer(&mut trial.outcome.verdict, gpu, width, rows, 1.0, 7)?;
    let (v, y) = inputs(width, rows, 7);
    let (v_on, y_on) = (Vector::new(gpu, &v)?, Rows::of(gpu, &y, width)?);
    let work = Work { bytes: (3 * 4 * rows * width) as f64, operations: (4 * rows * width) as f64 };
    trial.time("steer", work, |_| steer(gpu, rows, &v_on, 1.0, &y_on))
}
