//! Lines from an editor with history, or from a pipe.

use crate::text::TEXT_BYTES_MAX;
use anyhow::{Context, Result, bail};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};
use std::fs::{File, create_dir_all};
use std::io::{self, BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};

/// Most lines of history.
const HISTORY_LINES: usize = 512;

/// Where lines come from.
pub enum Input {
    /// A person at a terminal, and the file of the history if there may be one.
    Editor(Box<Editor<(), FileHistory>>, Option<PathBuf>),
    /// A pipe or a file.
    Pipe,
}

/// What came.
pub enum Line {
    /// A line, several if they were continued.
    Text(String),
    /// Ctrl-C at an empty prompt.
    Interrupted,
    /// Nothing follows.
    End,
}

impl Input {
    /// The editor if standard input and output are terminals.
    pub fn open() -> Self {
        let are_terminals = io::stdin().is_terminal() && io::stdout().is_terminal();
        let config =
            Config::builder().max_history_size(HISTORY_LINES).map(|config| config.auto_add_history(true).build());
        match config.and_then(Editor::with_config) {
            Ok(mut editor) if are_terminals => {
                let path = history_file();
                if let Some(path) = &path {
                    // The first conversation has no history.
                    let _ = editor.load_history(path);
                }
                Self::Editor(Box::new(editor), path)
            }
            _ => Self::Pipe,
        }
    }

    /// Whether a person types.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Editor(..))
    }

    /// The next line, joined with those that continue it.
    pub fn next(&mut self) -> Result<Line> {
        let mut text = String::new();
        loop {
            let prompt = if text.is_empty() { "ds4> " } else { "...> " };
            match self.line(prompt)? {
                Line::Text(line) => match line.strip_suffix('\\') {
                    Some(line) => {
                        text.push_str(line);
                        text.push('\n');
                    }
                    None => return Ok(Line::Text(text + &line)),
                },
                Line::End if !text.is_empty() => return Ok(Line::Text(text)),
                other => return Ok(other),
            }
            if text.len() > TEXT_BYTES_MAX {
                bail!("the text has more than {TEXT_BYTES_MAX} bytes; shorten it");
            }
        }
    }

    fn line(&mut self, prompt: &str) -> Result<Line> {
        match self {
            Self::Editor(editor, _) => match editor.readline(prompt) {
                Ok(line) => Ok(Line::Text(line)),
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(error) => Err(error).context("cannot read from the terminal"),
            },
            Self::Pipe => piped(),
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Self::Editor(editor, Some(path)) = self {
            // A conversation is worth more than its history: no failure here is worth a word.
            let _ = editor.save_history(path);
        }
    }
}

fn piped() -> Result<Line> {
    let mut bytes = Vec::new();
    // One more than allowed tells a full line from one that goes on.
    let limit = TEXT_BYTES_MAX as u64 + 1;
    io::stdin().lock().take(limit).read_until(b'\n', &mut bytes).context("cannot read standard input")?;
    if bytes.is_empty() {
        return Ok(Line::End);
    }
    if bytes.len() > TEXT_BYTES_MAX {
        bail!("a line has more than {TEXT_BYTES_MAX} bytes; shorten it");
    }
    let line = String::from_utf8(bytes).context("standard input is not UTF-8 text")?;
    Ok(Line::Text(line.trim_end_matches(['\n', '\r']).to_owned()))
}

/// `$XDG_STATE_HOME/ds4/history` or `~/.local/state/ds4/history`, readable by its owner alone.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    let folder = state.join("ds4");
    create_dir_all(&folder).ok()?;
    let path = folder.join("history");
    private(&path).ok()?;
    Some(path)
}

/// Makes a file that only its owner can read, unless it is there.
fn private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
