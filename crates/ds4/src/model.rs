//! From a path, or the demo model inside the program, to a loaded engine.

use crate::args::{ComputeArgs, OnOff};
use crate::drafts;
use crate::memory::{self, Demand};
use crate::output;
use crate::steering;
use anyhow::{Context, Result, anyhow};
use ds4_chat::EffortTable;
use ds4_engine::cpu::{CpuBackend, CpuOptions, Precision};
use ds4_engine::kv::{KvLayout, RowFormat};
use ds4_engine::{Config, DrafterOptions, Engine, EngineOptions};
use ds4_gguf::{Error, File};
use ds4_tokenizer::Tokenizer;
use std::path::Path;
use std::sync::Arc;

/// The demo model, trained for this program: `models/demo/README.md`.
#[cfg(feature = "demo")]
static DEMO: &[u8] = include_bytes!("../../../models/demo/ds4-demo-q2.gguf");

/// A model file whose directory was read and whose hyper-parameters are understood.
pub struct Model {
    name: String,
    /// The file.
    pub file: Arc<File>,
    /// Its hyper-parameters.
    pub config: Config,
}

impl Model {
    /// Opens the file, or the demo model, and reads its hyper-parameters; tensors are not touched.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let (file, name) = (open(path)?, name(path));
        let config = Config::from_file(&file).with_context(|| name.clone())?;
        Ok(Self { name, file: Arc::new(file), config })
    }

    /// The tokenizer that the file carries.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        tokenizer(&self.file, &self.name)
    }

    /// Which effort texts the checkpoint knows: those of 31 July 2026 and later have others; the name tells.
    pub fn effort_table(&self) -> EffortTable {
        let file_name = Path::new(&self.name).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = self.file.metadata().get("general.name");
        let by_name = matches!(name, Some(ds4_gguf::Value::String(name)) if name.contains("0731"));
        if file_name.contains("0731") || by_name { EffortTable::V0731 } else { EffortTable::Preview }
    }

    /// Binds the tensors for the work that `compute` describes, if its context fits into memory.
    pub fn into_engine_for(self, compute: &ComputeArgs, threads: usize) -> Result<Engine<CpuBackend>> {
        let rows = match compute.kv_rounding {
            OnOff::On => RowFormat::Native,
            OnOff::Off => RowFormat::Unrounded,
        };
        let precision = if compute.exact { Precision::Exact } else { Precision::Fast };
        if let Some(free) = memory::available() {
            let layout = KvLayout::new(&self.config, rows);
            Demand::new(&self.config, &layout, compute.ctx, compute.chunk).check(&layout, free)?;
        }
        let options = EngineOptions { context: compute.ctx, chunk: compute.chunk };
        let steering = steering::open(&compute.steer, &self.config)?;
        let drafter = drafts::open(&compute.drafts)?;
        let loaded = self.load(CpuOptions { precision, threads, rows }, options, drafter.as_ref());
        let mut engine = loaded.map_err(|error| drafts::named(error, &compute.drafts))?;
        steering.into_iter().for_each(|steering| engine.steer(steering));
        Ok(engine)
    }

    /// Binds the tensors on the CPU.
    pub fn into_engine(self, cpu: CpuOptions, options: EngineOptions) -> Result<Engine<CpuBackend>> {
        self.load(cpu, options, None)
    }

    fn load(
        self,
        cpu: CpuOptions,
        options: EngineOptions,
        drafter: Option<&DrafterOptions>,
    ) -> Result<Engine<CpuBackend>> {
        let backend = CpuBackend::new(&self.config, cpu)?;
        Engine::with_drafter(self.file, self.config, backend, options, drafter).with_context(|| self.name)
    }
}

/// What messages call the model at `path`.
pub fn name(path: Option<&Path>) -> String {
    path.map_or_else(|| "the demo model".to_owned(), |path| path.display().to_string())
}

/// The file at `path`; without a path the demo model, which is announced.
pub fn open(path: Option<&Path>) -> Result<File> {
    path.map_or_else(demo, open_file)
}

#[cfg(feature = "demo")]
fn demo() -> Result<File> {
    output::notice(
        "no model given: using the built-in demo, a toy of 9 million parameters; `-m FILE` takes the real one, \
         DeepSeek V4 Flash as GGUF (87 GB, huggingface.co/antirez/deepseek-v4-gguf)",
    );
    File::from_static(DEMO).context("the demo model")
}

#[cfg(not(feature = "demo"))]
fn demo() -> Result<File> {
    anyhow::bail!("no model given, and this build has no demo model inside; use -m FILE")
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

/// The tokenizer in the metadata of `file`, which messages call `name`.
pub fn tokenizer(file: &File, name: &str) -> Result<Tokenizer> {
    let refused = |error| anyhow!("{name}: {error}; use a model file that carries its tokenizer");
    Tokenizer::from_gguf(file.metadata()).map_err(refused)
}
