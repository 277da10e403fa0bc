//! The official checkpoint: safetensors files with the precisions of `spec/gguf.md` §6, read in rows of f32.
//!
//! Headers are parsed by the `safetensors` crate, which checks that tensors lie one behind the other and have the bytes of their shape.
//! Data is read where it is needed and never mapped, so memory stays at what is asked for.

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Bytes of a header: the limit of the safetensors library.
pub const HEADER_BYTES_MAX: u64 = 100_000_000;
/// Bytes of the list that says in which file a tensor is. The official one has 6 MB.
pub const INDEX_BYTES_MAX: u64 = 256 << 20;
/// Files of a checkpoint. The official one has 46.
pub const FILES_MAX: usize = 4096;
/// Places of a file, evenly spread, whose bytes are part of its identity.
pub const IDENTITY_SAMPLES: u64 = 64;
/// Bytes of each.
const IDENTITY_SAMPLE_BYTES: u64 = 4096;
/// Name of that list.
pub const INDEX: &str = "model.safetensors.index.json";
/// Rows and columns that share a scale of an FP8 matrix.
const FP8_BLOCK: usize = 128;
/// Columns that share a scale of an FP4 matrix.
const FP4_BLOCK: usize = 32;

/// What is wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {why}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A tensor is in no file.
    #[error("tensor {0} is in no file of the checkpoint; fetch it again, or take a template that fits it")]
    Missing(String),
    /// A tensor has another shape.
    #[error("tensor {name} has shape {found:?}, expected {expected:?}; the template is of another model")]
    Shape {
        /// Its name.
        name: String,
        /// Its shape, the contiguous dimension last.
        found: Vec<usize>,
        /// The shape that was asked for.
        expected: Vec<usize>,
    },
    /// A tensor has a type that is not known here.
    #[error("tensor {name} is of type {found}, expected {expected}")]
    Type {
        /// Its name.
        name: String,
        /// Its type.
        found: String,
        /// What is read.
        expected: &'static str,
    },
}

/// A checkpoint whose headers have been read.
#[derive(Debug)]
pub struct Checkpoint {
    shards: Vec<Shard>,
    /// Shard of each tensor.
    by_name: HashMap<String, usize>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    /// Where the data begins.
    start: u64,
}

/// A matrix of a checkpoint, rows of which can be read as f32.
#[derive(Debug)]
pub struct Matrix<'a> {
    shard: &'a Shard,
    /// Where its data begins.
    start: u64,
    cols: usize,
    coding: Coding<'a>,
}

/// How values are stored.
#[derive(Debug)]
enum Coding<'a> {
    F32,
    F16,
    Bf16,
    I32,
    I64,
    /// E4M3, with scales if there are any.
    Fp8(Option<Scales<'a>>),
    /// Two values a byte, the first in the low half.
    Fp4(Scales<'a>),
}

/// E8M0 bytes, one row of them for so many rows of the matrix.
#[derive(Debug)]
struct Scales<'a> {
    shard: &'a Shard,
    start: u64,
    cols: usize,
}

