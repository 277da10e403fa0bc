//! What chat and text completions have in common: sampling, limits, thinking.

use super::write::Form;
use crate::effort::{self, Wish};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::limits::{CHOICES_MAX, MODEL_NAME_BYTES_MAX, STOP_STRING_BYTES_MAX, STOP_STRINGS_MAX, TOP_LOGPROBS_MAX};
use crate::turn::{Format, Input, Turn};
use crate::wire::ServerFacts;
use ds4_chat::ThinkingMode;
use ds4_engine::sampler::{SamplingParams, fresh_seed};
use serde_json::Value;

/// Most tokens that a request may ask for; far above any context.
const MAX_TOKENS_MAX: u64 = 1 << 32;

/// What both forms of completion have.
pub struct Common {
    pub turn: Turn,
    pub model: String,
    pub streams: bool,
    pub usage: bool,
}

/// Reads what both forms have; the input is left empty.
pub fn common(fields: &Fields<'_>, facts: &ServerFacts, form: Form) -> Result<Common, ApiError> {
    let model = fields.text("model")?.unwrap_or(super::models::ID);
    if model.len() > MODEL_NAME_BYTES_MAX {
        return Err(ApiError::param("model", format!("model has more than {MODEL_NAME_BYTES_MAX} bytes")));
    }
    let wish = Wish { switch: switch(fields)?, effort: fields.text("reasoning_effort")? };
    let is_silent = form == Form::Text && wish.switch.is_none() && wish.effort.is_none();
    let thinking = if is_silent { ThinkingMode::None } else { effort::thinking(facts, model, wish) };
    let max_tokens = fields.count("max_tokens", 1, MAX_TOKENS_MAX)?;
    let max_tokens =
        max_tokens.map_or_else(|| fields.count("max_completion_tokens", 1, MAX_TOKENS_MAX), |n| Ok(Some(n)))?;
    let options = fields.get("stream_options").map(|value| Fields::new(value, "stream_options")).transpose()?;
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
        stop: stop(fields)?,
        logprobs: logprobs(fields, form)?,
        choices: fields.count("n", 1, u64::from(CHOICES_MAX))?.unwrap_or(1) as u32,
        call_id_prefix: "call_",
    };
    Ok(Common { turn, model: model.to_owned(), streams: fields.flag("stream")?.unwrap_or(false), usage })
}

/// `thinking` as a boolean or `{type}`, or `think`.
fn switch(fields: &Fields<'_>) -> Result<Option<Option<bool>>, ApiError> {
    match fields.get("thinking") {
        Some(Value::Bool(on)) => return Ok(Some(Some(*on))),
        Some(value) => {
            return Ok(Some(match Fields::new(value, "thinking")?.text("type")? {
                Some("enabled") => Some(true),
                Some("disabled") => Some(false),
                _ => None,
            }));
        }
        None => {}
    }
    Ok(fields.flag("think")?.map(Some))
}

fn sampling(fields: &Fields<'_>, facts: &ServerFacts, thinking: ThinkingMode) -> Result<SamplingParams, ApiError> {
    let defaults = SamplingParams { seed: fresh_seed(), ..SamplingParams::default() };
    let seed = fields.integer("seed")?;
    let seed = seed.map_or(defaults.seed, |seed| seed as u64);
    if thinking != ThinkingMode::None && facts.strict_thinking_sampling {
        return Ok(SamplingParams { seed, ..defaults });
    }
    let or = |key, default| fields.number(key).map(|found| found.unwrap_or(default));
    let mut params = SamplingParams {
        temperature: or("temperature", defaults.temperature)?,
        top_p: or("top_p", defaults.top_p)?,
        top_k: fields.count("top_k", 0, u64::from(u32::MAX))?.unwrap_or(0) as u32,
        min_p: or("min_p", defaults.min_p)?,
        presence_penalty: or("presence_penalty", 0.0)?,
        frequency_penalty: or("frequency_penalty", 0.0)?,
        repetition_penalty: or("repetition_penalty", 1.0)?,
        logit_bias: Vec::new(),
        seed,
    };
    if let Some(value) = fields.get("logit_bias") {
        let Value::Object(biases) = value else { return Err(fields.wrong("logit_bias", "an object")) };
        for (token, bias) in biases {
            let entry = token.parse().ok().zip(bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias)));
            let message = "logit_bias maps token ids to numbers from -100 to 100";
            let (token, bias) = entry.ok_or_else(|| ApiError::param("logit_bias", message))?;
            params.logit_bias.push((token, bias as f32));
        }
    }
    params.validate().map_err(|error| ApiError::invalid(error.to_string()))?;
    Ok(params)
}

fn stop(fields: &Fields<'_>) -> Result<Vec<String>, ApiError> {
    let wrong = || fields.wrong("stop", "a string or an array of strings");
    let all: Vec<String> = match fields.get("stop") {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(texts)) => {
            texts.iter().map(|text| text.as_str().map(str::to_owned).ok_or_else(wrong)).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(wrong()),
    };
    if all.len() > STOP_STRINGS_MAX || all.iter().any(|text| text.len() > STOP_STRING_BYTES_MAX) {
        let message = format!("stop takes at most {STOP_STRINGS_MAX} strings of at most {STOP_STRING_BYTES_MAX} bytes");
        return Err(ApiError::param("stop", message));
    }
    Ok(all.into_iter().filter(|text| !text.is_empty()).collect())
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
