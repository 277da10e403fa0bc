//! `ds4 chat`: a conversation in the terminal.
//!
//! | file | content |
//! |---|---|
//! | `command.rs` | what a typed line asks for |
//! | `input.rs` | lines from an editor with history, or from a pipe |
//! | `talk.rs` | the conversation and its answers |
//! | `file.rs` | conversations in files |

mod command;
pub mod file;
mod input;
mod talk;

use crate::args::ChatArgs;
use crate::{output, text};
use anyhow::Result;
use command::Command;
use ds4_chat::ThinkingMode;
use input::{Input, Line};
use std::process::ExitCode;
use talk::Talk;

pub fn run(args: ChatArgs) -> Result<ExitCode> {
    let mut talk = Talk::start(args)?;
    let mut input = Input::open();
    if input.is_terminal() {
        output::notice("type a question; /help lists the commands");
    }
    loop {
        let line = match input.next()? {
            Line::Text(line) => line,
            Line::Interrupted => {
                output::notice("/quit or Ctrl-D ends the program");
                continue;
            }
            Line::End => break,
        };
        let done = match Command::parse(&line) {
            Command::Nothing => Ok(()),
            Command::Say(text) => talk.say(text),
            Command::Help => output::print(command::HELP),
            Command::Think(mode) => {
                talk.think(mode);
                Ok(())
            }
            Command::Context(tokens) => talk.resize(tokens),
            Command::Read(path) => text::read_file(&path).and_then(text::not_empty).and_then(|text| talk.say(text)),
            Command::Save(path) => file::save(&path, talk.messages()),
            Command::Load(path) => file::load(&path).map(|messages| talk.replace(messages)),
            Command::New => {
                talk.replace(Vec::new());
                Ok(())
            }
            Command::Quit => break,
            Command::Wrong(why) => {
                output::notice(&why);
                Ok(())
            }
        };
        match done {
            Err(error) if output::is_closed_pipe(&error) => return Err(error),
            // What one line asked for failed; the conversation goes on.
            Err(error) => output::notice(&format!("{error:#}")),
            Ok(()) => {}
        }
    }
    talk.end()?;
    Ok(ExitCode::SUCCESS)
}

/// What people call a mode.
fn name(mode: ThinkingMode) -> &'static str {
    match mode {
        ThinkingMode::None => "off",
        ThinkingMode::Low => "low",
        ThinkingMode::High => "on",
        ThinkingMode::Max => "as much as possible",
    }
}
