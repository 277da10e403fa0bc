//! Heads of files. All numbers are little-endian.
//!
//! A run, `<name>.run`, where the name is the hash of its page ids:
//!
//! | bytes | field |
//! |---|---|
//! | 8 | `DS4KVRUN` |
//! | 4 | version, 1 |
//! | 4 | bytes of a page |
//! | 4 | pages `n` |
//! | 4 | 0 |
//! | 32 | identity: model, rounding and arithmetic |
//! | 32 `n` | SHA-256 of each page |
//! | 32 | SHA-256 of all before |
//! | | the pages |
//!
//! A checkpoint, `<name>.ckpt`, where the name is the hash of identity and tokens:
//!
//! | bytes | field |
//! |---|---|
//! | 8 | `DS4KVCKP` |
//! | 4 | version, 1 |
//! | 4 | tokens of a page |
//! | 4 | bytes of a page |
//! | 4 | tokens `t` |
//! | 8 | bytes of the frontier |
//! | 8 | when it was saved, Unix seconds |
//! | 4 | bytes of the label `l` |
//! | 4 | 0 |
//! | 32 | identity |
//! | `l` | label: model and mode, for people |
//! | 4 `t` | tokens |
//! | 32 `⌊t / tokens of a page⌋` | ids of the pages |
//! | 32 | SHA-256 of the frontier |
//! | 32 | SHA-256 of all before |
//! | | the frontier |

use crate::TokenId;
use crate::limits::{FRONTIER_BYTES_MAX, LABEL_BYTES_MAX, PAGE_BYTES_MAX, PAGE_TOKENS_MAX, RUN_PAGES_MAX, TOKENS_MAX};
use sha2::{Digest, Sha256};
use std::fmt;
use std::io::Read;

/// Version of both formats.
const VERSION: u32 = 1;
const RUN_MAGIC: &[u8; 8] = b"DS4KVRUN";
const CHECKPOINT_MAGIC: &[u8; 8] = b"DS4KVCKP";
const HASH_BYTES: usize = 32;
const RUN_FIXED: usize = 8 + 4 * 4 + HASH_BYTES;
const CHECKPOINT_FIXED: usize = 8 + 4 * 4 + 2 * 8 + 2 * 4 + HASH_BYTES;

/// SHA-256 of something.
pub type Hash = [u8; HASH_BYTES];

/// SHA-256 of `bytes`.
pub fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// Name of a checkpoint or run: the first half of a hash, written in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; 16]);

impl Key {
    fn new(hash: Hash) -> Self {
        let mut key = [0; 16];
        key.copy_from_slice(&hash[..16]);
        Self(key)
    }

    /// Name of the checkpoint of `tokens`.
    pub fn of_tokens(identity: &Hash, tokens: &[TokenId]) -> Self {
        let mut hasher = Sha256::new_with_prefix(identity);
        tokens.iter().for_each(|token| hasher.update(token.to_le_bytes()));
        Self::new(hasher.finalize().into())
    }

    /// Name of the run of these pages.
    pub fn of_pages(ids: &[Hash]) -> Self {
        Self::new(hash(ids.as_flattened()))
    }

    /// Reads 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 32 {
            return None;
        }
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut key = [0; 16];
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(key))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Head of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunHead {
    /// What wrote it.
    pub identity: Hash,
    /// Bytes of a page.
    pub page_bytes: usize,
    /// The pages.
    pub ids: Vec<Hash>,
}

/// Head of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointHead {
    /// What wrote it.
    pub identity: Hash,
    /// For people.
    pub label: String,
    /// Tokens of a page.
    pub page_tokens: usize,
    /// Bytes of a page.
    pub page_bytes: usize,
    /// When it was saved, Unix seconds.
    pub created: u64,
    /// Tokens.
    pub tokens: Vec<TokenId>,
    /// Finished pages.
    pub pages: Vec<Hash>,
    /// Bytes of the frontier.
    pub frontier_bytes: usize,
    /// Hash of the frontier.
    pub frontier: Hash,
}

/// What is wrong with a head.
pub type Fault = String;

/// Reads bytes and hashes what it read.
struct Source<'a> {
    reader: &'a mut dyn Read,
    hasher: Sha256,
    /// Bytes read.
    at: u64,
    /// Bytes of the file.
    length: u64,
}

