//! What goes to people and programs: standard output, one-line messages, readable sizes.

use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Prints a message as one line on standard error.
pub fn notice(message: &str) {
    // There is nowhere left to report a standard error that cannot be written.
    let _ = writeln!(io::stderr(), "ds4: {}", printable(message));
}

/// `text` without characters that a terminal would obey: names and strings come from files.
pub fn printable(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_debug().collect() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// Prints `text` on standard output.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to standard output")
}

/// Prints `value` as one line of JSON on standard output.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    print(&(serde_json::to_string(value)? + "\n"))
}

/// A file for JSON, created before the work whose result it will hold: a bad path is noticed at once.
pub struct JsonFile<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> JsonFile<'a> {
    /// Creates or empties the file.
    pub fn create(path: &'a Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, file })
    }

    /// Writes `value` as one line.
    pub fn write(mut self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(value)? + "\n";
        self.file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Whether `error` is that the reader of the output has gone.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    io.is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe)
}

/// A number of bytes with a decimal unit: `86.71 GB`.
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
        if self.0 < 1000 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut value = self.0 as f64 / 1000.0;
        let mut unit = 0;
        // What would be printed as 1000.00 belongs to the next unit.
        while value >= 999.995 && unit + 1 < UNITS.len() {
            value /= 1000.0;
            unit += 1;
        }
        f.pad(&format!("{value:.2} {}", UNITS[unit]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_to_five_digits_and_a_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (999_994, "999.99 kB"),
            (999_995, "1.00 MB"),
            (86_714_777_664, "86.71 GB"),
            (u64::MAX, "18.45 EB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        assert_eq!(format!("{:>10}|", Bytes(1000)), "   1.00 kB|");
    }

    #[test]
    fn control_characters_are_escaped_and_others_kept() {
        assert_eq!(printable("a\u{1b}[2J\nĠ｜é"), "a\\u{1b}[2J\\nĠ｜é");
    }
}
