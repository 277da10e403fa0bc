//! Conversations, tools and formats as Anthropic's clients send them.

use crate::error::ApiError;
use crate::fields::Fields;
use crate::limits::MESSAGES_MAX;
use crate::messages::{Tools, text};
use crate::turn::{Format, Tool, ToolChoice};
use ds4_chat::{Message, Role, ToolCall};
use serde_json::Value;

/// Claude Code's first system part: its checksum changes with every request, so that no prefix would ever be found again.
const BILLING_HEADER: &str = "x-anthropic-billing-header:";

/// What stands between two parts of the system text.
const SYSTEM_BREAK: &str = "\n\n";

/// The conversation of a request, system text first.
pub fn conversation(fields: &Fields<'_>) -> Result<Vec<Message>, ApiError> {
    let values = fields.array("messages")?.ok_or_else(|| ApiError::param("messages", "missing messages"))?;
    if values.is_empty() || values.len() > MESSAGES_MAX {
        let message = format!("messages has {} entries, expected 1 to {MESSAGES_MAX}", values.len());
        return Err(ApiError::param("messages", message));
    }
    let mut messages = Vec::with_capacity(values.len() + 1);
    let system = system(fields)?;
    if !system.is_empty() {
        messages.push(Message::new(Role::System, system));
    }
    for (index, value) in values.iter().enumerate() {
        let fields = Fields::new(value, format!("messages[{index}]"))?;
        if messages.len() > MESSAGES_MAX {
            let message = format!("messages has more than {MESSAGES_MAX} texts and tool results");
            return Err(ApiError::param("messages", message));
        }
        match fields.text("role")?.unwrap_or("user") {
            "user" => user(&fields, &mut messages)?,
            "assistant" => messages.push(assistant(&fields)?),
            "system" => messages.push(Message::new(Role::System, text(&fields, "content")?)),
            other => {
                let path = fields.path("role");
                return Err(ApiError::param(path.clone(), format!("{path} is {other:?}, expected user or assistant")));
            }
        }
    }
    if let Some(last) = messages.last_mut() {
        // A last message of the assistant is one to be continued.
        last.prefix = last.role == Role::Assistant && last.tool_calls.is_empty();
    }
    Ok(messages)
}

fn system(fields: &Fields<'_>) -> Result<String, ApiError> {
    let Some(Value::Array(parts)) = fields.get("system") else {
        return text(fields, "system");
    };
    let mut texts = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let path = format!("system[{index}]");
        let part = match part {
            Value::String(part) => part,
            part => {
                let part = Fields::new(part, path.clone())?;
                let kind = part.text("type")?.unwrap_or("text");
                if kind != "text" {
                    return Err(unreadable(&path, kind));
                }
                part.text("text")?.unwrap_or("")
            }
        };
        if !part.starts_with(BILLING_HEADER) && !part.is_empty() {
            texts.push(part);
        }
    }
    Ok(texts.join(SYSTEM_BREAK))
}

fn unreadable(path: &str, kind: &str) -> ApiError {
    ApiError::param(path, format!("{path} has type {kind:?}; this server reads text only"))
}

fn misplaced(block: &Fields<'_>, kind: &str, role: &str) -> ApiError {
    let path = block.path("type");
    ApiError::param(path.clone(), format!("{path} is {kind:?}, which only {role} message can have"))
}

/// The blocks of a message's content with their types; none if it is plain text.
fn blocks<'v>(fields: &Fields<'v>) -> Result<Option<Vec<(&'v str, Fields<'v>)>>, ApiError> {
    let Some(Value::Array(values)) = fields.get("content") else { return Ok(None) };
    if values.len() > MESSAGES_MAX {
        let path = fields.path("content");
        let message = format!("{path} has {} blocks, expected at most {MESSAGES_MAX}", values.len());
        return Err(ApiError::param(path, message));
    }
    let block = |(index, value)| {
        let block = Fields::new(value, format!("{}[{index}]", fields.path("content")))?;
        let kind = block.text("type")?.unwrap_or("text");
        Ok((kind, block))
    };
    values.iter().enumerate().map(block).collect::<Result<_, _>>().map(Some)
}

