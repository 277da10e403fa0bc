//! Block formats of quantised weights: byte layout, expansion to f32, quantisation, and the dot
//! products that define what every faster kernel must compute.
//!
//! A row of weights is a run of fixed-size blocks ([`Format`]). This crate knows bytes and floats
//! only; files, tensor names and threads belong to its callers.
//!
//! | to … | use |
//! |---|---|
//! | know sizes | [`Format::block_len`], [`Format::block_bytes`], [`Format::row_bytes`] |
//! | turn stored blocks into f32 | [`dequantize()`] |
//! | turn f32 into stored blocks | [`quantize()`] |
//! | turn activations into int8 blocks | [`activation::quantize_q8k`] |
//! | multiply stored matrices with activations | [`dot`] |
//! | know the right answer of a dot product | [`mod@reference`] |
#![deny(missing_docs)]

pub mod activation;
mod dequantize;
pub mod dot;
mod error;
mod format;
pub mod iq2_grid;
mod layout;
mod quantize;
pub mod reference;

pub use activation::{BlockQ8K, QK, quantize_q8k};
pub use dequantize::dequantize;
pub use error::LengthError;
pub use format::Format;
pub use quantize::{MAX_MAGNITUDE, QuantizeError, quantize};
