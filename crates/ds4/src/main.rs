//! `ds4`: one binary, one `match` on the command.
//!
//! | file | content |
//! |---|---|
//! | `args/` | what was typed |
//! | `run/` | `ds4 run`: answer, completion, dumps, perplexity |
//! | `chat/` | `ds4 chat`: a conversation in the terminal |
//! | `kv.rs`, `sessions.rs` | `ds4 kv`, `ds4 sessions`: states and conversations on disk |
//! | `serve.rs` | `ds4 serve`: the engine behind HTTP |
//! | `download.rs`, `models.rs`, `published.rs` | `ds4 download`, `ds4 models`; the published files |
//! | `inspect/` | `ds4 inspect`: what a file holds |
//! | `tokenize.rs` | `ds4 tokenize` |
//! | `quantize.rs`, `recipe.rs` | `ds4 quantize`, which tensor gets which type |
//! | `debug.rs`, `tiny_model/` | `ds4 debug`: numbers for checks, a small random model |
//! | `model.rs`, `host.rs` | from a path to a loaded engine, alone or on a thread with a service |
//! | `memory.rs` | whether a context fits |
//! | `text.rs`, `sampling.rs` | prompts and other text from outside, sampling flags |
//! | `interrupt.rs` | Ctrl-C |
//! | `output.rs`, `progress.rs`, `screen.rs` | what goes to people and programs |

mod args;
mod chat;
mod debug;
mod download;
mod host;
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
mod run;
mod sampling;
mod screen;
mod serve;
mod sessions;
mod text;
mod tiny_model;
mod tokenize;

use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Err(error) = ds4_gguf::install_truncation_handler() {
        output::notice(&format!(
            "a model file that is cut short while in use will end the program without a message: {error}"
        ));
    }
    let done = |()| ExitCode::SUCCESS;
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Chat(args) => chat::run(*args),
        Command::Serve(args) => serve::run(*args),
        Command::Download(args) => download::run(&args),
        Command::Models(args) => models::run(&args).map(done),
        Command::Kv(command) => kv::run(command),
        Command::Sessions(args) => sessions::run(&args).map(done),
        Command::Inspect(args) => inspect::run(&args).map(done),
        Command::Tokenize(args) => tokenize::run(&args).map(done),
        Command::Quantize(args) => quantize::run(&args),
        Command::Debug(command) => debug::run(command).map(done),
    };
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
