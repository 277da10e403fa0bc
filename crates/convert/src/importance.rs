//! Importance matrices in the legacy `.dat` form of llama.cpp (`spec/quants.md` §4).
//!
//! ```text
//! i32 entries
//! per entry: i32 name length, name, i32 calls, i32 values, f32 × values
//! i32 chunks, i32 length, name of the dataset       (may be missing)
//! ```
//!
//! Everything is little-endian. Values are divided by `calls` where that is not zero.

use crate::names::official;
use std::collections::HashMap;
use std::io::{self, Read, Write};

/// Entries of a file. DeepSeek V4 Flash has 1,328 tensors, or 33,000 with one entry an expert matrix.
pub const ENTRIES_MAX: i32 = 1 << 17;
/// Bytes of a tensor's name.
pub const NAME_BYTES_MAX: i32 = 256;
/// Bytes of the dataset's name, a path.
pub const DATASET_BYTES_MAX: i32 = 1 << 16;
/// Values of an entry: 64 times those of the largest of DeepSeek V4 Flash, 256 experts of 4,096 columns.
pub const VALUES_MAX: i32 = 1 << 26;
/// Bytes of a file. That of DeepSeek V4 Flash has 450 MB.
pub const FILE_BYTES_MAX: u64 = 4 << 30;

/// What GGUF files begin with, of which llama.cpp's newer importance matrices are some.
const GGUF_MAGIC: i32 = i32::from_le_bytes(*b"GGUF");
/// Values read at once, so that a length does not allocate more than the file has.
const VALUES_AT_ONCE: usize = 1 << 16;

/// Why a file is no importance matrix, or does not fit.
#[derive(Debug, thiserror::Error)]
pub enum ImportanceError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[source] io::Error),
    /// The file ends too early.
    #[error("ends inside {what}; it was cut short, or is no importance matrix: make it again with `ds4 imatrix`")]
    Short {
        /// What was being read.
        what: String,
    },
    /// It is a newer kind of file.
    #[error(
        "is a GGUF file; the importance matrix must be in the .dat form: write it with `ds4 imatrix`, or with llama-imatrix --output-format dat"
    )]
    Gguf,
    /// A number is out of its bounds.
    #[error("{what} is {found}, expected {least} to {most}; the file is broken, or no importance matrix")]
    Bound {
        /// What the number is.
        what: String,
        /// The number.
        found: i64,
        /// Smallest that is accepted.
        least: i64,
        /// Largest that is accepted.
        most: i64,
    },
    /// A name is not text.
    #[error("the name of {what} is not UTF-8; the file is broken, or no importance matrix")]
    Name {
        /// Whose name.
        what: String,
    },
    /// Two entries have one name.
    #[error("{name} is there twice; the file is broken")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A value cannot be a mean of squares.
    #[error("{name}: value {index} is {value}; it must be finite and not negative")]
    Value {
        /// Name of the entry.
        name: String,
        /// Position in the entry.
        index: usize,
        /// The value.
        value: f32,
    },
    /// There is something behind the end.
    #[error("goes on for {bytes} bytes behind its end; the file is broken")]
    Trailing {
        /// Bytes too many.
        bytes: u64,
    },
    /// An entry does not fit the tensor.
    #[error("{name} has {found} values, but the tensor has {cols} columns{}; the matrix was made for another model", several(*.parts))]
    Length {
        /// Name of the entry.
        name: String,
        /// Its values.
        found: usize,
        /// Columns of the tensor.
        cols: usize,
        /// Matrices in the tensor.
        parts: usize,
    },
}

fn several(parts: usize) -> String {
    if parts == 1 { String::new() } else { format!(" in each of {parts} matrices") }
}

/// An importance matrix: for tensors by name one value per column, or per column of each expert.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Importance {
    entries: Vec<(String, Vec<f32>)>,
    by_name: HashMap<String, usize>,
    /// How often something was added up, as the file says.
    pub chunks: Option<u32>,
    /// What was read to make it, as the file says.
    pub dataset: Option<String>,
}

