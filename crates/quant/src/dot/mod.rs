//! Matrix products of quantised weights with activations, per instruction set.
//!
//! One algorithm each, written over the small [`simd::Simd`] trait; the per-ISA files only say what a
//! lane operation is. Map:
//!
//! | file | content |
//! |---|---|
//! | `activations.rs` | a batch of activation rows in the form that a kernel wants |
//! | `simd.rs` | the trait, with the contract of each lane operation |
//! | `scalar.rs`, `avx2.rs`, `neon.rs` | its implementations |
//! | `dense.rs` | F32 / F16 / BF16 weights with f32 activations; attention's two products |
//! | `kquants.rs` | 256-blocks (Q2_K … IQ2_XXS) with Q8_K activations |
//! | `q8_0.rs` | Q8_0 with 16-bit activations: one row, and packed tiles for many tokens |
//! | `dispatch.rs` | choice of the instruction set, entry points |
//!
//! Two families of products exist. [`Kernels::matmul_f32`] is the exact one: weights are dequantised and
//! multiplied in f32, and summed in f32 or f64. [`Kernels::matmul`] takes rounded activations: 16 bits per row in front of Q8_0, 8 bits
//! per 256-block (Q8_K, `spec/quants.md` §1) in front of 256-block formats. F32, F16 and BF16 weights always take f32.

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[allow(clippy::needless_range_loop)] // see the note on closures in kquants.rs: indices keep lanes in registers
mod dense;
mod dispatch;
#[allow(clippy::needless_range_loop)]
mod kquants;
#[cfg(target_arch = "aarch64")]
mod neon;
mod out;
#[allow(clippy::needless_range_loop)]
mod q8_0;
mod scalar;
mod simd;
#[cfg(test)]
mod simd_tests;
#[cfg(test)]
mod tests;

pub use activations::{ActivationKind, Activations, RowMut};
pub use dispatch::{FloatSums, Isa, Kernels, Task};
pub use out::Out;

use crate::Format;

/// A weight matrix: `rows` outputs, `cols` inputs, rows contiguous in `data`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    /// Block format of the weights.
    pub format: Format,
    /// Number of rows (outputs).
    pub rows: usize,
    /// Values in a row (inputs); a multiple of the format's block length.
    pub cols: usize,
    /// `rows` times [`Format::row_bytes`] bytes.
    pub data: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// Checks that `data` holds exactly `rows` rows of `cols` values.
    pub fn new(format: Format, rows: usize, cols: usize, data: &'a [u8]) -> Option<Self> {
        let want = format.row_bytes(cols)?.checked_mul(rows)?;
        (cols > 0 && data.len() == want).then_some(Self { format, rows, cols, data })
    }

    /// Bytes of one row.
    #[inline]
    pub fn row_bytes(&self) -> usize {
        self.data.len().checked_div(self.rows).unwrap_or(0)
    }

    /// The bytes of row `r`.
    #[inline]
    pub fn row(&self, r: usize) -> &'a [u8] {
        let n = self.row_bytes();
        &self.data[r * n..(r + 1) * n]
    }
}
