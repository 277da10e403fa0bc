//! From a path, or the demo model inside the program, to a loaded engine.

use crate::args::{BackendName, ComputeArgs, ModelArgs, OnOff};
use crate::drafts::{self, Drafter};
use crate::memory::{self, Demand};
use crate::output;
use crate::progress::Progress;
use crate::single::{One, Single};
use crate::steering;
use crate::tuning;
use anyhow::{Context, Result, anyhow};
use ds4_chat::EffortTable;
use ds4_engine::Precision;
use ds4_engine::backend::Backend;
use ds4_engine::cpu::{CpuBackend, CpuOptions};
use ds4_engine::importance::Collector;
use ds4_engine::kv::{KvLayout, RowFormat};
use ds4_engine::steering::Steering;
use ds4_engine::{Config, Engine, EngineOptions};
use ds4_gguf::{Error, File};
use ds4_gpu::{Gpu, GpuBackend, GpuOptions};
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
    drafter: Option<Drafter>,
    steering: Option<Steering>,
}

impl Model {
    /// Opens the file, or the demo model, and reads its hyper-parameters; tensors are not touched.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let (file, name) = (open(path)?, name(path));
        let config = Config::from_file(&file).with_context(|| name.clone())?;
        Ok(Self { name, file: Arc::new(file), config, drafter: None, steering: None })
    }

    /// With what flags add to it: a block that guesses tokens ahead, and directions to steer by.
    ///
    /// # Errors
    /// A file that cannot be read or does not fit.
    pub fn extended(mut self, compute: &ComputeArgs) -> Result<Self> {
        self.steering = steering::open(&compute.steer, &self.config)?;
        self.drafter = drafts::open(&compute.drafts)?;
        Ok(self)
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

    /// Binds the tensors where `compute` says, if its context fits there.
    ///
    /// # Errors
    /// What does not fit; a tensor that is missing or of another shape; a GPU that cannot be used, if one was asked for.
    pub fn load(self, compute: &Compute) -> Result<Loaded> {
        let is_wanted = match compute.backend {
            BackendName::Cpu => false,
            BackendName::Gpu => true,
            // A software device is slower than the processor it runs on.
            BackendName::Auto => compute.device.is_some() || ds4_gpu::devices().iter().any(|d| !d.caps.is_software),
        };
        if !is_wanted {
            return self.load_on_cpu(compute);
        }
        let on_gpu = self.load_on_gpu(compute);
        match on_gpu {
            Err(error) if compute.backend == BackendName::Auto && compute.device.is_none() => {
                output::notice(&format!("the GPU is not used: {error:#}"));
                self.load_on_cpu(compute)
            }
            other => other,
        }
    }

    fn load_on_cpu(self, compute: &Compute) -> Result<Loaded> {
        Ok(Loaded::Cpu(self.on_cpu(compute, |backend| backend)?))
    }

    /// The same on the processor, where `collector` sees what is multiplied with weights.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub fn load_observed(self, compute: &Compute, collector: Arc<Collector>) -> Result<Engine<CpuBackend>> {
        self.on_cpu(compute, |backend| backend.with_collector(collector))
    }

    fn on_cpu(self, compute: &Compute, extend: impl FnOnce(CpuBackend) -> CpuBackend) -> Result<Engine<CpuBackend>> {
        let chunk = compute.chunk.unwrap_or(CPU_CHUNK);
        if let Some(free) = memory::available() {
            let layout = KvLayout::new(&self.config, compute.rows);
            Demand::new(&self.config, &layout, compute.context, chunk).check(&layout, free)?;
        }
        let options = CpuOptions { precision: compute.precision, threads: compute.threads, rows: compute.rows };
        let backend = extend(CpuBackend::new(&self.config, options)?);
        self.engine(backend, EngineOptions { context: compute.context, chunk })
    }

    /// Binds the tensors on `backend`.
    fn engine<B: Backend>(&self, backend: B, options: EngineOptions) -> Result<Engine<B>> {
        let (file, config) = (Arc::clone(&self.file), self.config.clone());
        let drafter = self.drafter.as_ref().map(|drafter| &drafter.options);
        let engine = Engine::with_drafter(file, config, backend, options, drafter);
        let mut engine = engine.map_err(|error| self.named(error))?;
        if let Some(steering) = &self.steering {
            engine.steer(steering.clone())?;
        }
        Ok(engine)
    }

    /// An error with the name of the file that it is about.
    fn named(&self, error: ds4_engine::Error) -> anyhow::Error {
        match (error, &self.drafter) {
            (ds4_engine::Error::DraftBlock(why), Some(drafter)) => anyhow!("{}: {why}", drafter.name),
            (error, _) => anyhow::Error::new(error).context(self.name.clone()),
        }
    }

    fn load_on_gpu(&self, compute: &Compute) -> Result<Loaded> {
        let chunk = compute.chunk.unwrap_or(GPU_CHUNK).min(compute.context);
        let gpu = Gpu::open(compute.device)?;
        // A compiler says more than a line; `ds4 selftest` shows it all.
        if let Some(fault) = gpu.units_fault().and_then(|fault| fault.lines().next()) {
            output::notice(&format!("prompts go without matrix units, which are not right on this GPU: {fault}"));
        }
        let drafter = self.drafter.as_ref().map(|drafter| Arc::clone(&drafter.options.file));
        // A file without the block is refused below.
        let draft_bytes = drafter.as_ref().and_then(|file| ds4_gpu::draft_weight_bytes(file).ok()).unwrap_or(0);
        let all = ds4_gpu::weight_bytes(&self.file) + draft_bytes;
        let tuning = tuning::for_model(&gpu, compute.precision, &self.file);
        let progress = Progress::start("loading", "MB", (all >> 20) as usize);
        let options = GpuOptions {
            precision: compute.precision,
            rows: compute.rows,
            chunk,
            context: compute.context,
            drafter,
            tuning,
            loaded: Box::new(move |bytes| progress.set((bytes >> 20) as usize)),
        };
        let backend = GpuBackend::new(gpu, &self.file, &self.config, options).map_err(|error| match error {
            error @ ds4_engine::Error::DraftBlock(_) => self.named(error),
            other => other.into(),
        })?;
        Ok(Loaded::Gpu(self.engine(backend, EngineOptions { context: compute.context, chunk })?))
    }
}

