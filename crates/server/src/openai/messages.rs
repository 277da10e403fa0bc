//! Conversations and tools.

use crate::error::ApiError;
use crate::fields::Fields;
use crate::limits::MESSAGES_MAX;
use crate::messages::{Tools, text, tool_mode};
use crate::turn::{Tool, ToolChoice};
use ds4_chat::{Message, Role, ToolCall};
use serde_json::Value;

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
    let mut message = Message::new(role, text(&fields, "content")?);
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
    let mut tools = Tools::default();
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
        tools.add(&function, "parameters")?;
    }
    Ok(tools.all)
}

/// Whether tools are called. A choice among some tools takes the others out of `tools`.
pub fn tool_choice(fields: &Fields<'_>, tools: &mut Vec<Tool>) -> Result<ToolChoice, ApiError> {
    let Some(value) = fields.get("tool_choice") else { return Ok(ToolChoice::Auto) };
    if value.is_string() {
        return tool_mode(fields, "tool_choice");
    }
    let choice = Fields::new(value, "tool_choice")?;
    let inner = |key: &str| Fields::new(choice.get(key).unwrap_or(&Value::Null), choice.path(key));
    match choice.text("type")? {
        Some("function") => {
            let function = inner("function")?;
            let name = function.text("name")?.ok_or_else(|| function.wrong("name", "a string"))?;
            Ok(ToolChoice::Named(name.to_owned()))
        }
        Some("allowed_tools") => {
            let allowed = inner("allowed_tools")?;
            let mut names = Vec::new();
            for tool in allowed.array("tools")?.into_iter().flatten() {
                let name = tool.pointer("/function/name").or_else(|| tool.get("name")).and_then(Value::as_str);
                names.push(name.ok_or_else(|| allowed.wrong("tools", "an array of functions with names"))?);
            }
            tools.retain(|tool| names.contains(&tool.name.as_str()));
            tool_mode(&allowed, "mode")
        }
        _ => Err(choice.wrong("type", "\"function\" or \"allowed_tools\"")),
    }
}
