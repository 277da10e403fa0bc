//! Routed and shared experts against the formulas in f64 on dequantised weights.

mod support;

use ds4_engine::Precision;
use ds4_gpu::ops::experts::{ExpertLimits, ExpertWeights, Experts};
use ds4_gpu::ops::linear::{Limits, Linear};
use ds4_gpu::{Caps, Gpu, Rows, words};
use ds4_quant::Format;
use support::{Random, Weights, devices, random_weights, shape};

const CLAMPS: (f32, f32) = (0.6, 0.9);

struct Model {
    limits: ExpertLimits,
    gate: Weights,
    up: Weights,
    down: Weights,
    shared_gate: Weights,
    shared_up: Weights,
    shared_down: Weights,
}

impl Model {
    /// `formats`: gate, up, down; shared gate, up, down.
    fn new(gpu: &Gpu, limits: ExpertLimits, formats: [Format; 6]) -> Self {
        let ExpertLimits { experts, ff, embd, .. } = limits;
        let mut random = Random(3);
        let mut make =
            |i: usize, rows, cols, count| random_weights(gpu, &mut random, formats[i], shape(rows, cols, count));
        Self {
            limits,
            gate: make(0, ff, embd, experts),
            up: make(1, ff, embd, experts),
            down: make(2, embd, ff, experts),
            shared_gate: make(3, ff, embd, 1),
            shared_up: make(4, ff, embd, 1),
            shared_down: make(5, embd, ff, 1),
        }
    }

    fn weights(&self) -> ExpertWeights<'_> {
        ExpertWeights {
            gate: &self.gate.matrix,
            up: &self.up.matrix,
            down: &self.down.matrix,
            shared_gate: &self.shared_gate.matrix,
            shared_up: &self.shared_up.matrix,
            shared_down: &self.shared_down.matrix,
        }
    }

    fn reference(&self, h: &[f32], routes: &[(u32, f32)]) -> Vec<f64> {
        let ExpertLimits { used, ff, embd, .. } = self.limits;
        let dot = |w: &[f32], x: &[f64]| w.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>();
        let one = |gate: &[f32], up: &[f32], down: &[f32], h: &[f64], most: f32, weight: f32, y: &mut [f64]| {
            let most = f64::from(most);
            let mid: Vec<f64> = (0..ff)
                .map(|i| {
                    let g = dot(&gate[i * embd..(i + 1) * embd], h).min(most);
                    let u = dot(&up[i * embd..(i + 1) * embd], h).clamp(-most, most);
                    g / (1.0 + (-g).exp()) * u * f64::from(weight)
                })
                .collect();
            y.iter_mut().zip(down.chunks_exact(ff)).for_each(|(y, down)| *y += dot(down, &mid));
        };
        let mut all = Vec::new();
        for (h, routes) in h.chunks_exact(embd).zip(routes.chunks_exact(used)) {
            let h: Vec<f64> = h.iter().map(|v| f64::from(*v)).collect();
            let mut y = vec![0.0; embd];
            let (g, u, d) = (&self.shared_gate.values, &self.shared_up.values, &self.shared_down.values);
            one(g, u, d, &h, CLAMPS.1, 1.0, &mut y);
            for (e, weight) in routes {
                let part = |w: &'_ Weights| {
                    let n = ff * embd;
                    w.values[*e as usize * n..][..n].to_vec()
                };
                one(&part(&self.gate), &part(&self.up), &part(&self.down), &h, CLAMPS.0, *weight, &mut y);
            }
            all.extend(y);
        }
        all
    }

    fn check(&self, gpu: &Gpu, precision: Precision, rows: usize, routes: &[(u32, f32)], what: &str) {
        let ExpertLimits { embd, .. } = self.limits;
        let limits = Limits { rows: self.limits.rows, cols: embd, normed_cols: embd };
        let linear = Linear::new(gpu, precision, limits).unwrap();
        let experts = Experts::new(gpu, &linear, self.limits).unwrap();
        // Small enough that not everything is clamped.
        let h: Vec<f32> = Random(rows as u64).values(rows * embd).iter().map(|v| v * 0.1).collect();
        let routes_bytes: Vec<u32> = routes.iter().flat_map(|(e, w)| [*e, w.to_bits()]).collect();
        let routes_buffer = gpu.buffer_of("routes", &words(&routes_bytes)).unwrap();
        let y = Rows::of(gpu, &vec![f32::NAN; rows * embd], embd).unwrap();
        let x = Rows::of(gpu, &h, embd).unwrap();
        experts.run(gpu, &linear, rows, CLAMPS, &self.weights(), &x, &routes_buffer, &y).unwrap();
        let (found, expected) = (y.read(gpu, rows).unwrap(), self.reference(&h, routes));
        // Of the size of a row: in exact mode f32 noise, in fast mode that of bytes; the root of the mean square error, and any error.
        let (mean_most, most) = if precision == Precision::Exact { (1e-6, 5e-6) } else { (2.5e-2, 1e-1) };
        for (r, (found, expected)) in found.chunks_exact(embd).zip(expected.chunks_exact(embd)).enumerate() {
            let size = (expected.iter().map(|v| v * v).sum::<f64>() / embd as f64).sqrt();
            let mut square = 0.0;
            for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
                let error = (f64::from(*found) - expected).abs();
                square += error * error;
                let at = format!("{what} {precision:?} row {r} of {rows}, value {i}");
                assert!(error <= most * size, "{at}: {found} for {expected}, {error:e} of {size:e}");
            }
            let mean = (square / embd as f64).sqrt() / size;
            assert!(mean <= mean_most, "{what} {precision:?} row {r} of {rows}: {mean:e}");
        }
    }
}

