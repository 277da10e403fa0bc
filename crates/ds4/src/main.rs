//! `ds4`: one binary, one `match` on the command.
//!
//! | file | content |
//! |---|---|
//! | `args/` | what was typed |
//! | `run/` | `ds4 run`: answer, completion, dumps, perplexity |
//! | `alias.rs` | `ds4-server`, with the flags of the C program |
//! | `chat/` | `ds4 chat`: a conversation in the terminal |
//! | `kv.rs`, `sessions.rs` | `ds4 kv`, `ds4 sessions`: states and conversations on disk |
//! | `serve.rs` | `ds4 serve`: the engine behind HTTP |
//! | `download.rs`, `models.rs`, `published.rs` | `ds4 download`, `ds4 models`; the published files |
//! | `doctor/`, `bench/`, `eval/`, `vectors.rs` | `ds4 doctor`, `ds4 bench`, `ds4 eval`, `ds4 vectors` |
//! | `settings.rs`, `setup.rs`, `service.rs` | settings from file and environment; `ds4 config`, completions, man pages; `ds4 service` |
//! | `inspect/` | `ds4 inspect`: what a file holds |
//! | `devices.rs`, `selftest.rs` | `ds4 devices`, `ds4 selftest` |
//! | `tokenize.rs` | `ds4 tokenize` |
//! | `quantize/`, `recipe.rs` | `ds4 quantize`, which tensor gets which type |
//! | `imatrix.rs` | `ds4 imatrix`: which columns matter |
//! | `debug.rs`, `tiny_model/` | `ds4 debug`: numbers for checks, a small random model |
//! | `model.rs`, `host.rs` | from a path to a loaded engine, alone or on a thread with a service |
//! | `drafts.rs` | tokens guessed ahead |
//! | `steering.rs` | `--steer`, and `ds4 direction` |
//! | `single.rs` | one sequence on whatever backend |
//! | `memory.rs` | whether a context fits |
//! | `text.rs`, `sampling.rs` | prompts and other text from outside, sampling flags |
//! | `interrupt.rs` | Ctrl-C |
//! | `output.rs`, `progress.rs`, `screen.rs` | what goes to people and programs |

mod alias;
mod args;
mod bench;
mod chat;
mod debug;
mod devices;
mod doctor;
mod download;
mod drafts;
mod eval;
mod host;
mod imatrix;
mod inspect;
mod interrupt;
mod kv;
mod memory;
mod model;
mod models;
mod output;
mod progress;
mod published;
mod quantize;
mod recipe;
#[cfg(test)]
mod reference;
mod run;
mod sampling;
mod screen;
mod selftest;
mod serve;
mod service;
mod sessions;
mod settings;
mod setup;
mod single;
mod steering;
mod text;
mod tiny_model;
mod tokenize;
mod tuning;
mod vectors;

use anyhow::Result;
use args::{Cli, Command};
use clap::{CommandFactory, FromArgMatches};
use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Err(error) = ds4_gguf::install_truncation_handler() {
        output::notice(&format!(
            "a model file that is cut short while in use will end the program without a message: {error}"
        ));
    }
    let result = command().and_then(|command| command.map_or(Ok(ExitCode::SUCCESS), act));
    match result {
        Ok(code) => code,
        // Whoever reads the output has seen enough.
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::notice(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// What was asked for; `None` if that was to print the settings, which is done.
fn command() -> Result<Option<Command>> {
    let args: Vec<OsString> = alias::translated(std::env::args_os().collect());
    let parsed = settings::matches(Cli::command(), &args)?;
    if let Some(text) = parsed.printed() {
        return output::print(&text).map(|()| None);
    }
    if let Some(path) = parsed.found_model() {
        output::notice(&format!("using {}", path.display()));
    }
    Ok(Some(Cli::from_arg_matches(&parsed.matches).unwrap_or_else(|error| error.exit()).command))
}

fn act(command: Command) -> Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Run(args) => run::run(&args),
        Command::Chat(args) => chat::run(*args),
        Command::Serve(args) => serve::run(*args),
        Command::Download(args) => download::run(&args),
        Command::Models(args) => models::run(&args).map(done),
        Command::Doctor(args) => doctor::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Vectors(args) => vectors::run(&args),
        Command::Config(args) => setup::config(&args).map(done),
        Command::Service(args) => service::run(&args).map(done),
        Command::Completions(args) => setup::completions(&args).map(done),
        Command::Man(args) => setup::man(&args).map(done),
        Command::Kv(command) => kv::run(command),
        Command::Sessions(args) => sessions::run(&args).map(done),
        Command::Inspect(args) => inspect::run(&args).map(done),
        Command::Devices(args) => devices::run(&args).map(done),
        Command::Selftest(args) => selftest::run(&args),
        Command::Tokenize(args) => tokenize::run(&args).map(done),
        Command::Quantize(args) => quantize::run(&args),
        Command::Imatrix(args) => imatrix::run(&args),
        Command::Direction(args) => steering::build(&args),
        Command::Debug(command) => debug::run(command).map(done),
    }
}
