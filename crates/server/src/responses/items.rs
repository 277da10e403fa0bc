//! Input items as a conversation.

use crate::error::ApiError;
use crate::fields::Fields;
use crate::limits::MESSAGES_MAX;
use crate::messages::text;
use ds4_chat::{Message, Role, ToolCall};
use serde_json::{Value, json};

/// The conversation: instructions first, then the items.
pub fn conversation(fields: &Fields<'_>) -> Result<Vec<Message>, ApiError> {
    let mut conversation = Conversation::default();
    if let Some(instructions) = fields.text("instructions")?.filter(|text| !text.is_empty()) {
        conversation.messages.push(Message::new(Role::System, instructions));
    }
    match fields.get("input") {
        None => return Err(ApiError::param("input", "missing input")),
        Some(Value::String(text)) => conversation.messages.push(Message::new(Role::User, text)),
        Some(Value::Array(items)) => {
            if items.is_empty() || items.len() > MESSAGES_MAX {
                let message = format!("input has {} items, expected 1 to {MESSAGES_MAX}", items.len());
                return Err(ApiError::param("input", message));
            }
            for (index, item) in items.iter().enumerate() {
                conversation.item(&Fields::new(item, format!("input[{index}]"))?)?;
            }
        }
        Some(_) => return Err(fields.wrong("input", "a string or an array of items")),
    }
    Ok(conversation.messages)
}

/// What the items read so far make.
#[derive(Default)]
struct Conversation {
    messages: Vec<Message>,
    /// Reasoning of the assistant's message that is to come.
    reasoning: String,
}

impl Conversation {
    fn item(&mut self, item: &Fields<'_>) -> Result<(), ApiError> {
        if let Some(status) = item.text("status")?.filter(|status| *status != "completed") {
            let path = item.path("status");
            let message = format!("{path} is {status:?}; only completed items can be replayed");
            return Err(ApiError::param(path, message));
        }
        let kind = item.text("type")?.unwrap_or("message");
        match kind {
            "message" => self.message(item)?,
            "reasoning" => self.reason(item)?,
            "function_call" => {
                let name = item.text("name")?.ok_or_else(|| item.wrong("name", "a string"))?;
                let name = item.text("namespace")?.unwrap_or("").to_owned() + name;
                self.call(item, name, written(item.get("arguments")))?;
            }
            "custom_tool_call" => {
                let name = item.text("name")?.ok_or_else(|| item.wrong("name", "a string"))?;
                let input = item.text("input")?.unwrap_or("");
                self.call(item, name.to_owned(), json!({"input": input}).to_string())?;
            }
            "local_shell_call" => self.hosted(item, "local_shell")?,
            "web_search_call" | "image_generation_call" => self.hosted(item, kind)?,
            "tool_search_call" => self.hosted(item, "tool_search")?,
            // What another server has made shorter cannot be read here.
            "compaction" | "context_compaction" => {}
            kind if kind.ends_with("_output") => self.result(item)?,
            other => {
                let path = item.path("type");
                let message = format!("{path} is {other:?}, which this server does not know");
                return Err(ApiError::param(path, message));
            }
        }
        Ok(())
    }

    fn message(&mut self, item: &Fields<'_>) -> Result<(), ApiError> {
        let role = match item.text("role")?.unwrap_or("user") {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" | "developer" => Role::System,
            other => {
                let path = item.path("role");
                let message = format!("{path} is {other:?}, expected user, assistant, system or developer");
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

    fn reason(&mut self, item: &Fields<'_>) -> Result<(), ApiError> {
        for key in ["summary", "content"] {
            for part in item.array(key)?.into_iter().flatten() {
                let part = part.as_str().or_else(|| part.get("text")?.as_str()).unwrap_or("");
                if !self.reasoning.is_empty() && !part.is_empty() {
                    self.reasoning.push('\n');
                }
                self.reasoning.push_str(part);
            }
        }
        Ok(())
    }

    /// Calls belong to the assistant's message before them, unless new reasoning lies between.
    fn call(&mut self, item: &Fields<'_>, name: String, arguments: String) -> Result<(), ApiError> {
        let id = item.text("call_id")?.map_or_else(|| item.text("id"), |id| Ok(Some(id)))?;
        let call = ToolCall { id: id.map(str::to_owned), name, arguments };
        let is_open = self.reasoning.is_empty();
        match self.messages.last_mut() {
            Some(last) if last.role == Role::Assistant && is_open => last.tool_calls.push(call),
            _ => {
                let mut message = Message::new(Role::Assistant, "");
                message.reasoning = std::mem::take(&mut self.reasoning);
                message.tool_calls.push(call);
                self.messages.push(message);
            }
        }
        Ok(())
    }

    /// A call of a tool that some client or server runs by itself.
    fn hosted(&mut self, item: &Fields<'_>, name: &str) -> Result<(), ApiError> {
        let arguments = ["action", "arguments", "input"].into_iter().find_map(|key| item.get(key));
        self.call(item, name.to_owned(), written(arguments))
    }

    fn result(&mut self, item: &Fields<'_>) -> Result<(), ApiError> {
        self.flush();
        let body = match item.get("output") {
            Some(Value::String(_) | Value::Array(_)) => text(item, "output")?,
            Some(other) => other.to_string(),
            None => item.get("result").or_else(|| item.get("tools")).map_or_else(String::new, |value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            }),
        };
        let mut message = Message::new(Role::Tool, body);
        message.tool_call_id = item.text("call_id")?.map(str::to_owned);
        self.messages.push(message);
        Ok(())
    }

    /// Reasoning that no answer followed is a message of its own.
    fn flush(&mut self) {
        if !self.reasoning.is_empty() {
            let mut message = Message::new(Role::Assistant, "");
            message.reasoning = std::mem::take(&mut self.reasoning);
            self.messages.push(message);
        }
    }
}

/// Arguments as JSON text.
fn written(value: Option<&Value>) -> String {
    match value {
        None => "{}".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}
