//! OpenAI's Responses API (`spec/http-api.md` §3, §5.6, §5.7), as Codex and the SDKs speak it.
//!
//! Nothing is stored: a client sends the whole conversation each time, as items, which `items.rs` reads as messages.
//! `tools.rs` knows which kind of tool stands behind a name of the prompt, since calls are written back in the form of
//! their kind. `write.rs` is the only place that knows how an answer looks; a complete answer is what a stream of it
//! would have ended with.

mod input;
mod items;
mod output;
mod tools;
mod write;

use crate::api::Api;
use crate::effort::{self, Wish};
use crate::error::ApiError;
use crate::fields::{Fields, body};
use crate::limits::TOP_LOGPROBS_MAX;
use crate::params::{MAX_TOKENS_MAX, model, sampling, stop, switch};
use crate::turn::{Format, Input, Turn};
use crate::wire::{Encoder, Outcome, ServerFacts, Stamp};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tools::{Offer, Targets};
use write::Writer;

/// A request of `/v1/responses`.
pub struct Responses {
    turn: Turn,
    streams: bool,
    asked: Arc<Asked>,
}

/// What the answer takes from the request.
struct Asked {
    /// Members of the answer that repeat the request.
    echo: Map<String, Value>,
    /// Reasoning is part of the answer.
    shows_reasoning: bool,
    has_logprobs: bool,
    targets: Targets,
}

/// Members that would change the answer if they were ignored.
fn refuse_members(fields: &Fields<'_>) -> Result<(), ApiError> {
    for member in ["previous_response_id", "conversation"] {
        if fields.get(member).is_some() {
            let message = format!("{member} is not supported; replay full input instead");
            return Err(ApiError::param(member, message));
        }
    }
    if fields.get("prompt").is_some() {
        return Err(ApiError::param("prompt", "prompt is not supported: this server keeps no templates; send input"));
    }
    if fields.flag("background")?.unwrap_or(false) {
        return Err(ApiError::param("background", "background is not supported; leave it out and read the stream"));
    }
    Ok(())
}

/// What `reasoning` asks for.
struct Reasoning<'v> {
    effort: Option<&'v str>,
    summary: Option<&'v str>,
}

impl<'v> Reasoning<'v> {
    fn read(fields: &Fields<'v>) -> Result<Self, ApiError> {
        let Some(reasoning) = fields.object("reasoning")? else { return Ok(Self { effort: None, summary: None }) };
        // The second name is the older one.
        let summary =
            reasoning.text("summary")?.map_or_else(|| reasoning.text("generate_summary"), |it| Ok(Some(it)))?;
        Ok(Self { effort: reasoning.text("effort")?, summary })
    }

    fn is_shown(&self) -> bool {
        matches!(self.summary, Some("auto" | "concise" | "detailed"))
    }
}

fn format(fields: &Fields<'_>) -> Result<Format, ApiError> {
    let Some(text) = fields.object("text")? else { return Ok(Format::Text) };
    let Some(format) = text.object("format")? else { return Ok(Format::Text) };
    match format.text("type")? {
        None | Some("text") => Ok(Format::Text),
        Some("json_object") => Ok(Format::JsonObject),
        Some("json_schema") => {
            let schema = format.get("schema").ok_or_else(|| format.wrong("schema", "a JSON schema"))?;
            Ok(Format::JsonSchema(schema.clone()))
        }
        Some(other) => {
            let path = format.path("type");
            let message = format!("{path} is {other:?}, expected text, json_object or json_schema");
            Err(ApiError::param(path, message))
        }
    }
}

/// Log-probabilities, which one asks for by naming them in `include`; other names there ask for what this server has not.
fn logprobs(fields: &Fields<'_>) -> Result<Option<usize>, ApiError> {
    let top = fields.count("top_logprobs", 0, u64::from(TOP_LOGPROBS_MAX))?;
    let include = fields.array("include")?.map_or(&[][..], Vec::as_slice);
    let is_asked = include.iter().any(|name| name == "message.output_text.logprobs");
    Ok(is_asked.then(|| top.unwrap_or(0)))
}