impl Importance {
    /// No entries yet.
    pub fn new(chunks: Option<u32>, dataset: Option<String>) -> Self {
        Self { chunks, dataset, ..Self::default() }
    }

    /// Adds an entry with its values, which are means of squares. A name that is there already stays as it is.
    pub fn push(&mut self, name: String, values: Vec<f32>) {
        if !self.by_name.contains_key(&name) {
            self.by_name.insert(name.clone(), self.entries.len());
            self.entries.push((name, values));
        }
    }

    /// Names and values in the order of the file.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&str, &[f32])> {
        self.entries.iter().map(|(name, values)| (&name[..], &values[..]))
    }

    /// The entry of this name.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.by_name.get(name).map(|i| &self.entries[*i].1[..])
    }

    /// The values for matrix `part` of the `parts` in the tensor that GGUF files call `tensor`, `cols` of them, with the name of the
    /// entry: under either of its names, for all experts or for one (`spec/quants.md` §4).
    ///
    /// # Errors
    /// An entry of another length.
    pub fn find(
        &self,
        tensor: &str,
        part: usize,
        parts: usize,
        cols: usize,
    ) -> Result<Option<(String, &[f32])>, ImportanceError> {
        let names = [Some(tensor.to_owned()), official(tensor, (parts > 1).then_some(part))];
        let of_expert = |mark: &str| names.iter().flatten().map(move |name| format!("{name}{mark}{part}")).collect();
        let of_experts: [Vec<String>; 2] = [".expert.", ".expert_"].map(of_expert);
        let plain = names.iter().flatten().cloned();
        let candidates = of_experts.into_iter().flatten().filter(|_| parts > 1).chain(plain);
        for name in candidates {
            let Some(values) = self.get(&name) else { continue };
            if values.len() == cols {
                return Ok(Some((name, values)));
            }
            if Some(values.len()) == cols.checked_mul(parts) {
                return Ok(Some((name, &values[part * cols..(part + 1) * cols])));
            }
            return Err(ImportanceError::Length { name, found: values.len(), cols, parts });
        }
        Ok(None)
    }

    /// Reads a file of `len` bytes.
    ///
    /// # Errors
    /// Anything but an importance matrix whose values can be used.
    pub fn read(from: impl Read, len: u64) -> Result<Self, ImportanceError> {
        within("the number of bytes", len.min(i64::MAX as u64) as i64, 0, FILE_BYTES_MAX as i64)?;
        let mut reader = Reader { from, left: len };
        let first = reader.number("the number of entries")?;
        if first == GGUF_MAGIC {
            return Err(ImportanceError::Gguf);
        }
        let count = within("the number of entries", first.into(), 1, ENTRIES_MAX.into())?;
        let mut all = Self::default();
        for i in 1..=count {
            let (name, values) = reader.entry(&format!("entry {i} of {count}"))?;
            if all.by_name.contains_key(&name) {
                return Err(ImportanceError::Duplicate { name });
            }
            all.push(name, values);
        }
        if reader.left > 0 {
            let chunks = reader.number("the number of chunks")?;
            all.chunks = Some(within("the number of chunks", chunks.into(), 0, i32::MAX.into())? as u32);
            all.dataset = Some(reader.string("the dataset", 0, DATASET_BYTES_MAX)?);
        }
        if reader.left > 0 {
            return Err(ImportanceError::Trailing { bytes: reader.left });
        }
        Ok(all)
    }

    /// Writes the file. What does not fit its numbers is an error of kind `InvalidInput`.
    ///
    /// # Errors
    /// Also those of `to`.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        write_number(&mut to, self.entries.len())?;
        for (name, values) in &self.entries {
            write_string(&mut to, name)?;
            write_number(&mut to, 1)?;
            write_number(&mut to, values.len())?;
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            to.write_all(&bytes)?;
        }
        if self.chunks.is_some() || self.dataset.is_some() {
            write_number(&mut to, self.chunks.unwrap_or(0) as usize)?;
            write_string(&mut to, self.dataset.as_deref().unwrap_or_default())?;
        }
        to.flush()
    }
}

