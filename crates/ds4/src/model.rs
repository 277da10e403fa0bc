//! From a path to a loaded engine.

use anyhow::{Context, Result, anyhow};
use ds4_engine::cpu::{CpuBackend, CpuOptions};
use ds4_engine::{Config, Engine, EngineOptions};
use ds4_gguf::{Error, File};
use ds4_tokenizer::Tokenizer;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A model file whose directory was read and whose hyper-parameters are understood.
pub struct Model {
    path: PathBuf,
    /// The file.
    pub file: Arc<File>,
    /// Its hyper-parameters.
    pub config: Config,
}

impl Model {
    /// Opens the file and reads its hyper-parameters; tensors are not touched.
    pub fn open(path: &Path) -> Result<Self> {
        let file = open_file(path)?;
        let config = Config::from_file(&file).with_context(|| path.display().to_string())?;
        Ok(Self { path: path.to_owned(), file: Arc::new(file), config })
    }

    /// The tokenizer that the file carries.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        tokenizer(&self.file, &self.path)
    }

    /// Binds the tensors on the CPU.
    pub fn into_engine(self, cpu: CpuOptions, options: EngineOptions) -> Result<Engine<CpuBackend>> {
        let backend = CpuBackend::new(&self.config, cpu)?;
        Engine::new(self.file, self.config, backend, options).with_context(|| self.path.display().to_string())
    }
}

/// Maps a file and reads its directory.
pub fn open_file(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| match error {
        // These name the file themselves.
        Error::Io { .. } | Error::NotAFile { .. } => {
            anyhow!("{error}; expected a GGUF file, check the path of the model")
        }
        Error::TensorTypeId { .. } => anyhow!("{}: {error}; use a published file or a newer ds4", path.display()),
        Error::TooSmall { .. } | Error::Truncated { .. } | Error::OutOfFile { .. } | Error::Implausible { .. } => {
            anyhow!("{}: {error}; fetch the file again", path.display())
        }
        other => anyhow!("{}: {other}", path.display()),
    })
}

/// The tokenizer in the metadata of `file`.
pub fn tokenizer(file: &File, path: &Path) -> Result<Tokenizer> {
    let refused = |error| anyhow!("{}: {error}; use a model file that carries its tokenizer", path.display());
    Tokenizer::from_gguf(file.metadata()).map_err(refused)
}
