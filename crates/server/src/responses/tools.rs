//! Tools of a request: functions, functions in namespaces, and custom tools, which take plain text.

use crate::error::ApiError;
use crate::fields::Fields;
use crate::messages::{Tools, tool_mode};
use crate::turn::{Tool, ToolChoice};
use serde_json::{Value, json};
use std::collections::HashMap;

/// The parameter that holds the text of a custom tool.
const INPUT: &str = "input";

/// What a tool's calls look like to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A function.
    Function,
    /// A function of a namespace: its name there.
    Inside {
        /// The namespace.
        namespace: String,
        /// The name without it.
        name: String,
    },
    /// A tool that takes plain text.
    Custom,
}

/// The tools that the model is offered. Those that OpenAI runs itself (web search and others) are left out: clients send
/// them whether or not the server has them.
#[derive(Default)]
pub struct Offer {
    tools: Tools,
    /// Those that are no plain functions, by the name that the model knows.
    kinds: HashMap<String, Kind>,
}

impl Offer {
    /// Reads `tools`.
    pub fn read(fields: &Fields<'_>) -> Result<Self, ApiError> {
        let mut offer = Self::default();
        for (index, value) in fields.array("tools")?.into_iter().flatten().enumerate() {
            let tool = Fields::new(value, format!("tools[{index}]"))?;
            match tool.text("type")? {
                Some("function") => offer.tools.add(&tool, "parameters")?,
                Some("custom") => offer.custom(&tool)?,
                Some("namespace") => offer.namespace(&tool)?,
                _ => {}
            }
        }
        Ok(offer)
    }

    fn custom(&mut self, tool: &Fields<'_>) -> Result<(), ApiError> {
        let mut description = tool.text("description")?.unwrap_or("").to_owned();
        let format = tool.get("format");
        if let Some(definition) = format.and_then(|format| format.get("definition")?.as_str()) {
            let syntax = format.and_then(|format| format.get("syntax")?.as_str()).unwrap_or("formal");
            description.push_str(&format!("\n\nThe input follows this {syntax} grammar:\n{definition}"));
        }
        let parameters = json!({"type": "object", "properties": {INPUT: {"type": "string"}}, "required": [INPUT]});
        let function = json!({"name": tool.get("name"), "description": description, "parameters": parameters});
        self.tools.add(&Fields::new(&function, tool.path("custom"))?, "parameters")?;
        self.mark(Kind::Custom);
        Ok(())
    }

    fn namespace(&mut self, tool: &Fields<'_>) -> Result<(), ApiError> {
        let namespace = tool.text("name")?.ok_or_else(|| tool.wrong("name", "a string"))?;
        for (index, value) in tool.array("tools")?.into_iter().flatten().enumerate() {
            let path = format!("{}[{index}]", tool.path("tools"));
            let inner = Fields::new(value, path.clone())?;
            let name = inner.text("name")?.ok_or_else(|| inner.wrong("name", "a string"))?;
            let mut function = value.clone();
            function["name"] = json!(format!("{namespace}{name}"));
            self.tools.add(&Fields::new(&function, path)?, "parameters")?;
            self.mark(Kind::Inside { namespace: namespace.to_owned(), name: name.to_owned() });
        }
        Ok(())
    }

    /// Says what the tool added last is.
    fn mark(&mut self, kind: Kind) {
        if let Some(tool) = self.tools.all.last() {
            self.kinds.insert(tool.name.clone(), kind);
        }
    }

    /// The tools for the model.
    pub fn take(&mut self) -> Vec<Tool> {
        std::mem::take(&mut self.tools.all)
    }

    /// What the calls of a tool look like.
    pub fn kind(&self, name: &str) -> &Kind {
        self.kinds.get(name).unwrap_or(&Kind::Function)
    }
}

/// The text of a custom tool's call; as it stands if it cannot be read.
pub fn input(arguments: &str) -> String {
    let value: Option<Value> = serde_json::from_str(arguments).ok();
    let input = value.as_ref().and_then(|value| value.get(INPUT)?.as_str());
    input.unwrap_or(arguments).to_owned()
}

/// Whether tools are called. A choice among some tools takes the others out of the offer.
pub fn choice(fields: &Fields<'_>, offer: &mut Offer) -> Result<ToolChoice, ApiError> {
    let Some(value) = fields.get("tool_choice") else { return Ok(ToolChoice::Auto) };
    if value.is_string() {
        return tool_mode(fields, "tool_choice");
    }
    let choice = Fields::new(value, "tool_choice")?;
    match choice.text("type")? {
        Some("function" | "custom") => {
            Ok(ToolChoice::Named(choice.text("name")?.ok_or_else(|| choice.wrong("name", "a string"))?.to_owned()))
        }
        Some("allowed_tools") => {
            let mut names = Vec::new();
            for tool in choice.array("tools")?.into_iter().flatten() {
                // Tools of OpenAI's own have no name, and are not there anyway.
                names.extend(tool.get("name").and_then(Value::as_str));
            }
            offer.tools.all.retain(|tool| names.contains(&tool.name.as_str()));
            tool_mode(&choice, "mode")
        }
        _ => Err(choice.wrong("type", "\"function\", \"custom\" or \"allowed_tools\"")),
    }
}
