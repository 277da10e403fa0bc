//! `ds4 quantize`: the same model with tensors of other types.
//!
//! Rows are expanded, quantised and written band by band, so memory stays at a few bands whatever the tensor.
//!
//! | file | content |
//! |---|---|
//! | `plan.rs` | what happens to each tensor, and with which importance; everything that can be refused is refused there |
//! | `partial.rs` | the file while it grows, from which a killed run goes on |

mod partial;
mod plan;

use crate::args::QuantizeArgs;
use crate::interrupt::{self, Interrupt};
use crate::model::open_file;
use crate::output::{self, Bytes};
use crate::progress::Progress;
use anyhow::{Context, Error, Result, bail, ensure};
use ds4_convert::{Checkpoint, Importance};
use ds4_gguf::{File, Value, Writer};
use ds4_quant::{Format, dequantize, quantize};
use partial::Partial;
use plan::{Conversion, Input, Plan, Source, Work};
use rayon::prelude::*;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::cell::Cell;
use std::io::{self, BufReader, Read, Write};
use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Weights that one thread converts at a time: 1 MB as f32.
const BAND: usize = 1 << 18;
/// Bands a thread gets before their bytes are written, so that one that ends late does not hold up the others.
const BANDS_PER_THREAD: usize = 8;
/// Bytes of a tensor that is copied that are written at a time.
const COPIED_BYTES: usize = 8 << 20;
/// Keys about the importance matrix that was used, if one was.
const IMATRIX: &str = "quantize.imatrix.";
/// Bytes of each tensor that identify the input, besides its directory.
const IDENTITY_SAMPLE_BYTES: usize = 256;
/// What is written for bands that are in the file already.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

pub fn run(args: &QuantizeArgs) -> Result<ExitCode> {
    let started = Instant::now();
    let checkpoint = is_checkpoint(&args.input).then(|| Checkpoint::open(&args.input)).transpose()?;
    let path = match (&checkpoint, &args.template) {
        (None, Some(_)) => bail!("{} is a GGUF file and needs no --template", args.input.display()),
        (Some(_), None) => bail!(
            "{} is a checkpoint, which needs --template: a GGUF file of the model with its metadata and tokenizer",
            args.input.display()
        ),
        (None, None) => &args.input,
        (Some(_), Some(template)) => template,
    };
    let file = open_file(path)?;
    let input = Input { file: &file, checkpoint: checkpoint.as_ref() };
    ensure!(!args.output.exists(), "{} exists; remove it or choose another name", args.output.display());
    let importance = args.imatrix.as_deref().map(open_importance).transpose()?;
    let plan = Plan::new(input, args.recipe, importance.as_ref(), args.imatrix_strict).with_context(|| {
        let matrix = args.imatrix.iter().map(|path| path.display().to_string());
        matrix.fold(args.input.display().to_string(), |input, matrix| format!("{input} with {matrix}"))
    })?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args.threads).build().context("cannot start threads")?;
    let interrupt = Interrupt::install()?;
    let position = Cell::new(0);
    let mut partial = Partial::open(&args.output, job(input, args, importance.as_ref())?, &position)?;
    let resumed = partial.resumed();
    if resumed > 0 {
        output::notice(&format!("going on after {} of an earlier run", Bytes(resumed)));
    }
    let progress = Progress::start("quantising", "weights", plan.weights());
    let (pool, interrupt_ref) = (&pool, &interrupt);
    let job = Job { file: &file, pool, interrupt: interrupt_ref, progress: &progress, position: &position, resumed };

    let mut writer = Writer::new();
    for (key, value) in file.metadata().iter().filter(|(key, _)| !key.starts_with(IMATRIX)) {
        writer.metadata(key, value.clone());
    }
    if let (Some(path), Some(importance)) = (&args.imatrix, &importance) {
        for (key, value) in importance_keys(path, importance) {
            writer.metadata(format!("{IMATRIX}{key}"), value);
        }
    }
    for conversion in &plan.conversions {
        let tensor = conversion.tensor;
        writer.tensor_with(&*tensor.name, &tensor.dims, conversion.ty, move |out| job.write(conversion, out));
    }
    let written = writer.write_to(&mut partial);
    drop(progress);
    if let Err(error) = written {
        return stopped(error.into(), partial, &interrupt, args);
    }
    let bytes = partial.finish(&args.output)?;
    report(args, input, &plan, bytes, resumed, started)
}

