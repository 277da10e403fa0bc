//! What a run is shown on.

use super::report::Done;
use super::suite::Case;
use crate::output;
use crate::progress::Progress;
use crate::screen::Screen;
use anyhow::Result;

/// What the user wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// Go on.
    Go,
    /// Ask nothing more for now.
    Pause,
    /// Ask this question first.
    Ask(usize),
    /// No more.
    Stop,
}

/// A run as a user sees it. Questions are counted from 0.
pub trait Show {
    /// A question is asked.
    fn begin(&mut self, index: usize) -> Result<()>;
    /// So many of `total` tokens of its prompt are read.
    fn reading(&mut self, done: usize, total: usize) -> Result<()>;
    /// More reasoning.
    fn reasoning(&mut self, text: &str) -> Result<()>;
    /// More of the answer.
    fn answer(&mut self, text: &str) -> Result<()>;
    /// The question stands like that now: graded, or pending again.
    fn end(&mut self, index: usize, done: &Done) -> Result<()>;
    /// What the user wants; asked many times a second.
    fn wish(&mut self) -> Result<Wish> {
        Ok(Wish::Go)
    }
}

/// Nothing is shown.
pub struct Silent;

impl Show for Silent {
    fn begin(&mut self, _: usize) -> Result<()> {
        Ok(())
    }

    fn reading(&mut self, _: usize, _: usize) -> Result<()> {
        Ok(())
    }

    fn reasoning(&mut self, _: &str) -> Result<()> {
        Ok(())
    }

    fn answer(&mut self, _: &str) -> Result<()> {
        Ok(())
    }

    fn end(&mut self, _: usize, _: &Done) -> Result<()> {
        Ok(())
    }
}

/// Lines, one question after the other.
pub struct Plain<'a> {
    cases: &'a [Case],
    progress: Option<Progress>,
    screen: Screen,
}

impl<'a> Plain<'a> {
    /// Lines for `cases`.
    pub fn new(cases: &'a [Case]) -> Self {
        Self { cases, progress: None, screen: Screen::new() }
    }
}

impl Show for Plain<'_> {
    fn begin(&mut self, index: usize) -> Result<()> {
        let Case { id, domain, .. } = &self.cases[index];
        let (id, domain) = (output::printable(id), output::printable(domain));
        output::print(&format!("===== {}/{} {id} ({domain}) =====\n", index + 1, self.cases.len()))
    }

    fn reading(&mut self, done: usize, total: usize) -> Result<()> {
        self.progress.get_or_insert_with(|| Progress::start("reading", "tokens", total)).set(done);
        Ok(())
    }

    fn reasoning(&mut self, text: &str) -> Result<()> {
        self.progress = None;
        self.screen.reasoning(text)
    }

    fn answer(&mut self, text: &str) -> Result<()> {
        self.progress = None;
        self.screen.answer(text)
    }

    fn end(&mut self, _: usize, done: &Done) -> Result<()> {
        self.progress = None;
        self.screen.end()?;
        output::print(&format!("{}\n", done.verdict()))
    }
}

impl Drop for Plain<'_> {
    fn drop(&mut self) {
        // Ctrl-C may come in the middle of a line, or of grey.
        let _ = self.screen.end();
    }
}