impl Checkpoint {
    /// Reads the headers of all files: of a folder with [`INDEX`], of one with safetensors files, or of a single file.
    ///
    /// # Errors
    /// Files that cannot be read, are no safetensors files, or do not belong together.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let failed = |source| CheckpointError::Io { path: path.to_owned(), source };
        let is_folder = std::fs::metadata(path).map_err(failed)?.is_dir();
        let files = match is_folder {
            true => files_in(path)?,
            false => vec![path.to_owned()],
        };
        let broken = |path: &Path, why: String| CheckpointError::Broken { path: path.to_owned(), why };
        let mut all = Self { shards: Vec::new(), by_name: HashMap::new() };
        for file in files {
            let shard = Shard::open(&file)?;
            for name in shard.metadata.offset_keys() {
                if let Some(other) = all.by_name.insert(name.clone(), all.shards.len()) {
                    let other = all.shards.get(other).map(|shard| shard.path.display().to_string()).unwrap_or_default();
                    return Err(broken(&file, format!("tensor {name} is also in {other}")));
                }
            }
            all.shards.push(shard);
        }
        Ok(all)
    }

    /// Names of all tensors, in order.
    pub fn names(&self) -> BTreeSet<&str> {
        self.by_name.keys().map(String::as_str).collect()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.start + shard.metadata.data_len() as u64).sum()
    }

    /// What tells a checkpoint from another one, or from what it was before: names, types, shapes and places of all tensors; of each file its
    /// length, when it was last written to, and bytes from [`IDENTITY_SAMPLES`] places.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn identity(&self) -> Result<Vec<u8>, CheckpointError> {
        let line = |name: &&str| {
            let info = self.find(name).map(|(_, info)| format!("{:?}", info)).unwrap_or_default();
            format!("{name} {info}\n")
        };
        let mut identity = self.names().iter().map(line).collect::<String>().into_bytes();
        for shard in &self.shards {
            let found = shard.identity();
            identity.extend(found.map_err(|source| CheckpointError::Io { path: shard.path.clone(), source })?);
        }
        Ok(identity)
    }

    fn find(&self, name: &str) -> Result<(&Shard, &TensorInfo), CheckpointError> {
        let found = self.by_name.get(name).and_then(|shard| {
            let shard = &self.shards[*shard];
            Some((shard, shard.metadata.info(name)?))
        });
        found.ok_or_else(|| CheckpointError::Missing(name.to_owned()))
    }

    /// The matrix of this name, of so many rows and columns; vectors have one row. Dimensions of 1 do not count.
    ///
    /// # Errors
    /// It is not there, or has another shape or a type without meaning here; so may its scales.
    pub fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Matrix<'_>, CheckpointError> {
        let (shard, info) = self.find(name)?;
        let is_packed = matches!(info.dtype, Dtype::I8 | Dtype::U8);
        // Two values a byte.
        check_shape(name, info, rows, if is_packed { cols / 2 } else { cols })?;
        let scales = |rows: usize, cols: usize| {
            let name = format!("{}.scale", name.strip_suffix(".weight").unwrap_or(name));
            let (shard, info) = self.find(&name)?;
            check_shape(&name, info, rows, cols)?;
            match info.dtype {
                Dtype::F8_E8M0 | Dtype::U8 => Ok(Scales { shard, start: shard.position(info), cols }),
                found => Err(CheckpointError::Type { name, found: format!("{found:?}"), expected: "F8_E8M0" }),
            }
        };
        let coding = match info.dtype {
            Dtype::F32 => Coding::F32,
            Dtype::F16 => Coding::F16,
            Dtype::BF16 => Coding::Bf16,
            Dtype::I32 => Coding::I32,
            Dtype::I64 => Coding::I64,
            Dtype::F8_E4M3 => match scales(rows.div_ceil(FP8_BLOCK), cols.div_ceil(FP8_BLOCK)) {
                Ok(scales) => Coding::Fp8(Some(scales)),
                Err(CheckpointError::Missing(_)) => Coding::Fp8(None),
                Err(error) => return Err(error),
            },
            Dtype::I8 | Dtype::U8 if cols.is_multiple_of(FP4_BLOCK) => Coding::Fp4(scales(rows, cols / FP4_BLOCK)?),
            found => {
                let expected = "F32, F16, BF16, I32, I64, F8_E4M3, or FP4 in I8 with whole blocks of 32 a row";
                return Err(CheckpointError::Type { name: name.to_owned(), found: format!("{found:?}"), expected });
            }
        };
        Ok(Matrix { shard, start: shard.position(info), cols, coding })
    }
}

fn check_shape(name: &str, info: &TensorInfo, rows: usize, cols: usize) -> Result<(), CheckpointError> {
    let without_ones = |shape: &[usize]| shape.iter().copied().filter(|n| *n != 1).collect::<Vec<usize>>();
    if without_ones(&info.shape) == without_ones(&[rows, cols]) {
        return Ok(());
    }
    Err(CheckpointError::Shape { name: name.to_owned(), found: info.shape.clone(), expected: vec![rows, cols] })
}

