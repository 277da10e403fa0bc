//! f32 weights to stored blocks (spec/quants.md §5).
//!
//! | file | content |
//! |---|---|
//! | `mod.rs` | entry point, checks, the formats without a search |
//! | `weights.rs` | how much each weight's error counts |
//! | `fit.rs` | scale searches on one group of values |
//! | `lanes.rs` | vectors of f32, a search in each lane |
//! | `kquants.rs` | Q2_K, Q4_K, Q5_K, Q6_K |
//! | `iq2_xxs.rs` | the lattice format |

mod fit;
mod iq2_xxs;
mod kquants;
mod lanes;
mod weights;

use crate::dot::{Isa, Task};
use crate::error::{LengthError, check_lengths};
use crate::format::Format;
use crate::layout::{Q2K, Q4K, Q5K, Q8_0, QK};
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
/// without a search (F32, F16, BF16, Q8_0) ignore it. Without it all columns
/// count the same.
///
/// F16, BF16 and scales round to nearest, ties to even.
///
/// # Errors
///
/// [`QuantizeError`] on lengths that do not match, non-finite weights, weights beyond what the
/// format can hold, and unusable importance values. `out` is then unspecified.
pub fn quantize(format: Format, x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) -> Result<(), QuantizeError> {
    check_lengths(format, out.len(), x.len())?;
    if let Some(index) = Isa::best().with(NotFinite(x)) {
        return Err(QuantizeError::NotFinite { format, index, value: x[index] });
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
        Format::Q8_0 => Isa::best().with(Q8Blocks { x, out }),
        Format::Q2K => affine::<Q2K, 16, 16, { Q2K::BYTES }>(format, x, importance, out),
        Format::Q4K => affine::<Q4K, 8, 32, { Q4K::BYTES }>(format, x, importance, out),
        Format::Q5K => affine::<Q5K, 8, 32, { Q5K::BYTES }>(format, x, importance, out),
        Format::Q6K => each_weighted(format, x, importance, out, kquants::SearchQ6K),
        Format::Iq2Xxs => {
            let per_row = importance_blocks(format, x.len(), importance)?;
            let (x, out) = (x.as_chunks().0, out.as_chunks_mut().0);
            lanes::on_lanes(iq2_xxs::Store { x, per_row, out }).map_err(|n| too_large(format, n * QK, &x[n]))
        }
    }
}

/// Position of the first value that is not finite.
struct NotFinite<'a>(&'a [f32]);

impl Task for NotFinite<'_> {
    type Output = Option<usize>;

    #[inline(always)]
    fn run(self) -> Option<usize> {
        const PIECE: usize = 64;
        for (n, piece) in self.0.chunks(PIECE).enumerate() {
            // All of a piece at once, not one after the other up to the first.
            let mut is_finite = true;
            for x in piece {
                is_finite &= x.is_finite();
            }
            if !is_finite {
                return piece.iter().position(|x| !x.is_finite()).map(|at| n * PIECE + at);
            }
        }
        None
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
    search: impl Search<BYTES>,
) -> Result<(), QuantizeError> {
    let per_row = importance_blocks(format, x.len(), importance)?;
    let (x, out) = (x.as_chunks().0, out.as_chunks_mut().0);
    let done = Isa::best().with(Searches { x, per_row, out, search });
    done.map_err(|n| too_large(format, n * QK, &x[n]))
}

/// Blocks of a format with scales and minima.
fn affine<F: kquants::Affine<G, BYTES>, const G: usize, const N: usize, const BYTES: usize>(
    format: Format,
    x: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
) -> Result<(), QuantizeError> {
    let per_row = importance_blocks(format, x.len(), importance)?;
    let (x, out) = (x.as_chunks().0, out.as_chunks_mut().0);
    kquants::store::<F, G, N, BYTES>(x, per_row, out).map_err(|n| too_large(format, n * QK, &x[n]))
}

