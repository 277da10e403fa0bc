//! Reading and checking the directory: header, metadata, tensor table.
//!
//! Nothing is allocated or sliced from a number in the file before that number has been compared with
//! the bytes that are there. When [`Directory::parse`] returns, every tensor lies inside the file.

use crate::error::{Error, Place, shown};
use crate::limits::*;
use crate::metadata::{Metadata, sorted_positions};
use crate::tensor::{TensorInfo, TensorType, payload_bytes};
use crate::value::{Array, StringArray, Value, ValueType};

/// The only version read.
pub(crate) const VERSION: u32 = 3;

/// The first four bytes of every file.
pub(crate) const MAGIC: [u8; 4] = *b"GGUF";

/// The key that sets the alignment of payloads.
pub(crate) const ALIGNMENT_KEY: &str = "general.alignment";

/// Everything in front of the tensor data, checked.
#[derive(Debug)]
pub(crate) struct Directory {
    pub version: u32,
    /// Bytes; offsets in the data area are multiples of it.
    pub alignment: u64,
    /// First byte of the data area. Past the end of a file without tensors, at most by the alignment.
    pub data_start: u64,
    pub metadata: Metadata,
    /// In file order.
    pub tensors: Vec<TensorInfo>,
    /// Positions in `tensors`, sorted by name.
    pub by_name: Vec<u32>,
}

impl Directory {
    /// Reads the directory of a whole file.
    pub(crate) fn parse(file: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(file);
        let (version, n_tensors, n_keys) = header(&mut cursor)?;

        // Checked against the bytes left before anything is reserved.
        let mut entries = Vec::with_capacity(n_keys as usize);
        for index in 0..n_keys {
            entries.push(key_value(&mut cursor, index)?);
        }
        let metadata = Metadata::new(entries)?;
        let alignment = alignment(&metadata)?;

        cursor.expect_room(n_tensors, TENSOR_ENTRY_BYTES_MIN, "tensors", || Place::Header)?;
        let mut tensors = Vec::with_capacity(n_tensors as usize);
        for index in 0..n_tensors {
            tensors.push(tensor(&mut cursor, index, alignment)?);
        }
        let by_name = sorted_positions(&tensors, |tensor| &tensor.name)
            .map_err(|name| Error::DuplicateTensor { name: shown(name) })?;

        let data_start = (cursor.at as u64).next_multiple_of(alignment);
        for tensor in &mut tensors {
            locate(tensor, data_start, file.len() as u64)?;
        }
        Ok(Self { version, alignment, data_start, metadata, tensors, by_name })
    }
}

/// Turns an offset in the data area into one in the file, if the payload ends inside the file.
fn locate(tensor: &mut TensorInfo, data_start: u64, len: u64) -> Result<(), Error> {
    let start = data_start.checked_add(tensor.offset);
    let end = start.and_then(|start| start.checked_add(tensor.n_bytes));
    match (start, end) {
        (Some(start), Some(end)) if end <= len => {
            tensor.offset = start;
            Ok(())
        }
        _ => Err(Error::OutOfFile {
            name: shown(&tensor.name),
            offset: tensor.offset,
            n_bytes: tensor.n_bytes,
            data_start,
            len,
        }),
    }
}

/// Version, tensor count and key count, all plausible.
fn header(cursor: &mut Cursor<'_>) -> Result<(u32, u64, u64), Error> {
    if cursor.len < HEADER_BYTES {
        return Err(Error::TooSmall { len: cursor.len });
    }
    let place = || Place::Header;
    let magic = cursor.array::<4>(place)?;
    let version = cursor.u32(place)?;
    let swapped = version != 0 && version & 0xffff == 0;
    if (magic == MAGIC && swapped) || magic.iter().rev().eq(&MAGIC) {
        return Err(Error::BigEndian);
    }
    if magic != MAGIC {
        return Err(Error::NotGguf { found: magic.escape_ascii().to_string() });
    }
    if version != VERSION {
        return Err(Error::Version { found: version });
    }
    let n_tensors = cursor.u64(place)?;
    let n_keys = cursor.u64(place)?;
    for (what, count, max, unit) in [
        ("tensors", n_tensors, TENSORS_MAX, TENSOR_ENTRY_BYTES_MIN),
        ("metadata keys", n_keys, KEYS_MAX, KEY_VALUE_BYTES_MIN),
    ] {
        if count > max {
            return Err(Error::TooMany { what, count, max });
        }
        cursor.expect_room(count, unit, what, place)?;
    }
    Ok((version, n_tensors, n_keys))
}

