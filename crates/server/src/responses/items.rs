//! Conversations as items (`spec/http-api.md` §3, the table of input items).
//!
//! Items are smaller than messages: one answer is a reasoning item, a message item and an item per call. They are put
//! together again as they were generated, so that the prompt continues what the model wrote.

use crate::error::ApiError;
use crate::fields::Fields;
use crate::limits::MESSAGES_MAX;
use crate::messages::text;
use ds4_chat::{Message, Role, ToolCall};
use serde_json::{Value, json};

/// The types of items that this server reads, for a refusal of others.
const TYPES: &str = "message, reasoning, function_call, custom_tool_call, local_shell_call, web_search_call, \
    tool_search_call, image_generation_call, their outputs, compaction or context_compaction";

/// What `instructions` and `input` hold.
#[derive(Default)]
pub struct Conversation<'v> {
    /// The messages.
    pub messages: Vec<Message>,
    /// Tools that a search of the client found, with where they stand.
    pub found: Vec<(String, &'v [Value])>,
    /// Reasoning that waits for the rest of its answer.
    reasoning: String,
}

/// Reads `instructions` and `input`.
pub fn conversation<'v>(fields: &Fields<'v>) -> Result<Conversation<'v>, ApiError> {
    let mut conversation = Conversation::default();
    let instructions = text(fields, "instructions")?;
    if !instructions.is_empty() {
        conversation.messages.push(Message::new(Role::System, instructions));
    }
    match fields.get("input") {
        None => return Err(ApiError::param("input", "missing input")),
        Some(Value::String(input)) => conversation.messages.push(Message::new(Role::User, input)),
        Some(Value::Array(items)) => {
            if items.is_empty() || items.len() > MESSAGES_MAX {
                let message = format!("input has {} entries, expected 1 to {MESSAGES_MAX}", items.len());
                return Err(ApiError::param("input", message));
            }
            for (index, item) in items.iter().enumerate() {
                conversation.item(&Fields::new(item, format!("input[{index}]"))?)?;
            }
            conversation.flush();
        }
        Some(_) => return Err(fields.wrong("input", "a string or an array of items")),
    }
    Ok(conversation)
}

impl<'v> Conversation<'v> {
    fn item(&mut self, item: &Fields<'v>) -> Result<(), ApiError> {
        if let Some(status) = item.text("status")?.filter(|status| *status != "completed") {
            let path = item.path("status");
            let message = format!("{path} is {status:?}; only completed items can be replayed");
            return Err(ApiError::param(path, message));
        }
        match item.text("type")?.unwrap_or("message") {
            "message" => self.message(item),
            "reasoning" => self.add_reasoning(item),
            "function_call" => self.call(item, name(item)?, arguments(item, &["arguments"])),
            "custom_tool_call" => {
                let input = item.text("input")?.unwrap_or_default();
                self.call(item, name(item)?, json!({"input": input}).to_string())
            }
            "local_shell_call" => self.hosted_call(item, "local_shell"),
            "web_search_call" => self.hosted_call(item, "web_search_call"),
            "tool_search_call" => self.hosted_call(item, "tool_search"),
            "image_generation_call" => self.hosted_call(item, "image_generation_call"),
            "function_call_output"
            | "custom_tool_call_output"
            | "local_shell_call_output"
            | "web_search_call_output"
            | "image_generation_call_output" => self.output(item),
            "tool_search_output" | "tool_search_call_output" => {
                if let Some(tools) = item.array("tools")? {
                    self.found.push((item.path("tools"), tools));
                }
                self.output(item)
            }
            "compaction" | "context_compaction" => Ok(()),
            other => {
                let path = item.path("type");
                Err(ApiError::param(path.clone(), format!("{path} is {other:?}, expected {TYPES}")))
            }
        }
    }

    fn message(&mut self, item: &Fields<'_>) -> Result<(), ApiError> {
        let role = match item.text("role")?.unwrap_or("user") {
            // OpenAI's developer messages are its newer name for system messages.
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            other => {
                let path = item.path("role");
                let message = format!("{path} is {other:?}, expected system, developer, user or assistant");
                return Err(ApiError::param(path, message));
            }
        };
        let mut message = Message::new(role, text(item, "content")?);
        if role == Role::Assistant {
            message.reasoning = std::mem::take(&mut self.reasoning);
        } else {
            self.flush();
        }
        self.messages.push(message);
        Ok(())
    }

    /// Keeps reasoning for the answer that follows. What is encrypted cannot be read: the server's memory restores it.
    fn add_reasoning(&mut self, item: &Fields<'_>) -> Result<(), ApiError> {
        for key in ["summary", "content"] {
            let part = text(item, key)?;
            if !self.reasoning.is_empty() && !part.is_empty() {
                self.reasoning.push('\n');
            }
            self.reasoning.push_str(&part);
        }
        Ok(())
    }

    /// A call belongs to the answer before it, unless reasoning says that a new answer begins.
    fn call(&mut self, item: &Fields<'_>, name: String, arguments: String) -> Result<(), ApiError> {
        let id = item.text("call_id")?.map_or_else(|| item.text("id"), |id| Ok(Some(id)))?;
        let call = ToolCall { id: id.map(str::to_owned), name, arguments };
        match self.messages.last_mut().filter(|last| last.role == Role::Assistant) {
            Some(last) if self.reasoning.is_empty() => last.tool_calls.push(call),
            _ => {
                let mut message = Message::new(Role::Assistant, "");
                message.reasoning = std::mem::take(&mut self.reasoning);
                message.tool_calls.push(call);
                self.messages.push(message);
            }
        }
        Ok(())
    }

    fn hosted_call(&mut self, item: &Fields<'_>, name: &str) -> Result<(), ApiError> {
        self.call(item, name.to_owned(), arguments(item, &["action", "arguments", "input"]))
    }

    fn output(&mut self, item: &Fields<'_>) -> Result<(), ApiError> {
        self.flush();
        let key = ["output", "result", "tools"].into_iter().find(|key| item.get(key).is_some()).unwrap_or("output");
        let content = match item.get(key) {
            Some(value) if key != "output" || !is_text(value) => raw(value),
            _ => text(item, key)?,
        };
        let mut message = Message::new(Role::Tool, content);
        message.tool_call_id = item.text("call_id")?.map(str::to_owned);
        self.messages.push(message);
        Ok(())
    }

    /// Reasoning without an answer is one all the same.
    fn flush(&mut self) {
        if !self.reasoning.is_empty() {
            let mut message = Message::new(Role::Assistant, "");
            message.reasoning = std::mem::take(&mut self.reasoning);
            self.messages.push(message);
        }
    }
}

/// The name by which the model knows the tool of a call.
fn name(item: &Fields<'_>) -> Result<String, ApiError> {
    let name = item.text("name")?.filter(|name| !name.is_empty()).ok_or_else(|| item.wrong("name", "a string"))?;
    Ok(format!("{}{name}", item.text("namespace")?.unwrap_or_default()))
}

/// The JSON text of the arguments, in the first of `keys` that is there.
fn arguments(item: &Fields<'_>, keys: &[&str]) -> String {
    keys.iter().find_map(|key| item.get(key)).map_or_else(|| "{}".to_owned(), raw)
}

/// A text as it is, other values as JSON.
fn raw(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether an output is text or parts, and not JSON that stands for itself.
fn is_text(value: &Value) -> bool {
    let is_part = |part: &Value| part.is_string() || part.get("type").is_some_and(Value::is_string);
    value.is_string() || value.as_array().is_some_and(|parts| parts.iter().all(is_part))
}
