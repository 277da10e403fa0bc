//! The operations: each file dispatches the kernels of its name.

#![allow(clippy::too_many_arguments, reason = "an operation names every buffer that it touches")]

pub mod attention;
pub mod compressor;
pub mod draft;
pub mod experts;
pub mod hyper;
pub mod linear;
pub mod route;
mod source;
pub mod steer;
pub mod units;