fn random_routes(limits: ExpertLimits, rows: usize) -> Vec<(u32, f32)> {
    let mut random = Random(rows as u64 + 77);
    (0..rows * limits.used).map(|_| (random.bits() % limits.experts as u32, 0.3 + random.value().abs())).collect()
}

const Q2: [Format; 6] = [Format::Iq2Xxs, Format::Iq2Xxs, Format::Q2K, Format::Q8_0, Format::Q8_0, Format::Q8_0];
const Q4: [Format; 6] = [Format::Q4K, Format::Q4K, Format::Q4K, Format::Q8_0, Format::Q8_0, Format::Q8_0];
const FLOAT: [Format; 6] = [Format::F16, Format::Bf16, Format::F32, Format::F16, Format::F32, Format::F16];
const MIXED: [Format; 6] = [Format::Q6K, Format::Q5K, Format::Iq2Xxs, Format::F32, Format::Q4K, Format::Q2K];

#[test]
fn every_recipe_and_number_of_rows() {
    let limits = ExpertLimits { rows: 48, used: 3, experts: 8, ff: 256, embd: 256 };
    for gpu in devices() {
        for (name, formats) in [("q2", Q2), ("q4", Q4), ("floats", FLOAT), ("mixed", MIXED)] {
            let model = Model::new(&gpu, limits, formats);
            for precision in [Precision::Exact, Precision::Fast] {
                for rows in [1, 2, 7, 17, 48] {
                    model.check(&gpu, precision, rows, &random_routes(limits, rows), name);
                }
            }
        }
    }
}

#[test]
fn loops_written_out() {
    // Which is left to the compiler where the device is a CPU.
    let gpu = Gpu::open(None).unwrap();
    let caps = Caps { is_software: false, ..gpu.caps() };
    let gpu = gpu.limited(caps);
    let limits = ExpertLimits { rows: 2, used: 3, experts: 4, ff: 256, embd: 512 };
    let model = Model::new(&gpu, limits, Q2);
    for precision in [Precision::Exact, Precision::Fast] {
        for rows in [1, 2] {
            model.check(&gpu, precision, rows, &random_routes(limits, rows), "q2");
        }
    }
}

#[test]
fn uneven_routes() {
    let limits = ExpertLimits { rows: 100, used: 2, experts: 5, ff: 64, embd: 96 };
    let formats = [Format::F16, Format::Q8_0, Format::Q8_0, Format::Q8_0, Format::F16, Format::Q8_0];
    for gpu in devices() {
        let model = Model::new(&gpu, limits, formats);
        for rows in [1, 3, 16, 33, 100] {
            let random = random_routes(limits, rows);
            let cases = [
                ("one expert", random.iter().map(|(_, w)| (3, *w)).collect::<Vec<_>>()),
                ("the last expert twice a row", random.iter().map(|(_, w)| (4, *w)).collect()),
                ("two experts", random.iter().map(|(e, w)| (e % 2 * 4, *w)).collect()),
                ("weights of zero", random.iter().map(|(e, _)| (*e, 0.0)).collect()),
            ];
            for (what, routes) in cases {
                for precision in [Precision::Exact, Precision::Fast] {
                    model.check(&gpu, precision, rows, &routes, what);
                }
            }
        }
    }
}
