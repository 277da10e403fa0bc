//! What can be wrong with the slices handed to this crate.

use crate::Format;

/// Slices whose lengths do not describe the same number of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LengthError {
    /// The number of values does not fill whole blocks.
    #[error(
        "{format}: {values} values do not fill blocks of {}; pass a multiple of the block length",
        format.block_len()
    )]
    PartialBlock {
        /// Format of the blocks.
        format: Format,
        /// Values found.
        values: usize,
    },
    /// The byte slice is not as long as the values need.
    #[error("{format}: {values} values take {expected} bytes, but the byte slice has {found}")]
    Bytes {
        /// Format of the blocks.
        format: Format,
        /// Values found.
        values: usize,
        /// Bytes that many values take.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
}

/// Checks that `bytes` bytes hold exactly `values` values of `format`.
pub(crate) fn check_lengths(format: Format, bytes: usize, values: usize) -> Result<(), LengthError> {
    match format.row_bytes(values) {
        None => Err(LengthError::PartialBlock { format, values }),
        Some(expected) if expected != bytes => Err(LengthError::Bytes { format, values, expected, found: bytes }),
        Some(_) => Ok(()),
    }
}
