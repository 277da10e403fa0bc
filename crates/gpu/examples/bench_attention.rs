//! Times compressors, indexer and attention at full shape: decode at several depths, then prefill chunks. Prints, for each kernel of a
//! layer of each kind, microseconds, and GB/s of what has to be read once or TFLOP/s of what has to be computed.
//!
//! `cargo run --release -p ds4-gpu --example bench_attention [device]`

#[path = "../tests/gpu/bench.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use the rest")]
mod bench;

use bench::{Bench, FULL, KINDS, Random};
use ds4_engine::LayerKind;
use ds4_engine::backend::{Segment, Step};
use ds4_engine::kv::RowFormat;
use ds4_gpu::StepData;
use ds4_gpu::ops::compressor::Selection;
use ds4_gpu::selftest::attention::LayerInputs;
use std::time::Instant;

/// Time budget of one measurement.
const ITERATIONS: usize = 20;

fn run(bench: &Bench, data: &StepData, il: usize, l: &LayerInputs, selects: bool, selection: &mut Selection) {
    let selects = selects && KINDS[il] == LayerKind::Csa;
    bench.prepare(data, il, l, selects).unwrap();
    if selects {
        bench.select(data, il, l, selection).unwrap();
    }
    bench.attend(data, il, l, selects.then_some(&*selection)).unwrap();
}

/// One measurement: `rows` rows of each of `sequences` sequences behind `depth` tokens.
fn measure(bench: &Bench, depth: usize, rows: usize, sequences: usize) {
    let host = bench.filled(depth, &mut Random(1));
    let first = bench.to_device(&host, depth);
    let mut caches: Vec<ds4_gpu::Cache> = (1..sequences).map(|_| first.clone()).collect();
    caches.push(first);
    caches.iter_mut().for_each(|cache| bench.pool.reserve(cache, depth + rows).unwrap());
    let segments: Vec<Segment> =
        (0..sequences).map(|s| Segment { rows: s * rows..(s + 1) * rows, start: depth }).collect();
    let positions: Vec<usize> = (0..sequences).flat_map(|_| depth..depth + rows).collect();
    let tokens = vec![1; positions.len()];
    let step = Step { config: &bench.config, tokens: &tokens, positions: &positions, segments: &segments };
    let mut data = StepData::new(&bench.gpu).unwrap();
    let mut borrowed: Vec<&mut ds4_gpu::Cache> = caches.iter_mut().collect();
    let start = Instant::now();
    data.begin(&bench.pool, &step, [&bench.ropes[0], &bench.ropes[1]], &mut borrowed).unwrap();
    let begin = start.elapsed().as_secs_f64();
    let c = &bench.config;
    let selects = (depth + rows) / 4 > c.top_k;
    println!("\n{sequences} × {rows} rows behind {depth} tokens (step data {:.2} ms)", begin * 1e3);
    let n = positions.len();
    for (il, kind) in KINDS.into_iter().enumerate() {
        let l = bench.layer(il, n).unwrap();
        let mut selection = Selection::default();
        let go = |selection: &mut Selection| run(bench, &data, il, &l, selects, selection);
        go(&mut selection);
        bench.gpu.wait().unwrap();
        let start = Instant::now();
        go(&mut selection);
        bench.gpu.wait().unwrap();
        let iterations = ((0.1 / start.elapsed().as_secs_f64().max(1e-6)) as usize).clamp(2, ITERATIONS);
        let start = Instant::now();
        (0..iterations).for_each(|_| go(&mut selection));
        bench.gpu.wait().unwrap();
        let wall = start.elapsed().as_secs_f64() / iterations as f64;
        bench.gpu.start_profile(None);
        (0..iterations).for_each(|_| go(&mut selection));
        let timings = bench.gpu.end_profile().unwrap();
        let visible = |p: &usize| kind.ratio().map_or(0, |r| (p + 1) / r);
        let keys: f64 = positions
            .iter()
            .map(|p| {
                let seen = visible(p);
                let seen = if kind == LayerKind::Csa { seen.min(c.top_k) } else { seen };
                ((p + 1).min(c.window) + seen) as f64
            })
            .sum();
        let scored: f64 = positions.iter().map(|p| visible(p) as f64).sum();
        println!("  {}: {:.1} µs a layer, one after the other", kind.name(), wall * 1e6);
        for t in timings {
            let seconds = t.seconds / iterations as f64;
            let flop = match t.name.as_str() {
                name if name.starts_with("attend") => 4.0 * keys * (c.heads * c.head_dim) as f64,
                "index_score" => 2.0 * scored * (c.index_heads * c.index_dim) as f64,
                _ => 0.0,
            };
            let row_bytes = if n == sequences { 592.0 * keys } else { 0.0 };
            let bytes = match t.name.as_str() {
                name if name.starts_with("attend") => row_bytes + (8 * n * c.heads * c.head_dim) as f64,
                "index_score" => 68.0 * scored / rows as f64 + 4.0 * scored,
                "top_k" => 4.0 * scored + (4 * n * c.top_k) as f64,
                "prepare" => (8 * n * c.heads * c.head_dim) as f64,
                _ => 0.0,
            };
            println!(
                "    {:12} {:9.1} µs  {:2} dispatches  {:8.1} GB/s  {:7.2} TFLOP/s",
                t.name,
                seconds * 1e6,
                t.count / iterations,
                bytes / seconds / 1e9,
                flop / seconds / 1e12
            );
        }
    }
}

fn main() {
    let bench = Bench::new(FULL, RowFormat::Native, |caps| caps);
    println!("{}: {:?}", bench.gpu.info(), bench.gpu.caps());
    let is_quick = bench.gpu.caps().is_software || std::env::args().any(|arg| arg == "quick");
    let depths: &[usize] = if is_quick { &[515] } else { &[511, 2047, 8191, 16383] };
    for depth in depths {
        measure(&bench, *depth, 1, 1);
    }
    if is_quick {
        measure(&bench, 2100, 8, 1);
        return;
    }
    measure(&bench, 16382, 1, 1);
    measure(&bench, 4096, 1, 16);
    for depth in [0, 2048, 8192, 14336] {
        measure(&bench, depth, 512, 1);
    }
    for depth in [0, 2048, 14336] {
        measure(&bench, depth, 2048, 1);
    }
}
