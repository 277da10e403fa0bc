//! OpenAI's chat and text completions (`spec/http-api.md` §3, §5).

mod chat;
mod completion;
mod messages;
pub mod models;
mod params;
pub mod text;
mod write;

pub use chat::Chat;
pub use completion::Completion;

use crate::error::ApiError;
use serde_json::{Value, json};

/// A refusal as the SDKs expect it.
pub fn error(error: &ApiError) -> Value {
    let kind = match error.status() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    let mut body = json!({"message": error.to_string(), "type": kind, "param": null, "code": null});
    match error {
        ApiError::Invalid { param, .. } => body["param"] = json!(param),
        ApiError::ContextLength { prompt, context, param } => {
            body["param"] = json!(param);
            body["code"] = json!("context_length_exceeded");
            body["n_prompt_tokens"] = json!(prompt);
            body["n_ctx"] = json!(context);
        }
        ApiError::Unauthorized => body["code"] = json!("invalid_api_key"),
        _ => {}
    }
    json!({"error": body})
}
