//! Times the products at the shapes of DeepSeek V4 Flash, with every tuning that may matter, and says which was best.
//!
//! `bench_linear [--device N] [--rows 1,4,16] [--only WORD] [--seconds S]`: rows of activations, operations whose name contains a word, time a
//! figure. Weights rotate among enough copies to exceed the cache.

use ds4_engine::Precision;
use ds4_engine::backend::MatrixShape;
use ds4_gguf::{File, TensorType, Writer};
use ds4_gpu::ops::experts::{ExpertLimits, ExpertWeights, Experts};
use ds4_gpu::ops::linear::{Limits, Linear, Tuning};
use ds4_gpu::weights::{Matrix, SharedTensors};
use ds4_gpu::{Buffer, Gpu, Rows, Vector, words};
use ds4_quant::Format;
use half::f16;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

/// Bytes beyond which weights do not stay in the cache.
const ROTATION_BYTES: usize = 160 << 20;
const COPIES_MAX: usize = 48;

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

/// Blocks with scales of moderate size, the same ones again and again.
fn blocks(format: Format, weights: usize) -> Vec<u8> {
    let bytes = weights / format.block_len() * format.block_bytes();
    let scales: &[usize] = match format {
        Format::Q8_0 | Format::Iq2Xxs => &[0],
        Format::Q4K | Format::Q5K => &[0, 2],
        Format::Q2K => &[80, 82],
        Format::Q6K => &[208],
        _ => &[],
    };
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as u32
    };
    let mut some: Vec<u8> = Vec::new();
    while some.len() < bytes.min(1 << 20) {
        let from = some.len();
        some.extend((0..format.block_bytes()).map(|_| next() as u8));
        match format {
            Format::F16 => {
                let value = f16::from_f32(next() as f32 / (1 << 23) as f32 - 1.0);
                some[from..].copy_from_slice(&value.to_le_bytes());
            }
            Format::F32 => some[from..].copy_from_slice(&(next() as f32 / (1 << 23) as f32 - 1.0).to_le_bytes()),
            _ => scales.iter().for_each(|at| {
                some[from + at..from + at + 2].copy_from_slice(&f16::from_f32(0.01).to_le_bytes());
            }),
        }
    }
    let mut all = Vec::with_capacity(bytes);
    while all.len() < bytes {
        all.extend_from_slice(&some[..some.len().min(bytes - all.len())]);
    }
    all
}

fn matrix(gpu: &Gpu, format: Format, shape: MatrixShape) -> Outcome<Matrix> {
    let ty = match format {
        Format::F32 => TensorType::F32,
        Format::F16 => TensorType::F16,
        Format::Q8_0 => TensorType::Q8_0,
        Format::Q2K => TensorType::Q2K,
        Format::Q4K => TensorType::Q4K,
        Format::Iq2Xxs => TensorType::Iq2Xxs,
        _ => return Err("no such matrix here".into()),
    };
    let bytes = blocks(format, shape.rows * shape.cols * shape.count);
    let mut writer = Writer::new();
    writer.tensor("m", &[shape.cols as u64, shape.rows as u64, shape.count as u64], ty, &bytes);
    let mut file = Vec::with_capacity(bytes.len() + 4096);
    writer.write_to(&mut file)?;
    let file = Arc::new(File::from_vec(file)?);
    let tensor = file.tensor("m").ok_or("no tensor")?.clone();
    let (start, n) = (Instant::now(), bytes.len());
    let shared = SharedTensors::default();
    let matrix = Matrix::load(gpu, &shared, &file, &tensor, format, shape)?;
    gpu.wait()?;
    if n > 200 << 20 {
        let speed = n as f64 / start.elapsed().as_secs_f64() / 1e9;
        println!("upload of {format}, {} MB, new staging memory included: {speed:.2} GB/s", n >> 20);
    }
    Ok(matrix)
}

fn matrix_bytes(format: Format, shape: MatrixShape) -> usize {
    shape.rows * shape.cols * shape.count / format.block_len() * format.block_bytes()
}

/// Seconds a call, by the wall clock over many calls, and by time stamps inside (0 where there are none).
fn time(gpu: &Gpu, seconds: f64, mut call: impl FnMut(usize) -> Outcome<()>) -> Outcome<(f64, f64)> {
    call(0)?;
    gpu.wait()?;
    let start = Instant::now();
    call(1)?;
    gpu.wait()?;
    let n = ((seconds / start.elapsed().as_secs_f64()) as usize).clamp(3, 2000);
    let start = Instant::now();
    (0..n).try_for_each(&mut call)?;
    gpu.wait()?;
    let wall = start.elapsed().as_secs_f64() / n as f64;
    gpu.start_profile();
    let n = n.min(50);
    (0..n).try_for_each(&mut call)?;
    let inside = gpu.end_profile()?.iter().map(|timing| timing.seconds).sum::<f64>() / n as f64;
    Ok((wall, inside))
}

/// One operation: what it is, weight bytes and multiplications a row.
struct Case {
    name: &'static str,
    parts: Vec<(Format, MatrixShape)>,
    groups: usize,
    is_normed: bool,
}

fn shape(rows: usize, cols: usize) -> MatrixShape {
    MatrixShape { rows, cols, count: 1 }
}

