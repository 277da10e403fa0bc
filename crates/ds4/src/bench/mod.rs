//! `ds4 bench`: how fast, and how near to what the memory allows.
//!
//! | file | content |
//! |---|---|
//! | `local.rs` | reading and generating at context lengths |
//! | `floor.rs` | memory bandwidth, and the bytes that a token must read |
//! | `remote.rs` | the same through a running server |
//! | `result.rs` | rows, CSV, JSON, comparison |
//! | `plot.rs` | the drawing |

mod floor;
mod local;
mod plot;
mod remote;
mod result;

use crate::args::{BenchAction, BenchArgs};
use crate::interrupt::{self, Interrupt};
use crate::output;
use anyhow::{Context, Result, bail};
use result::Report;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

pub fn run(args: &BenchArgs) -> Result<ExitCode> {
    if let Some(BenchAction::Compare { a, b, json }) = &args.action {
        return result::compare(a, b, *json).map(|()| ExitCode::SUCCESS);
    }
    if args.ctx_max < args.ctx_start {
        bail!("--ctx-max {} is below --ctx-start {}; raise it", args.ctx_max, args.ctx_start);
    }
    let interrupt = Interrupt::install()?;
    // Opened before the work whose result they will hold.
    let create = |path: &Path| File::create(path).with_context(|| format!("cannot write {}", path.display()));
    let csv = args.out.csv.as_deref().map(create).transpose()?;
    let svg = args.out.svg.as_deref().map(create).transpose()?;
    let is_dash = |path: &&Path| *path == Path::new("-");
    let json = args.out.json.as_deref().filter(|path| !is_dash(path)).map(create).transpose()?;
    let on_output = args.out.json.as_deref().is_some_and(|path| is_dash(&path));
    let report = match &args.url {
        Some(url) => remote::measure(args, url, &interrupt)?,
        None => local::measure(args, &interrupt)?,
    };
    let write = |file: Option<File>, text: &str| file.map_or(Ok(()), |mut file| file.write_all(text.as_bytes()));
    let text = serde_json::to_string(&report)? + "\n";
    match (csv, on_output) {
        (None, false) => output::print(&report.csv())?,
        (csv, _) => write(csv, &report.csv()).context("cannot write the CSV file")?,
    }
    if on_output {
        output::print(&text)?;
    }
    write(json, &text).context("cannot write the JSON file")?;
    write(svg, &plot::svg(&report)).context("cannot write the SVG file")?;
    tell(&report);
    Ok(if interrupt.is_requested() { interrupt::EXIT_CODE.into() } else { ExitCode::SUCCESS })
}

fn tell(report: &Report) {
    if let Some(bandwidth) = report.bandwidth_bytes_per_s {
        output::notice(&format!("memory bandwidth of this run {:.1} GB/s, read by all threads", bandwidth / 1e9));
    }
    if let Some(note) = &report.note {
        output::notice(note);
    }
}
