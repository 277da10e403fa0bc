//! Times the products at the shapes of DeepSeek V4 Flash, with every tuning that may matter, and says which was best.
//!
//! `bench_linear [--device N] [--rows 1,4,16] [--only WORD] [--seconds S]`: rows of activations, operations whose name contains a word, time a
//! figure. Weights rotate among enough copies to exceed the cache.

use ds4_engine::Precision;
use ds4_gpu::ops::experts::{ExpertLimits, ExpertWeights, Experts};
use ds4_gpu::ops::linear::{Limits, Linear, Tuning};
use ds4_gpu::selftest::linear::{ModelProduct, model_products};
use ds4_gpu::selftest::weights::{Random, Weights, matrix_bytes, shape};
use ds4_gpu::selftest::{Speed, Work, time};
use ds4_gpu::weights::Matrix;
use ds4_gpu::{Buffer, Gpu, Rows, Vector, words};
use ds4_quant::Format;
use std::error::Error;
use std::time::Instant;

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Options {
    device: Option<usize>,
    rows: Vec<usize>,
    only: String,
    seconds: f64,
}

fn options() -> Outcome<Options> {
    let mut all = Options { device: None, rows: vec![1, 4, 16, 128, 512, 2048], only: String::new(), seconds: 0.02 };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--device" => all.device = Some(value.parse()?),
            "--rows" => all.rows = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--only" => all.only = value,
            "--seconds" => all.seconds = value.parse()?,
            _ => return Err(format!("unknown option {name}").into()),
        }
    }
    Ok(all)
}

/// Tunings worth a try for these formats and rows.
fn tunings(formats: &[Format], rows: usize) -> Vec<Tuning> {
    let usual = Tuning::of(Precision::Fast);
    if rows > usual.pass_rows {
        // Only matrix units differ.
        let choices = [(128, true), (128, false), (64, true), (64, false)];
        return choices.into_iter().map(|(tile_rows, prefetch)| Tuning { tile_rows, prefetch, ..usual }).collect();
    }
    let has = |format| formats.contains(&format);
    let mut all = Vec::new();
    // Kernels for more rows take long to compile.
    let team_rows: &[u32] = if rows == 1 { &[1, 2, 4] } else { &[1, 2] };
    for team_rows in team_rows.iter().copied() {
        let from: &[usize] = if has(Format::Q8_0) { &[1, 17] } else { &[1] };
        let copies: &[u32] = if has(Format::Iq2Xxs) && rows <= 4 { &[1, 4, 16] } else { &[1] };
        for q8_0_bytes_from in from {
            for lattice_copies in copies {
                let choice = (*q8_0_bytes_from, *lattice_copies);
                all.push(Tuning { team_rows, q8_0_bytes_from: choice.0, lattice_copies: choice.1, ..usual });
            }
        }
    }
    if rows > 2 {
        all.push(Tuning { pass_rows: rows - 1, ..usual });
    }
    all
}

fn label(tuning: Tuning, rows: usize) -> String {
    if rows > tuning.pass_rows {
        return format!(
            "tiles of {} rows, {}",
            tuning.tile_rows,
            if tuning.prefetch { "read ahead" } else { "read at once" }
        );
    }
    let q8_0 = if rows >= tuning.q8_0_bytes_from { "bytes" } else { "f32" };
    format!("{} rows a team, Q8_0 by {q8_0}, lattice ×{}", tuning.team_rows, tuning.lattice_copies)
}

/// Prints one figure and returns its time.
fn report(rows: usize, what: &str, speed: &Speed) -> f64 {
    println!(
        "{:26} {rows:5} rows {:9.1} µs {:9.1} µs inside {:7.0} GB/s {:7.1} TFLOP/s  {what}",
        speed.name,
        speed.seconds * 1e6,
        speed.seconds_inside() * 1e6,
        speed.work.bytes / speed.seconds / 1e9,
        speed.work.operations / speed.seconds / 1e12,
    );
    speed.seconds
}

fn bench_product(gpu: &Gpu, options: &Options, product: &ModelProduct) -> Outcome<()> {
    let mut random = Random(1);
    let first: Vec<Weights> = product
        .parts
        .iter()
        .map(|(format, shape)| Weights::random(gpu, &mut random, *format, *shape))
        .collect::<Result<_, _>>()?;
    let mut lists = vec![first];
    for _ in 1..product.copies() {
        lists.push(lists[0].iter().map(|w| w.again(gpu)).collect::<Result<_, _>>()?);
    }
    let cols = product.parts[0].1.cols;
    let formats: Vec<Format> = product.parts.iter().map(|part| part.0).collect();
    let norm = Vector::new(gpu, &vec![1.0; cols])?;
    for rows in options.rows.iter().copied() {
        let width = product.groups * cols;
        let x = Rows::of(gpu, &random.values(rows * width), width)?;
        let outs: Vec<Rows> =
            product.parts.iter().map(|(_, shape)| Rows::new(gpu, rows, shape.rows)).collect::<Result<_, _>>()?;
        let work = Work { bytes: product.bytes() as f64, operations: 2.0 * (product.products() * rows) as f64 };
        let mut best: Option<(f64, String)> = None;
        for tuning in tunings(&formats, rows) {
            let limits = Limits { rows, cols: width, normed_cols: cols };
            let linear = Linear::tuned(gpu, Precision::Fast, limits, tuning)?;
            let speed = time(gpu, product.name, work, options.seconds, |i| {
                let list = &lists[i % lists.len()];
                if product.groups > 1 {
                    return linear.project_grouped(gpu, rows, product.groups, &list[0].matrix, &x, &outs[0]);
                }
                let out: Vec<(&Matrix, &Rows)> = list.iter().map(|w| &w.matrix).zip(&outs).collect();
                linear.project(gpu, rows, &x, product.is_normed.then_some((&norm, 1e-6)), &out)
            })?;
            let what = label(tuning, rows);
            let seconds = report(rows, &what, &speed);
            if best.as_ref().is_none_or(|(least, _)| seconds < *least) {
                best = Some((seconds, what));
            }
            gpu.forget_groups();
        }
        if let Some((_, what)) = best {
            println!("{:26} {rows:5} rows best: {what}", product.name);
        }
    }
    Ok(())
}

