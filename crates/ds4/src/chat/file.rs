//! Conversations in files: `{"format": "ds4-chat", "version": 1, "messages": [{"role", "content", "reasoning"}]}`.

use anyhow::{Context, Result, bail};
use ds4_chat::{Message, Role};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

const FORMAT: &str = "ds4-chat";
const VERSION: u32 = 1;
/// Most bytes of a file: a context of a million tokens is 4 to 8 MB of text.
const FILE_BYTES_MAX: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
struct Saved {
    format: String,
    version: u32,
    messages: Vec<SavedMessage>,
}

#[derive(Serialize, Deserialize)]
struct SavedMessage {
    role: SavedRole,
    content: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    reasoning: String,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum SavedRole {
    User,
    Assistant,
}

/// Writes the conversation, all of it or nothing. Only its owner can read the file.
pub fn save(path: &Path, messages: &[Message]) -> Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let saved = |message: &Message| SavedMessage {
        role: if message.role == Role::Assistant { SavedRole::Assistant } else { SavedRole::User },
        content: message.content.clone(),
        reasoning: message.reasoning.clone(),
    };
    let saved = Saved { format: FORMAT.to_owned(), version: VERSION, messages: messages.iter().map(saved).collect() };
    let mut name = path.file_name().with_context(|| format!("{} names no file", path.display()))?.to_owned();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let mut options = File::options();
    options.create(true).write(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&partial).with_context(failed)?;
    let text = serde_json::to_string_pretty(&saved)? + "\n";
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(failed)?;
    fs::rename(&partial, path).with_context(failed)
}

/// Reads a conversation.
pub fn load(path: &Path) -> Result<Vec<Message>> {
    let place = path.display();
    let reading = || format!("cannot read {place}");
    let mut text = String::new();
    File::open(path).with_context(reading)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).with_context(reading)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        bail!("{place} has more than {FILE_BYTES_MAX} bytes, which no conversation has");
    }
    let saved: Saved = serde_json::from_str(&text).with_context(|| format!("{place} is no saved conversation"))?;
    if saved.format != FORMAT || saved.version != VERSION {
        let Saved { format, version, .. } = saved;
        bail!("{place} is {format:?} version {version}, expected {FORMAT:?} version {VERSION}");
    }
    let message = |saved: SavedMessage| {
        let role = match saved.role {
            SavedRole::User => Role::User,
            SavedRole::Assistant => Role::Assistant,
        };
        Message { reasoning: saved.reasoning, ..Message::new(role, saved.content) }
    };
    Ok(saved.messages.into_iter().map(message).collect())
}