fn key_value(cursor: &mut Cursor<'_>, index: u64) -> Result<(String, Value), Error> {
    let key = cursor.name(KEY_BYTES_MAX, || Place::KeyName(index))?;
    let place = || Place::Value(shown(key));
    let id = cursor.u32(place)?;
    let ty = ValueType::from_id(id).ok_or_else(|| Error::ValueTypeId { key: shown(key), id })?;
    let value = match ty {
        ValueType::U8 => Value::U8(u8::from_le_bytes(cursor.array(place)?)),
        ValueType::I8 => Value::I8(i8::from_le_bytes(cursor.array(place)?)),
        ValueType::U16 => Value::U16(u16::from_le_bytes(cursor.array(place)?)),
        ValueType::I16 => Value::I16(i16::from_le_bytes(cursor.array(place)?)),
        ValueType::U32 => Value::U32(cursor.u32(place)?),
        ValueType::I32 => Value::I32(i32::from_le_bytes(cursor.array(place)?)),
        ValueType::F32 => Value::F32(f32::from_le_bytes(cursor.array(place)?)),
        ValueType::Bool => Value::Bool(truth(cursor.array(place)?, key)?),
        ValueType::String => Value::String(cursor.string(place)?.to_owned()),
        ValueType::Array => Value::Array(array(cursor, key)?),
        ValueType::U64 => Value::U64(cursor.u64(place)?),
        ValueType::I64 => Value::I64(i64::from_le_bytes(cursor.array(place)?)),
        ValueType::F64 => Value::F64(f64::from_le_bytes(cursor.array(place)?)),
    };
    Ok((key.to_owned(), value))
}

fn truth([byte]: [u8; 1], key: &str) -> Result<bool, Error> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(Error::Bool { key: shown(key), found }),
    }
}

fn array(cursor: &mut Cursor<'_>, key: &str) -> Result<Array, Error> {
    let place = || Place::Value(shown(key));
    let id = cursor.u32(place)?;
    let ty = ValueType::from_id(id).ok_or_else(|| Error::ItemTypeId { key: shown(key), id })?;
    let count = cursor.u64(place)?;
    Ok(match ty {
        ValueType::U8 => Array::U8(cursor.items(count, u8::from_le_bytes, place)?),
        ValueType::I8 => Array::I8(cursor.items(count, i8::from_le_bytes, place)?),
        ValueType::U16 => Array::U16(cursor.items(count, u16::from_le_bytes, place)?),
        ValueType::I16 => Array::I16(cursor.items(count, i16::from_le_bytes, place)?),
        ValueType::U32 => Array::U32(cursor.items(count, u32::from_le_bytes, place)?),
        ValueType::I32 => Array::I32(cursor.items(count, i32::from_le_bytes, place)?),
        ValueType::F32 => Array::F32(cursor.items(count, f32::from_le_bytes, place)?),
        ValueType::Bool => {
            let bytes: Vec<[u8; 1]> = cursor.items(count, |byte| byte, place)?;
            Array::Bool(bytes.into_iter().map(|byte| truth(byte, key)).collect::<Result<_, _>>()?)
        }
        ValueType::String => Array::String(string_array(cursor, count, key)?),
        ValueType::Array => return Err(Error::NestedArray { key: shown(key) }),
        ValueType::U64 => Array::U64(cursor.items(count, u64::from_le_bytes, place)?),
        ValueType::I64 => Array::I64(cursor.items(count, i64::from_le_bytes, place)?),
        ValueType::F64 => Array::F64(cursor.items(count, f64::from_le_bytes, place)?),
    })
}

fn string_array(cursor: &mut Cursor<'_>, count: u64, key: &str) -> Result<StringArray, Error> {
    const LENGTH_BYTES: u64 = 8;
    let place = || Place::Value(shown(key));
    cursor.expect_room(count, LENGTH_BYTES, "array items", place)?;
    // Tokens and merges average about eight bytes; more text makes the buffer grow as it is read.
    let text = (count * LENGTH_BYTES).min(cursor.remaining() - count * LENGTH_BYTES);
    let mut strings = StringArray::with_capacity(count as usize, text as usize);
    for _ in 0..count {
        strings.push(cursor.string(place)?);
    }
    Ok(strings)
}

fn alignment(metadata: &Metadata) -> Result<u64, Error> {
    let alignment = metadata.opt_u64(ALIGNMENT_KEY)?.unwrap_or(ALIGNMENT_DEFAULT);
    check_alignment(alignment)
}

pub(crate) fn check_alignment(alignment: u64) -> Result<u64, Error> {
    let sound = alignment.is_power_of_two() && (ALIGNMENT_MIN..=ALIGNMENT_MAX).contains(&alignment);
    if sound { Ok(alignment) } else { Err(Error::Alignment { found: alignment }) }
}