fn cases() -> Vec<Case> {
    let q8 = |rows, cols| (Format::Q8_0, shape(rows, cols));
    let f16 = |rows, cols| (Format::F16, shape(rows, cols));
    let case = |name, parts| Case { name, parts, groups: 1, is_normed: false };
    vec![
        case("q_a", vec![q8(1024, 4096)]),
        Case { is_normed: true, ..case("q_b, normed", vec![q8(32768, 1024)]) },
        case("kv", vec![q8(512, 4096)]),
        Case { groups: 8, ..case("out_a, 8 groups", vec![q8(8192, 4096)]) },
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
        Case { is_normed: true, ..case("index q, normed with q_b", vec![q8(32768, 1024), f16(8192, 1024)]) },
        case("shared gate and up", vec![q8(2048, 4096), q8(2048, 4096)]),
        case("iq2_xxs", vec![(Format::Iq2Xxs, shape(32768, 4096))]),
        case("q2_k", vec![(Format::Q2K, shape(32768, 2048))]),
        case("q4_k", vec![(Format::Q4K, shape(16384, 4096))]),
        case("head", vec![q8(129280, 4096)]),
    ]
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
fn report(name: &str, rows: usize, what: &str, (wall, inside): (f64, f64), bytes: usize, products: usize) -> f64 {
    println!(
        "{name:26} {rows:5} rows {:9.1} µs {:9.1} µs inside {:7.0} GB/s {:7.1} TFLOP/s  {what}",
        wall * 1e6,
        inside * 1e6,
        bytes as f64 / wall / 1e9,
        2.0 * products as f64 / wall / 1e12,
    );
    wall
}

fn bench_case(gpu: &Gpu, options: &Options, case: &Case) -> Outcome<()> {
    let bytes: usize = case.parts.iter().map(|(format, shape)| matrix_bytes(*format, *shape)).sum();
    let copies = (ROTATION_BYTES / bytes + 1).min(COPIES_MAX);
    let lists: Vec<Vec<Matrix>> = (0..copies)
        .map(|_| case.parts.iter().map(|(format, shape)| matrix(gpu, *format, *shape)).collect())
        .collect::<Outcome<_>>()?;
    let cols = case.parts[0].1.cols;
    let formats: Vec<Format> = case.parts.iter().map(|part| part.0).collect();
    let products: usize = case.parts.iter().map(|(_, shape)| shape.rows * shape.cols).sum();
    let norm = Vector::new(gpu, &vec![1.0; cols])?;
    for rows in &options.rows {
        let rows = *rows;
        let values: Vec<f32> = (0..rows * case.groups * cols).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
        let x = Rows::of(gpu, &values, case.groups * cols)?;
        let outs: Vec<Rows> =
            case.parts.iter().map(|(_, shape)| Rows::new(gpu, rows, shape.rows)).collect::<Result<_, _>>()?;
        let mut best: Option<(f64, String)> = None;
        for tuning in tunings(&formats, rows) {
            let limits = Limits { rows, cols: case.groups * cols, normed_cols: cols };
            let linear = Linear::tuned(gpu, Precision::Fast, limits, tuning)?;
            let timed = time(gpu, options.seconds, |i| {
                let list = &lists[i % copies];
                if case.groups > 1 {
                    return Ok(linear.project_grouped(gpu, rows, case.groups, &list[0], &x, &outs[0])?);
                }
                let out: Vec<(&Matrix, &Rows)> = list.iter().zip(&outs).collect();
                Ok(linear.project(gpu, rows, &x, case.is_normed.then_some((&norm, 1e-6)), &out)?)
            })?;
            let what = label(tuning, rows);
            let seconds = report(case.name, rows, &what, timed, bytes, products * rows);
            if best.as_ref().is_none_or(|(least, _)| seconds < *least) {
                best = Some((seconds, what));
            }
            gpu.forget_groups();
        }
        if let Some((_, what)) = best {
            println!("{:26} {rows:5} rows best: {what}", case.name);
        }
    }
    Ok(())
}

fn bench_experts(gpu: &Gpu, options: &Options, name: &str, routed: [Format; 3]) -> Outcome<()> {
    let experts = if gpu.caps().binding_bytes < 1 << 30 { 16 } else { 256 };
    let (used, ff, embd) = (6, 2048, 4096);
    let stack = |format, rows, cols| matrix(gpu, format, MatrixShape { rows, cols, count: experts });
    let one = |rows, cols| matrix(gpu, Format::Q8_0, shape(rows, cols));
    let (gate, up, down) = (stack(routed[0], ff, embd)?, stack(routed[1], ff, embd)?, stack(routed[2], embd, ff)?);
    let (shared_gate, shared_up, shared_down) = (one(ff, embd)?, one(ff, embd)?, one(embd, ff)?);
    let weights = ExpertWeights {
        gate: &gate,
        up: &up,
        down: &down,
        shared_gate: &shared_gate,
        shared_up: &shared_up,
        shared_down: &shared_down,
    };
    let per_expert: usize = [(routed[0], shape(ff, embd)), (routed[1], shape(ff, embd)), (routed[2], shape(embd, ff))]
        .iter()
        .map(|(format, shape)| matrix_bytes(*format, *shape))
        .sum();
    let shared_bytes = 3 * matrix_bytes(Format::Q8_0, shape(ff, embd));
    for rows in &options.rows {
        let rows = *rows;
        let values: Vec<f32> = (0..rows * embd).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
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
            let timed = time(gpu, options.seconds, |i| {
                Ok(all.run(gpu, &linear, rows, (10.0, 10.0), &weights, &h, &routes[i % routes.len()], &y)?)
            })?;
            let what = label(tuning, rows);
            let products = rows * (used + 1) * 3 * ff * embd;
            let seconds = report(name, rows, &what, timed, bytes, products);
            if best.as_ref().is_none_or(|(least, _)| seconds < *least) {
                best = Some((seconds, what));
            }
            if tuning == Tuning::of(Precision::Fast) {
                gpu.start_profile();
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
    for case in cases().iter().filter(|case| case.name.contains(&options.only)) {
        bench_case(&gpu, &options, case)?;
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