/// The members that the answer repeats. Those that were not sent are what the server does without them.
fn echo(
    fields: &Fields<'_>,
    turn: &Turn,
    model: &str,
    reasoning: &Reasoning<'_>,
) -> Result<Map<String, Value>, ApiError> {
    let or = |key: &str, default: Value| fields.get(key).cloned().unwrap_or(default);
    let metadata = fields.object("metadata")?.and_then(|_| fields.get("metadata").cloned());
    let mut text = or("text", json!({}));
    if text["format"].is_null() {
        text["format"] = json!({"type": "text"});
    }
    let members = [
        ("model", json!(model)),
        ("background", json!(false)),
        ("instructions", or("instructions", Value::Null)),
        ("max_output_tokens", json!(turn.max_tokens)),
        ("metadata", metadata.unwrap_or_else(|| json!({}))),
        ("parallel_tool_calls", json!(turn.parallel_tool_calls)),
        ("previous_response_id", Value::Null),
        ("reasoning", json!({"effort": reasoning.effort, "summary": reasoning.summary})),
        ("store", json!(false)),
        ("temperature", or("temperature", json!(1.0))),
        ("text", text),
        ("tool_choice", or("tool_choice", json!("auto"))),
        ("tools", or("tools", json!([]))),
        ("top_logprobs", json!(turn.logprobs.unwrap_or(0))),
        ("top_p", or("top_p", json!(1.0))),
        // A prompt that is too long is refused.
        ("truncation", json!("disabled")),
    ];
    Ok(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

impl Api for Responses {
    const PROMPT: &'static str = "input";

    fn parse(bytes: &[u8], facts: &ServerFacts) -> Result<Self, ApiError> {
        let body = body(bytes)?;
        let fields = Fields::new(&body, "")?;
        refuse_members(&fields)?;
        let model = model(&fields)?;
        let reasoning = Reasoning::read(&fields)?;
        // An effort says that the request decides, whatever the model is called.
        let wish = Wish { switch: switch(&fields)?.or(reasoning.effort.map(|_| None)), effort: reasoning.effort };
        let thinking = effort::thinking(facts, &model, wish);
        let max_tokens = fields.count("max_output_tokens", 1, MAX_TOKENS_MAX)?;
        let max_tokens = max_tokens.map_or_else(|| fields.count("max_tokens", 1, MAX_TOKENS_MAX), |n| Ok(Some(n)))?;
        let conversation = items::conversation(&fields)?;
        let mut offer = Offer::default();
        offer.add(fields.array("tools")?.map_or(&[][..], Vec::as_slice), "tools")?;
        for (path, found) in &conversation.found {
            offer.add_found(found, path)?;
        }
        let tool_choice = offer.choose(&fields)?;
        let turn = Turn {
            input: Input::Conversation(conversation.messages),
            thinking,
            tools: offer.tools.all,
            tool_choice,
            parallel_tool_calls: fields.flag("parallel_tool_calls")?.unwrap_or(true),
            format: format(&fields)?,
            sampling: sampling(&fields, facts, thinking)?,
            max_tokens,
            budget: None,
            stop: stop(&fields, "stop")?,
            logprobs: logprobs(&fields)?,
            choices: 1,
            call_id_prefix: "call_",
        };
        let asked = Asked {
            echo: echo(&fields, &turn, &model, &reasoning)?,
            shows_reasoning: reasoning.is_shown(),
            has_logprobs: turn.logprobs.is_some(),
            targets: offer.targets,
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
        Box::new(Writer::new(Arc::clone(&self.asked), stamp))
    }

    fn complete(&self, stamp: &Stamp, outcome: &Outcome) -> Value {
        Writer::new(Arc::clone(&self.asked), stamp.clone()).whole(outcome)
    }

    fn error(error: &ApiError) -> Value {
        crate::openai::error(error)
    }
}