/// How a format with a search stores a block. Implementations are `#[inline(always)]` down to the last function, or they would be
/// compiled without the instruction set that was found.
trait Search<const BYTES: usize> {
    fn store(&self, x: &[f32; QK], importance: Option<&[f32; QK]>, block: &mut [u8; BYTES]) -> Result<(), Overflow>;
}

/// The searches of all blocks, which take long enough to be compiled for each instruction set.
struct Searches<'a, const BYTES: usize, S> {
    x: &'a [[f32; QK]],
    per_row: Option<&'a [[f32; QK]]>,
    out: &'a mut [[u8; BYTES]],
    search: S,
}

impl<const BYTES: usize, S: Search<BYTES>> Task for Searches<'_, BYTES, S> {
    /// Or the block that does not fit.
    type Output = Result<(), usize>;

    #[inline(always)]
    fn run(self) -> Result<(), usize> {
        for (n, (x, block)) in self.x.iter().zip(self.out).enumerate() {
            if x.iter().any(|x| x.abs() > MAX_MAGNITUDE) {
                return Err(n);
            }
            let importance = self.per_row.map(|row| &row[n % row.len()]);
            self.search.store(x, importance, block).map_err(|Overflow| n)?;
        }
        Ok(())
    }
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

/// All blocks of Q8_0.
struct Q8Blocks<'a> {
    x: &'a [f32],
    out: &'a mut [u8],
}

impl Task for Q8Blocks<'_> {
    type Output = Result<(), QuantizeError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        let blocks = self.x.as_chunks().0.iter().zip(self.out.as_chunks_mut().0);
        for (n, (x, block)) in blocks.enumerate() {
            if q8_0(x, block).is_err() {
                return Err(too_large(Format::Q8_0, n * x.len(), x));
            }
        }
        Ok(())
    }
}

/// `d = max|x|/127`; codes use d before it is rounded to f16, and round half away from zero.
#[inline(always)]
fn q8_0(x: &[f32; 32], block: &mut [u8; Q8_0::BYTES]) -> Result<(), Overflow> {
    let mut largest = [0.0; 8];
    for x in x.as_chunks::<8>().0 {
        for (largest, x) in largest.iter_mut().zip(x) {
            *largest = if x.abs() > *largest { x.abs() } else { *largest };
        }
    }
    let d = largest.into_iter().fold(0.0, f32::max) / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let mut q = [0; 32];
    for (q, x) in q.iter_mut().zip(x) {
        // As `round`, which is a call for each value where it is no instruction: 0.5 less a bit, so that 0.5 less a bit stays below 1.
        let scaled = x * inverse;
        *q = (scaled + 0.499_999_97f32.copysign(scaled)) as i32 as i8;
    }
    Q8_0 { d: finite(f16::from_f32(d))?, q }.pack(block);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_finds_the_same_blocks() {
        let x: Vec<[f32; QK]> = (0..6u32)
            .map(|n| {
                std::array::from_fn(|i| {
                    ((i as u32 * 37 + n * 101 + 7).wrapping_mul(2_654_435_761) >> 8) as f32 / 1e6 - 8.0
                })
            })
            .collect();
        let importance: [f32; QK] = std::array::from_fn(|i| (i * i % 31) as f32);
        fn all<const BYTES: usize, S: Search<BYTES> + Copy>(x: &[[f32; QK]], q: Option<&[[f32; QK]]>, search: S) {
            let on = |isa: Isa| {
                let mut out = vec![[0; BYTES]; x.len()];
                isa.with(Searches { x, per_row: q, out: &mut out, search }).unwrap();
                out
            };
            let plain = on(Isa::SCALAR);
            for isa in Isa::available() {
                assert!(on(isa) == plain, "{}", isa.name());
            }
        }
        for q in [None, Some(std::slice::from_ref(&importance))] {
            all(&x, q, kquants::SearchQ6K);
        }
    }
}
