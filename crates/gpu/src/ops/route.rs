//! The router (`spec/model.md` §10).

use crate::device::Caps;
use crate::gpu::{Buffer, Gpu};
use crate::parts;
use crate::rows::{Rows, Vector};
use crate::weights::Matrix;
use ds4_engine::{Precision, Result};

/// Threads of the kernel where some subgroup of them chooses, and where all do.
const THREADS: u32 = 256;
const THREADS_PLAIN: u32 = 64;

/// How a layer chooses experts.
#[derive(Clone, Copy)]
pub enum Routing<'a> {
    /// By the table of `used` experts a token.
    Hash(&'a Buffer),
    /// By the largest scores, plus a bias.
    Learned(Option<&'a Vector>),
}

/// A layer's router, and the token of each row.
#[derive(Clone, Copy)]
pub struct Router<'a> {
    /// Its matrix.
    pub matrix: &'a Matrix,
    /// Room for its logits.
    pub z: &'a Rows,
    /// Whether they are there already.
    pub has_logits: bool,
    /// What becomes of them.
    pub routing: Routing<'a>,
    /// The token of each row.
    pub ids: &'a Buffer,
    /// Factor of all weights.
    pub scale: f32,
}

impl Routing<'_> {
    /// What `choose.wgsl` binds: biases and the table, where there are none `z` and `ids`.
    pub(crate) fn buffers<'b>(&'b self, z: &'b Rows, ids: &'b Buffer) -> [&'b Buffer; 4] {
        let (bias, table) = match self {
            Routing::Hash(table) => (&z.buffer, *table),
            Routing::Learned(bias) => (bias.map_or(&z.buffer, |bias| &bias.buffer), ids),
        };
        [&z.buffer, bias, ids, table]
    }

    /// The constants of `choose.wgsl`, but for `WG`.
    pub(crate) fn constants(&self, experts: usize, used: usize, choosers: u32) -> [(&'static str, u32); 5] {
        [
            ("EXPERTS", experts as u32),
            ("USED", used as u32),
            ("CHOOSERS", choosers),
            ("HASHED", u32::from(matches!(self, Routing::Hash(_)))),
            ("BIASED", u32::from(matches!(self, Routing::Learned(Some(_))))),
        ]
    }
}

/// Threads that choose without barriers, a subgroup, where one has enough.
pub(crate) fn choosers(caps: Caps, used: usize) -> Option<u32> {
    caps.subgroup.filter(|width| *width >= 16 && *width as usize >= used && THREADS.is_multiple_of(*width))
}

/// `choose` by such a subgroup.
pub(crate) const CHOOSE_SUBGROUP: &str =
    concat!(include_str!("../kernels/chosen_most_subgroup.wgsl"), include_str!("../kernels/choose.wgsl"));
const CHOOSE: &str = concat!(include_str!("../kernels/chosen_most.wgsl"), include_str!("../kernels/choose.wgsl"));

/// Writes `(expert, weight)` pairs, `used` of `experts` a row, to `routes`, from the logits `z` and the token of each row in `ids`; `scale` is a
/// factor of all weights.
///
/// # Errors
/// The device failed.
pub fn route(
    gpu: &Gpu,
    precision: Precision,
    (experts, used): (usize, usize),
    rows: usize,
    routing: &Routing<'_>,
    z: &Rows,
    ids: &Buffer,
    scale: f32,
    routes: &Buffer,
) -> Result<()> {
    let caps = gpu.caps();
    let choosers = choosers(caps, used);
    let threads = if choosers.is_some() { THREADS } else { THREADS_PLAIN };
    let mut constants = vec![("WG", threads), ("SUBGROUP", parts::subgroup(caps))];
    constants.extend(routing.constants(experts, used, choosers.unwrap_or(threads)));
    let text = if choosers.is_some() { CHOOSE_SUBGROUP } else { CHOOSE };
    let sources =
        [parts::ONCE, parts::math(precision), parts::sums(caps, threads), text, include_str!("../kernels/route.wgsl")];
    let kernel = gpu.kernel("route", &constants, &sources)?;
    let [z, bias, ids, table] = routing.buffers(z, ids);
    gpu.dispatch(&kernel, &[z, bias, ids, table, routes], &[scale.to_bits()], [rows as u32, 1, 1])
}
