//! `ds4 sessions`, and where sessions and KV states are.

use crate::args::SessionsArgs;
use crate::chat::file;
use crate::output::{self, Bytes};
use anyhow::{Context, Result, bail};
use ds4_chat::{Message, Role};
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const KIND: &str = "json";
/// Most characters of a conversation's first words in the list.
const TITLE_CHARACTERS: usize = 60;

/// `$XDG_CACHE_HOME/ds4` or `~/.cache/ds4`, if either is known.
pub fn cache_dir() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || Some(PathBuf::from(std::env::var_os("HOME").filter(|home| !home.is_empty())?).join(".cache"));
    Some(cache.or_else(home)?.join("ds4"))
}

/// `kv` in it.
///
/// # Errors
/// It is not known.
pub fn default_dir() -> Result<PathBuf> {
    let cache = cache_dir().context("no home directory is known; name a directory with --kv-dir")?;
    Ok(cache.join("kv"))
}

/// The directory that was named, or the usual one.
pub fn dir(named: Option<&Path>) -> Result<PathBuf> {
    named.map_or_else(default_dir, |dir| Ok(dir.to_owned()))
}

/// File of a session.
pub fn file(kv_dir: &Path, name: &str) -> PathBuf {
    kv_dir.join("sessions").join(format!("{name}.{KIND}"))
}

/// Writes a conversation to its session's file.
pub fn save(path: &Path, messages: &[Message]) -> Result<()> {
    if let Some(folder) = path.parent() {
        ds4_store::make_private_dir(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    file::save(path, messages)
}

#[derive(Serialize)]
struct Session {
    name: String,
    messages: usize,
    bytes: u64,
    /// Unix seconds.
    changed: u64,
    /// First words of the first question.
    begins: String,
}

pub fn run(args: &SessionsArgs) -> Result<()> {
    let folder = dir(args.store.kv_dir.as_deref())?.join("sessions");
    if let Some(name) = &args.delete {
        let path = folder.join(format!("{name}.{KIND}"));
        // A name with a slash would lead elsewhere.
        if name.contains(['/', '\\']) || !path.is_file() {
            bail!("there is no session {name}; `ds4 sessions` lists them");
        }
        return fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()));
    }
    let mut sessions = Vec::new();
    let files = if folder.exists() {
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?.collect()
    } else {
        Vec::new()
    };
    for entry in files {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        let Some(name) = path.file_stem().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
        if path.extension().is_none_or(|kind| kind != KIND) {
            continue;
        }
        match session(&path, name) {
            Ok(session) => sessions.push(session),
            Err(error) => output::notice(&format!("{error:#}")),
        }
    }
    sessions.sort_by(|a, b| b.changed.cmp(&a.changed).then(a.name.cmp(&b.name)));
    if args.store.json {
        return output::print_json(&serde_json::json!({"sessions": sessions}));
    }
    if sessions.is_empty() {
        output::notice("no sessions yet; `ds4 chat --session NAME` begins one");
    }
    for Session { name, messages, bytes, changed, begins } in sessions {
        let (age, bytes, begins) = (age(changed), Bytes(bytes), output::printable(&begins));
        output::print(&format!("{name:<20} {messages:>4} messages {bytes:>10}  {age:>8} ago  {begins}\n"))?;
    }
    Ok(())
}

fn session(path: &Path, name: String) -> Result<Session> {
    let messages = file::load(path)?;
    let metadata = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    let first = messages.iter().find(|message| message.role == Role::User);
    let begins = first.map(|message| message.content.chars().take(TITLE_CHARACTERS).collect()).unwrap_or_default();
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let changed = changed.map_or(0, |time| time.as_secs());
    Ok(Session { name, messages: messages.len(), bytes: metadata.len(), changed, begins })
}

/// Time since `then`, in Unix seconds, for people.
pub fn age(then: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    match now.saturating_sub(then) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86400),
    }
}