/// One entry of the tensor table; its offset is still relative to the data area.
fn tensor(cursor: &mut Cursor<'_>, index: u64, alignment: u64) -> Result<TensorInfo, Error> {
    let name = cursor.name(TENSOR_NAME_BYTES_MAX, || Place::TensorName(index))?;
    let place = || Place::Tensor(shown(name));
    let n_dims = cursor.u32(place)?;
    if n_dims == 0 || n_dims > DIMS_MAX {
        return Err(Error::DimensionCount { name: shown(name), found: n_dims.into() });
    }
    let dims = cursor.items(n_dims.into(), u64::from_le_bytes, place)?;
    let id = cursor.u32(place)?;
    let ty = TensorType::from_id(id).ok_or_else(|| Error::TensorTypeId { name: shown(name), id })?;
    let n_bytes = payload_bytes(name, &dims, ty)?;
    let offset = cursor.u64(place)?;
    if !offset.is_multiple_of(alignment) {
        return Err(Error::Misaligned { name: shown(name), offset, alignment });
    }
    Ok(TensorInfo { name: name.to_owned(), dims, ty, offset, n_bytes })
}

/// Reads little-endian fields, never past the end of the file or of [`DIRECTORY_BYTES_MAX`].
///
/// `place` says what is being read; it is called for an error only, so naming costs nothing.
struct Cursor<'a> {
    /// What may be read: the file, cut to the largest permissible directory.
    bytes: &'a [u8],
    /// Next byte; never past the end of `bytes`.
    at: usize,
    /// Bytes of the whole file.
    len: u64,
}

impl<'a> Cursor<'a> {
    fn new(file: &'a [u8]) -> Self {
        let readable = file.len().min(DIRECTORY_BYTES_MAX as usize);
        Self { bytes: &file[..readable], at: 0, len: file.len() as u64 }
    }

    fn take(&mut self, n: u64, place: impl FnOnce() -> Place) -> Result<&'a [u8], Error> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = usize::try_from(n).ok().and_then(|n| rest.get(..n)) else {
            let at = self.at as u64;
            let in_file = at.checked_add(n).is_some_and(|end| end <= self.len);
            return Err(match in_file {
                true => Error::DirectoryTooLarge { place: place() },
                false => Error::Truncated { place: place(), at, needed: n, len: self.len },
            });
        };
        self.at += taken.len();
        Ok(taken)
    }

    /// Bytes that may still be read.
    fn remaining(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    /// Fails unless `count` things of at least `unit` bytes can follow.
    fn expect_room(
        &self,
        count: u64,
        unit: u64,
        what: &'static str,
        place: impl FnOnce() -> Place,
    ) -> Result<(), Error> {
        let needed = count.saturating_mul(unit);
        if needed <= self.remaining() {
            return Ok(());
        }
        let remaining = self.len - self.at as u64;
        Err(match needed <= remaining {
            true => Error::DirectoryTooLarge { place: place() },
            false => Error::Implausible { place: place(), what, count, remaining },
        })
    }

    fn array<const N: usize>(&mut self, place: impl FnOnce() -> Place) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N as u64, place)?);
        Ok(bytes)
    }

    fn u32(&mut self, place: impl FnOnce() -> Place) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array(place)?))
    }

    fn u64(&mut self, place: impl FnOnce() -> Place) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array(place)?))
    }

    /// `count` numbers of `N` bytes each.
    fn items<T, const N: usize>(
        &mut self,
        count: u64,
        read: fn([u8; N]) -> T,
        place: impl Fn() -> Place,
    ) -> Result<Vec<T>, Error> {
        self.expect_room(count, N as u64, "array items", &place)?;
        let bytes = self.take(count * N as u64, place)?;
        let (items, _) = bytes.as_chunks::<N>();
        Ok(items.iter().map(|&item| read(item)).collect())
    }

    fn string(&mut self, place: impl Fn() -> Place) -> Result<&'a str, Error> {
        let len = self.u64(&place)?;
        self.text(len, place)
    }

    /// A string that names something: not empty, at most `max` bytes.
    fn name(&mut self, max: u64, place: impl Fn() -> Place) -> Result<&'a str, Error> {
        let len = self.u64(&place)?;
        if len == 0 || len > max {
            return Err(Error::NameLength { place: place(), len, max });
        }
        self.text(len, place)
    }

    fn text(&mut self, len: u64, place: impl Fn() -> Place) -> Result<&'a str, Error> {
        let at = self.at as u64;
        let bytes = self.take(len, &place)?;
        std::str::from_utf8(bytes)
            .map_err(|error| Error::NotUtf8 { place: place(), at: at + error.valid_up_to() as u64 })
    }
}
