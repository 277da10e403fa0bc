//! `/v1/models`

use crate::effort::{ALIAS_CHAT, ALIAS_REASONER};
use crate::params::MODEL;
use crate::wire::ServerFacts;
use serde_json::{Value, json};

/// When the family was published, in seconds since 1970, as the C program has it.
const CREATED: u64 = 1_767_225_600;

/// One model. Every name is answered, as every name is accepted.
pub fn one(facts: &ServerFacts, id: &str) -> Value {
    let most = facts.default_max_tokens.unwrap_or(facts.context).min(facts.context);
    json!({
        "id": id,
        "object": "model",
        "created": CREATED,
        "owned_by": "ds4",
        "name": "DeepSeek V4 Flash",
        "context_length": facts.context,
        "top_provider": {"context_length": facts.context, "max_completion_tokens": most, "is_moderated": false},
        "supported_parameters": [
            "tools", "tool_choice", "max_tokens", "temperature", "top_p", "top_k", "min_p", "stop", "seed", "stream",
            "reasoning_effort", "logprobs", "top_logprobs", "logit_bias", "response_format", "presence_penalty", "frequency_penalty", "n",
        ],
    })
}

/// The model and its aliases.
pub fn list(facts: &ServerFacts) -> Value {
    let data: Vec<Value> = [MODEL, ALIAS_CHAT, ALIAS_REASONER].map(|id| one(facts, id)).into();
    json!({"object": "list", "data": data})
}
