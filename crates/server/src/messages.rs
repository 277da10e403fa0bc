//! What conversations have in common, whatever API they come by: text in parts, tools.

use crate::error::ApiError;
use crate::fields::Fields;
use crate::limits::{TOOL_NAME_BYTES_MAX, TOOLS_MAX};
use crate::turn::{Tool, ToolChoice};
use serde_json::{Map, Value, json};

/// The text in member `key`: a string, nothing, or parts of which each must be text.
pub fn text(fields: &Fields<'_>, key: &str) -> Result<String, ApiError> {
    let parts = match fields.get(key) {
        None => return Ok(String::new()),
        Some(Value::String(text)) => return Ok(text.clone()),
        Some(Value::Array(parts)) => parts,
        Some(_) => return Err(fields.wrong(key, "a string or an array of parts")),
    };
    let mut text = String::new();
    for (index, part) in parts.iter().enumerate() {
        let path = format!("{}[{index}]", fields.path(key));
        if let Value::String(part) = part {
            text.push_str(part);
            continue;
        }
        let part = Fields::new(part, path.clone())?;
        match part.text("type")?.unwrap_or("text") {
            "text" | "input_text" | "output_text" | "summary_text" | "reasoning_text" => {
                text.push_str(part.text("text")?.unwrap_or(""))
            }
            other => {
                let message = format!("{path} has type {other:?}; this server reads text only");
                return Err(ApiError::param(path, message));
            }
        }
    }
    Ok(text)
}

/// Whether tools are called, in OpenAI's words; on their own account where member `key` says nothing.
pub fn tool_mode(fields: &Fields<'_>, key: &str) -> Result<ToolChoice, ApiError> {
    match fields.text(key)? {
        None | Some("auto") => Ok(ToolChoice::Auto),
        Some("none") => Ok(ToolChoice::None),
        Some("required") => Ok(ToolChoice::Required),
        Some(other) => {
            let path = fields.path(key);
            Err(ApiError::param(path.clone(), format!("{path} is {other:?}, expected auto, none or required")))
        }
    }
}

/// The tools of a request, bounded and each of another name.
#[derive(Default)]
pub struct Tools {
    /// Those added so far.
    pub all: Vec<Tool>,
}

impl Tools {
    /// Adds the function that `fields` describe; the schema of its arguments stands in member `parameters`.
    pub fn add(&mut self, fields: &Fields<'_>, parameters: &str) -> Result<(), ApiError> {
        if self.all.len() >= TOOLS_MAX {
            return Err(ApiError::param("tools", format!("tools has more than {TOOLS_MAX} entries")));
        }
        let name = fields.text("name")?.filter(|name| !name.is_empty() && name.len() <= TOOL_NAME_BYTES_MAX);
        let name = name.ok_or_else(|| fields.wrong("name", "1 to 256 bytes of text"))?;
        if self.all.iter().any(|tool| tool.name == name) {
            let path = fields.path("name");
            return Err(ApiError::param(path.clone(), format!("{path} {name:?} is there twice")));
        }
        // What the model was trained to see of a function; other members would only be noise.
        let mut schema = Map::new();
        schema.insert("name".to_owned(), json!(name));
        for (key, member) in [("description", "description"), ("parameters", parameters)] {
            if let Some(value) = fields.get(member) {
                schema.insert(key.to_owned(), value.clone());
            }
        }
        let parameters = fields.get(parameters).cloned().unwrap_or_else(|| json!({"type": "object"}));
        let strict = fields.flag("strict")?.unwrap_or(false);
        self.all.push(Tool { name: name.to_owned(), schema: Value::Object(schema), parameters, strict });
        Ok(())
    }
}
