//! Writing files.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};

use crate::error::{Error, Place, shown};
use crate::limits::*;
use crate::metadata::sorted_positions;
use crate::parse::{ALIGNMENT_KEY, MAGIC, VERSION, check_alignment};
use crate::tensor::{TensorType, payload_bytes};
use crate::value::{Array, StringArray, Value, ValueType};

/// Composes a file: keys and tensors in the order in which they are added, payloads one after the
/// other. Whatever it writes, [`File`](crate::File) reads.
///
/// ```
/// use ds4_gguf::{File, TensorType, Writer};
///
/// let mut writer = Writer::new();
/// writer.metadata("general.name", "example");
/// writer.tensor("ones.weight", &[2, 1], TensorType::F32, [1.0f32, 1.0].map(f32::to_le_bytes).concat());
/// let mut bytes = Vec::new();
/// writer.write_to(&mut bytes)?;
///
/// let file = File::from_vec(bytes)?;
/// assert_eq!(file.metadata().str("general.name")?, "example");
/// assert_eq!(file.tensors()[0].n_bytes, 8);
/// # Ok::<(), ds4_gguf::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Writer<'a> {
    entries: Vec<(String, Value)>,
    tensors: Vec<Pending<'a>>,
}

/// A tensor to be written.
#[derive(Debug)]
struct Pending<'a> {
    name: String,
    dims: Vec<u64>,
    ty: TensorType,
    payload: Payload<'a>,
}

/// What writes a payload.
type Produce<'a> = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + 'a>;

enum Payload<'a> {
    Bytes(Cow<'a, [u8]>),
    Stream(Produce<'a>),
}

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Payload::Stream(_) => f.write_str("stream"),
        }
    }
}

impl<'a> Writer<'a> {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key. `general.alignment` also sets the alignment of the payloads.
    pub fn metadata(&mut self, key: impl Into<String>, value: impl Into<Value>) -> &mut Self {
        self.entries.push((key.into(), value.into()));
        self
    }

    /// Adds a tensor with its payload. `dims[0]` is the contiguous dimension.
    pub fn tensor(
        &mut self,
        name: impl Into<String>,
        dims: &[u64],
        ty: TensorType,
        payload: impl Into<Cow<'a, [u8]>>,
    ) -> &mut Self {
        self.add(name.into(), dims, ty, Payload::Bytes(payload.into()))
    }

    /// Adds a tensor whose payload is produced while the file is written. `produce` has to write
    /// exactly the bytes that `dims` and `ty` call for.
    pub fn tensor_with(
        &mut self,
        name: impl Into<String>,
        dims: &[u64],
        ty: TensorType,
        produce: impl FnOnce(&mut dyn Write) -> io::Result<()> + 'a,
    ) -> &mut Self {
        self.add(name.into(), dims, ty, Payload::Stream(Box::new(produce)))
    }

    fn add(&mut self, name: String, dims: &[u64], ty: TensorType, payload: Payload<'a>) -> &mut Self {
        self.tensors.push(Pending { name, dims: dims.to_vec(), ty, payload });
        self
    }

    /// Writes the file from front to back, without seeking. Buffering is left to `to`.
    ///
    /// # Errors
    /// Something added would make a file that cannot be read (nothing has been written then), a
    /// payload has the wrong size, or `to` failed.
    pub fn write_to(self, mut to: impl Write) -> Result<(), Error> {
        let alignment = self.check_metadata()?;
        let sizes = self.check_tensors()?;
        let mut directory = Vec::new();
        self.encode_directory(&mut directory, &sizes, alignment)?;
        if directory.len() as u64 > DIRECTORY_BYTES_MAX {
            return Err(Error::DirectoryTooLarge { place: Place::Header });
        }
        // Without payloads there is nothing to align.
        if !self.tensors.is_empty() {
            directory.resize(directory.len().next_multiple_of(alignment as usize), 0);
        }
        to.write_all(&directory)?;
        for (tensor, size) in self.tensors.into_iter().zip(sizes) {
            tensor.write_payload(&mut to, size)?;
            write_padding(&mut to, size, alignment)?;
        }
        Ok(to.flush()?)
    }

    /// The alignment, once all keys have been found writable.
    fn check_metadata(&self) -> Result<u64, Error> {
        check_count("metadata keys", self.entries.len(), KEYS_MAX)?;
        for (index, (key, _)) in self.entries.iter().enumerate() {
            check_name(key, KEY_BYTES_MAX, || Place::KeyName(index as u64))?;
        }
        sorted_positions(&self.entries, |entry| &entry.0).map_err(|key| Error::DuplicateKey { key: shown(key) })?;
        match self.entries.iter().find(|entry| entry.0 == ALIGNMENT_KEY) {
            None => Ok(ALIGNMENT_DEFAULT),
            Some((_, Value::U32(alignment))) => check_alignment((*alignment).into()),
            Some((key, value)) => Err(Error::WrongType { key: key.clone(), expected: "u32", found: value.type_name() }),
        }
    }

    /// Bytes of each payload, once all tensors have been found writable.
    fn check_tensors(&self) -> Result<Vec<u64>, Error> {
        check_count("tensors", self.tensors.len(), TENSORS_MAX)?;
        for (index, tensor) in self.tensors.iter().enumerate() {
            check_name(&tensor.name, TENSOR_NAME_BYTES_MAX, || Place::TensorName(index as u64))?;
        }
        sorted_positions(&self.tensors, |tensor| &tensor.name)
            .map_err(|name| Error::DuplicateTensor { name: shown(name) })?;
        self.tensors.iter().map(Pending::size).collect()
    }

