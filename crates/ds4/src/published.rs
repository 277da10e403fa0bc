//! The published files (`spec/gguf.md` §5), where models are kept, and which one is the default.

use anyhow::{Context, Result};
use clap::ValueEnum;
use std::path::{Path, PathBuf};

/// The repository that has them.
pub const REPO: &str = "antirez/deepseek-v4-gguf";
/// The name under which the default model is found: in the current directory, or where models are kept.
pub const DEFAULT_NAME: &str = "ds4flash.gguf";
/// Growth of KV memory a token with the published sizes: `docs/kv.md`.
pub const KV_TOKEN_BYTES: u64 = 3509;
/// What a context takes besides: frontiers, activations of a step of 512 tokens, the program.
pub const KV_FIXED_BYTES: u64 = 1_000_000_000;
/// Longest context of the published models, in tokens.
pub const CONTEXT_TOKENS: u64 = 1 << 20;

/// A published file.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum Target {
    /// 87 GB, 2 bits, the better one: for 96 GB of memory or more
    Q2Imatrix,
    /// 165 GB, 4 bits, the better one: for 192 GB of memory or more
    Q4Imatrix,
    /// 87 GB, 2 bits, without an importance matrix
    Q2,
    /// 165 GB, 4 bits, without an importance matrix
    Q4,
    /// 3.8 GB, the draft model for speculative decoding; needs one of the others
    Mtp,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Q2Imatrix, Self::Q4Imatrix, Self::Q2, Self::Q4, Self::Mtp];

    /// What commands call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q2Imatrix => "q2-imatrix",
            Self::Q4Imatrix => "q4-imatrix",
            Self::Q2 => "q2",
            Self::Q4 => "q4",
            Self::Mtp => "mtp",
        }
    }

    /// Its name in the repository.
    pub fn file(self) -> &'static str {
        match self {
            Self::Q2Imatrix => "DeepSeek-V4-Flash-IQ2XXS-w2Q2K-AProjQ8-SExpQ8-OutQ8-chat-v2-imatrix.gguf",
            Self::Q4Imatrix => {
                "DeepSeek-V4-Flash-Q4KExperts-F16HC-F16Compressor-F16Indexer-Q8Attn-Q8Shared-Q8Out-chat-v2-imatrix.gguf"
            }
            Self::Q2 => "DeepSeek-V4-Flash-IQ2XXS-w2Q2K-AProjQ8-SExpQ8-OutQ8-chat-v2.gguf",
            Self::Q4 => {
                "DeepSeek-V4-Flash-Q4KExperts-F16HC-F16Compressor-F16Indexer-Q8Attn-Q8Shared-Q8Out-chat-v2.gguf"
            }
            Self::Mtp => "DeepSeek-V4-Flash-MTP-Q4K-Q8_0-F32.gguf",
        }
    }

    /// Bytes of its tensors (`spec/gguf.md` §3, §4); the file has a few more.
    pub fn data_bytes(self) -> u64 {
        match self {
            Self::Q2Imatrix | Self::Q2 => 86_714_777_664,
            Self::Q4Imatrix | Self::Q4 => 164_628_168_768,
            Self::Mtp => 3_807_600_192,
        }
    }

    /// The one with this file name.
    pub fn of_file(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.file() == name)
    }
}

/// An environment variable's absolute directory.
fn directory(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Where models are kept: the directory that was named, `$DS4_GGUF_DIR`, or `ds4/models` among the user's data.
///
/// # Errors
/// No home directory is known.
pub fn models_dir(named: Option<&Path>) -> Result<PathBuf> {
    let seed = || std::env::var_os("DS4_GGUF_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let data = || directory("XDG_DATA_HOME").or_else(|| Some(directory("HOME")?.join(".local/share")));
    named
        .map(Path::to_owned)
        .or_else(seed)
        .or_else(|| Some(data()?.join("ds4").join("models")))
        .context("no home directory is known; name a directory with --dir")
}

/// The model that is used without `-m`, if there is one: [`DEFAULT_NAME`] in the current directory, or in `dir`.
pub fn default_model(dir: Option<&Path>) -> Option<PathBuf> {
    let kept = models_dir(dir).ok().map(|dir| dir.join(DEFAULT_NAME));
    [Some(PathBuf::from(DEFAULT_NAME)), kept].into_iter().flatten().find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_found_by_their_files_and_names() {
        for target in Target::ALL {
            assert_eq!(Target::of_file(target.file()), Some(target));
            assert_eq!(Target::from_str(target.name(), false), Ok(target));
        }
        assert_eq!(Target::of_file("other.gguf"), None);
    }
}
