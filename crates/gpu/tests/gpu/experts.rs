//! Routed and shared experts against the formulas in f64 on dequantised weights.

use crate::support::{devices, right};
use ds4_engine::Precision;
use ds4_gpu::ops::experts::ExpertLimits;
use ds4_gpu::ops::linear::Tuning;
use ds4_gpu::selftest::Verdict;
use ds4_gpu::selftest::experts::{FLOAT, Layer, MIXED, Q2, Q4, random_routes};
use ds4_gpu::tune::{self, Parameter};
use ds4_gpu::{Caps, Gpu};
use ds4_quant::Format;

/// Checks all rows.
fn check(layer: &Layer, gpu: &Gpu, precision: Precision, rows: usize, routes: &[(u32, f32)], what: &str) {
    let (mut verdict, all): (_, Vec<usize>) = (Verdict::default(), (0..rows).collect());
    layer.check(&mut verdict, gpu, precision, routes, &all, what).unwrap();
    right(what, &verdict);
}

#[test]
fn every_recipe_and_number_of_rows() {
    let limits = ExpertLimits { rows: 48, used: 3, experts: 8, ff: 256, embd: 256 };
    for gpu in devices() {
        for (name, formats) in [("q2", Q2), ("q4", Q4), ("floats", FLOAT), ("mixed", MIXED)] {
            let layer = Layer::new(&gpu, limits, formats).unwrap();
            for precision in [Precision::Exact, Precision::Fast] {
                for rows in [1, 2, 7, 17, 48] {
                    check(&layer, &gpu, precision, rows, &random_routes(limits, rows, 77), name);
                }
            }
        }
    }
}

#[test]
fn chosen_by_a_router() {
    let limits = ExpertLimits { rows: 20, used: 6, experts: 40, ff: 256, embd: 256 };
    for gpu in devices() {
        let layer = Layer::new(&gpu, limits, Q2).unwrap();
        for precision in [Precision::Exact, Precision::Fast] {
            for rows in [1, 2, 3, 20] {
                let mut verdict = Verdict::default();
                layer.check_routed(&mut verdict, &gpu, precision, rows).unwrap();
                right("a router", &verdict);
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
    let layer = Layer::new(&gpu, limits, Q2).unwrap();
    for precision in [Precision::Exact, Precision::Fast] {
        for rows in [1, 2] {
            check(&layer, &gpu, precision, rows, &random_routes(limits, rows, 77), "q2");
            let mut verdict = Verdict::default();
            layer.check_routed(&mut verdict, &gpu, precision, rows).unwrap();
            right("a router", &verdict);
        }
    }
}

#[test]
fn every_tuning_computes_the_same() {
    // Enough hidden values that teams take several at once, on the plain device, whose teams are wide.
    let limits = ExpertLimits { rows: 2, used: 2, experts: 2, ff: 4096, embd: 256 };
    for gpu in devices() {
        let mut layer = Layer::new(&gpu, limits, Q2).unwrap();
        for parameter in [Parameter::TeamRows, Parameter::LatticeCopies] {
            for value in parameter.values(gpu.caps(), tune::Q2) {
                layer = layer.tuned(parameter.with(Tuning::of(Precision::Fast), value));
                check(&layer, &gpu, Precision::Fast, 2, &random_routes(limits, 2, 77), "q2");
            }
        }
    }
}

#[test]
fn uneven_routes() {
    let limits = ExpertLimits { rows: 100, used: 2, experts: 5, ff: 64, embd: 96 };
    let formats = [Format::F16, Format::Q8_0, Format::Q8_0, Format::Q8_0, Format::F16, Format::Q8_0];
    for gpu in devices() {
        let layer = Layer::new(&gpu, limits, formats).unwrap();
        for rows in [1, 3, 16, 33, 100] {
            let random = random_routes(limits, rows, 77);
            let cases = [
                ("one expert", random.iter().map(|(_, w)| (3, *w)).collect::<Vec<_>>()),
                ("the last expert twice a row", random.iter().map(|(_, w)| (4, *w)).collect()),
                ("two experts", random.iter().map(|(e, w)| (e % 2 * 4, *w)).collect()),
                ("weights of zero", random.iter().map(|(e, _)| (*e, 0.0)).collect()),
            ];
            for (what, routes) in cases {
                for precision in [Precision::Exact, Precision::Fast] {
                    check(&layer, &gpu, precision, rows, &routes, what);
                }
            }
        }
    }
}
