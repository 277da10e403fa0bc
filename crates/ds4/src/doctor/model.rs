//! The model file: can it be read, is it whole, does it fit.

use super::{Findings, State};
use crate::args::DoctorArgs;
use crate::interrupt::Interrupt;
use crate::memory;
use crate::model::open_file;
use crate::output::Bytes;
use crate::progress::Progress;
use crate::published::Target;
use anyhow::Result;
use ds4_engine::Config;
use ds4_engine::weights::format_of;
use ds4_gguf::File;
use ds4_quant::dequantize;
use ds4_tokenizer::Tokenizer;
use std::path::Path;

const AREA: &str = "model";
/// Elements that are looked at together: a multiple of every block.
const ELEMENTS_AT_ONCE: usize = 1 << 16;
/// What the bar counts.
const MEGABYTE: u64 = 1_000_000;

/// Looks at the model; whether it was not interrupted.
pub fn file(findings: &mut Findings, args: &DoctorArgs, interrupt: &Interrupt) -> Result<bool> {
    let Some(path) = &args.model.model else {
        let remedy = "fetch one with `ds4 download q2-imatrix`, or name one with -m; until then commands use the demo";
        findings.add(AREA, State::Note, "no model is here besides the demo inside the program", remedy);
        return Ok(true);
    };
    let place = path.display();
    let file = match open_file(path) {
        Ok(file) => file,
        Err(error) => {
            findings.add(AREA, State::Error, format!("{error:#}"), "check the path, or `ds4 download` the file again");
            return Ok(true);
        }
    };
    let config = match Config::from_file(&file) {
        Ok(config) => config,
        Err(error) => {
            let remedy = "use a file of DeepSeek V4 Flash; `ds4 models` lists those that are here";
            findings.add(AREA, State::Error, format!("{place}: {error}"), remedy);
            return Ok(true);
        }
    };
    let tensors = file.tensors().len();
    findings.ok(AREA, format!("{place}: {}, {tensors} tensors, {} layers", Bytes(file.len()), config.layers.len()));
    let target = path.canonicalize().ok().and_then(|real| Target::of_file(real.file_name()?.to_str()?));
    if let Some(target) = target.filter(|target| file.len() < target.data_bytes()) {
        let finding = format!("{place} is smaller than the published file of its name");
        findings.add(AREA, State::Error, finding, format!("move it away and run `ds4 download {}`", target.name()));
    }
    match Tokenizer::from_gguf(file.metadata()) {
        Ok(tokenizer) if tokenizer.has_chat_markers() => {}
        Ok(_) => findings.add(
            AREA,
            State::Warning,
            "its vocabulary lacks control tokens of the chat format",
            "only `ds4 run --raw` works with it; use a published file",
        ),
        Err(error) => findings.add(AREA, State::Error, error.to_string(), "use a file that carries its tokenizer"),
    }
    if let Some(total) = memory::total().filter(|total| *total < file.len()) {
        let finding = format!("it has {}, this machine's memory {}", Bytes(file.len()), Bytes(total));
        let remedy = "it works, but reads weights from disk for every token: use a smaller file or a larger machine";
        findings.add(AREA, State::Warning, finding, remedy);
    }
    if !args.deep {
        return Ok(true);
    }
    deep(findings, path, &file, interrupt)
}

/// Reads every weight.
fn deep(findings: &mut Findings, path: &Path, file: &File, interrupt: &Interrupt) -> Result<bool> {
    let total: u64 = file.tensors().iter().map(|tensor| tensor.n_bytes).sum();
    let progress = Progress::start("reading", "MB", usize::try_from(total / MEGABYTE).unwrap_or(usize::MAX));
    let (mut done, mut bad, mut skipped) = (0, Vec::new(), 0);
    let mut values = vec![0.0; ELEMENTS_AT_ONCE];
    for tensor in file.tensors() {
        match format_of(tensor.ty) {
            None => skipped += 1,
            Some(format) => {
                let bytes_at_once = ELEMENTS_AT_ONCE / format.block_len() * format.block_bytes();
                let mut is_finite = true;
                for piece in file.data(tensor).chunks(bytes_at_once) {
                    if interrupt.is_requested() {
                        return Ok(false);
                    }
                    let elements = piece.len() / format.block_bytes() * format.block_len();
                    let values = &mut values[..elements];
                    dequantize(format, piece, values)?;
                    is_finite &= values.iter().all(|value| value.is_finite());
                }
                if !is_finite {
                    bad.push(tensor.name.clone());
                }
            }
        }
        done += tensor.n_bytes;
        progress.set(usize::try_from(done / MEGABYTE).unwrap_or(usize::MAX));
    }
    drop(progress);
    file.check_intact()?;
    match bad.first() {
        None => findings.ok(AREA, format!("all weights of {} tensors are numbers", file.tensors().len() - skipped)),
        Some(first) => findings.add(
            AREA,
            State::Error,
            format!("{} tensors hold weights that are no numbers, {first} for one", bad.len()),
            format!("{} is damaged: move it away and fetch it again", path.display()),
        ),
    }
    Ok(true)
}

pub fn unfinished(findings: &mut Findings, dir: &Path) {
    for target in Target::ALL {
        if let Some(partial) = ds4_hub::unfinished(&dir.join(target.file())) {
            let (here, bytes, name) = (Bytes(partial.here), Bytes(partial.bytes), target.name());
            let finding = format!("an unfinished download of {name}, {here} of {bytes}");
            let remedy = format!("`ds4 download {name}` goes on; or remove {}", partial.path.display());
            findings.add(AREA, State::Note, finding, remedy);
        }
    }
}