/// The files that [`INDEX`] names, or all safetensors files of a folder without one, in order.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let index = folder.join(INDEX);
    let broken = |why: String| CheckpointError::Broken { path: index.clone(), why };
    let failed = |source| CheckpointError::Io { path: folder.to_owned(), source };
    let names: BTreeSet<String> = match File::open(&index) {
        Ok(file) => {
            let mut bytes = Vec::new();
            let reading = |source| CheckpointError::Io { path: index.clone(), source };
            file.take(INDEX_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(reading)?;
            if bytes.len() as u64 > INDEX_BYTES_MAX {
                return Err(broken(format!("it has more than {INDEX_BYTES_MAX} bytes")));
            }
            files_of_index(&bytes).map_err(broken)?
        }
        Err(_) => {
            let mut names = BTreeSet::new();
            for entry in std::fs::read_dir(folder).map_err(failed)? {
                let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
                if name.ends_with(".safetensors") {
                    names.insert(name);
                }
            }
            names
        }
    };
    match names.len() {
        0 => Err(CheckpointError::Broken { path: folder.to_owned(), why: "it holds no safetensors files".to_owned() }),
        n if n > FILES_MAX => Err(broken(format!("{n} files are more than the {FILES_MAX} that are read"))),
        _ => Ok(names.into_iter().map(|name| folder.join(name)).collect()),
    }
}

/// The files that an index names: file names only, so that it does not lead elsewhere.
///
/// # Errors
/// It is no index.
pub fn files_of_index(bytes: &[u8]) -> Result<BTreeSet<String>, String> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: HashMap<String, String>,
    }
    let index: Index = serde_json::from_slice(bytes).map_err(|e| format!("expected the index of a checkpoint: {e}"))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    let is_plain = |name: &str| !name.is_empty() && !name.contains(['/', '\\', '\0']) && name != "." && name != "..";
    match names.iter().find(|name| !is_plain(name)) {
        Some(name) => Err(format!("{name:?} is not the name of a file in the same folder")),
        None => Ok(names),
    }
}

/// Parses the header of a safetensors file of `len` bytes, and where its data begins.
///
/// # Errors
/// Anything that is no header, or one of another length of data.
pub fn read_header(mut from: impl Read, len: u64) -> Result<(Metadata, u64), String> {
    let short = |_| "it ends inside its header; it was cut short, or is no safetensors file".to_owned();
    let mut length = [0; 8];
    from.read_exact(&mut length).map_err(short)?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_BYTES_MAX || length > len.saturating_sub(8) {
        return Err(format!("its header has {length} bytes, and there are {len} in all; it is no safetensors file"));
    }
    let mut header = vec![0; length as usize];
    from.read_exact(&mut header).map_err(short)?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|e| format!("its header is broken: {e}"))?;
    let (start, data) = (8 + length, metadata.data_len() as u64);
    if start.checked_add(data) != Some(len) {
        return Err(format!("its tensors have {data} bytes, but {} are there; fetch it again", len - start));
    }
    Ok((metadata, start))
}

impl Shard {
    fn open(path: &Path) -> Result<Self, CheckpointError> {
        let failed = |source| CheckpointError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        let broken = |why| CheckpointError::Broken { path: path.to_owned(), why };
        let (metadata, start) = read_header(&file, len).map_err(broken)?;
        Ok(Self { path: path.to_owned(), file, metadata, start })
    }

    /// Where a tensor begins in the file.
    fn position(&self, info: &TensorInfo) -> u64 {
        self.start + info.data_offsets.0 as u64
    }

