//! What chat and text completions have in common: sampling, limits, thinking.

use super::write::Form;
use crate::effort::{self, Wish};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::limits::{CHOICES_MAX, TOP_LOGPROBS_MAX};
use crate::params::{MAX_TOKENS_MAX, model, sampling, stop, switch};
use crate::turn::{Format, Input, Turn};
use crate::wire::ServerFacts;
use ds4_chat::ThinkingMode;

/// What both forms of completion have.
pub struct Common {
    pub turn: Turn,
    pub model: String,
    pub streams: bool,
    pub usage: bool,
}

/// Reads what both forms have; the input is left empty.
pub fn common(fields: &Fields<'_>, facts: &ServerFacts, form: Form) -> Result<Common, ApiError> {
    let model = model(fields)?;
    let wish = Wish { switch: switch(fields)?, effort: fields.text("reasoning_effort")? };
    let is_silent = form == Form::Text && wish.switch.is_none() && wish.effort.is_none();
    let thinking = if is_silent { ThinkingMode::None } else { effort::thinking(facts, &model, wish) };
    let max_tokens = fields.count("max_tokens", 1, MAX_TOKENS_MAX)?;
    let max_tokens =
        max_tokens.map_or_else(|| fields.count("max_completion_tokens", 1, MAX_TOKENS_MAX), |n| Ok(Some(n)))?;
    let options = fields.object("stream_options")?;
    let usage = options.map(|options| options.flag("include_usage")).transpose()?.flatten().unwrap_or(false);
    let turn = Turn {
        input: Input::Conversation(Vec::new()),
        thinking,
        tools: Vec::new(),
        tool_choice: Default::default(),
        parallel_tool_calls: fields.flag("parallel_tool_calls")?.unwrap_or(true),
        format: Format::Text,
        sampling: sampling(fields, facts, thinking)?,
        max_tokens,
        budget: None,
        stop: stop(fields, "stop")?,
        logprobs: logprobs(fields, form)?,
        choices: fields.count("n", 1, u64::from(CHOICES_MAX))?.unwrap_or(1) as u32,
        call_id_prefix: "call_",
    };
    Ok(Common { turn, model, streams: fields.flag("stream")?.unwrap_or(false), usage })
}

fn logprobs(fields: &Fields<'_>, form: Form) -> Result<Option<usize>, ApiError> {
    let most = u64::from(TOP_LOGPROBS_MAX);
    if form == Form::Text {
        return fields.count("logprobs", 0, most);
    }
    let top = fields.count("top_logprobs", 0, most)?;
    Ok(match fields.flag("logprobs")?.unwrap_or(false) {
        true => Some(top.unwrap_or(0)),
        false => None,
    })
}
