//! Conversations in files: `{"format": "ds4-chat", "version": 1, "messages": [{"role", "content", "reasoning"}]}`.

use anyhow::{Context, Result, bail};
use ds4_chat::{Message, Role};
use ds4_store::NewFile;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
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
    let saved = |message: &Message| SavedMessage {
        role: if message.role == Role::Assistant { SavedRole::Assistant } else { SavedRole::User },
        content: message.content.clone(),
        reasoning: message.reasoning.clone(),
    };
    let saved = Saved { format: FORMAT.to_owned(), version: VERSION, messages: messages.iter().map(saved).collect() };
    let text = serde_json::to_string_pretty(&saved)? + "\n";
    let written = NewFile::create(path.to_owned()).and_then(|mut file| {
        file.write(text.as_bytes())?;
        file.commit()
    });
    written.with_context(|| format!("cannot write {}", path.display()))
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