impl Source<'_> {
    /// The next `n` bytes, which are known to be few or to be in the file.
    fn take(&mut self, n: usize) -> Result<Vec<u8>, Fault> {
        if self.length - self.at < n as u64 {
            return Err(format!("cut off after {} bytes", self.length));
        }
        let mut bytes = vec![0; n];
        self.reader.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        self.hasher.update(&bytes);
        self.at += n as u64;
        Ok(bytes)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut fixed = [0; N];
        fixed.copy_from_slice(&self.take(N)?);
        Ok(fixed)
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        self.fixed().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        self.fixed().map(u64::from_le_bytes)
    }

    /// A number from `least` to `most`.
    fn bounded(&mut self, what: &str, least: usize, most: usize) -> Result<usize, Fault> {
        let found = self.u32()?;
        let value = usize::try_from(found).ok().filter(|value| (least..=most).contains(value));
        value.ok_or_else(|| format!("{found} {what}, expected {least} to {most}"))
    }

    fn hashes(&mut self, n: usize) -> Result<Vec<Hash>, Fault> {
        Ok(self.take(n * HASH_BYTES)?.as_chunks().0.to_vec())
    }

    /// The hash of all before stands here.
    fn check(&mut self) -> Result<(), Fault> {
        let expected: Hash = self.hasher.clone().finalize().into();
        if self.fixed::<HASH_BYTES>()? != expected {
            return Err("its head has another checksum".to_owned());
        }
        Ok(())
    }

    /// So many bytes follow, and nothing else.
    fn ends_after(&self, rest: u64) -> Result<(), Fault> {
        let found = self.length - self.at;
        if found != rest {
            return Err(format!("{found} bytes follow its head, expected {rest}"));
        }
        Ok(())
    }
}

fn source<'a>(reader: &'a mut dyn Read, length: u64, magic: &[u8; 8]) -> Result<Source<'a>, Fault> {
    let mut source = Source { reader, hasher: Sha256::new(), at: 0, length };
    if source.fixed::<8>()? != *magic {
        return Err("not a file of ds4".to_owned());
    }
    match source.u32()? {
        VERSION => Ok(source),
        other => Err(format!("version {other}, expected {VERSION}")),
    }
}

impl RunHead {
    /// Bytes before the first of `n` pages.
    pub fn bytes_before(n: usize) -> u64 {
        (RUN_FIXED + (n + 1) * HASH_BYTES) as u64
    }

    /// Bytes before the first page.
    pub fn head_bytes(&self) -> u64 {
        Self::bytes_before(self.ids.len())
    }

    /// The head as it is written.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = RUN_MAGIC.to_vec();
        for number in [VERSION as usize, self.page_bytes, self.ids.len(), 0] {
            // Bounded by `check`, which every writer calls.
            bytes.extend((number as u32).to_le_bytes());
        }
        bytes.extend(self.identity);
        bytes.extend(self.ids.as_flattened());
        bytes.extend(hash(&bytes));
        bytes
    }

    /// Reads a head; the file has `length` bytes.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(reader: &mut dyn Read, length: u64) -> Result<Self, Fault> {
        let mut source = source(reader, length, RUN_MAGIC)?;
        let page_bytes = source.bounded("bytes in a page", 1, PAGE_BYTES_MAX)?;
        let n = source.bounded("pages", 1, RUN_PAGES_MAX)?;
        source.u32()?;
        let identity = source.fixed()?;
        let ids = source.hashes(n)?;
        source.check()?;
        source.ends_after((n * page_bytes) as u64)?;
        Ok(Self { identity, page_bytes, ids })
    }
}

impl CheckpointHead {
    /// Bytes before the frontier.
    pub fn head_bytes(&self) -> u64 {
        let variable = self.label.len() + 4 * self.tokens.len() + (self.pages.len() + 2) * HASH_BYTES;
        (CHECKPOINT_FIXED + variable) as u64
    }

