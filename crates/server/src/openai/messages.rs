//! Conversations and tools.

use crate::error::ApiError;
use crate::fields::Fields;
use crate::limits::{MESSAGES_MAX, TOOL_NAME_BYTES_MAX, TOOLS_MAX};
use crate::turn::{Tool, ToolChoice};
use ds4_chat::{Message, Role, ToolCall};
use serde_json::{Map, Value, json};

/// The conversation of a request.
pub fn messages(values: &[Value]) -> Result<Vec<Message>, ApiError> {
    if values.is_empty() || values.len() > MESSAGES_MAX {
        let message = format!("messages has {} entries, expected 1 to {MESSAGES_MAX}", values.len());
        return Err(ApiError::param("messages", message));
    }
    let last = values.len() - 1;
    values.iter().enumerate().map(|(index, value)| message(value, index, index == last)).collect()
}

fn message(value: &Value, index: usize, is_last: bool) -> Result<Message, ApiError> {
    let fields = Fields::new(value, format!("messages[{index}]"))?;
    let role = match fields.text("role")?.unwrap_or("user") {
        // OpenAI's developer messages are its newer name for system messages.
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => Role::Tool,
        "latest_reminder" => Role::LatestReminder,
        other => {
            let path = fields.path("role");
            let expected = "system, developer, user, assistant, tool or latest_reminder";
            return Err(ApiError::param(path.clone(), format!("{path} is {other:?}, expected {expected}")));
        }
    };
    let mut message = Message::new(role, content(&fields)?);
    match role {
        Role::Assistant => {
            let reasoning = fields.text("reasoning_content")?;
            message.reasoning =
                reasoning.map_or_else(|| fields.text("reasoning"), |text| Ok(Some(text)))?.unwrap_or("").to_owned();
            message.tool_calls = calls(&fields)?;
            message.prefix = is_last && fields.flag("prefix")?.unwrap_or(false);
        }
        Role::Tool => message.tool_call_id = fields.text("tool_call_id")?.map(str::to_owned),
        _ => {}
    }
    Ok(message)
}

/// A string, nothing, or parts of which each must be text.
fn content(fields: &Fields<'_>) -> Result<String, ApiError> {
    let parts = match fields.get("content") {
        None => return Ok(String::new()),
        Some(Value::String(text)) => return Ok(text.clone()),
        Some(Value::Array(parts)) => parts,
        Some(_) => return Err(fields.wrong("content", "a string or an array of parts")),
    };
    let mut text = String::new();
    for (index, part) in parts.iter().enumerate() {
        let path = format!("{}[{index}]", fields.path("content"));
        if let Value::String(part) = part {
            text.push_str(part);
            continue;
        }
        let part = Fields::new(part, path.clone())?;
        match part.text("type")?.unwrap_or("text") {
            "text" | "input_text" | "output_text" => text.push_str(part.text("text")?.unwrap_or("")),
            other => {
                let message = format!("{path} has type {other:?}; this server reads text only");
                return Err(ApiError::param(path, message));
            }
        }
    }
    Ok(text)
}

fn calls(fields: &Fields<'_>) -> Result<Vec<ToolCall>, ApiError> {
    let mut calls = Vec::new();
    for (index, call) in fields.array("tool_calls")?.into_iter().flatten().enumerate() {
        let call = Fields::new(call, format!("{}[{index}]", fields.path("tool_calls")))?;
        let function = Fields::new(call.get("function").unwrap_or(&Value::Null), call.path("function"))?;
        let name = function.text("name")?.ok_or_else(|| function.wrong("name", "a string"))?;
        let arguments = match function.get("arguments") {
            None => "{}".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        calls.push(ToolCall { id: call.text("id")?.map(str::to_owned), name: name.to_owned(), arguments });
    }
    Ok(calls)
}

/// The functions of a request.
pub fn tools(fields: &Fields<'_>) -> Result<Vec<Tool>, ApiError> {
    let values = fields.array("tools")?.map_or(&[][..], Vec::as_slice);
    if values.len() > TOOLS_MAX {
        let message = format!("tools has {} entries, expected at most {TOOLS_MAX}", values.len());
        return Err(ApiError::param("tools", message));
    }
    let mut tools: Vec<Tool> = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let outer = Fields::new(value, format!("tools[{index}]"))?;
        let kind = outer.text("type")?.unwrap_or("function");
        if kind != "function" {
            let path = outer.path("type");
            return Err(ApiError::param(path.clone(), format!("{path} is {kind:?}, expected \"function\"")));
        }
        let function = match outer.get("function") {
            Some(function) => Fields::new(function, outer.path("function"))?,
            None => outer,
        };
        let name = function.text("name")?.filter(|name| !name.is_empty() && name.len() <= TOOL_NAME_BYTES_MAX);
        let name = name.ok_or_else(|| function.wrong("name", "1 to 256 bytes of text"))?;
        if tools.iter().any(|tool| tool.name == name) {
            let path = function.path("name");
            return Err(ApiError::param(path.clone(), format!("{path} {name:?} is there twice")));
        }
        let mut schema = Map::new();
        schema.insert("name".to_owned(), json!(name));
        // What the model was trained to see of a function; other members would only be noise.
        for key in ["description", "parameters"] {
            if let Some(value) = function.get(key) {
                schema.insert(key.to_owned(), value.clone());
            }
        }
        let parameters = function.get("parameters").cloned().unwrap_or_else(|| json!({"type": "object"}));
        tools.push(Tool { name: name.to_owned(), schema: Value::Object(schema), parameters });
    }
    Ok(tools)
}

/// Whether tools are called. Calls cannot be forced yet, so asking for it is refused, not ignored.
pub fn tool_choice(fields: &Fields<'_>) -> Result<ToolChoice, ApiError> {
    match fields.get("tool_choice") {
        None => Ok(ToolChoice::Auto),
        Some(Value::String(choice)) if choice == "auto" => Ok(ToolChoice::Auto),
        Some(Value::String(choice)) if choice == "none" => Ok(ToolChoice::None),
        Some(_) => Err(ApiError::param("tool_choice", "tool_choice can be \"auto\" or \"none\" on this server so far")),
    }
}
