//! Tools of every kind, offered to the model as functions, and which of them may be called.

use crate::error::ApiError;
use crate::fields::Fields;
use crate::messages::{Tools, tool_mode};
use crate::turn::ToolChoice;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

/// How calls of a tool are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// With arguments in JSON.
    #[default]
    Function,
    /// With one text as input.
    Custom,
    /// A search for more tools, which the client makes.
    Search,
}

/// What the client calls a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    pub kind: Kind,
    pub namespace: Option<String>,
    pub name: String,
}

/// Tools by the names that the model calls them by.
#[derive(Default)]
pub struct Targets(HashMap<String, Target>);

impl Targets {
    /// What the model calls `name`; a function where it made the name up.
    pub fn get(&self, name: &str) -> Target {
        self.0.get(name).cloned().unwrap_or_else(|| Target { name: name.to_owned(), ..Target::default() })
    }
}

/// Tools that servers of OpenAI run. This server has none of them, and the model is not told of them: agents offer them
/// with every request, and work without.
fn is_hosted(kind: &str) -> bool {
    let kinds =
        ["file_search", "image_generation", "code_interpreter", "mcp", "local_shell", "tool_search", "computer"];
    kinds.contains(&kind) || kind.starts_with("web_search") || kind.starts_with("computer_use")
}

/// The tools that the model is told of.
#[derive(Default)]
pub struct Offer {
    pub tools: Tools,
    pub targets: Targets,
}

impl Offer {
    /// Adds the tools of the request; each has a name of its own.
    pub fn add(&mut self, tools: &[Value], path: &str) -> Result<(), ApiError> {
        self.add_all(tools, path, None, false)
    }

    /// Adds tools that a search found, perhaps again.
    pub fn add_found(&mut self, tools: &[Value], path: &str) -> Result<(), ApiError> {
        self.add_all(tools, path, None, true)
    }

    fn add_all(&mut self, tools: &[Value], path: &str, space: Option<&str>, again: bool) -> Result<(), ApiError> {
        for (index, tool) in tools.iter().enumerate() {
            let at = format!("{path}[{index}]");
            let tool = Fields::new(tool, at.as_str())?;
            let kind = match tool.text("type")?.unwrap_or("function") {
                "function" => Kind::Function,
                "custom" => Kind::Custom,
                "tool_search" if tool.text("execution")? == Some("client") => Kind::Search,
                // Namespaces do not nest.
                "namespace" if space.is_none() => {
                    let name = own_name(&tool)?;
                    let members = tool.array("tools")?.map_or(&[][..], Vec::as_slice);
                    self.add_all(members, &tool.path("tools"), Some(name), again)?;
                    continue;
                }
                hosted if is_hosted(hosted) => continue,
                other => {
                    let path = tool.path("type");
                    let message = format!("{path} is {other:?}, expected function, custom or namespace");
                    return Err(ApiError::param(path, message));
                }
            };
            let function = function(&tool, kind, space)?;
            if again && self.targets.0.contains_key(&function.offered) {
                continue;
            }
            self.tools.add(&Fields::new(&function.schema, at)?, "parameters")?;
            self.targets.0.insert(function.offered, function.target);
        }
        Ok(())
    }

    /// Reads `tool_choice`, which may also leave out some of the tools.
    pub fn choose(&mut self, fields: &Fields<'_>) -> Result<ToolChoice, ApiError> {
        let choice = match fields.get("tool_choice") {
            None => ToolChoice::Auto,
            Some(Value::String(_)) => tool_mode(fields, "tool_choice")?,
            Some(choice) => {
                let choice = Fields::new(choice, "tool_choice")?;
                match choice.text("type")?.ok_or_else(|| choice.wrong("type", "a string"))? {
                    "function" | "custom" => ToolChoice::Named(self.named(&choice)?),
                    "allowed_tools" => {
                        self.allow(&choice)?;
                        tool_mode(&choice, "mode")?
                    }
                    other => {
                        let message = format!(
                            "tool_choice.type is {other:?}, expected function, custom or allowed_tools: this server runs no tools"
                        );
                        return Err(ApiError::param("tool_choice.type", message));
                    }
                }
            }
        };
        if choice == ToolChoice::Required && self.tools.all.is_empty() {
            return Err(ApiError::param("tool_choice", "tool_choice asks for a call, but there is no tool to call"));
        }
        Ok(choice)
    }

    /// The offered name of the tool that `fields` name.
    fn named(&self, fields: &Fields<'_>) -> Result<String, ApiError> {
        let offered = format!("{}{}", fields.text("namespace")?.unwrap_or_default(), own_name(fields)?);
        if self.targets.0.contains_key(&offered) {
            return Ok(offered);
        }
        let path = fields.path("name");
        Err(ApiError::param(path.clone(), format!("{path} is {offered:?}, which is not among the tools")))
    }

    fn allow(&mut self, choice: &Fields<'_>) -> Result<(), ApiError> {
        let entries = choice.array("tools")?.ok_or_else(|| choice.wrong("tools", "an array"))?;
        let mut allowed = HashSet::new();
        for (index, entry) in entries.iter().enumerate() {
            let entry = Fields::new(entry, format!("{}[{index}]", choice.path("tools")))?;
            match entry.text("type")?.unwrap_or("function") {
                "function" | "custom" => {
                    allowed.insert(self.named(&entry)?);
                }
                "tool_search" => {
                    allowed.insert("tool_search".to_owned());
                }
                hosted if is_hosted(hosted) => {}
                other => {
                    let path = entry.path("type");
                    return Err(ApiError::param(
                        path.clone(),
                        format!("{path} is {other:?}, expected function or custom"),
                    ));
                }
            }
        }
        self.tools.all.retain(|tool| allowed.contains(&tool.name));
        Ok(())
    }
}

/// A tool as the model is told of it.
struct Function {
    offered: String,
    schema: Value,
    target: Target,
}

fn function(tool: &Fields<'_>, kind: Kind, space: Option<&str>) -> Result<Function, ApiError> {
    let name = if kind == Kind::Search { "tool_search" } else { own_name(tool)? };
    let offered = format!("{}{name}", space.unwrap_or_default());
    let (description, parameters) = match kind {
        Kind::Function | Kind::Search => (json!(tool.get("description")), json!(tool.get("parameters"))),
        Kind::Custom => (
            json!(custom_description(tool)?),
            json!({"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}),
        ),
    };
    let strict = tool.get("strict").filter(|_| kind == Kind::Function);
    let schema = json!({"name": offered, "description": description, "parameters": parameters, "strict": strict});
    let target = Target { kind, namespace: space.map(str::to_owned), name: name.to_owned() };
    Ok(Function { offered, schema, target })
}

fn own_name<'v>(tool: &Fields<'v>) -> Result<&'v str, ApiError> {
    tool.text("name")?.filter(|name| !name.is_empty()).ok_or_else(|| tool.wrong("name", "1 to 256 bytes of text"))
}

/// What the model is told of a custom tool; a grammar of its input is one more instruction.
fn custom_description(tool: &Fields<'_>) -> Result<String, ApiError> {
    let mut description = tool.text("description")?.unwrap_or_default().to_owned();
    let Some(format) = tool.object("format")? else { return Ok(description) };
    if let Some(definition) = format.text("definition")? {
        let syntax = format.text("syntax")?.unwrap_or("lark");
        if !description.is_empty() {
            description.push_str("\n\n");
        }
        description.push_str(&format!("The input must match this {syntax} grammar:\n{definition}"));
    }
    Ok(description)
}
