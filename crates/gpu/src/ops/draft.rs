//! What only the draft block needs (`spec/model.md` §12): its input, and its guesses without the host.

use crate::gpu::{Buffer, Gpu};
use crate::parts;
use crate::rows::{Rows, Vector};
use ds4_engine::Result;
use ds4_engine::config::STREAMS;

/// Threads of a workgroup that norms or adds.
const THREADS: u32 = 256;
/// Threads that look at the logits of a row, and the same on devices that may have no more.
const CHOOSE_THREADS: u32 = 1024;
const CHOOSE_THREADS_PLAIN: u32 = 256;

/// Embeddings and streams, to be normed.
pub struct Norms<'a> {
    /// Embeddings, each in all streams of its row.
    pub embedded: &'a Rows,
    /// Streams.
    pub streams: &'a Rows,
    /// Weights for embeddings.
    pub token: &'a Vector,
    /// Weights for streams.
    pub stream: &'a Vector,
    /// Epsilon of both norms.
    pub eps: f32,
}

impl Norms<'_> {
    /// Norms embeddings to `token`, one row each, and streams to `streams`, as many rows as there are streams each.
    ///
    /// # Errors
    /// The device failed.
    pub fn apply(&self, gpu: &Gpu, rows: usize, token: &Rows, streams: &Rows) -> Result<()> {
        let caps = gpu.caps();
        let constants = [
            ("WG", THREADS),
            ("SUBGROUP", parts::subgroup(caps)),
            ("E", token.width as u32),
            ("STREAMS", STREAMS as u32),
        ];
        let sources = [parts::sums(caps, THREADS), include_str!("../kernels/draft/norm.wgsl")];
        let kernel = gpu.kernel("draft_norm", &constants, &sources)?;
        [token, streams].into_iter().for_each(|rows| rows.written(0));
        let buffers = [
            &self.embedded.buffer,
            &self.streams.buffer,
            &self.token.buffer,
            &self.stream.buffer,
            &token.buffer,
            &streams.buffer,
        ];
        gpu.dispatch(&kernel, &buffers, &[self.eps.to_bits()], [STREAMS as u32 + 1, rows as u32, 1])
    }
}

/// `X_s = token + streams_s` of each row.
///
/// # Errors
/// The device failed.
pub fn add(gpu: &Gpu, rows: usize, token: &Rows, streams: &Rows, x: &Rows) -> Result<()> {
    let constants = [("WG", THREADS), ("E", token.width as u32), ("STREAMS", STREAMS as u32)];
    let kernel = gpu.kernel("draft_add", &constants, &[include_str!("../kernels/draft/add.wgsl")])?;
    x.written(0);
    let groups = (STREAMS * token.width) as u32;
    gpu.dispatch(&kernel, &[&token.buffer, &streams.buffer, &x.buffer], &[], [groups.div_ceil(THREADS), rows as u32, 1])
}

/// The token with the highest finite logit of each of the first `rows` rows, the first of equals, to words `at` on of `tokens`.
///
/// # Errors
/// The device failed.
pub fn choose(gpu: &Gpu, rows: usize, logits: &Rows, tokens: &Buffer, at: usize) -> Result<()> {
    let threads = if gpu.caps().subgroup.is_some() { CHOOSE_THREADS } else { CHOOSE_THREADS_PLAIN };
    let constants = [("WG", threads), ("WIDTH", logits.width as u32)];
    let kernel = gpu.kernel("choose", &constants, &[include_str!("../kernels/draft/choose.wgsl")])?;
    gpu.dispatch(&kernel, &[&logits.buffer, tokens], &[at as u32], [rows as u32, 1, 1])
}
