//! Anthropic's Messages API (`spec/http-api.md` §3, §4, §5.4, §5.5).

mod parse;
mod write;

use crate::api::Api;
use crate::effort::{self, Wish};
use crate::error::ApiError;
use crate::fields::{Fields, body};
use crate::params::{MAX_TOKENS_MAX, model, sampling, stop, switch};
use crate::turn::{Input, Turn};
use crate::wire::{Encoder, Outcome, ServerFacts, Stamp};
use serde_json::{Value, json};

/// A request for a message, or for the number of its tokens.
pub struct Messages {
    turn: Turn,
    model: String,
    streams: bool,
}

impl Api for Messages {
    const PROMPT: &'static str = "messages";

    fn parse(bytes: &[u8], facts: &ServerFacts) -> Result<Self, ApiError> {
        let body = body(bytes)?;
        let fields = Fields::new(&body, "")?;
        let model = model(&fields)?;
        let output = fields.object("output_config")?;
        let effort = output.as_ref().map(|output| output.text("effort")).transpose()?.flatten();
        let effort = effort.map_or_else(|| fields.text("reasoning_effort"), |effort| Ok(Some(effort)))?;
        let thinking = effort::thinking(facts, &model, Wish { switch: switch(&fields)?, effort });
        let tools = parse::tools(&fields)?;
        let (tool_choice, parallel_tool_calls) = parse::tool_choice(&fields)?;
        let turn = Turn {
            input: Input::Conversation(parse::conversation(&fields)?),
            thinking,
            tools,
            tool_choice,
            parallel_tool_calls,
            format: parse::format(&fields, output.as_ref())?,
            sampling: sampling(&fields, facts, thinking)?,
            // None at all is asked for to have the prompt read in advance.
            max_tokens: fields.count("max_tokens", 0, MAX_TOKENS_MAX)?,
            budget: None,
            stop: stop(&fields, "stop_sequences")?,
            logprobs: None,
            choices: 1,
            call_id_prefix: "toolu_",
        };
        Ok(Self { turn, model, streams: fields.flag("stream")?.unwrap_or(false) })
    }

    fn turn(&self) -> &Turn {
        &self.turn
    }

    fn streams(&self) -> bool {
        self.streams
    }

    fn encoder(&self, stamp: Stamp) -> Box<dyn Encoder> {
        Box::new(write::Writer::new(&self.model, &stamp))
    }

    fn complete(&self, stamp: &Stamp, outcome: &Outcome) -> Value {
        write::complete(&self.model, stamp, outcome)
    }

    fn error(error: &ApiError) -> Value {
        let kind = match error.status() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            503 => "overloaded_error",
            500.. => "api_error",
            _ => "invalid_request_error",
        };
        let mut body = json!({"type": kind, "message": error.to_string()});
        if let ApiError::ContextLength { prompt, context, .. } = error {
            // Anthropic's own words, by which clients recognise it.
            body["message"] = json!(format!("prompt is too long: {prompt} tokens > {context} maximum"));
            body["n_prompt_tokens"] = json!(prompt);
            body["n_ctx"] = json!(context);
        }
        json!({"type": "error", "error": body})
    }
}
