//! Pieces of WGSL that several kernels share.

use crate::device::Caps;
use ds4_engine::Precision;

/// `once`, 1 as far as compilers can tell, set by `main`: loops whose bound it is part of stay loops.
pub const ONCE: &str = include_str!("kernels/once.wgsl");

const MATH: &str = include_str!("kernels/math.wgsl");
const MATH_FAST: &str = include_str!("kernels/math_fast.wgsl");
const SUM: &str = include_str!("kernels/sum.wgsl");
const SUM_SUBGROUP: &str = include_str!("kernels/sum_subgroup.wgsl");

/// Elementary functions: to about one unit in the last place, or fast.
pub fn math(precision: Precision) -> &'static str {
    match precision {
        Precision::Exact => MATH,
        Precision::Fast => MATH_FAST,
    }
}

/// `wg_sum` and `wg_max` over a workgroup of `threads` threads: the source needs the constants `WG` and `SUBGROUP`
/// ([`subgroup`]).
pub fn sums(caps: Caps, threads: u32) -> &'static str {
    match caps.subgroup {
        Some(width) if threads.is_multiple_of(width) => SUM_SUBGROUP,
        _ => SUM,
    }
}

/// `emitted_quad` and what it needs, which make bytes of values where the device can.
pub const EMIT_BLOCK: &str = include_str!("kernels/emit_block.wgsl");

/// `emit`, which also writes values as bytes where that is wanted and the device can: the source needs the constants `EMIT_WIDTH` and
/// `EMIT_BINDING`.
pub fn emit(is_wanted: bool) -> &'static str {
    match is_wanted {
        true => concat!(include_str!("kernels/emit_block.wgsl"), include_str!("kernels/emit.wgsl")),
        false => include_str!("kernels/emit_none.wgsl"),
    }
}

/// Whether the threads of a subgroup can share a block of bytes, and rows of this width consist of such blocks.
pub fn can_emit(caps: Caps, width: usize) -> bool {
    caps.subgroup.is_some_and(|threads| threads >= 8) && width.is_multiple_of(64)
}

/// `emit_quad`, which writes what a workgroup keeps as bytes, behind the part that it needs.
pub(crate) fn emit_quad(caps: Caps) -> [&'static str; 2] {
    match caps.subgroup {
        Some(4..) => [EMIT_BLOCK, include_str!("kernels/linear/emit_quad_subgroup.wgsl")],
        _ => ["", include_str!("kernels/linear/emit_quad.wgsl")],
    }
}

/// The constant `SUBGROUP`, 1 where it is not known.
pub fn subgroup(caps: Caps) -> u32 {
    caps.subgroup.unwrap_or(1)
}
