//! `/v1/chat/completions`

use super::messages;
use super::params::{Common, common};
use super::write::{Form, Writer};
use crate::api::Api;
use crate::error::ApiError;
use crate::fields::{Fields, body};
use crate::turn::{Input, Turn};
use crate::wire::{Encoder, Outcome, ServerFacts, Stamp};
use serde_json::Value;

/// A chat completion.
pub struct Chat(Common);

/// Answers that follow a schema cannot be promised yet, so asking for them is refused, not ignored.
fn format(fields: &Fields<'_>) -> Result<(), ApiError> {
    let Some(value) = fields.get("response_format") else { return Ok(()) };
    match Fields::new(value, "response_format")?.text("type")? {
        Some("text") => Ok(()),
        _ => Err(ApiError::param(
            "response_format",
            "response_format can only be {\"type\": \"text\"} on this server so far",
        )),
    }
}

impl Api for Chat {
    const PROMPT: &'static str = "messages";

    fn parse(bytes: &[u8], facts: &ServerFacts) -> Result<Self, ApiError> {
        let body = body(bytes)?;
        let fields = Fields::new(&body, "")?;
        let mut common = common(&fields, facts, Form::Chat)?;
        format(&fields)?;
        let messages = fields.array("messages")?.ok_or_else(|| ApiError::param("messages", "missing messages"))?;
        common.turn.input = Input::Conversation(messages::messages(messages)?);
        common.turn.tools = messages::tools(&fields)?;
        common.turn.tool_choice = messages::tool_choice(&fields)?;
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