fn bench_experts(gpu: &Gpu, options: &Options, name: &str, routed: [Format; 3]) -> Outcome<()> {
    let experts = if gpu.caps().binding_bytes < 1 << 30 { 16 } else { 256 };
    let (used, ff, embd) = (6, 2048, 4096);
    let mut random = Random(1);
    let mut make = |format, rows, cols, count| {
        Weights::random(gpu, &mut random, format, shape(rows, cols, count)).map(|w| w.matrix)
    };
    let (gate, up, down) =
        (make(routed[0], ff, embd, experts)?, make(routed[1], ff, embd, experts)?, make(routed[2], embd, ff, experts)?);
    let mut one = |rows, cols| make(Format::Q8_0, rows, cols, 1);
    let (shared_gate, shared_up, shared_down) = (one(ff, embd)?, one(ff, embd)?, one(embd, ff)?);
    let weights = ExpertWeights {
        gate: &gate,
        up: &up,
        down: &down,
        shared_gate: &shared_gate,
        shared_up: &shared_up,
        shared_down: &shared_down,
    };
    let per_expert: usize =
        [(routed[0], shape(ff, embd, 1)), (routed[1], shape(ff, embd, 1)), (routed[2], shape(embd, ff, 1))]
            .iter()
            .map(|(format, shape)| matrix_bytes(*format, *shape))
            .sum();
    let shared_bytes = 3 * matrix_bytes(Format::Q8_0, shape(ff, embd, 1));
    for rows in &options.rows {
        let rows = *rows;
        let values = Random(2).values(rows * embd);
        let (h, y) = (Rows::of(gpu, &values, embd)?, Rows::new(gpu, rows, embd)?);
        let mut state = 7u64;
        let mut distinct = 0;
        let routes: Vec<Buffer> = (0..16)
            .map(|_| {
                let mut seen = vec![false; experts];
                let mut all = Vec::new();
                for _ in 0..rows {
                    let mut own: Vec<u32> = Vec::new();
                    while own.len() < used {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let e = (state >> 33) as u32 % experts as u32;
                        if !own.contains(&e) {
                            own.push(e);
                            seen[e as usize] = true;
                        }
                    }
                    all.extend(own.iter().flat_map(|e| [*e, 0.25f32.to_bits()]));
                }
                distinct += seen.iter().filter(|seen| **seen).count();
                gpu.buffer_of("routes", &words(&all))
            })
            .collect::<Result<_, _>>()?;
        let bytes = distinct * per_expert / routes.len() + shared_bytes;
        let mut best: Option<(f64, String)> = None;
        for tuning in tunings(&routed, rows) {
            let linear = Linear::tuned(gpu, Precision::Fast, Limits { rows, cols: embd, normed_cols: embd }, tuning)?;
            let all = Experts::new(gpu, &linear, ExpertLimits { rows, used, experts, ff, embd })?;
            let work = Work { bytes: bytes as f64, operations: 2.0 * (rows * (used + 1) * 3 * ff * embd) as f64 };
            let speed = time(gpu, name, work, options.seconds, |i| {
                all.run(gpu, &linear, rows, (10.0, 10.0), &weights, &h, &routes[i % routes.len()], &y)
            })?;
            let what = label(tuning, rows);
            let seconds = report(rows, &what, &speed);
            if best.as_ref().is_none_or(|(least, _)| seconds < *least) {
                best = Some((seconds, what));
            }
            if tuning == Tuning::of(Precision::Fast) {
                gpu.start_profile(None);
                all.run(gpu, &linear, rows, (10.0, 10.0), &weights, &h, &routes[0], &y)?;
                for timing in gpu.end_profile()? {
                    println!(
                        "    {:20} {} × {:.1} µs",
                        timing.name,
                        timing.count,
                        timing.seconds * 1e6 / timing.count as f64
                    );
                }
            }
            gpu.forget_groups();
        }
        if let Some((_, what)) = best {
            println!("{name:26} {rows:5} rows best: {what}");
        }
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let options = options()?;
    let gpu = Gpu::open(options.device)?;
    println!("{}: {:?}", gpu.info(), gpu.caps());
    let start = Instant::now();
    for product in model_products().iter().filter(|product| product.name.contains(&options.only)) {
        bench_product(&gpu, &options, product)?;
    }
    let q2 = [Format::Iq2Xxs, Format::Iq2Xxs, Format::Q2K];
    for (name, formats) in [("experts, q2", q2), ("experts, q4", [Format::Q4K; 3])] {
        if name.contains(&options.only) {
            bench_experts(&gpu, &options, name, formats)?;
        }
    }
    println!("{:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}
