//! The least time that a step can take: its bytes through the memory's bandwidth.

use ds4_engine::{Config, LayerKind};
use ds4_gguf::File;
use rayon::prelude::*;
use std::hint::black_box;
use std::time::Instant;

/// Bytes that are read to measure: many times the caches.
const BUFFER_BYTES: usize = 512 << 20;
/// The same on a small machine.
const BUFFER_BYTES_MIN: usize = 64 << 20;
/// Times; the best counts.
const ROUNDS: usize = 4;
/// Numbers that one task reads.
const TASK: usize = 1 << 17;

/// Bytes a second that all threads together read from memory.
pub fn bandwidth(free: Option<u64>) -> f64 {
    let most = free.map_or(BUFFER_BYTES_MIN, |free| usize::try_from(free / 4).unwrap_or(BUFFER_BYTES));
    let bytes = most.clamp(BUFFER_BYTES_MIN, BUFFER_BYTES);
    let numbers: Vec<u64> = (0..bytes as u64 / 8).collect();
    let read = |_| {
        let begin = Instant::now();
        let sum: u64 = numbers
            .par_chunks(TASK)
            .map(|chunk| {
                // Eight sums, so that additions do not wait for one another.
                let mut sums = [0u64; 8];
                for eight in chunk.chunks_exact(8) {
                    for (sum, number) in sums.iter_mut().zip(eight) {
                        *sum = sum.wrapping_add(*number);
                    }
                }
                sums.iter().fold(0u64, |all, sum| all.wrapping_add(*sum))
            })
            .reduce(|| 0, u64::wrapping_add);
        black_box(sum);
        bytes as f64 / begin.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(read).fold(0.0, f64::max)
}

/// Bytes of weights and of KV rows that a step reads at least.
pub struct Traffic {
    /// Weights that every step reads.
    dense: f64,
    /// Those of all routed experts.
    experts: f64,
    /// Share of the experts that a token uses.
    used: f64,
    /// KV rows.
    rows: KvRows,
}

/// What attention and indexer read of a sequence's history.
struct KvRows {
    /// Layers with a row every 4 tokens, of which the indexer keeps some, and every 128.
    csa: f64,
    hca: f64,
    /// Rows that the indexer keeps.
    top_k: f64,
    /// Bytes of a row, and of an indexer's row.
    row: f64,
    index: f64,
}

/// Bytes of a value in a compressed row and in an indexer's at the model's own precision: those of rows of 512 and 128 values
/// (`docs/kv.md`).
const VALUE_BYTES: f64 = 583.0 / 512.0;
const INDEX_VALUE_BYTES: f64 = 68.0 / 128.0;

impl Traffic {
    /// What the tensors of `file` make of it.
    pub fn new(file: &File, config: &Config) -> Self {
        let (mut dense, mut experts) = (0.0, 0.0);
        for tensor in file.tensors() {
            let bytes = tensor.n_bytes as f64;
            if tensor.name.contains("_exps.") {
                experts += bytes;
            } else if !tensor.name.starts_with("token_embd.") && !tensor.name.contains("tid2eid") {
                // Of those two a token reads one row.
                dense += bytes;
            }
        }
        let count = |kind| config.layers.iter().filter(|layer| **layer == kind).count() as f64;
        let rows = KvRows {
            csa: count(LayerKind::Csa),
            hca: count(LayerKind::Hca),
            top_k: config.top_k as f64,
            row: config.head_dim as f64 * VALUE_BYTES,
            index: config.index_dim as f64 * INDEX_VALUE_BYTES,
        };
        Self { dense, experts, used: config.experts_used as f64 / config.experts as f64, rows }
    }

    /// Bytes of a step of `batch` sequences with `tokens` tokens each. Experts are taken to be chosen by chance.
    pub fn step_bytes(&self, tokens: usize, batch: usize) -> f64 {
        let touched = 1.0 - (1.0 - self.used).powi(i32::try_from(batch).unwrap_or(i32::MAX));
        self.dense + self.experts * touched + self.rows.bytes(tokens as f64) * batch as f64
    }
}

impl KvRows {
    fn bytes(&self, tokens: f64) -> f64 {
        let Self { csa, hca, top_k, row, index } = self;
        let closed = tokens / 4.0;
        csa * (closed * index + closed.min(*top_k) * row) + hca * tokens / 128.0 * row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_reads_what_its_sequences_need() {
        let rows = KvRows { csa: 2.0, hca: 1.0, top_k: 10.0, row: 512.0, index: 64.0 };
        // Fewer rows than the indexer keeps: all of them; then a bound.
        assert_eq!(rows.bytes(32.0), 2.0 * (8.0 * 64.0 + 8.0 * 512.0) + 0.25 * 512.0);
        assert_eq!(rows.bytes(128.0), 2.0 * (32.0 * 64.0 + 10.0 * 512.0) + 512.0);
        let traffic = Traffic { dense: 1000.0, experts: 800.0, used: 0.25, rows };
        assert_eq!(traffic.step_bytes(0, 1), 1200.0);
        assert_eq!(traffic.step_bytes(0, 2), 1000.0 + 800.0 * (1.0 - 0.75 * 0.75));
    }
}