fn write_number(to: &mut impl Write, n: usize) -> io::Result<()> {
    let n =
        i32::try_from(n).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{n} exceeds 31 bits")))?;
    to.write_all(&n.to_le_bytes())
}

fn write_string(to: &mut impl Write, text: &str) -> io::Result<()> {
    write_number(to, text.len())?;
    to.write_all(text.as_bytes())
}

fn within(what: &str, found: i64, least: i64, most: i64) -> Result<i64, ImportanceError> {
    if (least..=most).contains(&found) {
        return Ok(found);
    }
    Err(ImportanceError::Bound { what: what.to_owned(), found, least, most })
}

struct Reader<R> {
    from: R,
    /// Bytes that are still to come.
    left: u64,
}

impl<R: Read> Reader<R> {
    fn bytes(&mut self, bytes: &mut [u8], what: &str) -> Result<(), ImportanceError> {
        let short = || ImportanceError::Short { what: what.to_owned() };
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(short)?;
        self.from.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => short(),
            _ => ImportanceError::Io(error),
        })
    }

    fn number(&mut self, what: &str) -> Result<i32, ImportanceError> {
        let mut bytes = [0; 4];
        self.bytes(&mut bytes, what)?;
        Ok(i32::from_le_bytes(bytes))
    }

    fn string(&mut self, what: &str, least: i32, most: i32) -> Result<String, ImportanceError> {
        let length = self.number(what)?;
        let length = within(&format!("the length of the name of {what}"), length.into(), least.into(), most.into())?;
        let mut bytes = vec![0; length as usize];
        self.bytes(&mut bytes, what)?;
        String::from_utf8(bytes).map_err(|_| ImportanceError::Name { what: what.to_owned() })
    }

    fn entry(&mut self, what: &str) -> Result<(String, Vec<f32>), ImportanceError> {
        let name = self.string(what, 1, NAME_BYTES_MAX)?;
        let what = format!("{what}, {name}");
        let calls = within(&format!("the number of calls in {what}"), self.number(&what)?.into(), 0, i32::MAX.into())?;
        let count = self.number(&what)?;
        let count = within(&format!("the number of values in {what}"), count.into(), 1, VALUES_MAX.into())? as usize;
        let mut values = Vec::new();
        let mut bytes = vec![0; 4 * count.min(VALUES_AT_ONCE)];
        while values.len() < count {
            let bytes = &mut bytes[..4 * (count - values.len()).min(VALUES_AT_ONCE)];
            self.bytes(bytes, &what)?;
            values.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)));
        }
        if calls > 1 {
            values.iter_mut().for_each(|value| *value /= calls as f32);
        }
        match values.iter().position(|value| !value.is_finite() || *value < 0.0) {
            Some(index) => Err(ImportanceError::Value { name, index, value: values[index] }),
            None => Ok((name, values)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Importance {
        let mut all = Importance::new(Some(7), Some("texts/é.txt".to_owned()));
        all.push("blk.0.ffn_gate_exps.weight".to_owned(), (0..8).map(|i| i as f32).collect());
        all.push("layers.0.attn.wkv.weight".to_owned(), vec![0.5, 0.25]);
        all.push("blk.1.ffn_gate_exps.weight.expert_1".to_owned(), vec![1.0, 2.0]);
        all.push("layers.1.ffn.experts.0.w1.weight.expert.0".to_owned(), vec![3.0, 4.0]);
        all
    }

    fn bytes(all: &Importance) -> Vec<u8> {
        let mut bytes = Vec::new();
        all.write(&mut bytes).unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Importance, ImportanceError> {
        Importance::read(bytes, bytes.len() as u64)
    }

    #[test]
    fn what_is_written_is_read() {
        let all = example();
        assert_eq!(read(&bytes(&all)).unwrap(), all);
        let bare = Importance { chunks: None, dataset: None, ..all };
        assert_eq!(read(&bytes(&bare)).unwrap(), bare);
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let mut all = Importance::new(Some(3), Some("d".to_owned()));
        all.push("ab".to_owned(), vec![1.0]);
        let expected = b"\x01\0\0\0\x02\0\0\0ab\x01\0\0\0\x01\0\0\0\0\0\x80\x3f\x03\0\0\0\x01\0\0\0d";
        assert_eq!(bytes(&all), expected);
    }

    #[test]
    fn values_are_divided_by_calls() {
        let mut bytes = bytes(&example());
        // Behind the number of entries, the length of the name and the name.
        let at = 4 + 4 + "blk.0.ffn_gate_exps.weight".len();
        bytes[at] = 4;
        assert_eq!(read(&bytes).unwrap().get("blk.0.ffn_gate_exps.weight").unwrap()[..3], [0.0, 0.25, 0.5]);
        bytes[at] = 0;
        assert_eq!(read(&bytes).unwrap().get("blk.0.ffn_gate_exps.weight").unwrap()[..3], [0.0, 1.0, 2.0]);
    }

    #[test]
    fn entries_are_found_under_all_names() {
        let all = example();
        let find = |tensor, part, parts| all.find(tensor, part, parts, 2).unwrap().map(|(_, values)| values.to_vec());
        assert_eq!(find("blk.0.ffn_gate_exps.weight", 2, 4), Some(vec![4.0, 5.0]));
        assert_eq!(find("blk.0.attn_kv.weight", 0, 1), Some(vec![0.5, 0.25]));
        assert_eq!(find("blk.1.ffn_gate_exps.weight", 0, 4), Some(vec![3.0, 4.0]));
        assert_eq!(find("blk.1.ffn_gate_exps.weight", 1, 4), Some(vec![1.0, 2.0]));
        assert_eq!(find("blk.1.ffn_gate_exps.weight", 2, 4), None);
        let error = all.find("blk.0.ffn_gate_exps.weight", 0, 3, 2).unwrap_err().to_string();
        assert!(error.contains("has 8 values, but the tensor has 2 columns in each of 3 matrices"), "{error}");
    }

    #[test]
    fn every_cut_is_noticed() {
        let bytes = bytes(&example());
        let tail = 4 + 4 + "texts/é.txt".len();
        for len in 0..bytes.len() {
            // Without its tail the file is whole.
            let is_whole = len == bytes.len() - tail;
            let read = read(&bytes[..len]);
            assert_eq!(read.is_ok(), is_whole, "{len} {read:?}");
        }
    }

    #[test]
    fn broken_files_are_refused_with_the_reason() {
        let good = bytes(&example());
        let changed = |at: usize, with: &[u8]| {
            let mut bytes = good.clone();
            bytes.splice(at..at + with.len(), with.iter().copied());
            bytes
        };
        let name_end = 8 + "blk.0.ffn_gate_exps.weight".len();
        let twice = [&[2, 0, 0, 0], &good[4..name_end + 40], &good[4..name_end + 40]].concat();
        for (bytes, reason) in [
            (changed(0, b"GGUF"), "is a GGUF file"),
            (changed(0, &[0; 4]), "the number of entries is 0, expected 1 to 131072"),
            (changed(0, &[0xff; 4]), "the number of entries is -1"),
            (changed(4, &300u32.to_le_bytes()), "the length of the name of entry 1 of 4 is 300, expected 1 to 256"),
            (changed(8, &[0xff]), "the name of entry 1 of 4 is not UTF-8"),
            (changed(name_end + 4, &[0xff; 4]), "the number of values in entry 1 of 4"),
            (changed(name_end + 4, &(1u32 << 25).to_le_bytes()), "ends inside entry 1 of 4"),
            (changed(name_end + 8, &f32::NAN.to_le_bytes()), "value 0 is NaN"),
            (changed(name_end + 12, &(-1f32).to_le_bytes()), "value 1 is -1"),
            ([&good[..], b"more"].concat(), "goes on for 4 bytes behind its end"),
            (twice, "blk.0.ffn_gate_exps.weight is there twice"),
        ] {
            let error = read(&bytes).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
