//! `--trace`: requests, prompts and answers in a file, for whoever wants to see what a client really sends.

use crate::wire::Outcome;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// A file with one JSON object a line. It holds what people write: only its owner can read it.
pub struct Trace(Mutex<File>);

impl Trace {
    /// A new file; an old one is emptied.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options.create(true).write(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(Self(Mutex::new(options.open(path)?)))
    }

    /// Notes a request as it came.
    pub fn request(&self, id: &str, path: &str, body: &[u8]) {
        let body = serde_json::from_slice(body).unwrap_or_else(|_| json!(String::from_utf8_lossy(body)));
        self.line(&json!({"event": "request", "id": id, "path": path, "body": body}));
    }

    /// Notes the prompt that it made.
    pub fn prompt(&self, id: &str, tokens: usize, text: &str) {
        self.line(&json!({"event": "prompt", "id": id, "tokens": tokens, "text": text}));
    }

    /// Notes what was answered.
    pub fn answer(&self, id: &str, outcome: &Outcome) {
        let call = |call: &crate::wire::Call| json!({"id": call.id, "name": call.name, "arguments": call.arguments});
        let choice = |choice: &crate::wire::Choice| {
            let calls: Vec<Value> = choice.calls.iter().map(call).collect();
            json!({
                "reasoning": choice.reasoning, "content": choice.content, "calls": calls,
                "finish": choice.finish.as_ref().map(|finish| format!("{finish:?}")),
            })
        };
        let usage = &outcome.usage;
        self.line(&json!({
            "event": "answer", "id": id, "choices": outcome.choices.iter().map(choice).collect::<Vec<_>>(),
            "prompt_tokens": usage.prompt_tokens, "cached_tokens": usage.cached_tokens,
            "completion_tokens": usage.completion_tokens, "failure": outcome.failure,
        }));
    }

    fn line(&self, value: &Value) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not end answers.
        let _ = writeln!(file, "{value}");
    }
}
