//! From arguments to a loaded engine.

use anyhow::{Context, Result};
use ds4_engine::cpu::{CpuBackend, CpuOptions};
use ds4_engine::{Config, Engine, EngineOptions};
use ds4_gguf::File;
use std::path::Path;
use std::sync::Arc;

/// Opens the file and binds its tensors.
pub fn load(path: &Path, cpu: CpuOptions, options: EngineOptions) -> Result<Engine<CpuBackend>> {
    let file = Arc::new(File::open(path).with_context(|| path.display().to_string())?);
    let config = Config::from_file(&file).with_context(|| path.display().to_string())?;
    let backend = CpuBackend::new(&config, cpu)?;
    Engine::new(file, config, backend, options).with_context(|| path.display().to_string())
}
