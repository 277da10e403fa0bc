//! Load, prefill and decode of a model file on the CPU, beside the machine's read bandwidth.
//!
//! `DS4_BENCH_MODEL=FILE cargo bench -p ds4-engine --bench full -- [--threads N] [--prefill N] [--decode N] [--exact]`
//!
//! Prints one line a figure. The floor of a decoded token is the bytes it reads over the bandwidth measured in the same run,
//! before and after, by as many threads.

use ds4_engine::Precision;
use ds4_engine::cpu::{CpuBackend, CpuOptions};
use ds4_engine::{Config, Engine, EngineOptions, Logits, Rows};
use ds4_gguf::File;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Buffer of the bandwidth measurement: far above any cache.
const BANDWIDTH_BYTES: usize = 1 << 30;
const BANDWIDTH_RUNS: usize = 4;

fn number(name: &str, default: usize) -> usize {
    let args: Vec<String> = std::env::args().collect();
    let value = args.iter().position(|a| a == name).and_then(|i| args.get(i + 1)?.parse().ok());
    value.unwrap_or(default)
}

/// Best of several reads of a large buffer by `threads` threads, bytes per second.
fn bandwidth(threads: usize, buffer: &[u64]) -> f64 {
    let read = |_| {
        let start = Instant::now();
        std::thread::scope(|s| {
            for part in buffer.chunks(buffer.len().div_ceil(threads)) {
                s.spawn(|| {
                    let mut lanes = [0u64; 16];
                    for c in part.chunks_exact(16) {
                        lanes.iter_mut().zip(c).for_each(|(l, v)| *l ^= v);
                    }
                    black_box(lanes);
                });
            }
        });
        size_of_val(buffer) as f64 / start.elapsed().as_secs_f64()
    };
    (0..BANDWIDTH_RUNS).map(read).fold(0.0, f64::max)
}

/// Bytes of weights that one token reads: every matrix, of the experts only those used, of tables one row.
fn token_bytes(file: &File, config: &Config) -> u64 {
    let bytes = |name: &str, n: u64| match name {
        "token_embd.weight" => n / config.vocab as u64,
        _ if name.contains("tid2eid") => n / config.vocab as u64,
        _ if name.contains("_exps.") => n / config.experts as u64 * config.experts_used as u64,
        // The indexer's query runs only past top-k rows.
        _ if name.contains("indexer.attn_q_b") || name.contains("indexer.proj") => 0,
        _ => n,
    };
    file.tensors().iter().map(|t| bytes(&t.name, t.n_bytes)).sum()
}

fn main() {
    let Ok(path) = std::env::var("DS4_BENCH_MODEL") else {
        println!("set DS4_BENCH_MODEL to a GGUF file to run this benchmark");
        return;
    };
    let threads = number("--threads", std::thread::available_parallelism().map_or(1, |n| n.get()));
    let (prefill, decode) = (number("--prefill", 128), number("--decode", 16));
    let exact = std::env::args().any(|a| a == "--exact");
    let buffer = vec![1u64; BANDWIDTH_BYTES / 8];
    let before = bandwidth(threads, &buffer);

    let start = Instant::now();
    let file = Arc::new(File::open(Path::new(&path)).expect("model file"));
    let config = Config::from_file(&file).expect("metadata");
    let precision = if exact { Precision::Exact } else { Precision::Fast };
    let cpu = CpuOptions { precision, threads, ..CpuOptions::default() };
    let backend = CpuBackend::new(&config, cpu).expect("backend");
    let bytes = token_bytes(&file, &config);
    let vocab = config.vocab as u64;
    let options = EngineOptions { context: 2 * (prefill + decode) + 8, chunk: prefill.max(1) };
    let mut engine = Engine::new(file, config, backend, options).expect("tensors");
    println!("load               {:8.3} s", start.elapsed().as_secs_f64());

    let token = |i: usize| ((i as u64 * 2_654_435_761 + 12345) % vocab) as u32;
    let mut sequence = engine.sequence().expect("memory");
    // Touches every page that decoding needs, so that the timed part reads from memory.
    let warm: Vec<u32> = (0..8).map(token).collect();
    engine.prefill(&mut sequence, &warm, Logits::Last, &mut |_| (), &|| false).expect("warm-up");

    let mut times = Vec::new();
    for i in 0..decode {
        let start = Instant::now();
        let rows = Rows { sequence: &mut sequence, tokens: &[token(100 + i)], logits: Logits::Last };
        black_box(engine.step(&mut [rows], &|| false).expect("decode"));
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let median = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);

    let tokens: Vec<u32> = (0..prefill).map(|i| token(1000 + i)).collect();
    let mut fresh = engine.sequence().expect("memory");
    let start = Instant::now();
    engine.prefill(&mut fresh, &tokens, Logits::Last, &mut |_| (), &|| false).expect("prefill");
    let prefill_s = start.elapsed().as_secs_f64();
    let after = bandwidth(threads, &buffer);

    let best = before.max(after);
    println!("backend            {}", ds4_engine::backend::Backend::name(engine.backend()));
    println!("read bandwidth     {:8.2} GB/s before, {:.2} after ({threads} threads)", before / 1e9, after / 1e9);
    println!("bytes a token      {:8.3} GB, floor {:.3} s", bytes as f64 / 1e9, bytes as f64 / best);
    println!("decode             {:8.3} s a token (median of {decode}), {:.2} t/s", median, 1.0 / median);
    println!("share of bandwidth {:8.2}", bytes as f64 / median / best);
    println!("prefill of {prefill:<4}    {prefill_s:8.2} s, {:.2} t/s", prefill as f64 / prefill_s);
}
