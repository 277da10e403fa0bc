//! f32 weights to stored blocks (spec/quants.md §5).
//!
//! | file | content |
//! |---|---|
//! | `mod.rs` | entry point, checks, the formats without a search |
//! | `weights.rs` | how much each weight's error counts |
//! | `fit.rs` | scale searches on one group of values |
//! | `kquants.rs` | Q2_K, Q4_K, Q5_K, Q6_K |
//! | `iq2_xxs.rs` | the lattice format |

mod fit;
mod iq2_xxs;
mod kquants;
mod weights;

use crate::error::{LengthError, check_lengths};
use crate::format::Format;
use crate::layout::{Q8_0, QK};
use half::{bf16, f16};

/// Largest magnitude accepted by block formats.
///
/// The widest reach is that of Q6_K: the largest f16 times scale 128 times code 32. A value beyond
/// it fits nowhere, and below it the squares and sums of the searches stay far from the f32 limit.
pub const MAX_MAGNITUDE: f32 = 65_504.0 * 128.0 * 32.0;

/// Why weights cannot be stored in the wanted format.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QuantizeError {
    /// The two slices do not describe the same number of blocks.
    #[error(transparent)]
    Length(#[from] LengthError),
    /// A weight is infinite or NaN.
    #[error("{format}: weight {index} is {value}; only finite weights can be stored")]
    NotFinite {
        /// Format asked for.
        format: Format,
        /// Position in the input.
        index: usize,
        /// The weight.
        value: f32,
    },
    /// A weight or a block's scale is too large for the format.
    #[error(
        "{format}: the block starting at weight {start} has values up to {largest}, more than the \
         format can hold; store the tensor as F32"
    )]
    TooLarge {
        /// Format asked for.
        format: Format,
        /// Position of the block's first weight in the input.
        start: usize,
        /// Largest magnitude in that block.
        largest: f32,
    },
    /// The importance vector is not one entry per column.
    #[error(
        "{format}: {importance} importance values do not fit {values} weights; pass one per column, \
         whole blocks to a row and whole rows to the input"
    )]
    ImportanceLength {
        /// Format asked for.
        format: Format,
        /// Length of the importance vector.
        importance: usize,
        /// Weights in the input.
        values: usize,
    },
    /// An importance value is negative, infinite or NaN.
    #[error("importance of column {column} is {value}; it must be finite and not negative")]
    Importance {
        /// Column of the value.
        column: usize,
        /// The value.
        value: f32,
    },
}

/// Stores `x` as blocks of `format`.
///
/// `importance` has one value per column (the row length is its length, and `x` may hold several
/// rows): how much a squared error in that column costs, relative to the other columns. Formats
/// without a search (F32, F16, BF16, Q8_0) ignore it. Without it Q2_K to Q6_K weigh larger weights
/// somewhat more, and IQ2_XXS weighs by `x²`.
///
/// F16, BF16 and scales round to nearest, ties to even.
///
/// # Errors
///
/// [`QuantizeError`] on lengths that do not match, non-finite weights, weights beyond what the
/// format can hold, and unusable importance values. `out` is then unspecified.
pub fn quantize(format: Format, x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) -> Result<(), QuantizeError> {
    check_lengths(format, out.len(), x.len())?;
    if let Some((index, &value)) = x.iter().enumerate().find(|(_, x)| !x.is_finite()) {
        return Err(QuantizeError::NotFinite { format, index, value });
    }
    match format {
        Format::F32 => each_block(format, x, out, |[x]: &[f32; 1], b: &mut [u8; 4]| {
            *b = x.to_le_bytes();
            Ok(())
        }),
        Format::F16 => each_block(format, x, out, |[x]: &[f32; 1], b| {
            *b = finite(f16::from_f32(*x))?.to_le_bytes();
            Ok(())
        }),
        Format::Bf16 => each_block(format, x, out, |[x]: &[f32; 1], b| {
            let rounded = bf16::from_f32(*x);
            *b = rounded.to_le_bytes();
            if rounded.is_finite() { Ok(()) } else { Err(Overflow) }
        }),
        Format::Q8_0 => each_block(format, x, out, q8_0),
        Format::Q2K => each_weighted(format, x, importance, out, kquants::q2_k),
        Format::Q4K => each_weighted(format, x, importance, out, kquants::q4_k),
        Format::Q5K => each_weighted(format, x, importance, out, kquants::q5_k),
        Format::Q6K => each_weighted(format, x, importance, out, kquants::q6_k),
        Format::Iq2Xxs => each_weighted(format, x, importance, out, iq2_xxs::iq2_xxs),
    }
}

/// A value or scale of the block does not fit its storage.
struct Overflow;

/// `value`, unless rounding made it infinite.
fn finite(value: f16) -> Result<f16, Overflow> {
    if value.is_finite() { Ok(value) } else { Err(Overflow) }
}

fn each_block<const LEN: usize, const BYTES: usize>(
    format: Format,
    x: &[f32],
    out: &mut [u8],
    store: impl Fn(&[f32; LEN], &mut [u8; BYTES]) -> Result<(), Overflow>,
) -> Result<(), QuantizeError> {
    let blocks = x.as_chunks().0.iter().zip(out.as_chunks_mut().0);
    for (n, (x, block)) in blocks.enumerate() {
        store(x, block).map_err(|Overflow| too_large(format, n * LEN, x))?;
    }
    Ok(())
}

/// [`each_block`] with the importance values of each block's columns.
fn each_weighted<const BYTES: usize>(
    format: Format,
    x: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
    store: impl Fn(&[f32; QK], Option<&[f32; QK]>, &mut [u8; BYTES]) -> Result<(), Overflow>,
) -> Result<(), QuantizeError> {
    let per_row = importance_blocks(format, x.len(), importance)?;
    let blocks = x.as_chunks().0.iter().zip(out.as_chunks_mut().0);
    for (n, (x, block)) in blocks.enumerate() {
        if x.iter().any(|x| x.abs() > MAX_MAGNITUDE) {
            return Err(too_large(format, n * QK, x));
        }
        let importance = per_row.map(|row| &row[n % row.len()]);
        store(x, importance, block).map_err(|Overflow| too_large(format, n * QK, x))?;
    }
    Ok(())
}

/// The importance vector in blocks, after checking it.
fn importance_blocks(
    format: Format,
    values: usize,
    importance: Option<&[f32]>,
) -> Result<Option<&[[f32; QK]]>, QuantizeError> {
    let Some(importance) = importance else {
        return Ok(None);
    };
    let (blocks, rest) = importance.as_chunks();
    if blocks.is_empty() || !rest.is_empty() || !values.is_multiple_of(importance.len()) {
        return Err(QuantizeError::ImportanceLength { format, importance: importance.len(), values });
    }
    let bad = |q: f32| !(q.is_finite() && q >= 0.0);
    match importance.iter().position(|&q| bad(q)) {
        Some(column) => Err(QuantizeError::Importance { column, value: importance[column] }),
        None => Ok(Some(blocks)),
    }
}

fn too_large(format: Format, start: usize, block: &[f32]) -> QuantizeError {
    QuantizeError::TooLarge { format, start, largest: largest(block) }
}

fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |m, x| m.max(x.abs()))
}

/// `d = max|x|/127`; codes use d before it is rounded to f16, and round half away from zero.
fn q8_0(x: &[f32; 32], block: &mut [u8; Q8_0::BYTES]) -> Result<(), Overflow> {
    let d = largest(x) / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let fields = Q8_0 { d: finite(f16::from_f32(d))?, q: x.map(|x| (x * inverse).round() as i8) };
    fields.pack(block);
    Ok(())
}
