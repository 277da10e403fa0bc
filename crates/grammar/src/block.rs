//! The grammar of a block of tool calls (`spec/chat-format.md` §6).

use crate::closing::Closing;
use crate::error::shown;
use crate::schema::{Budget, Resolver, Strictness};
use crate::text::{Texts, accepts_others, literal, texts};
use crate::{Error, NAME_BYTES_MAX, TOOLS_MAX, Tool, VALUE_SCHEMAS_MAX};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use std::fmt::Write;

/// A grammar in the notation of the library, and the schemas that it refers to as `@j0`, `@j1`, …
pub(crate) struct Grammar {
    pub text: String,
    pub schemas: Vec<(Value, Strictness)>,
    known: HashMap<(String, Strictness), usize>,
}

/// Names of parameters that a schema allows without naming them.
const OTHER_NAME: &str = "/[^\"\u{201c}\u{201d}<>&\\x00-\\x1f\\x7f]{1,64}/";

impl Grammar {
    pub(crate) fn new() -> Self {
        Self { text: String::new(), schemas: Vec::new(), known: HashMap::new() }
    }

    pub(crate) fn rule(&mut self, name: &str, body: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{name}: {body}");
    }

    /// The name of the grammar of a schema. Equal schemas share one.
    pub(crate) fn schema(&mut self, schema: Value, strictness: Strictness) -> Result<String, Error> {
        let next = self.schemas.len();
        let index = *self.known.entry((schema.to_string(), strictness)).or_insert(next);
        if index == next {
            if next >= VALUE_SCHEMAS_MAX {
                let (what, limit) = ("different parameter schemas", VALUE_SCHEMAS_MAX);
                return Err(Error::TooLarge { what, found: next + 1, limit });
            }
            self.schemas.push((schema, strictness));
        }
        Ok(format!("@j{index}"))
    }

