//! Members that every API has: model, thinking, sampling, stop strings.

use crate::error::ApiError;
use crate::fields::Fields;
use crate::limits::{MODEL_NAME_BYTES_MAX, STOP_STRING_BYTES_MAX, STOP_STRINGS_MAX};
use crate::wire::ServerFacts;
use ds4_chat::ThinkingMode;
use ds4_engine::sampler::{SamplingParams, fresh_seed};
use serde_json::Value;

/// The model's own id.
pub const MODEL: &str = "deepseek-v4-flash";

/// Most tokens that a request may ask for; far above any context.
pub const MAX_TOKENS_MAX: u64 = 1 << 32;

/// The model that the request names, which is echoed; any name will do.
pub fn model(fields: &Fields<'_>) -> Result<String, ApiError> {
    let model = fields.text("model")?.unwrap_or(MODEL);
    if model.len() > MODEL_NAME_BYTES_MAX {
        return Err(ApiError::param("model", format!("model has more than {MODEL_NAME_BYTES_MAX} bytes")));
    }
    Ok(model.to_owned())
}

/// `thinking` as a boolean or `{type}`, or `think`.
pub fn switch(fields: &Fields<'_>) -> Result<Option<Option<bool>>, ApiError> {
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

/// How tokens are chosen. With strict sampling, a thinking model's choice is only seeded.
pub fn sampling(fields: &Fields<'_>, facts: &ServerFacts, thinking: ThinkingMode) -> Result<SamplingParams, ApiError> {
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

/// The stop strings in member `key`, empty ones left out.
pub fn stop(fields: &Fields<'_>, key: &str) -> Result<Vec<String>, ApiError> {
    let wrong = || fields.wrong(key, "a string or an array of strings");
    let all: Vec<String> = match fields.get(key) {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(texts)) => {
            texts.iter().map(|text| text.as_str().map(str::to_owned).ok_or_else(wrong)).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(wrong()),
    };
    if all.len() > STOP_STRINGS_MAX || all.iter().any(|text| text.len() > STOP_STRING_BYTES_MAX) {
        let message =
            format!("{key} takes at most {STOP_STRINGS_MAX} strings of at most {STOP_STRING_BYTES_MAX} bytes");
        return Err(ApiError::param(key, message));
    }
    Ok(all.into_iter().filter(|text| !text.is_empty()).collect())
}
