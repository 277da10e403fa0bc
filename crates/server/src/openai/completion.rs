//! `/v1/completions`: one turn of chat without thinking, or a prompt that is rendered already.

use super::params::{Common, common};
use super::write::{Form, Writer, complete};
use crate::api::Api;
use crate::error::ApiError;
use crate::fields::{Fields, body};
use crate::turn::{Input, Turn};
use crate::wire::{Encoder, Outcome, ServerFacts, Stamp};
use ds4_chat::{Message, Role};
use serde_json::{Value, json};

/// What the C program puts before the prompt (`spec/chat-format.md` §4.2).
const SYSTEM: &str = "You are a helpful assistant";

/// A text completion.
pub struct Completion(Common);

/// Members that only make sense elsewhere and would change the answer if they were ignored.
fn refuse_members(fields: &Fields<'_>, members: &[&str]) -> Result<(), ApiError> {
    for member in members {
        if fields.get(member).is_some_and(|value| *value != json!(false) && *value != json!("")) {
            return Err(ApiError::param(*member, format!("{member} is not supported; leave it out")));
        }
    }
    Ok(())
}

fn input(fields: &Fields<'_>) -> Result<Input, ApiError> {
    let value = fields.get("prompt").ok_or_else(|| ApiError::param("prompt", "missing prompt"))?;
    let wrong = || ApiError::param("prompt", "prompt takes one string or one array of token ids");
    let text = match value {
        Value::String(text) => text,
        Value::Array(values) if values.len() == 1 && values[0].is_string() => values[0].as_str().unwrap_or_default(),
        Value::Array(values) => {
            let token = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
            return values.iter().map(token).collect::<Option<_>>().map(Input::Tokens).ok_or_else(wrong);
        }
        _ => return Err(wrong()),
    };
    if text.starts_with(ds4_tokenizer::markers::BOS) {
        return Ok(Input::Rendered(text.to_owned()));
    }
    Ok(Input::Conversation(vec![Message::new(Role::System, SYSTEM), Message::new(Role::User, text)]))
}

impl Api for Completion {
    const PROMPT: &'static str = "prompt";

    fn parse(bytes: &[u8], facts: &ServerFacts) -> Result<Self, ApiError> {
        let body = body(bytes)?;
        let fields = Fields::new(&body, "")?;
        refuse_members(&fields, &["echo", "suffix"])?;
        let mut common = common(&fields, facts, Form::Text)?;
        common.turn.input = input(&fields)?;
        Ok(Self(common))
    }

    fn turn(&self) -> &Turn {
        &self.0.turn
    }

    fn streams(&self) -> bool {
        self.0.streams
    }

    fn encoder(&self, stamp: Stamp) -> Box<dyn Encoder> {
        Box::new(Writer::new(Form::Text, &self.0, stamp))
    }

    fn complete(&self, stamp: &Stamp, outcome: &Outcome) -> Value {
        complete(Form::Text, &self.0, stamp, outcome)
    }

    fn error(error: &ApiError) -> Value {
        super::error(error)
    }
}
