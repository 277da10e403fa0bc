//! The bounds of an acceptable file. Each is far above anything published and low enough that a
//! hostile file costs little memory before it is refused.

/// Bytes of the header: magic, version, tensor count and key count.
pub const HEADER_BYTES: u64 = 24;

/// Bytes of everything in front of the tensor data. A 129,280-token vocabulary with its merges takes
/// about 5 MiB. Parsed values occupy at most about twice their bytes in the file, so this bounds
/// memory too.
pub const DIRECTORY_BYTES_MAX: u64 = 64 << 20;

/// Metadata keys in a file. Published files have about 60.
pub const KEYS_MAX: u64 = 1 << 16;

/// Bytes of a metadata key, as the format's description sets it.
pub const KEY_BYTES_MAX: u64 = (1 << 16) - 1;

/// Tensors in a file. DeepSeek V4 Flash has 1,328.
pub const TENSORS_MAX: u64 = 1 << 16;

/// Bytes of a tensor name, as the format's description sets it.
pub const TENSOR_NAME_BYTES_MAX: u64 = 64;

/// Dimensions of a tensor, as in ggml.
pub const DIMS_MAX: u32 = 4;

/// Bytes of alignment when `general.alignment` is absent.
pub const ALIGNMENT_DEFAULT: u64 = 32;

/// Smallest alignment in bytes: the format asks for a multiple of eight.
pub const ALIGNMENT_MIN: u64 = 8;

/// Largest alignment in bytes: a huge page. More would only be padding.
pub const ALIGNMENT_MAX: u64 = 2 << 20;

/// Characters of a key or name that an error message repeats.
pub const SHOWN_CHARS_MAX: usize = 100;

/// Fewest bytes a key/value pair takes: name length, one character, type, a one-byte value.
pub(crate) const KEY_VALUE_BYTES_MIN: u64 = 8 + 1 + 4 + 1;

/// Fewest bytes a tensor entry takes: name length, one character, dimension count, one dimension,
/// type, offset.
pub(crate) const TENSOR_ENTRY_BYTES_MIN: u64 = 8 + 1 + 4 + 8 + 4 + 8;