/// Tokens of a step unless told otherwise.
const CPU_CHUNK: usize = 512;
const GPU_CHUNK: usize = 2048;

/// Where and how a model is computed.
#[derive(Clone, Copy)]
pub struct Compute {
    /// Device.
    pub backend: BackendName,
    /// Which GPU.
    pub device: Option<usize>,
    /// Threads of the CPU.
    pub threads: usize,
    /// Arithmetic.
    pub precision: Precision,
    /// Storage of KV rows.
    pub rows: RowFormat,
    /// Most tokens of a sequence.
    pub context: usize,
    /// Most tokens of a step.
    pub chunk: Option<usize>,
}

impl Compute {
    /// As the flags say.
    pub fn new(model: &ModelArgs, compute: &ComputeArgs) -> Self {
        Self {
            backend: model.backend,
            device: model.device,
            threads: model.threads,
            precision: if compute.exact { Precision::Exact } else { Precision::Fast },
            rows: match compute.kv_rounding {
                OnOff::On => RowFormat::Native,
                OnOff::Off => RowFormat::Unrounded,
            },
            context: compute.ctx,
            chunk: compute.chunk,
        }
    }
}

/// An engine on the backend that was chosen.
#[allow(clippy::large_enum_variant, reason = "there is one, and it is moved once")]
pub enum Loaded {
    /// On the processor.
    Cpu(Engine<CpuBackend>),
    /// On a GPU.
    Gpu(Engine<GpuBackend>),
}

/// Evaluates an expression with the engine inside a [`Loaded`], of whatever backend.
macro_rules! on_engine {
    ($loaded:expr, $engine:pat => $body:expr) => {
        match $loaded {
            $crate::model::Loaded::Cpu($engine) => $body,
            $crate::model::Loaded::Gpu($engine) => $body,
        }
    };
}
pub(crate) use on_engine;

impl Loaded {
    /// The engine with one sequence.
    ///
    /// # Errors
    /// Out of memory.
    pub fn single(self) -> Result<Box<dyn Single>> {
        Ok(on_engine!(self, engine => Box::new(One::new(engine)?) as Box<dyn Single>))
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
