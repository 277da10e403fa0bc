//! Steering (`spec/session.md` §9).

use crate::gpu::Gpu;
use crate::parts;
use crate::rows::{Rows, Vector};
use ds4_engine::Result;

/// `y ← y − s·v·(v·y)` of the first `rows` rows, in place. Nothing is touched where `s` is 0.
///
/// # Errors
/// The device failed.
pub fn steer(gpu: &Gpu, rows: usize, v: &Vector, s: f32, y: &Rows) -> Result<()> {
    debug_assert_eq!(v.len, y.width);
    if s == 0.0 {
        return Ok(());
    }
    let (caps, threads) = (gpu.caps(), 256);
    let constants = [("WG", threads), ("SUBGROUP", parts::subgroup(caps))];
    let sources = [parts::sums(caps, threads), include_str!("../kernels/steer.wgsl")];
    let kernel = gpu.kernel("steer", &constants, &sources)?;
    y.written(0);
    gpu.dispatch(&kernel, &[&v.buffer, &y.buffer], &[y.width as u32, s.to_bits()], [rows as u32, 1, 1])
}