    /// Adds the rule `calls`: a block from its first control token to its end. `dsml` is that token.
    pub(crate) fn calls(
        &mut self,
        tools: &[&Tool],
        parallel: bool,
        dsml: u32,
        budget: &mut Budget,
    ) -> Result<(), Error> {
        if tools.len() > TOOLS_MAX {
            return Err(Error::TooLarge { what: "tools", found: tools.len(), limit: TOOLS_MAX });
        }
        self.rule("mark", &format!("<[{dsml}]>"));
        let repeat = if parallel { "+" } else { "" };
        self.rule("calls", &format!(r#"mark "tool_calls>\n" call{repeat} "</" mark "tool_calls>""#));
        let names = (0..tools.len()).map(|index| format!("t{index}")).collect::<Vec<_>>();
        self.rule("call", &format!(r#""<" mark ({}) "</" mark "invoke>\n""#, names.join(" | ")));
        let mut known = HashSet::new();
        for (rule, tool) in names.iter().zip(tools) {
            if !known.insert(&tool.name) {
                return Err(Error::DuplicateTool { name: shown(&tool.name) });
            }
            self.tool(rule, tool, budget).map_err(|error| error.in_tool(&tool.name))?;
        }
        self.rule("anytext", r#"/(?s:.*)<\//"#);
        Ok(())
    }

    fn tool(&mut self, rule: &str, tool: &Tool, budget: &mut Budget) -> Result<(), Error> {
        let open = literal(&format!("invoke name=\"{}\">\n", attribute(&tool.name)?));
        self.rule(rule, &format!("{open} {rule}a"));
        let absent = Value::Object(Map::new());
        let schema = if tool.parameters.is_null() { &absent } else { &tool.parameters };
        let strictness = if tool.strict { Strictness::Strict } else { Strictness::Lenient };
        let schema = Resolver::new(schema, strictness, budget).document()?;
        let parameters = Parameters::of(&schema, strictness)?;
        let mut required = Vec::new();
        for (name, schema) in &parameters.named {
            let index = required.len();
            let is_required = parameters.required.contains(name.as_str());
            if self.parameter(&format!("{rule}p{index}"), name, schema, strictness)? {
                required.push(is_required);
            } else if is_required {
                return Err(Error::Schema { reason: format!("nothing satisfies the required {:?}", shown(name)) });
            }
        }
        let others = self.other_parameters(rule, &parameters, strictness)?;
        self.sequence(rule, &required, others);
        Ok(())
    }

    /// Parameters in the order of the schema, the optional ones or not; none at all is an empty line.
    fn sequence(&mut self, rule: &str, required: &[bool], others: bool) {
        let last = required.len();
        let end = if others { format!(r#"("<" {rule}o)*"#) } else { "\"\"".to_owned() };
        self.rule(&format!("{rule}r{last}"), &end);
        for (index, is_required) in required.iter().enumerate().rev() {
            let optional = if *is_required { "" } else { "?" };
            let next = index + 1;
            self.rule(&format!("{rule}r{index}"), &format!(r#"("<" {rule}p{index}){optional} {rule}r{next}"#));
        }
        if required.contains(&true) {
            self.rule(&format!("{rule}a"), &format!("{rule}r0"));
            return;
        }
        // The rule n3 is a non-empty sequence from the parameter 3 on.
        let mut non_empty = others.then(|| {
            self.rule(&format!("{rule}n{last}"), &format!(r#""<" {rule}o {rule}r{last}"#));
            format!(" | {rule}n{last}")
        });
        for index in (0..last).rev() {
            let later = non_empty.unwrap_or_default();
            let next = index + 1;
            self.rule(&format!("{rule}n{index}"), &format!(r#""<" {rule}p{index} {rule}r{next}{later}"#));
            non_empty = Some(format!(" | {rule}n{index}"));
        }
        self.rule(&format!("{rule}a"), &format!("\"\\n\"{}", non_empty.unwrap_or_default()));
    }

    /// Adds a rule for one parameter, unless it can have no value.
    fn parameter(&mut self, rule: &str, name: &str, schema: &Value, strictness: Strictness) -> Result<bool, Error> {
        let open = format!("parameter name=\"{}\" string=", attribute(name)?);
        let mut forms = Vec::new();
        let opening = |string: bool| literal(&format!("{open}\"{string}\">"));
        match texts(schema, strictness)? {
            Texts::None => {}
            Texts::Any => forms.push(format!("{} anytext", opening(true))),
            Texts::Terminal(terminal) => {
                let terminal_name = rule.to_uppercase();
                self.rule(&terminal_name, &format!(r#"{terminal} "</""#));
                forms.push(format!("{} {terminal_name}", opening(true)));
            }
        }
        if accepts_others(schema) {
            check_literals(schema)?;
            let value = self.schema(schema.clone(), strictness)?;
            forms.push(format!(r#"{} {value} "</""#, opening(false)));
        }
        if forms.is_empty() {
            return Ok(false);
        }
        self.rule(rule, &format!(r#"mark ({}) mark "parameter>\n""#, forms.join(" | ")));
        Ok(true)
    }

    /// Adds the rule for a parameter that has no name in the schema, if there may be such.
    fn other_parameters(&mut self, rule: &str, parameters: &Parameters, strictness: Strictness) -> Result<bool, Error> {
        let Some(schema) = &parameters.others else {
            return Ok(false);
        };
        let terminal = rule.to_uppercase();
        let names = parameters.named.iter().map(|(name, _)| Ok(literal(&attribute(name)?)));
        let names = names.collect::<Result<Vec<_>, Error>>()?;
        let name = if names.is_empty() {
            OTHER_NAME.to_owned()
        } else {
            self.rule(&format!("{terminal}K"), &names.join(" | "));
            format!("({OTHER_NAME} & ~{terminal}K)")
        };
        let mut forms = Vec::new();
        let opening = |grammar: &mut Self, string: bool| {
            let terminal = format!("{terminal}O{}", if string { "T" } else { "F" });
            grammar.rule(&terminal, &format!(r#""parameter name=\"" {name} "\" string=\"{string}\">""#));
            terminal
        };
        match texts(schema, strictness)? {
            Texts::None => {}
            Texts::Any => forms.push(format!("{} anytext", opening(self, true))),
            Texts::Terminal(text) => {
                self.rule(&format!("{terminal}X"), &format!(r#"{text} "</""#));
                forms.push(format!("{} {terminal}X", opening(self, true)));
            }
        }
        if accepts_others(schema) {
            check_literals(schema)?;
            let value = self.schema(schema.clone(), strictness)?;
            forms.push(format!(r#"{} {value} "</""#, opening(self, false)));
        }
        if forms.is_empty() {
            return Ok(false);
        }
        self.rule(&format!("{rule}o"), &format!(r#"mark ({}) mark "parameter>\n""#, forms.join(" | ")));
        Ok(true)
    }
}

/// What a tool takes.
struct Parameters<'s> {
    named: Vec<(String, &'s Value)>,
    required: HashSet<&'s str>,
    /// Schema of all that is not named, if there may be more.
    others: Option<Value>,
}

impl<'s> Parameters<'s> {
    fn of(schema: &'s Value, strictness: Strictness) -> Result<Self, Error> {
        let mut parameters = Self { named: Vec::new(), required: HashSet::new(), others: None };
        let anything = || Some(Value::Object(Map::new()));
        let Value::Object(keywords) = schema else {
            parameters.others = anything();
            return Ok(parameters);
        };
        if let Some(Value::String(kind)) = keywords.get("type")
            && kind != "object"
        {
            return Err(Error::Schema { reason: format!("parameters must be of type object, not {:?}", shown(kind)) });
        }
        if let Some(Value::Object(properties)) = keywords.get("properties") {
            parameters.named.extend(properties.iter().map(|(name, schema)| (name.clone(), schema)));
        }
        parameters.others = match keywords.get("additionalProperties") {
            None | Some(Value::Bool(false)) => None,
            Some(Value::Bool(true)) => anything(),
            Some(schema) => Some(schema.clone()),
        };
        // Alternatives of whole argument objects are beyond this grammar: any parameter may come.
        let beyond = ["anyOf", "oneOf", "allOf", "patternProperties", "minProperties", "maxProperties"];
        if let Some(keyword) = beyond.iter().find(|keyword| keywords.contains_key(**keyword)) {
            if strictness == Strictness::Strict {
                let keyword = format!("{keyword} around the parameters of a strict tool");
                return Err(Error::Unsupported { keyword });
            }
            parameters.others = anything();
        }
        for name in keywords.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            parameters.required.insert(name);
            if !parameters.named.iter().any(|(known, _)| known == name) {
                const ANYTHING: &Value = &Value::Bool(true);
                parameters.named.push((name.to_owned(), ANYTHING));
            }
        }
        Ok(parameters)
    }
}

/// A name as an attribute's value.
fn attribute(name: &str) -> Result<String, Error> {
    let bad = |reason| Error::Name { name: shown(name), reason };
    if name.len() > NAME_BYTES_MAX {
        return Err(bad("it is longer than 512 bytes"));
    }
    if name.contains(['\u{201c}', '\u{201d}', '\0']) {
        return Err(bad("it contains a typographic quotation mark or a zero byte"));
    }
    Ok(name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;"))
}

/// Refuses a fixed JSON value that would end its own parameter.
fn check_literals(schema: &Value) -> Result<(), Error> {
    let check = |text: &str| match Closing::default().after(text.as_bytes()).is_closed() {
        true => Err(Error::Unsupported { keyword: format!("a value with a closing parameter tag, {:?}", shown(text)) }),
        false => Ok(()),
    };
    match schema {
        Value::String(text) => check(text),
        Value::Array(values) => values.iter().try_for_each(check_literals),
        Value::Object(members) => members.iter().try_for_each(|(name, value)| {
            check(name)?;
            check_literals(value)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}
