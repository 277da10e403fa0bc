//! Answers on standard output: reasoning in grey on a terminal, on standard error elsewhere.

use crate::output;
use anyhow::Result;
use std::io::{self, IsTerminal, Write};

/// Grey, as terminals have it.
const GREY: &str = "\u{1b}[90m";
/// Back to normal.
const PLAIN: &str = "\u{1b}[0m";

/// What was written last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Reasoning,
    Answer,
}

/// Where one answer is written.
pub struct Screen {
    is_terminal: bool,
    colours: bool,
    last: Last,
    ends_line: bool,
}

impl Screen {
    /// A screen for one answer.
    pub fn new() -> Self {
        let is_terminal = io::stdout().is_terminal();
        let colours = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { is_terminal, colours, last: Last::Nothing, ends_line: true }
    }

    /// Writes reasoning.
    pub fn reasoning(&mut self, text: &str) -> Result<()> {
        self.write(Last::Reasoning, text)
    }

    /// Writes a part of the answer, reasoning ended before it.
    pub fn answer(&mut self, text: &str) -> Result<()> {
        self.write(Last::Answer, text)
    }

    /// Ends the last line.
    pub fn end(&mut self) -> Result<()> {
        self.turn_to(Last::Nothing)
    }

    fn write(&mut self, kind: Last, text: &str) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        if self.last != kind {
            self.turn_to(kind)?;
        }
        self.ends_line = text.ends_with('\n');
        self.put(kind, &self.harmless(text))
    }

    /// Ends what was written and begins `next`.
    fn turn_to(&mut self, next: Last) -> Result<()> {
        let last = std::mem::replace(&mut self.last, next);
        if last == Last::Reasoning && self.colours {
            self.put(last, PLAIN)?;
        }
        if last != Last::Nothing && !self.ends_line {
            self.put(last, "\n")?;
        }
        self.ends_line = true;
        if next == Last::Reasoning && self.colours {
            self.put(next, GREY)?;
        }
        Ok(())
    }

    fn put(&self, kind: Last, text: &str) -> Result<()> {
        if kind == Last::Reasoning && !self.is_terminal {
            // There is nowhere left to report a standard error that cannot be written.
            let _ = io::stderr().write_all(text.as_bytes());
            return Ok(());
        }
        output::print(text)
    }

    /// A terminal obeys control characters; a model must not command it.
    fn harmless(&self, text: &str) -> String {
        let keep = |c: &char| !self.is_terminal || !c.is_control() || matches!(c, '\n' | '\t');
        text.chars().filter(keep).collect()
    }
}
