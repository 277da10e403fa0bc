//! Text from outside: prompts on the command line and in files.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Most bytes of a text: what the tokenizer takes at once.
pub const TEXT_BYTES_MAX: usize = ds4_tokenizer::TEXT_BYTES_MAX;

/// The text of `prompt` or, if there is none, of `file`.
pub fn read(prompt: Option<&str>, file: Option<&Path>) -> Result<String> {
    match (prompt, file) {
        (Some(text), _) => Ok(text.to_owned()),
        (None, Some(path)) => read_file(path),
        (None, None) => bail!("there is no text; give it with -p, or a file with -f"),
    }
}

/// The contents of a text file.
pub fn read_file(path: &Path) -> Result<String> {
    let place = path.display();
    let reading = || format!("cannot read {place}, expected a text file");
    let mut bytes = Vec::new();
    // One more than allowed tells a full file from one that goes on.
    let limit = TEXT_BYTES_MAX as u64 + 1;
    File::open(path).with_context(reading)?.take(limit).read_to_end(&mut bytes).with_context(reading)?;
    if bytes.len() > TEXT_BYTES_MAX {
        bail!("{place} has more than the {TEXT_BYTES_MAX} bytes that a text may have; shorten it");
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let byte = error.as_bytes().get(at).copied().unwrap_or_default();
        anyhow::anyhow!("{place} is not UTF-8 text: byte {at} is 0x{byte:02x}; convert the file to UTF-8")
    })
}

/// `text`, unless it is empty.
pub fn not_empty(text: String) -> Result<String> {
    if text.is_empty() {
        bail!("the prompt is empty, expected at least one character; give text with -p or -f");
    }
    Ok(text)
}
