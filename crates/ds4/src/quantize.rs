//! `ds4 quantize`: the same model with tensors of other types.
//!
//! Rows are dequantised, requantised and written band by band, so memory stays at a few bands whatever the tensor. The
//! file appears under its name when it is complete.

use crate::args::QuantizeArgs;
use crate::interrupt::{self, Interrupt};
use crate::model::open_file;
use crate::output::{self, Bytes};
use crate::progress::Progress;
use crate::recipe::{Family, Recipe, tensor_type};
use anyhow::{Context, Result, anyhow, bail, ensure};
use ds4_engine::weights::format_of;
use ds4_gguf::{File, TensorInfo, Writer};
use ds4_quant::{Format, dequantize, quantize};
use rayon::prelude::*;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Weights that one thread converts at a time: 4 MB as f32.
const BAND: usize = 1 << 20;
/// Keys of an importance matrix that made the input; the output is made without one.
const IMATRIX: &str = "quantize.imatrix.";

pub fn run(args: &QuantizeArgs) -> Result<ExitCode> {
    let input = open_file(&args.input)?;
    ensure!(!args.output.exists(), "{} exists; remove it or choose another name", args.output.display());
    let conversions: Vec<Conversion> =
        input.tensors().iter().map(|t| Conversion::new(t, args.recipe)).collect::<Result<_>>()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args.threads).build().context("cannot start threads")?;
    let interrupt = Interrupt::install()?;
    let partial = Partial::create(&args.output)?;
    let weights = conversions.iter().map(|c| c.tensor.n_elements() as usize).sum();
    let progress = Progress::start("quantising", "weights", weights);
    let job = Job { input: &input, pool: &pool, interrupt: &interrupt, progress: &progress };

    let mut writer = Writer::new();
    for (key, value) in input.metadata().iter().filter(|(key, _)| !key.starts_with(IMATRIX)) {
        writer.metadata(key, value.clone());
    }
    for conversion in &conversions {
        let Conversion { tensor, formats } = conversion;
        let ty = formats.map_or(tensor.ty, |(_, to)| tensor_type(to));
        writer.tensor_with(&*tensor.name, &tensor.dims, ty, move |out| job.write(conversion, out));
    }
    let written = writer.write_to(BufWriter::new(&partial.file));
    drop(progress);
    if interrupt.is_requested() {
        return Ok(interrupt::EXIT_CODE.into());
    }
    written.with_context(|| format!("cannot write {}", partial.path.display()))?;
    let bytes = partial.finish(&args.output)?;
    output::print(&format!("{}: {} (from {})\n", args.output.display(), Bytes(bytes), Bytes(input.len())))?;
    Ok(ExitCode::SUCCESS)
}

/// A tensor, and its formats before and after; `None` copies it.
struct Conversion<'a> {
    tensor: &'a TensorInfo,
    formats: Option<(Format, Format)>,
}

impl<'a> Conversion<'a> {
    fn new(tensor: &'a TensorInfo, recipe: Recipe) -> Result<Self> {
        let Some(to) = recipe.format(Family::of(&tensor.name)) else { return Ok(Self { tensor, formats: None }) };
        let from = format_of(tensor.ty).ok_or_else(|| {
            anyhow!("{}: weights of type {} cannot be read; start from an F16 file", tensor.name, tensor.ty)
        })?;
        // Shapes of the model are multiples of the block lengths; another model's may not be.
        let cols = tensor.dims.first().copied().unwrap_or(1) as usize;
        if to.row_bytes(cols).is_none() {
            bail!(
                "{}: rows of {cols} weights do not fill blocks of {} ({to}); choose another recipe",
                tensor.name,
                to.block_len()
            );
        }
        Ok(Self { tensor, formats: (from != to).then_some((from, to)) })
    }
}

#[derive(Clone, Copy)]
struct Job<'a> {
    input: &'a File,
    pool: &'a rayon::ThreadPool,
    interrupt: &'a Interrupt,
    progress: &'a Progress,
}

impl Job<'_> {
    fn write(self, conversion: &Conversion<'_>, out: &mut dyn Write) -> io::Result<()> {
        let Conversion { tensor, formats } = conversion;
        let data = self.input.data(tensor);
        let Some((from, to)) = *formats else {
            self.progress.add(tensor.n_elements() as usize);
            return out.write_all(data);
        };
        // Both block lengths divide a band: they are powers of two below it.
        let band = BAND / from.block_len() * from.block_bytes();
        let group = band * self.pool.current_num_threads();
        for data in data.chunks(group) {
            if self.interrupt.is_requested() {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted"));
            }
            let bands = data.par_chunks(band).map(|data| convert(&tensor.name, from, to, data));
            let done: Vec<io::Result<Vec<u8>>> = self.pool.install(|| bands.collect());
            for bytes in done {
                out.write_all(&bytes?)?;
            }
            self.progress.add(data.len() / from.block_bytes() * from.block_len());
        }
        Ok(())
    }
}

/// Whole blocks in another format.
fn convert(name: &str, from: Format, to: Format, data: &[u8]) -> io::Result<Vec<u8>> {
    let refused = |error: &dyn std::fmt::Display| io::Error::other(format!("{name}: {error}"));
    let n = data.len() / from.block_bytes() * from.block_len();
    let mut values = vec![0.0; n];
    dequantize(from, data, &mut values).map_err(|e| refused(&e))?;
    let mut bytes = vec![0; n / to.block_len() * to.block_bytes()];
    quantize(to, &values, None, &mut bytes).map_err(|e| refused(&e))?;
    Ok(bytes)
}

/// A file that is removed unless it is finished.
struct Partial {
    path: PathBuf,
    file: std::fs::File,
    finished: bool,
}

impl Partial {
    fn create(target: &Path) -> Result<Self> {
        let mut path = target.as_os_str().to_owned();
        path.push(".partial");
        let path = PathBuf::from(path);
        let file = std::fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, file, finished: false })
    }

    /// Makes the content durable and gives it its name; the number of bytes.
    fn finish(mut self, target: &Path) -> Result<u64> {
        let moved = self.file.sync_all().and_then(|()| std::fs::rename(&self.path, target));
        moved.with_context(|| format!("cannot write {}", target.display()))?;
        self.finished = true;
        Ok(self.file.metadata().map(|m| m.len())?)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.finished {
            // There is nothing to do about a file that cannot be removed; its name says what it is.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
