//! OpenAI's Responses API, without what would need stored state (`spec/http-api.md` §3, §5.6, §5.7).

mod items;
mod tools;
mod write;

use crate::api::Api;
use crate::effort::{self, Wish};
use crate::error::ApiError;
use crate::fields::{Fields, body};
use crate::limits::TOP_LOGPROBS_MAX;
use crate::openai;
use crate::params::{MAX_TOKENS_MAX, model, sampling, stop, switch};
use crate::turn::{Format, Input, Turn};
use crate::wire::{Encoder, Outcome, ServerFacts, Stamp};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tools::Offer;

/// A request for a response.
pub struct Responses {
    turn: Turn,
    streams: bool,
    asked: Arc<Asked>,
}

/// What the answer has to know of the request.
struct Asked {
    model: String,
    /// Reasoning is part of the answer.
    shows_reasoning: bool,
    /// Log-probabilities are part of the answer.
    shows_logprobs: bool,
    offer: Offer,
    /// Members of the request that the response repeats.
    echo: Map<String, Value>,
}

/// Members that a response repeats, and what stands there if they were not sent.
fn echo(fields: &Fields<'_>, model: &str, shows_reasoning: bool) -> Map<String, Value> {
    let or = |key: &str, default: Value| fields.get(key).cloned().unwrap_or(default);
    let mut echo = Map::new();
    let mut add = |key: &str, value: Value| echo.insert(key.to_owned(), value);
    add("instructions", or("instructions", Value::Null));
    add("max_output_tokens", or("max_output_tokens", Value::Null));
    add("metadata", or("metadata", json!({})));
    add("model", json!(model));
    add("parallel_tool_calls", or("parallel_tool_calls", json!(true)));
    let summary = shows_reasoning.then_some("detailed");
    add(
        "reasoning",
        json!({"effort": fields.get("reasoning").and_then(|value| value.get("effort")), "summary": summary}),
    );
    add("temperature", or("temperature", json!(1.0)));
    add("text", or("text", json!({"format": {"type": "text"}})));
    add("tool_choice", or("tool_choice", json!("auto")));
    add("tools", or("tools", json!([])));
    add("top_p", or("top_p", json!(1.0)));
    echo
}

/// Members that would need state which this server does not keep, or change the answer if they were ignored.
fn refuse_members(fields: &Fields<'_>) -> Result<(), ApiError> {
    for member in ["previous_response_id", "conversation"] {
        if fields.get(member).is_some() {
            let message = format!("{member} is not supported; replay full input instead");
            return Err(ApiError::param(member, message));
        }
    }
    if fields.get("prompt").is_some() {
        return Err(ApiError::param("prompt", "stored prompts are not supported; send input"));
    }
    if fields.flag("background")?.unwrap_or(false) {
        return Err(ApiError::param("background", "background responses are not supported; leave it out"));
    }
    Ok(())
}

fn format(fields: &Fields<'_>) -> Result<Format, ApiError> {
    let Some(value) = fields.get("text") else { return Ok(Format::Text) };
    let text = Fields::new(value, "text")?;
    let Some(value) = text.get("format") else { return Ok(Format::Text) };
    let format = Fields::new(value, "text.format")?;
    match format.text("type")? {
        Some("text") => Ok(Format::Text),
        Some("json_object") => Ok(Format::JsonObject),
        Some("json_schema") => {
            let schema = format.get("schema").ok_or_else(|| format.wrong("schema", "a JSON schema"))?;
            Ok(Format::JsonSchema(schema.clone()))
        }
        _ => Err(format.wrong("type", "\"text\", \"json_object\" or \"json_schema\"")),
    }
}

fn logprobs(fields: &Fields<'_>) -> Result<Option<usize>, ApiError> {
    let top = fields.count("top_logprobs", 0, u64::from(TOP_LOGPROBS_MAX))?;
    let include = fields.array("include")?.map_or(&[][..], Vec::as_slice);
    let is_asked = include.iter().any(|part| part == "message.output_text.logprobs");
    Ok(if is_asked { Some(top.unwrap_or(0)) } else { top.filter(|top| *top > 0) })
}

impl Api for Responses {
    const PROMPT: &'static str = "input";

    fn parse(bytes: &[u8], facts: &ServerFacts) -> Result<Self, ApiError> {
        let body = body(bytes)?;
        let fields = Fields::new(&body, "")?;
        refuse_members(&fields)?;
        let model = model(&fields)?;
        let reasoning = fields.get("reasoning").map(|value| Fields::new(value, "reasoning")).transpose()?;
        let named = |key| reasoning.as_ref().map(|fields| fields.text(key)).transpose().map(Option::flatten);
        let (effort, summary) = (named("effort")?, named("summary")?);
        // An effort is a wish to think, which the name of the model does not overrule.
        let switch = switch(&fields)?.or(effort.map(|_| None));
        let thinking = effort::thinking(facts, &model, Wish { switch, effort });
        let shows_reasoning = summary.is_some_and(|summary| summary != "none");
        let mut offer = Offer::read(&fields)?;
        let tool_choice = tools::choice(&fields, &mut offer)?;
        let max_tokens = fields.count("max_output_tokens", 1, MAX_TOKENS_MAX)?;
        let max_tokens = max_tokens.map_or_else(|| fields.count("max_tokens", 1, MAX_TOKENS_MAX), |n| Ok(Some(n)))?;
        let turn = Turn {
            input: Input::Conversation(items::conversation(&fields)?),
            thinking,
            tools: offer.take(),
            tool_choice,
            parallel_tool_calls: fields.flag("parallel_tool_calls")?.unwrap_or(true),
            format: format(&fields)?,
            sampling: sampling(&fields, facts, thinking)?,
            max_tokens,
            stop: stop(&fields, "stop")?,
            logprobs: logprobs(&fields)?,
            choices: 1,
            call_id_prefix: "call_",
        };
        let asked = Asked {
            echo: echo(&fields, &model, shows_reasoning),
            model,
            shows_reasoning,
            shows_logprobs: turn.logprobs.is_some(),
            offer,
        };
        Ok(Self { turn, streams: fields.flag("stream")?.unwrap_or(false), asked: Arc::new(asked) })
    }

    fn turn(&self) -> &Turn {
        &self.turn
    }

    fn streams(&self) -> bool {
        self.streams
    }

    fn encoder(&self, stamp: Stamp) -> Box<dyn Encoder> {
        Box::new(write::Writer::new(Arc::clone(&self.asked), stamp))
    }

    fn complete(&self, stamp: &Stamp, outcome: &Outcome) -> Value {
        write::complete(Arc::clone(&self.asked), stamp, outcome)
    }

    fn error(error: &ApiError) -> Value {
        openai::error(error)
    }
}