    fn encode_directory(&self, to: &mut Vec<u8>, sizes: &[u64], alignment: u64) -> Result<(), Error> {
        to.extend(MAGIC);
        to.extend(VERSION.to_le_bytes());
        to.extend((self.tensors.len() as u64).to_le_bytes());
        to.extend((self.entries.len() as u64).to_le_bytes());
        for (key, value) in &self.entries {
            encode_string(to, key);
            to.extend(value.value_type().id().to_le_bytes());
            encode_value(to, value);
        }
        let mut offset = 0u64;
        for (tensor, &size) in self.tensors.iter().zip(sizes) {
            encode_string(to, &tensor.name);
            to.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|dim| to.extend(dim.to_le_bytes()));
            to.extend(tensor.ty.id().to_le_bytes());
            to.extend(offset.to_le_bytes());
            offset = offset
                .checked_add(size)
                .and_then(|end| end.checked_next_multiple_of(alignment))
                .ok_or_else(|| tensor.overflow())?;
        }
        Ok(())
    }
}

impl Pending<'_> {
    /// Bytes of payload. What is given as bytes must have exactly this size.
    fn size(&self) -> Result<u64, Error> {
        let expected = payload_bytes(&self.name, &self.dims, self.ty)?;
        match &self.payload {
            Payload::Bytes(bytes) if bytes.len() as u64 != expected => {
                Err(wrong_size(&self.name, expected, bytes.len() as u64))
            }
            _ => Ok(expected),
        }
    }

    fn overflow(&self) -> Error {
        Error::TensorOverflow { name: shown(&self.name), dims: self.dims.as_slice().into() }
    }

    fn write_payload(self, to: &mut dyn Write, expected: u64) -> Result<(), Error> {
        match self.payload {
            Payload::Bytes(bytes) => Ok(to.write_all(&bytes)?),
            Payload::Stream(produce) => {
                let mut counted = Counted { to, written: 0 };
                produce(&mut counted)?;
                match counted.written {
                    found if found != expected => Err(wrong_size(&self.name, expected, found)),
                    _ => Ok(()),
                }
            }
        }
    }
}

fn wrong_size(name: &str, expected: u64, found: u64) -> Error {
    Error::PayloadSize { name: shown(name), expected, found }
}

/// Counts what passes through.
struct Counted<'a> {
    to: &'a mut dyn Write,
    written: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn check_count(what: &'static str, count: usize, max: u64) -> Result<(), Error> {
    match count as u64 {
        count if count > max => Err(Error::TooMany { what, count, max }),
        _ => Ok(()),
    }
}

fn check_name(name: &str, max: u64, place: impl FnOnce() -> Place) -> Result<(), Error> {
    match name.len() as u64 {
        len if len == 0 || len > max => Err(Error::NameLength { place: place(), len, max }),
        _ => Ok(()),
    }
}

fn write_padding(to: &mut dyn Write, written: u64, alignment: u64) -> Result<(), Error> {
    let missing = written.next_multiple_of(alignment) - written;
    Ok(io::copy(&mut io::Read::take(io::repeat(0), missing), to).map(drop)?)
}

fn encode_string(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text.as_bytes());
}

fn encode_value(to: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(v) => to.push(*v),
        Value::I8(v) => to.extend(v.to_le_bytes()),
        Value::U16(v) => to.extend(v.to_le_bytes()),
        Value::I16(v) => to.extend(v.to_le_bytes()),
        Value::U32(v) => to.extend(v.to_le_bytes()),
        Value::I32(v) => to.extend(v.to_le_bytes()),
        Value::F32(v) => to.extend(v.to_le_bytes()),
        Value::Bool(v) => to.push((*v).into()),
        Value::String(v) => encode_string(to, v),
        Value::Array(v) => encode_array(to, v),
        Value::U64(v) => to.extend(v.to_le_bytes()),
        Value::I64(v) => to.extend(v.to_le_bytes()),
        Value::F64(v) => to.extend(v.to_le_bytes()),
    }
}

fn encode_array(to: &mut Vec<u8>, array: &Array) {
    let ty: ValueType = array.item_type();
    to.extend(ty.id().to_le_bytes());
    to.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::U8(items) => to.extend(items),
        Array::I8(items) => items.iter().for_each(|item| to.extend(item.to_le_bytes())),
        Array::U16(items) => items.iter().for_each(|item| to.extend(item.to_le_bytes())),
        Array::I16(items) => items.iter().for_each(|item| to.extend(item.to_le_bytes())),
        Array::U32(items) => items.iter().for_each(|item| to.extend(item.to_le_bytes())),
        Array::I32(items) => items.iter().for_each(|item| to.extend(item.to_le_bytes())),
        Array::F32(items) => items.iter().for_each(|item| to.extend(item.to_le_bytes())),
        Array::Bool(items) => to.extend(items.iter().map(|&item| u8::from(item))),
        Array::String(items) => encode_strings(to, items),
        Array::U64(items) => items.iter().for_each(|item| to.extend(item.to_le_bytes())),
        Array::I64(items) => items.iter().for_each(|item| to.extend(item.to_le_bytes())),
        Array::F64(items) => items.iter().for_each(|item| to.extend(item.to_le_bytes())),
    }
}

fn encode_strings(to: &mut Vec<u8>, strings: &StringArray) {
    strings.iter().for_each(|text| encode_string(to, text));
}
