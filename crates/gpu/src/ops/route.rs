//! The router (`spec/model.md` §10).

use crate::gpu::{Buffer, Gpu};
use crate::parts;
use crate::rows::{Rows, Vector};
use ds4_engine::{Config, Result};

/// How a layer chooses experts.
pub enum Routing<'a> {
    /// By the table of `used` experts a token.
    Hash(&'a Buffer),
    /// By the largest scores, plus a bias.
    Learned(Option<&'a Vector>),
}

/// Writes `(expert, weight)` pairs, `used` a row, to `routes`, from the logits `z` and the token of each row in `ids`.
///
/// # Errors
/// The device failed.
pub fn route(
    gpu: &Gpu,
    config: &Config,
    rows: usize,
    routing: &Routing<'_>,
    z: &Rows,
    ids: &Buffer,
    routes: &Buffer,
) -> Result<()> {
    // One subgroup needs no barriers.
    let caps = gpu.caps();
    let threads = caps.subgroup.filter(|width| *width >= 16 && *width as usize >= config.experts_used).unwrap_or(64);
    let bias = match routing {
        Routing::Learned(bias) => bias.map(|bias| &bias.buffer),
        Routing::Hash(_) => None,
    };
    let table = match routing {
        Routing::Hash(table) => Some(*table),
        Routing::Learned(_) => None,
    };
    let constants = [
        ("WG", threads),
        ("SUBGROUP", parts::subgroup(caps)),
        ("EXPERTS", config.experts as u32),
        ("USED", config.experts_used as u32),
        ("HASHED", u32::from(table.is_some())),
        ("BIASED", u32::from(bias.is_some())),
    ];
    let sources = [parts::MATH, parts::sums(caps, threads), include_str!("../kernels/route.wgsl")];
    let kernel = gpu.kernel("route", &constants, &sources)?;
    let buffers = [&z.buffer, bias.unwrap_or(&z.buffer), ids, table.unwrap_or(ids), routes];
    gpu.dispatch(&kernel, &buffers, &[config.expert_scale.to_bits()], [rows as u32, 1, 1])
}