    /// Its part of [`Checkpoint::identity`].
    fn identity(&self) -> io::Result<Vec<u8>> {
        let system = self.file.metadata()?;
        let (len, written) = (system.len(), system.modified().ok());
        let since = written.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let mut identity = format!("\n{len} {since:?} ").into_bytes();
        let last = len.saturating_sub(IDENTITY_SAMPLE_BYTES);
        for n in 0..IDENTITY_SAMPLES {
            let at = (u128::from(last) * u128::from(n) / u128::from(IDENTITY_SAMPLES - 1)) as u64;
            let mut sample = vec![0; IDENTITY_SAMPLE_BYTES.min(len) as usize];
            self.read(at, &mut sample)?;
            identity.extend(sample);
        }
        Ok(identity)
    }

    fn read(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        read_at(&self.file, at, bytes)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display())))
    }
}

#[cfg(unix)]
fn read_at(file: &File, at: u64, bytes: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(windows)]
fn read_at(file: &File, mut at: u64, mut bytes: &mut [u8]) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !bytes.is_empty() {
        match file.seek_read(bytes, at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => (at, bytes) = (at + n as u64, &mut bytes[n..]),
        }
    }
    Ok(())
}

impl Matrix<'_> {
    /// Rows `rows` as f32, exactly.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn read(&self, rows: Range<usize>, out: &mut [f32]) -> io::Result<()> {
        let cols = self.cols;
        let stored = |bits: usize| -> io::Result<Vec<u8>> {
            let mut bytes = vec![0; rows.len() * cols * bits / 8];
            self.shard.read(self.start + (rows.start * cols * bits / 8) as u64, &mut bytes)?;
            Ok(bytes)
        };
        match &self.coding {
            Coding::F32 => decode(&stored(32)?, out, f32::from_le_bytes),
            Coding::F16 => decode(&stored(16)?, out, |b| half::f16::from_le_bytes(b).to_f32()),
            Coding::Bf16 => decode(&stored(16)?, out, |b| half::bf16::from_le_bytes(b).to_f32()),
            Coding::I32 | Coding::I64 => return Err(invalid("expected weights, found whole numbers")),
            Coding::Fp8(scales) => {
                decode(&stored(8)?, out, |[code]: [u8; 1]| e4m3(code));
                let Some(scales) = scales else { return Ok(()) };
                let first = rows.start / FP8_BLOCK;
                let factors = scales.read(first..rows.end.div_ceil(FP8_BLOCK))?;
                for (row, values) in rows.zip(out.chunks_exact_mut(cols)) {
                    let factors = &factors[(row / FP8_BLOCK - first) * scales.cols..][..scales.cols];
                    for (values, factor) in values.chunks_mut(FP8_BLOCK).zip(factors) {
                        values.iter_mut().for_each(|value| *value *= factor);
                    }
                }
            }
            Coding::Fp4(scales) => {
                let codes = stored(4)?;
                let factors = scales.read(rows)?;
                let blocks = out.chunks_exact_mut(FP4_BLOCK).zip(codes.chunks_exact(FP4_BLOCK / 2));
                for ((values, codes), factor) in blocks.zip(factors) {
                    for (values, code) in values.as_chunks_mut::<2>().0.iter_mut().zip(codes) {
                        *values = [e2m1(code & 15) * factor, e2m1(code >> 4) * factor];
                    }
                }
            }
        }
        Ok(())
    }

    /// Rows `rows` of a table of whole numbers.
    ///
    /// # Errors
    /// They cannot be read, the matrix does not hold whole numbers, or one does not fit.
    pub fn read_integers(&self, rows: Range<usize>) -> io::Result<Vec<i32>> {
        let bytes = match self.coding {
            Coding::I32 => 4,
            Coding::I64 => 8,
            _ => return Err(invalid("expected whole numbers, I32 or I64")),
        };
        let mut stored = vec![0; rows.len() * self.cols * bytes];
        self.shard.read(self.start + (rows.start * self.cols * bytes) as u64, &mut stored)?;
        if bytes == 4 {
            return Ok(stored.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b)).collect());
        }
        let narrow =
            |b: &[u8; 8]| i32::try_from(i64::from_le_bytes(*b)).map_err(|_| invalid("a number exceeds 32 bits"));
        stored.as_chunks().0.iter().map(narrow).collect()
    }
}

