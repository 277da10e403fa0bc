//! Tiles on matrix units, whose products are played by the kernel itself, so that all around them is tested on any device.

use crate::support::{Random, Weights, random_weights, right, shape};
use ds4_engine::Precision;
use ds4_gpu::ops::experts::ExpertLimits;
use ds4_gpu::ops::linear::{Limits, Linear, Tuning};
use ds4_gpu::ops::units::{UNITS8, UNITS16, Units};
use ds4_gpu::selftest::Verdict;
use ds4_gpu::selftest::experts::{FLOAT, Layer, MIXED, Q2, random_routes};
use ds4_gpu::selftest::linear::{self as selftest, Product, odd_cols};
use ds4_gpu::weights::Matrix;
use ds4_gpu::{Caps, Gpu, Rows, Vector};
use ds4_quant::Format;

const PRECISION: Precision = Precision::Fast;

macro_rules! played {
    ($value_w:literal, $value_x:literal) => {
        concat!(
            include_str!("tile_units_software.wgsl"),
            "\nfn value_w(at: u32, row: u32, k: u32) -> f32 {\n    return ",
            $value_w,
            ";\n}\n\nfn value_x(at: u32, row: u32, k: u32) -> f32 {\n    return ",
            $value_x,
            ";\n}\n"
        )
    };
}

static PLAYED8: Units =
    Units { products: played!("f32(tile_w[at + row * STRIDE + k])", "f32(tile_x[at + row * STRIDE + k])"), ..UNITS8 };
/// In tiles that fit 32 KB of workgroup memory.
static PLAYED16: Units = Units {
    products: played!(
        "f32(tile_w[at + row * STRIDE + k / 2u][k % 2u])",
        "f32(tile_x[at + row * STRIDE + k / 2u][k % 2u])"
    ),
    out: 64,
    tiles: &[(64, 2), (32, 2)],
    ..UNITS16
};
/// Which mixes up the columns of a product.
static WRONG8: Units = Units {
    products: played!("f32(tile_w[at + row * STRIDE + (k ^ 1u)])", "f32(tile_x[at + row * STRIDE + k])"),
    ..UNITS8
};
const PLAYED: [&Units; 2] = [&PLAYED8, &PLAYED16];

fn linear(gpu: &Gpu, units: &'static Units, prefetch: bool) -> Linear {
    let limits = Limits { rows: 128, cols: 8192, normed_cols: 4096 };
    Linear::with_units(gpu, PRECISION, limits, Tuning { prefetch, ..Tuning::of(PRECISION) }, Some(units)).unwrap()
}

fn check(what: &str, w: &Weights, (x, x_width): (&[f32], usize), (out, width): (&[f32], usize), per_group: usize) {
    let mut verdict = Verdict::default();
    let product = Product { what, precision: PRECISION, w, x, x_width, out, out_width: width, per_group };
    selftest::compare(&mut verdict, &product);
    right(what, &verdict);
}

fn check_formats(gpu: &Gpu, units: &'static Units, prefetch: bool, formats: &[Format], all_rows: &[usize]) {
    let linear = linear(gpu, units, prefetch);
    for format in formats.iter().copied() {
        let (mut random, cols) = (Random(7), odd_cols(format));
        let w = random_weights(gpu, &mut random, format, shape(83, cols, 1));
        for rows in all_rows.iter().copied() {
            let values = random.values(rows * cols);
            let (x, out) = (Rows::of(gpu, &values, cols).unwrap(), selftest::poisoned(gpu, rows, 90).unwrap());
            linear.project(gpu, rows, &x, None, &[(&w.matrix, &out)]).unwrap();
            let what = format!("{format}, {rows} rows, units of {}", units.edge);
            check(&what, &w, (&values, cols), (&out.read(gpu, rows).unwrap(), 90), 83);
        }
    }
}

#[test]
fn every_format_and_number_of_rows() {
    let gpu = Gpu::open(None).unwrap();
    for units in PLAYED {
        check_formats(&gpu, units, true, &Format::ALL, &[17, 32, 33, 70]);
        check_formats(&gpu, units, false, &[Format::Q8_0], &[33]);
    }
}

#[test]
fn loops_written_out() {
    let gpu = Gpu::open(None).unwrap();
    let caps = Caps { is_software: false, ..gpu.caps() };
    check_formats(&gpu.limited(caps), &PLAYED8, true, &[Format::F16], &[33]);
}

