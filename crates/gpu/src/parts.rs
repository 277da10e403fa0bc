//! Pieces of WGSL that several kernels share.

use crate::device::Caps;

/// Elementary functions, to about one unit in the last place.
pub const MATH: &str = include_str!("kernels/math.wgsl");
const SUM: &str = include_str!("kernels/sum.wgsl");
const SUM_SUBGROUP: &str = include_str!("kernels/sum_subgroup.wgsl");

/// `wg_sum` and `wg_max` over a workgroup of `threads` threads: the source needs the constants `WG` and `SUBGROUP`
/// ([`subgroup`]).
pub fn sums(caps: Caps, threads: u32) -> &'static str {
    match caps.subgroup {
        Some(width) if threads.is_multiple_of(width) => SUM_SUBGROUP,
        _ => SUM,
    }
}

/// The constant `SUBGROUP`, 1 where it is not known.
pub fn subgroup(caps: Caps) -> u32 {
    caps.subgroup.unwrap_or(1)
}
