//! The operations: which kernel runs over which buffers.

pub mod attention;
pub mod compressor;
