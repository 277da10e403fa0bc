//! What can be wrong with a file, and the words for it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::limits::{ALIGNMENT_MAX, ALIGNMENT_MIN, DIMS_MAX, DIRECTORY_BYTES_MAX, HEADER_BYTES, SHOWN_CHARS_MAX};
use crate::tensor::TensorType;

/// Why a file was refused, a key could not be used, or a file could not be written.
///
/// Names of keys and tensors appear escaped and shortened, so a message is always one printable line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted: "open", "map", "examine".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The path names a directory, a pipe or a device.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file does not fit the address space of this machine.
    #[error("the file has {len} bytes, more than this machine can map")]
    TooLargeToMap {
        /// Bytes of the file.
        len: u64,
    },
    /// Not even a header.
    #[error(
        "the file has {len} bytes, a GGUF header alone takes {HEADER_BYTES}: not a GGUF file, or \
         cut short"
    )]
    TooSmall {
        /// Bytes of the file.
        len: u64,
    },
    /// Another kind of file.
    #[error(
        "not a GGUF file: it starts with \"{found}\" instead of \"GGUF\" (text here usually means that \
         the download saved an error page or a Git LFS pointer)"
    )]
    NotGguf {
        /// The first four bytes, escaped.
        found: String,
    },
    /// A GGUF file for big-endian machines.
    #[error(
        "this is a big-endian GGUF file, only little-endian ones are supported: fetch or convert to the \
         little-endian form"
    )]
    BigEndian,
    /// Version 1, 2, or one not yet known.
    #[error(
        "GGUF version {found} is not supported, only version 3: convert the file with current \
         tools"
    )]
    Version {
        /// The version of the file.
        found: u32,
    },
    /// A count above its named maximum.
    #[error("the file announces {count} {what}, the maximum is {max}")]
    TooMany {
        /// "metadata keys" or "tensors".
        what: &'static str,
        /// The announced count.
        count: u64,
        /// The maximum in [`limits`](crate::limits).
        max: u64,
    },
    /// A count that the rest of the file cannot hold.
    #[error(
        "{place} announces {count} {what}, but only {remaining} bytes follow: the file is damaged \
         or cut short"
    )]
    Implausible {
        /// Where the count stands.
        place: Place,
        /// The things counted.
        what: &'static str,
        /// The announced count.
        count: u64,
        /// Bytes left at that point.
        remaining: u64,
    },
    /// The file ends inside the directory.
    #[error(
        "the file ends at byte {len}, but {place} needs {needed} bytes from byte {at} on: it is damaged \
         or cut short"
    )]
    Truncated {
        /// What was being read.
        place: Place,
        /// Where it starts.
        at: u64,
        /// Bytes it needs from there.
        needed: u64,
        /// Bytes of the file.
        len: u64,
    },
    /// The directory goes on for longer than is believable.
    #[error(
        "{place} reaches past the first {DIRECTORY_BYTES_MAX} bytes, the maximum for metadata and \
         tensor table"
    )]
    DirectoryTooLarge {
        /// What was being read.
        place: Place,
    },
    /// An empty or overlong key or tensor name.
    #[error("{place} has a name of {len} bytes, expected 1 to {max}")]
    NameLength {
        /// Which key or tensor.
        place: Place,
        /// Bytes of the name.
        len: u64,
        /// The maximum in [`limits`](crate::limits).
        max: u64,
    },
    /// Text that is not UTF-8.
    #[error("{place} holds text that is not UTF-8, at byte {at}")]
    NotUtf8 {
        /// Which key or tensor.
        place: Place,
        /// Where in the file.
        at: u64,
    },
    /// An unknown value type.
    #[error("metadata key \"{key}\" has unknown value type {id}")]
    ValueTypeId {
        /// The key.
        key: String,
        /// The type number found.
        id: u32,
    },
    /// An array with an unknown item type.
    #[error("metadata key \"{key}\" is an array of unknown item type {id}")]
    ItemTypeId {
        /// The key.
        key: String,
        /// The type number found.
        id: u32,
    },
    /// An array of arrays.
    #[error("metadata key \"{key}\" is an array of arrays, which is not supported")]
    NestedArray {
        /// The key.
        key: String,
    },
    /// A truth value that is neither.
    #[error("metadata key \"{key}\" holds the truth value {found}, expected 0 or 1")]
    Bool {
        /// The key.
        key: String,
        /// The byte found.
        found: u8,
    },
    /// A key that occurs twice.
    #[error("metadata key \"{key}\" occurs twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A tensor name that occurs twice.
    #[error("tensor \"{name}\" occurs twice")]
    DuplicateTensor {
        /// The name.
        name: String,
    },
    /// A required key that is not there.
    #[error("metadata key \"{key}\" is missing, expected {expected}")]
    MissingKey {
        /// The key.
        key: String,
        /// The type asked for.
        expected: &'static str,
    },
    /// A key of the wrong type.
    #[error("metadata key \"{key}\" is {found}, expected {expected}")]
    WrongType {
        /// The key.
        key: String,
        /// The type asked for.
        expected: &'static str,
        /// The type found.
        found: String,
    },
    /// A key of a fitting type whose value does not fit.
    #[error("metadata key \"{key}\" has the value {found}, which is not {expected}")]
    OutOfRange {
        /// The key.
        key: String,
        /// The type asked for.
        expected: &'static str,
        /// The value found.
        found: String,
    },
    /// An unusable `general.alignment`.
    #[error(
        "metadata key \"general.alignment\" is {found}, expected a power of two from {ALIGNMENT_MIN} to {ALIGNMENT_MAX}"
    )]
    Alignment {
        /// The value found.
        found: u64,
    },
    /// No dimension, or too many.
    #[error("tensor \"{name}\" has {found} dimensions, expected 1 to {DIMS_MAX}")]
    DimensionCount {
        /// The tensor.
        name: String,
        /// Dimensions found.
        found: u64,
    },
    /// A dimension of extent zero.
    #[error("tensor \"{name}\" has extent 0 in dimension {index}")]
    ZeroDimension {
        /// The tensor.
        name: String,
        /// Which dimension.
        index: usize,
    },
    /// A type number without a known size.
    #[error(
        "tensor \"{name}\" has unknown type id {id}: the file uses a format that this version does \
         not know"
    )]
    TensorTypeId {
        /// The tensor.
        name: String,
        /// The type number found.
        id: u32,
    },
    /// Rows that end inside a block.
    #[error(
        "tensor \"{name}\" has rows of {row} elements, but type {ty} is stored in blocks of {}",
        ty.block_elements()
    )]
    PartialBlock {
        /// The tensor.
        name: String,
        /// Its type.
        ty: TensorType,
        /// Its row length in elements.
        row: u64,
    },
    /// More bytes than 64 bits can count.
    #[error("tensor \"{name}\" with dimensions {dims:?} has more bytes than can be counted")]
    TensorOverflow {
        /// The tensor.
        name: String,
        /// Its dimensions.
        dims: Box<[u64]>,
    },
    /// An offset between two alignment boundaries.
    #[error(
        "tensor \"{name}\" starts at data offset {offset}, which is not a multiple of the \
         alignment {alignment}"
    )]
    Misaligned {
        /// The tensor.
        name: String,
        /// Offset from the start of the data.
        offset: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// A payload that leaves the file.
    #[error(
        "tensor \"{name}\" takes {n_bytes} bytes at data offset {offset} (the data starts at byte {data_start}), \
         but the file ends at byte {len}: it is damaged or was not fetched whole"
    )]
    OutOfFile {
        /// The tensor.
        name: String,
        /// Offset from the start of the data.
        offset: u64,
        /// Bytes of payload.
        n_bytes: u64,
        /// Where the data starts in the file.
        data_start: u64,
        /// Bytes of the file.
        len: u64,
    },
    /// The file became shorter while it was mapped.
    #[error(
        "{} shrank from {mapped} to {found} bytes while in use: restore it and start again",
        path.display()
    )]
    Shortened {
        /// The file.
        path: PathBuf,
        /// Bytes when it was mapped.
        mapped: u64,
        /// Bytes now.
        found: u64,
    },
    /// The file was written to while it was mapped.
    #[error("{} was modified while in use: start again to load its new contents", path.display())]
    Modified {
        /// The file.
        path: PathBuf,
    },
    /// Writing: a payload whose size does not fit the tensor.
    #[error("tensor \"{name}\" needs {expected} bytes of data, {found} were given")]
    PayloadSize {
        /// The tensor.
        name: String,
        /// Bytes from dimensions and type.
        expected: u64,
        /// Bytes given.
        found: u64,
    },
    /// Writing: the destination failed.
    #[error("cannot write the GGUF file: {0}")]
    Write(#[from] io::Error),
}

/// A spot in the directory of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Place {
    /// Magic, version and counts.
    Header,
    /// The name of the n-th metadata key.
    KeyName(u64),
    /// The value of the named key.
    Value(String),
    /// The name of the n-th tensor.
    TensorName(u64),
    /// The entry of the named tensor.
    Tensor(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Header => f.write_str("the header"),
            Place::KeyName(n) => write!(f, "metadata key number {n}"),
            Place::Value(key) => write!(f, "metadata key \"{key}\""),
            Place::TensorName(n) => write!(f, "tensor number {n}"),
            Place::Tensor(name) => write!(f, "tensor \"{name}\""),
        }
    }
}

/// A name from a file in a form fit for a message: escaped, and shortened if long.
pub(crate) fn shown(name: &str) -> String {
    let mut text: String = name.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
    if name.chars().nth(SHOWN_CHARS_MAX).is_some() {
        text.push('…');
    }
    text
}
