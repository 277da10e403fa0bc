//! The storage formats and their block sizes.

use std::fmt;

/// How the weights of one tensor are stored (spec/quants.md §1; Q5_K and Q6_K as in the public
/// GGUF description).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Format {
    /// Plain little-endian f32.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// 32 signed bytes and one scale: 8.5 bits per weight.
    Q8_0,
    /// 2-bit codes, 4-bit scale and minimum per 16 weights: 2.625 bits per weight.
    Q2K,
    /// 4-bit codes, 6-bit scale and minimum per 32 weights: 4.5 bits per weight.
    Q4K,
    /// 5-bit codes, 6-bit scale and minimum per 32 weights: 5.5 bits per weight.
    Q5K,
    /// 6-bit signed codes, 8-bit scale per 16 weights: 6.5625 bits per weight.
    Q6K,
    /// Points of a 256-entry lattice with signs, 4-bit scale per 32 weights: 2.0625 bits per weight.
    Iq2Xxs,
}

impl Format {
    /// Every format, in order of declaration.
    pub const ALL: [Format; 9] = [
        Format::F32,
        Format::F16,
        Format::Bf16,
        Format::Q8_0,
        Format::Q2K,
        Format::Q4K,
        Format::Q5K,
        Format::Q6K,
        Format::Iq2Xxs,
    ];

    /// Weights in one block.
    pub const fn block_len(self) -> usize {
        match self {
            Format::F32 | Format::F16 | Format::Bf16 => 1,
            Format::Q8_0 => 32,
            Format::Q2K | Format::Q4K | Format::Q5K | Format::Q6K | Format::Iq2Xxs => 256,
        }
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Format::F32 => 4,
            Format::F16 | Format::Bf16 => 2,
            Format::Q8_0 => 34,
            Format::Q2K => 84,
            Format::Q4K => 144,
            Format::Q5K => 176,
            Format::Q6K => 210,
            Format::Iq2Xxs => 66,
        }
    }

    /// Bytes of a row of `cols` weights; `None` when `cols` does not fill whole blocks or the size
    /// does not fit in `usize`.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        (cols / self.block_len()).checked_mul(self.block_bytes())
    }

    /// The name used by GGUF tools.
    pub fn name(self) -> &'static str {
        match self {
            Format::F32 => "F32",
            Format::F16 => "F16",
            Format::Bf16 => "BF16",
            Format::Q8_0 => "Q8_0",
            Format::Q2K => "Q2_K",
            Format::Q4K => "Q4_K",
            Format::Q5K => "Q5_K",
            Format::Q6K => "Q6_K",
            Format::Iq2Xxs => "IQ2_XXS",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_bytes_counts_whole_blocks_only() {
        assert_eq!(Format::Q4K.row_bytes(4096), Some(16 * 144));
        assert_eq!(Format::Q4K.row_bytes(0), Some(0));
        assert_eq!(Format::Q4K.row_bytes(255), None);
        assert_eq!(Format::Q8_0.row_bytes(16), None);
        assert_eq!(Format::F32.row_bytes(usize::MAX), None);
        assert_eq!(Format::F32.row_bytes(3), Some(12));
    }

    #[test]
    fn all_lists_each_format_once() {
        let names: std::collections::HashSet<_> = Format::ALL.iter().map(|f| f.name()).collect();
        assert_eq!(names.len(), Format::ALL.len());
    }
}