impl Scales<'_> {
    /// Factors of rows of blocks.
    fn read(&self, rows: Range<usize>) -> io::Result<Vec<f32>> {
        let mut bytes = vec![0; rows.len() * self.cols];
        self.shard.read(self.start + (rows.start * self.cols) as u64, &mut bytes)?;
        Ok(bytes.into_iter().map(e8m0).collect())
    }
}

fn decode<const N: usize>(bytes: &[u8], out: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    out.iter_mut().zip(bytes.as_chunks().0).for_each(|(out, bytes)| *out = value(*bytes));
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

/// FP8 with four bits of exponent and three of mantissa, without infinities; the code of NaN is taken for 0.
fn e4m3(code: u8) -> f32 {
    let (exponent, mantissa) = (u32::from(code >> 3 & 15), u32::from(code & 7));
    let magnitude = match (exponent, mantissa) {
        (15, 7) => 0.0,
        (0, m) => m as f32 / 512.0,
        (e, m) => f32::from_bits((e + 127 - 7) << 23 | m << 20),
    };
    if code >> 7 == 1 { -magnitude } else { magnitude }
}

/// FP4 with two bits of exponent and one of mantissa.
fn e2m1(code: u8) -> f32 {
    const MAGNITUDES: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let magnitude = MAGNITUDES[usize::from(code & 7)];
    if code & 8 == 0 { magnitude } else { -magnitude }
}

/// A power of two: 2^(code − 127), code 0 included.
fn e8m0(code: u8) -> f32 {
    match code {
        // Below the smallest normal number.
        0 => f32::from_bits(1 << 22),
        code => f32::from_bits(u32::from(code) << 23),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_values_of_their_formats() {
        let values = [(0x00, 0.0), (0x01, 2f32.powi(-9)), (0x07, 7.0 / 512.0), (0x08, 2f32.powi(-6)), (0x38, 1.0)];
        for (code, value) in values.into_iter().chain([(0x7e, 448.0), (0xfe, -448.0), (0xb8, -1.0), (0x7f, 0.0)]) {
            assert_eq!(e4m3(code), value, "{code:#x}");
        }
        assert_eq!([e8m0(0), e8m0(1), e8m0(127), e8m0(254)], [-127, -126, 0, 127].map(|e| 2f32.powi(e)));
        assert_eq!([3, 7, 11, 15].map(e2m1), [1.5, 6.0, -1.5, -6.0]);
    }

    #[test]
    fn an_index_names_files_beside_it() {
        let files = |text: &str| files_of_index(text.as_bytes());
        let good =
            r#"{"metadata": {}, "weight_map": {"a": "x.safetensors", "b": "x.safetensors", "c": "y.safetensors"}}"#;
        assert_eq!(files(good).unwrap().into_iter().collect::<Vec<_>>(), ["x.safetensors", "y.safetensors"]);
        assert!(files(r#"{"weight_map": {"a": "../../etc/passwd"}}"#).unwrap_err().contains("same folder"));
        assert!(files("{}").unwrap_err().contains("expected the index"));
    }

    #[test]
    fn headers_that_are_none_are_refused() {
        let file = |length: u64, header: &str, data: usize| {
            [&length.to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
        };
        let header = r#"{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#;
        let n = header.len() as u64;
        let read =
            |bytes: &[u8]| read_header(bytes, bytes.len() as u64).map(|(metadata, start)| (metadata.data_len(), start));
        assert_eq!(read(&file(n, header, 24)), Ok((24, 8 + n)));
        for (bytes, reason) in [
            (file(n, header, 23), "its tensors have 24 bytes, but 23 are there"),
            (file(n, header, 25), "24 bytes, but 25 are there"),
            (file(1 << 60, header, 24), "it is no safetensors file"),
            (file(n, &header.replace("24", "20"), 20), "its header is broken"),
            (file(n, &header.replace("F32", "X32"), 24), "its header is broken"),
            (b"GGUF".to_vec(), "ends inside its header"),
        ] {
            let error = read(&bytes).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
