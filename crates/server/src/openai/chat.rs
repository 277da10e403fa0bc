//! `/v1/chat/completions`

use super::messages;
use super::params::{Common, common};
use super::write::{Form, Writer};
use crate::api::Api;
use crate::error::ApiError;
use crate::fields::{Fields, body};
use crate::turn::{Format, Input, Turn};
use crate::wire::{Encoder, Outcome, ServerFacts, Stamp};
use serde_json::Value;

/// A chat completion.
pub struct Chat(Common);

/// What the content must look like. A schema is enforced whether or not it is called strict.
fn format(fields: &Fields<'_>) -> Result<Format, ApiError> {
    let Some(value) = fields.get("response_format") else { return Ok(Format::Text) };
    let format = Fields::new(value, "response_format")?;
    match format.text("type")? {
        Some("text") => Ok(Format::Text),
        Some("json_object") => Ok(Format::JsonObject),
        Some("json_schema") => {
            let outer = Fields::new(format.get("json_schema").unwrap_or(&Value::Null), format.path("json_schema"))?;
            outer.get("schema").cloned().map(Format::JsonSchema).ok_or_else(|| outer.wrong("schema", "a JSON schema"))
        }
        _ => Err(format.wrong("type", "\"text\", \"json_object\" or \"json_schema\"")),
    }
}

impl Api for Chat {
    const PROMPT: &'static str = "messages";

    fn parse(bytes: &[u8], facts: &ServerFacts) -> Result<Self, ApiError> {
        let body = body(bytes)?;
        let fields = Fields::new(&body, "")?;
        let mut common = common(&fields, facts, Form::Chat)?;
        common.turn.format = format(&fields)?;
        let messages = fields.array("messages")?.ok_or_else(|| ApiError::param("messages", "missing messages"))?;
        common.turn.input = Input::Conversation(messages::messages(messages)?);
        common.turn.tools = messages::tools(&fields)?;
        common.turn.tool_choice = messages::tool_choice(&fields, &mut common.turn.tools)?;
        Ok(Self(common))
    }

    fn turn(&self) -> &Turn {
        &self.0.turn
    }

    fn streams(&self) -> bool {
        self.0.streams
    }

    fn encoder(&self, stamp: Stamp) -> Box<dyn Encoder> {
        Box::new(Writer::new(Form::Chat, &self.0, stamp))
    }

    fn complete(&self, stamp: &Stamp, outcome: &Outcome) -> Value {
        super::write::complete(Form::Chat, &self.0, stamp, outcome)
    }

    fn error(error: &ApiError) -> Value {
        super::error(error)
    }
}