    /// Whether its parts are within their bounds and fit each other.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), Fault> {
        let within = |what: &str, value: usize, least: usize, most: usize| match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(format!("{value} {what}, expected {least} to {most}")),
        };
        within("tokens in a page", self.page_tokens, 1, PAGE_TOKENS_MAX)?;
        within("bytes in a page", self.page_bytes, 1, PAGE_BYTES_MAX)?;
        within("tokens", self.tokens.len(), 1, TOKENS_MAX)?;
        within("bytes of frontier", self.frontier_bytes, 0, FRONTIER_BYTES_MAX)?;
        within("bytes of label", self.label.len(), 0, LABEL_BYTES_MAX)?;
        let pages = self.tokens.len() / self.page_tokens;
        within("pages", self.pages.len(), pages, pages)
    }

    /// The head as it is written.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = CHECKPOINT_MAGIC.to_vec();
        for number in [VERSION as usize, self.page_tokens, self.page_bytes, self.tokens.len()] {
            // Bounded by `check`, which every writer calls.
            bytes.extend((number as u32).to_le_bytes());
        }
        bytes.extend((self.frontier_bytes as u64).to_le_bytes());
        bytes.extend(self.created.to_le_bytes());
        bytes.extend((self.label.len() as u32).to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.identity);
        bytes.extend(self.label.as_bytes());
        self.tokens.iter().for_each(|token| bytes.extend(token.to_le_bytes()));
        bytes.extend(self.pages.as_flattened());
        bytes.extend(self.frontier);
        bytes.extend(hash(&bytes));
        bytes
    }

    /// Reads a head; the file has `length` bytes.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(reader: &mut dyn Read, length: u64) -> Result<Self, Fault> {
        let mut source = source(reader, length, CHECKPOINT_MAGIC)?;
        let page_tokens = source.bounded("tokens in a page", 1, PAGE_TOKENS_MAX)?;
        let page_bytes = source.bounded("bytes in a page", 1, PAGE_BYTES_MAX)?;
        let tokens = source.bounded("tokens", 1, TOKENS_MAX)?;
        let frontier = source.u64()?;
        let frontier_bytes = usize::try_from(frontier).ok().filter(|bytes| *bytes <= FRONTIER_BYTES_MAX);
        let frontier_bytes = frontier_bytes.ok_or_else(|| format!("{frontier} bytes of frontier"))?;
        let created = source.u64()?;
        let label = source.bounded("bytes of label", 0, LABEL_BYTES_MAX)?;
        source.u32()?;
        let identity = source.fixed()?;
        let label = String::from_utf8(source.take(label)?).map_err(|_| "its label is no text".to_owned())?;
        let ids = source.take(4 * tokens)?;
        let ids = ids.as_chunks().0.iter().map(|bytes| TokenId::from_le_bytes(*bytes)).collect();
        let pages = source.hashes(tokens / page_tokens)?;
        let frontier = source.fixed()?;
        source.check()?;
        source.ends_after(frontier_bytes as u64)?;
        Ok(Self { identity, label, page_tokens, page_bytes, created, tokens: ids, pages, frontier_bytes, frontier })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn checkpoint(tokens: usize, label: &str, frontier: usize) -> (CheckpointHead, Vec<u8>) {
        let frontier: Vec<u8> = (0..frontier).map(|i| i as u8).collect();
        let head = CheckpointHead {
            identity: hash(b"model"),
            label: label.to_owned(),
            page_tokens: 4,
            page_bytes: 10,
            created: 7,
            tokens: (0..tokens as u32).collect(),
            pages: (0..tokens / 4).map(|i| hash(&[i as u8])).collect(),
            frontier_bytes: frontier.len(),
            frontier: hash(&frontier),
        };
        let file = [head.encode(), frontier].concat();
        (head, file)
    }

    fn read(mut bytes: &[u8]) -> Result<CheckpointHead, Fault> {
        let length = bytes.len() as u64;
        CheckpointHead::read(&mut bytes, length)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(tokens in 1usize..40, label in "[a-z \u{e9}]{0,20}", frontier in 0usize..50) {
            let (head, file) = checkpoint(tokens, &label, frontier);
            prop_assert_eq!(head.check(), Ok(()));
            prop_assert_eq!(head.head_bytes() + frontier as u64, file.len() as u64);
            prop_assert_eq!(read(&file), Ok(head));
        }

        #[test]
        fn every_change_is_noticed(at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<prop::sample::Index>()) {
            let (head, file) = checkpoint(9, "label", 5);
            let (mut changed, end) = (file.clone(), head.head_bytes() as usize);
            changed[at.index(end)] ^= 1 << bit;
            prop_assert!(read(&changed).is_err());
            prop_assert!(read(&file[..cut.index(file.len())]).is_err());
            prop_assert!(read(&[&file[..], b"x"].concat()).is_err());
        }

        #[test]
        fn runs_likewise(n in 1usize..5, page_bytes in 1usize..9, at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let ids = (0..n).map(|i| hash(&[i as u8])).collect();
            let head = RunHead { identity: hash(b"model"), page_bytes, ids };
            let mut file = [head.encode(), vec![0; n * page_bytes]].concat();
            let length = file.len() as u64;
            prop_assert_eq!(head.head_bytes() + (n * page_bytes) as u64, length);
            prop_assert_eq!(RunHead::read(&mut file.as_slice(), length), Ok(head.clone()));
            file[at.index(head.head_bytes() as usize)] ^= 1 << bit;
            prop_assert!(RunHead::read(&mut file.as_slice(), length).is_err());
        }
    }

    #[test]
    fn keys_are_32_digits() {
        let key = Key::of_tokens(&hash(b"m"), &[1, 2]);
        assert_eq!(Key::parse(&key.to_string()), Some(key));
        for text in ["", "00", "G0000000000000000000000000000000", "A0000000000000000000000000000000"] {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }
}