#[test]
fn matrices_of_one_input_that_is_normed() {
    let gpu = Gpu::open(None).unwrap();
    for units in PLAYED {
        let (linear, mut random, cols, eps) = (linear(&gpu, units, true), Random(8), 256, 1e-6f32);
        let formats = [Format::Q8_0, Format::F16, Format::Iq2Xxs];
        let all: Vec<Weights> = (0..)
            .zip(formats)
            .map(|(i, format)| random_weights(&gpu, &mut random, format, shape(60 + 9 * i, cols, 1)))
            .collect();
        let gains = random.values(cols);
        let norm = Vector::new(&gpu, &gains).unwrap();
        let values = random.values(40 * cols);
        let normed = selftest::normed(&values, &gains, eps);
        let x = Rows::of(&gpu, &values, cols).unwrap();
        let outs: Vec<Rows> = all.iter().map(|w| selftest::poisoned(&gpu, 40, w.matrix.shape.rows).unwrap()).collect();
        let list: Vec<(&Matrix, &Rows)> = all.iter().map(|w| &w.matrix).zip(&outs).collect();
        linear.project(&gpu, 40, &x, Some((&norm, eps)), &list).unwrap();
        for (w, out) in all.iter().zip(&outs) {
            let width = out.width;
            check("normed", w, (&normed, cols), (&out.read(&gpu, 40).unwrap(), width), width);
        }
    }
}

/// Many groups are many tiles, so that the largest ones are taken where rows are enough.
#[test]
fn groups_see_their_own_part() {
    let gpu = Gpu::open(None).unwrap();
    for units in PLAYED {
        let linear = linear(&gpu, units, true);
        for (format, cols, groups, per_group) in
            [(Format::Q8_0, 64, 128, 24), (Format::F16, 40, 66, 70), (Format::Q4K, 256, 3, 5)]
        {
            let mut random = Random(9);
            let w = random_weights(&gpu, &mut random, format, shape(groups * per_group, cols, 1));
            for rows in [18, 44, 100] {
                let (width, n) = (groups * cols, groups * per_group);
                let values = random.values(rows * width);
                let (x, on) = (Rows::of(&gpu, &values, width).unwrap(), selftest::poisoned(&gpu, rows, n).unwrap());
                linear.project_grouped(&gpu, rows, groups, &w.matrix, &x, &on).unwrap();
                let what = format!("{groups} groups of {format}, {rows} rows, units of {}", units.edge);
                check(&what, &w, (&values, width), (&on.read(&gpu, rows).unwrap(), n), per_group);
            }
        }
    }
}

#[test]
fn slots_of_experts() {
    let gpu = Gpu::open(None).unwrap();
    // The last ones take the largest tiles.
    let small = ExpertLimits { rows: 48, used: 3, experts: 8, ff: 256, embd: 256 };
    let large = ExpertLimits { rows: 120, used: 3, experts: 8, ff: 1024, embd: 64 };
    let bytes = [Format::F16, Format::Q8_0, Format::Q8_0, Format::Q8_0, Format::F16, Format::Q8_0];
    for units in PLAYED {
        for (limits, recipe, rows, most) in
            [(small, Q2, 48, 8), (small, FLOAT, 17, 8), (small, MIXED, 48, 1), (large, bytes, 120, 2)]
        {
            let layer = Layer::new(&gpu, limits, recipe).unwrap();
            let routes: Vec<(u32, f32)> =
                random_routes(limits, rows, 77).into_iter().map(|(e, weight)| (7 - e % most, weight)).collect();
            let linear = Linear::with_units(&gpu, PRECISION, layer.linear_limits(), Tuning::of(PRECISION), Some(units));
            let mut verdict = Verdict::default();
            let what = format!("{rows} rows, {most} experts, units of {}", units.edge);
            layer.check_by(&mut verdict, &gpu, linear.unwrap(), &routes, &[0, 7, rows - 1], &what).unwrap();
            right(&what, &verdict);
        }
    }
}

/// What is asked before units of 8×8 are used on a device.
#[test]
fn the_check_finds_what_is_wrong() {
    let gpu = Gpu::open(None).unwrap();
    assert!(selftest::check_tiles(&gpu, Some(&PLAYED8)).unwrap().is_right());
    assert!(!selftest::check_tiles(&gpu, Some(&WRONG8)).unwrap().is_right());
}
