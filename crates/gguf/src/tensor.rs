//! Tensor types, their block sizes, and the entries of the tensor table.

use std::fmt;

use crate::error::{Error, shown};
use crate::limits::DIMS_MAX;

/// Declares [`TensorType`] from one table, so that an id, its sizes and its name cannot drift apart.
macro_rules! tensor_types {
    ($($variant:ident = $id:literal, $name:literal, $elements:literal / $bytes:literal;)*) => {
        /// How the elements of a tensor are stored. A row (`dims[0]` elements) is a whole number of
        /// blocks; a block holds [`block_elements`](Self::block_elements) elements in
        /// [`block_bytes`](Self::block_bytes) bytes.
        ///
        /// All types of ggml are named, so that a file can be inspected; which of them an engine can
        /// compute with is its own affair. Ids that ggml has withdrawn (4, 5, 31 to 33, 36 to 38) and
        /// ids of private extensions are refused when a file is opened, because the size of such a
        /// tensor is unknown.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum TensorType {
            $(#[doc = concat!($name, ": ", $elements, " elements in ", $bytes, " bytes.")] $variant,)*
        }

        impl TensorType {
            /// Every type, in order of its id.
            pub const ALL: &[TensorType] = &[$(TensorType::$variant,)*];

            /// The type with this number in a file, or `None` if there is none.
            pub const fn from_id(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The number that stands for this type in a file.
            pub const fn id(self) -> u32 {
                match self {
                    $(Self::$variant => $id,)*
                }
            }

            /// ggml's name of the type, for example `IQ2_XXS`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Elements in one block.
            pub const fn block_elements(self) -> u64 {
                match self {
                    $(Self::$variant => $elements,)*
                }
            }

            /// Bytes of one block.
            pub const fn block_bytes(self) -> u64 {
                match self {
                    $(Self::$variant => $bytes,)*
                }
            }
        }
    };
}

tensor_types! {
    F32 = 0, "F32", 1 / 4;
    F16 = 1, "F16", 1 / 2;
    Q4_0 = 2, "Q4_0", 32 / 18;
    Q4_1 = 3, "Q4_1", 32 / 20;
    Q5_0 = 6, "Q5_0", 32 / 22;
    Q5_1 = 7, "Q5_1", 32 / 24;
    Q8_0 = 8, "Q8_0", 32 / 34;
    Q8_1 = 9, "Q8_1", 32 / 36;
    Q2K = 10, "Q2_K", 256 / 84;
    Q3K = 11, "Q3_K", 256 / 110;
    Q4K = 12, "Q4_K", 256 / 144;
    Q5K = 13, "Q5_K", 256 / 176;
    Q6K = 14, "Q6_K", 256 / 210;
    Q8K = 15, "Q8_K", 256 / 292;
    Iq2Xxs = 16, "IQ2_XXS", 256 / 66;
    Iq2Xs = 17, "IQ2_XS", 256 / 74;
    Iq3Xxs = 18, "IQ3_XXS", 256 / 98;
    Iq1S = 19, "IQ1_S", 256 / 50;
    Iq4Nl = 20, "IQ4_NL", 32 / 18;
    Iq3S = 21, "IQ3_S", 256 / 110;
    Iq2S = 22, "IQ2_S", 256 / 82;
    Iq4Xs = 23, "IQ4_XS", 256 / 136;
    I8 = 24, "I8", 1 / 1;
    I16 = 25, "I16", 1 / 2;
    I32 = 26, "I32", 1 / 4;
    I64 = 27, "I64", 1 / 8;
    F64 = 28, "F64", 1 / 8;
    Iq1M = 29, "IQ1_M", 256 / 56;
    Bf16 = 30, "BF16", 1 / 2;
    Tq1_0 = 34, "TQ1_0", 256 / 54;
    Tq2_0 = 35, "TQ2_0", 256 / 66;
    Mxfp4 = 39, "MXFP4", 32 / 17;
    Nvfp4 = 40, "NVFP4", 64 / 36;
    Q1_0 = 41, "Q1_0", 128 / 18;
    Q2_0 = 42, "Q2_0", 64 / 18;
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One entry of the tensor table, checked: its bytes lie inside the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorInfo {
    /// Unique name.
    pub name: String,
    /// Extents, one to four of them, none zero. `dims[0]` is the contiguous one: `[4096, 1024]` is
    /// 1024 rows of 4096 elements.
    pub dims: Vec<u64>,
    /// Storage type.
    pub ty: TensorType,
    /// First byte, counted from the start of the file.
    pub offset: u64,
    /// Bytes of payload.
    pub n_bytes: u64,
}

impl TensorInfo {
    /// Elements of the tensor.
    pub fn n_elements(&self) -> u64 {
        self.dims.iter().product()
    }

    /// Rows of `dims[0]` elements, over all other dimensions.
    pub fn n_rows(&self) -> u64 {
        self.dims.iter().skip(1).product()
    }

    /// Bytes from one row to the next.
    pub fn row_bytes(&self) -> u64 {
        self.n_bytes / self.n_rows()
    }
}

/// Bytes of a tensor's payload, once its dimensions have been found acceptable.
pub(crate) fn payload_bytes(name: &str, dims: &[u64], ty: TensorType) -> Result<u64, Error> {
    if dims.is_empty() || dims.len() > DIMS_MAX as usize {
        return Err(Error::DimensionCount { name: shown(name), found: dims.len() as u64 });
    }
    if let Some(index) = dims.iter().position(|&dim| dim == 0) {
        return Err(Error::ZeroDimension { name: shown(name), index });
    }
    if !dims[0].is_multiple_of(ty.block_elements()) {
        return Err(Error::PartialBlock { name: shown(name), ty, row: dims[0] });
    }
    dims.iter()
        .try_fold(1u64, |product, &dim| product.checked_mul(dim))
        .and_then(|elements| (elements / ty.block_elements()).checked_mul(ty.block_bytes()))
        .ok_or_else(|| Error::TensorOverflow { name: shown(name), dims: dims.into() })
}
