//! `ds4`: one binary, one `match` on the command.

mod args;
mod debug;
mod model;

use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Err(error) = ds4_gguf::install_truncation_handler() {
        eprintln!("ds4: a model file that is cut short while in use will end the program without a message: {error}");
    }
    let result = match Cli::parse().command {
        Command::Debug(command) => debug::run(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ds4: {error:#}");
            ExitCode::FAILURE
        }
    }
}
