//! Builds files byte by byte, so that they can break any rule.

use std::path::PathBuf;

/// Value type numbers of the format.
pub const U32: u32 = 4;
pub const I32: u32 = 5;
pub const BOOL: u32 = 7;
pub const STRING: u32 = 8;
pub const ARRAY: u32 = 9;
pub const U64: u32 = 10;

/// Tensor type numbers of the format.
pub const F32: u32 = 0;
pub const Q8_0: u32 = 8;

/// Bytes of a file, appended field by field.
#[derive(Clone, Default)]
pub struct Raw(pub Vec<u8>);

impl Raw {
    /// A file that starts with a sound header announcing these counts.
    pub fn header(tensors: u64, keys: u64) -> Self {
        Self::default().bytes(b"GGUF").u32(3).u64(tensors).u64(keys)
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn string(self, text: impl AsRef<[u8]>) -> Self {
        self.u64(text.as_ref().len() as u64).bytes(text.as_ref())
    }

    /// A key and its type number; the value is up to the caller.
    pub fn key(self, key: &str, value_type: u32) -> Self {
        self.string(key).u32(value_type)
    }

    /// A key with an array; the items are up to the caller.
    pub fn array(self, key: &str, item_type: u32, count: u64) -> Self {
        self.key(key, ARRAY).u32(item_type).u64(count)
    }

    pub fn tensor(self, name: &str, dims: &[u64], tensor_type: u32, offset: u64) -> Self {
        let entry = self.string(name).u32(dims.len() as u32);
        dims.iter().fold(entry, |entry, &dim| entry.u64(dim)).u32(tensor_type).u64(offset)
    }

    /// Fills up to the default alignment, then appends `n` payload bytes.
    pub fn data(mut self, n: usize) -> Self {
        self.0.resize(self.0.len().next_multiple_of(32) + n, 0);
        self
    }

    /// Appends zeros, so that a count is implausible only where the case means it to be.
    pub fn room(self, n: usize) -> Self {
        self.bytes(&vec![0; n])
    }
}

/// A path for a file that only the test of this name uses.
pub fn scratch(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()))
}
