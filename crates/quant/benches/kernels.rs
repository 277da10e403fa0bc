//! Speed of the products, one thread, at the shapes of the full model: `cargo bench -p ds4-quant --bench kernels -- [--cached] [FILTER]`.
//!
//! Each line: format, tokens, weights read (GB/s) and multiply-adds (G/s), best of several runs. Matrices are larger than
//! the caches, so one-token lines are bound by memory: the first line says what a plain read reaches.

use ds4_quant::Format;
use ds4_quant::dot::{ActivationKind, Activations, FloatSums, Isa, Kernels, Matrix, Out};
use std::hint::black_box;
use std::time::Instant;

/// Inputs of a matrix: the hidden width of the model.
const COLS: usize = 4096;
/// Bytes of weights per measurement: several times a last-level cache.
const BYTES: usize = 96 << 20;
/// Bytes with `--cached`: fits a second-level cache with the activations, so that lines are bound by instructions.
const CACHED_BYTES: usize = 256 << 10;
const RUNS: usize = 7;
const TOKENS: [usize; 7] = [1, 2, 3, 4, 6, 8, 128];

fn random(n: usize) -> Vec<u8> {
    let mut s = 0x9e37_79b9_7f4a_7c15u64;
    let next = |_| {
        s ^= s >> 12;
        s ^= s << 25;
        s ^= s >> 27;
        s.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
    };
    (0..n / 8 + 1).flat_map(next).take(n).collect()
}

fn best(mut f: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    (0..RUNS).map(time).fold(f64::INFINITY, f64::min)
}

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let cached = std::env::args().any(|a| a == "--cached");
    let bytes = random(if cached { CACHED_BYTES } else { BYTES });
    let read = best(|| {
        let sum = bytes
            .chunks_exact(8)
            .fold(0u64, |s, c| s ^ u64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]));
        black_box(sum);
    });
    println!("plain read, one thread: {:.1} GB/s", bytes.len() as f64 / read / 1e9);
    println!("{:<8} {:<8} {:>6} {:>9} {:>9}", "isa", "format", "tokens", "GB/s", "GMAC/s");
    for isa in Isa::available().into_iter().rev() {
        for format in Format::ALL.into_iter().filter(|f| f.name().to_lowercase().contains(&filter.to_lowercase())) {
            for tokens in TOKENS {
                measure(isa, format, tokens, &bytes);
            }
        }
    }
}

fn measure(isa: Isa, format: Format, tokens: usize, bytes: &[u8]) {
    let Some(row) = format.row_bytes(COLS) else { return };
    // Scalar code and many tokens: a smaller matrix is enough.
    let fewer = if bytes.len() == BYTES && (tokens > 8 || isa == Isa::SCALAR) { 16 } else { 1 };
    let rows = (bytes.len() / row / fewer) / 16 * 16;
    let Some(w) = Matrix::new(format, rows, COLS, &bytes[..rows * row]) else { return };
    let values: Vec<f32> = (0..tokens * COLS).map(|i| (i as f32 * 0.37).sin()).collect();
    let mut x = Activations::default();
    let kind = ActivationKind::in_front_of(format);
    if let Some(kind) = kind {
        x.fill(isa, kind, &values, tokens, COLS, COLS);
    }
    let pick: Vec<u32> = (0..tokens as u32).collect();
    let mut out = vec![0.0; tokens * rows];
    let kernels = Kernels::new(isa, FloatSums::Single);
    let repeat = (BYTES / 16 / bytes.len()).max(1);
    let seconds = best(|| {
        for _ in 0..repeat {
            let out = Out::new(&mut out, rows);
            match kind {
                // SAFETY: one thread.
                Some(_) => unsafe { kernels.matmul(w, 0..rows, &x, &pick, out) },
                // SAFETY: one thread.
                None => unsafe { kernels.matmul_f32(w, 0..rows, &values, &pick, out) },
            }
        }
    }) / repeat as f64;
    let gb = (rows * row) as f64 / seconds / 1e9;
    let gmac = (rows * COLS * tokens) as f64 / seconds / 1e9;
    println!("{:<8} {:<8} {tokens:>6} {gb:>9.2} {gmac:>9.1}", isa.name(), format.name());
}