/// Results of tools become messages of their own; text between them stays where it is.
fn user(fields: &Fields<'_>, messages: &mut Vec<Message>) -> Result<(), ApiError> {
    let Some(blocks) = blocks(fields)? else {
        messages.push(Message::new(Role::User, text(fields, "content")?));
        return Ok(());
    };
    let mut said = String::new();
    let mut has_results = false;
    for (kind, block) in blocks {
        match kind {
            "text" => said.push_str(block.text("text")?.unwrap_or("")),
            "tool_result" => {
                if !said.is_empty() {
                    messages.push(Message::new(Role::User, std::mem::take(&mut said)));
                }
                let mut result = Message::new(Role::Tool, text(&block, "content")?);
                let id = block.text("tool_use_id")?.ok_or_else(|| block.wrong("tool_use_id", "a string"))?;
                result.tool_call_id = Some(id.to_owned());
                messages.push(result);
                has_results = true;
            }
            "tool_use" | "thinking" | "redacted_thinking" => return Err(misplaced(&block, kind, "an assistant")),
            other => return Err(unreadable(&block.path("type"), other)),
        }
    }
    if !said.is_empty() || !has_results {
        messages.push(Message::new(Role::User, said));
    }
    Ok(())
}

fn assistant(fields: &Fields<'_>) -> Result<Message, ApiError> {
    let Some(blocks) = blocks(fields)? else {
        return Ok(Message::new(Role::Assistant, text(fields, "content")?));
    };
    let mut message = Message::new(Role::Assistant, "");
    for (kind, block) in blocks {
        match kind {
            "text" => message.content.push_str(block.text("text")?.unwrap_or("")),
            "thinking" => message.reasoning.push_str(block.text("thinking")?.unwrap_or("")),
            // Another model's, which only its maker can read.
            "redacted_thinking" => {}
            "tool_use" => {
                let name = block.text("name")?.ok_or_else(|| block.wrong("name", "a string"))?;
                let arguments = match block.get("input") {
                    None => "{}".to_owned(),
                    Some(input @ Value::Object(_)) => input.to_string(),
                    Some(_) => return Err(block.wrong("input", "an object")),
                };
                let id = block.text("id")?.map(str::to_owned);
                message.tool_calls.push(ToolCall { id, name: name.to_owned(), arguments });
            }
            "tool_result" => return Err(misplaced(&block, kind, "a user")),
            other => return Err(unreadable(&block.path("type"), other)),
        }
    }
    Ok(message)
}

/// The tools of a request. Those that Anthropic runs itself are not there.
pub fn tools(fields: &Fields<'_>) -> Result<Vec<Tool>, ApiError> {
    let mut tools = Tools::default();
    for (index, value) in fields.array("tools")?.into_iter().flatten().enumerate() {
        let tool = Fields::new(value, format!("tools[{index}]"))?;
        let schema = tool.object("input_schema")?;
        match tool.text("type")? {
            None | Some("custom" | "function") => tools.add(&tool, "input_schema")?,
            Some(_) if schema.is_some() => tools.add(&tool, "input_schema")?,
            Some(kind) => {
                let path = tool.path("type");
                let message = format!(
                    "{path} is {kind:?}; this server has no such tool; tools of the client need an input_schema"
                );
                return Err(ApiError::param(path, message));
            }
        }
    }
    Ok(tools.all)
}

/// Whether tools are called, and whether several may be at once.
pub fn tool_choice(fields: &Fields<'_>) -> Result<(ToolChoice, bool), ApiError> {
    let Some(value) = fields.get("tool_choice") else { return Ok((ToolChoice::Auto, true)) };
    let choice = Fields::new(value, "tool_choice")?;
    let mode = match choice.text("type")? {
        Some("auto") => ToolChoice::Auto,
        Some("none") => ToolChoice::None,
        Some("any") => ToolChoice::Required,
        Some("tool") => {
            ToolChoice::Named(choice.text("name")?.ok_or_else(|| choice.wrong("name", "a string"))?.to_owned())
        }
        _ => return Err(choice.wrong("type", "\"auto\", \"any\", \"tool\" or \"none\"")),
    };
    Ok((mode, !choice.flag("disable_parallel_tool_use")?.unwrap_or(false)))
}

/// What the content must look like: `output_config.format`, or `output_format` as it was called before.
pub fn format(fields: &Fields<'_>, output: Option<&Fields<'_>>) -> Result<Format, ApiError> {
    let within = output.and_then(|output| Some((output.get("format")?, output.path("format"))));
    let Some((value, path)) = within.or_else(|| Some((fields.get("output_format")?, "output_format".to_owned())))
    else {
        return Ok(Format::Text);
    };
    let format = Fields::new(value, path)?;
    match format.text("type")? {
        Some("text") => Ok(Format::Text),
        Some("json_schema") => {
            let schema = format.get("schema").ok_or_else(|| format.wrong("schema", "a JSON schema"))?;
            Ok(Format::JsonSchema(schema.clone()))
        }
        _ => Err(format.wrong("type", "\"json_schema\"")),
    }
}