/// Whether a path is that of an official checkpoint: a folder, or a safetensors file.
fn is_checkpoint(path: &Path) -> bool {
    path.is_dir() || path.extension().is_some_and(|end| end == "safetensors")
}

fn open_importance(path: &Path) -> Result<Importance> {
    let open = || {
        let file = std::fs::File::open(path)?;
        let len = file.metadata()?.len();
        Ok::<_, Error>(Importance::read(BufReader::new(file), len)?)
    };
    open().with_context(|| path.display().to_string())
}

/// What says in the file which matrix it was made with (`spec/gguf.md` §2).
fn importance_keys(path: &Path, importance: &Importance) -> [(&'static str, Value); 4] {
    [
        ("file", Value::String(path.display().to_string())),
        ("entries_count", Value::U64(importance.entries().len() as u64)),
        ("dataset", Value::String(importance.dataset.clone().unwrap_or_default())),
        ("chunks_count", Value::U64(importance.chunks.unwrap_or(0).into())),
    ]
}

/// What the bytes of the output depend on, as a digest: a run goes on only where the same was begun.
fn job(input: Input<'_>, args: &QuantizeArgs, importance: Option<&Importance>) -> Result<String> {
    let mut hasher = Sha256::new_with_prefix(input.file.directory_bytes());
    match input.checkpoint {
        Some(checkpoint) => {
            hasher.update(checkpoint.identity()?);
            hasher.update(args.input.as_os_str().as_encoded_bytes());
        }
        None => input.file.tensors().iter().for_each(|tensor| {
            let data = input.file.data(tensor);
            hasher.update(&data[..data.len().min(IDENTITY_SAMPLE_BYTES)]);
        }),
    }
    hasher.update(format!("\n{} {} {}", env!("CARGO_PKG_VERSION"), args.recipe.name(), bytes_of(input)));
    if let (Some(path), Some(importance)) = (&args.imatrix, importance) {
        hasher.update(format!("\n{}\n{:?} {:?}", path.display(), importance.dataset, importance.chunks));
        for (name, values) in importance.entries() {
            hasher.update(name);
            values.iter().for_each(|value| hasher.update(value.to_le_bytes()));
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn bytes_of(input: Input<'_>) -> u64 {
    input.checkpoint.map_or(input.file.len(), Checkpoint::bytes)
}

/// The end of a run that wrote no whole file.
fn stopped(error: Error, partial: Partial<'_>, interrupt: &Interrupt, args: &QuantizeArgs) -> Result<ExitCode> {
    let from_system = |e: &(dyn std::error::Error + 'static)| {
        e.downcast_ref::<io::Error>().is_some_and(|e| e.raw_os_error().is_some())
    };
    if interrupt.is_requested() {
        partial.keep()?;
        output::notice("interrupted; the same command goes on from here");
        return Ok(interrupt::EXIT_CODE.into());
    }
    // A full disk can be emptied; weights that cannot be stored stay as they are.
    if !error.chain().any(from_system) {
        partial.remove();
    }
    Err(error.context(format!("cannot write {}", args.output.display())))
}

fn report(
    args: &QuantizeArgs,
    input: Input<'_>,
    plan: &Plan<'_>,
    bytes: u64,
    resumed: u64,
    started: Instant,
) -> Result<ExitCode> {
    let missing = &plan.missing;
    let seconds = started.elapsed().as_secs_f64();
    if args.json {
        output::print_json(&json!({
            "file": args.output.display().to_string(), "bytes": bytes, "recipe": args.recipe.name(),
            "weights": plan.weights(), "weighted_tensors": plan.weighted, "tensors_not_in_matrix": missing,
            "resumed_bytes": resumed, "seconds": seconds,
            "weights_per_second": (resumed == 0).then(|| plan.weights() as f64 / seconds),
            "peak_memory_bytes": crate::memory::peak(),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let (Some(_), Some(first)) = (&args.imatrix, missing.first()) {
        let n = missing.len();
        output::notice(&format!("{n} tensors are not in the matrix and were stored without: {first} …"));
    }
    let weighted =
        if args.imatrix.is_some() { format!(", {} tensors by importance", plan.weighted) } else { String::new() };
    let read = Bytes(bytes_of(input));
    output::print(&format!("{}: {} (from {read}){weighted}\n", args.output.display(), Bytes(bytes)))?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Clone, Copy)]
struct Job<'a> {
    file: &'a File,
    pool: &'a rayon::ThreadPool,
    interrupt: &'a Interrupt,
    progress: &'a Progress,
    /// Bytes of the output that were written so far.
    position: &'a Cell<u64>,
    /// Bytes of the output that an earlier run has written.
    resumed: u64,
}

impl Job<'_> {
    fn write(self, conversion: &Conversion<'_>, out: &mut dyn Write) -> io::Result<()> {
        let Some(work) = &conversion.work else {
            for part in self.file.data(conversion.tensor).chunks(COPIED_BYTES) {
                out.write_all(part)?;
                self.file.release(part);
            }
            self.progress.add(conversion.tensor.n_elements() as usize);
            return Ok(());
        };
        let bands = bands(work);
        for group in bands.chunks(self.pool.current_num_threads() * BANDS_PER_THREAD) {
            if self.interrupt.is_requested() {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted"));
            }
            let bytes = |band: &Band| (band.rows.len() * work.row_bytes()) as u64;
            let total: u64 = group.iter().map(bytes).sum();
            if self.position.get() + total <= self.resumed {
                io::copy(&mut (&mut Zeros).take(total), out)?;
            } else {
                let convert = |band: &Band| work.convert(band);
                let done: Vec<Result<Vec<u8>, String>> = self.pool.install(|| group.par_iter().map(convert).collect());
                for bytes in done {
                    let refused = |why| io::Error::other(format!("{}: {why}", conversion.tensor.name));
                    out.write_all(&bytes.map_err(refused)?)?;
                }
            }
            if let (Source::Gguf(from, data), [first, ..]) = (&work.from, group) {
                self.file
                    .release(&data[work.bytes(*from, first).start..work.bytes(*from, &group[group.len() - 1]).end]);
            }
            self.progress.add(group.iter().map(|band| band.rows.len() * work.cols).sum());
        }
        Ok(())
    }
}

/// Rows of one matrix of a tensor.
struct Band {
    part: usize,
    rows: Range<usize>,
}

/// All rows, in order.
fn bands(work: &Work<'_>) -> Vec<Band> {
    let size = (BAND / work.cols.max(1)).max(1);
    let of_part = |part| {
        let starts = (0..work.rows).step_by(size);
        starts.map(move |first| Band { part, rows: first..(first + size).min(work.rows) })
    };
    (0..work.parts).flat_map(of_part).collect()
}

impl Work<'_> {
    /// The rows of a band in the new format.
    fn convert(&self, band: &Band) -> Result<Vec<u8>, String> {
        let Some(to) = self.to else { return self.whole_numbers(band).map_err(|e| e.to_string()) };
        let n = band.rows.len() * self.cols;
        let mut values = vec![0.0; n];
        match &self.from {
            Source::Gguf(from, data) => {
                dequantize(*from, &data[self.bytes(*from, band)], &mut values).map_err(|e| e.to_string())?;
            }
            Source::Checkpoint(matrices) => {
                matrices[band.part].read(band.rows.clone(), &mut values).map_err(|e| e.to_string())?;
            }
        }
        let mut bytes = vec![0; band.rows.len() * self.row_bytes()];
        quantize(to, &values, self.importance[band.part], &mut bytes).map_err(|e| e.to_string())?;
        Ok(bytes)
    }

    /// Where a band is among the bytes of all matrices.
    fn bytes(&self, from: Format, band: &Band) -> Range<usize> {
        let bytes = |row: usize| (band.part * self.rows + row) * self.cols / from.block_len() * from.block_bytes();
        bytes(band.rows.start)..bytes(band.rows.end)
    }

    fn whole_numbers(&self, band: &Band) -> io::Result<Vec<u8>> {
        match &self.from {
            Source::Checkpoint(matrices) => {
                let numbers = matrices[band.part].read_integers(band.rows.clone())?;
                Ok(numbers.into_iter().flat_map(i32::to_le_bytes).collect())
            }
            // Those of a GGUF file are copied.
            Source::Gguf(..) => Err(io::Error::other("is no table of a checkpoint")),
        }
    }
}

/// Zeros without end, a block at a time.
struct Zeros;

impl Read for Zeros {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = to.len().min(ZEROS.len());
        to[..n].copy_from_slice(&ZEROS[..n]);
        Ok(n)
    }
}
