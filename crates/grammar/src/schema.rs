//! JSON schemas made safe: bounded, without references, annotations and unsupported keywords.

use crate::error::shown;
use crate::{Error, NESTING_MAX, NODES_MAX, OBJECT_PROPERTIES_MAX, PATTERN_BYTES_MAX, SCHEMA_BYTES_MAX};
use serde_json::{Map, Value};

/// Formats of strings that the grammar library can check; others are annotations.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];

/// Keywords that restrict values and cannot be followed.
const UNSUPPORTED: [&str; 18] = [
    "not",
    "if",
    "then",
    "else",
    "contains",
    "minContains",
    "maxContains",
    "uniqueItems",
    "propertyNames",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
];

/// What to do about keywords that cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Strictness {
    /// Refuse them: every answer must satisfy the schema.
    Strict,
    /// Drop them, and references that are recursive or lead nowhere: the schema is a hint of what a tool takes, and
    /// refusing it would take the tool away.
    Lenient,
}

/// What one request may still spend on schemas, references followed.
pub(crate) struct Budget {
    bytes: usize,
    nodes: usize,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { bytes: SCHEMA_BYTES_MAX, nodes: NODES_MAX }
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Error> {
        let too_large = |what, limit| Error::TooLarge { what, found: limit + 1, limit };
        self.bytes = self.bytes.checked_sub(bytes).ok_or(too_large("bytes, references resolved,", SCHEMA_BYTES_MAX))?;
        self.nodes = self.nodes.checked_sub(1).ok_or(too_large("values, references resolved,", NODES_MAX))?;
        Ok(())
    }
}

/// Rewrites the schemas of one document.
pub(crate) struct Resolver<'d, 'b> {
    document: &'d Value,
    strictness: Strictness,
    budget: &'b mut Budget,
    /// References being followed.
    open: Vec<&'d str>,
    depth: usize,
}

impl<'d, 'b> Resolver<'d, 'b> {
    pub(crate) fn new(document: &'d Value, strictness: Strictness, budget: &'b mut Budget) -> Self {
        Self { document, strictness, budget, open: Vec::new(), depth: 0 }
    }

    /// The whole document, rewritten.
    pub(crate) fn document(&mut self) -> Result<Value, Error> {
        self.schema(self.document)
    }

    fn schema(&mut self, schema: &'d Value) -> Result<Value, Error> {
        self.budget.spend(2)?;
        match schema {
            Value::Bool(_) => Ok(schema.clone()),
            Value::Object(keywords) => self.nested(|this| this.keywords(keywords)),
            other => {
                Err(Error::Schema { reason: format!("a schema must be an object or a boolean, not {}", kind(other)) })
            }
        }
    }

    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth >= NESTING_MAX {
            return Err(Error::TooLarge { what: "levels of nesting", found: NESTING_MAX + 1, limit: NESTING_MAX });
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn keywords(&mut self, keywords: &'d Map<String, Value>) -> Result<Value, Error> {
        let mut result = Map::new();
        for (keyword, value) in keywords {
            if let Some(value) = self.keyword(keyword, value)? {
                result.insert(keyword.clone(), value);
            }
        }
        let Some(reference) = keywords.get("$ref") else {
            return Ok(Value::Object(result));
        };
        let target = self.follow(reference)?;
        if result.is_empty() {
            return Ok(target);
        }
        match result.get_mut("allOf") {
            Some(Value::Array(all)) => all.push(target),
            _ => {
                result.insert("allOf".to_owned(), Value::Array(vec![target]));
            }
        }
        Ok(Value::Object(result))
    }

    /// The value of a keyword, `None` if it says nothing about values or is dropped.
    fn keyword(&mut self, keyword: &str, value: &'d Value) -> Result<Option<Value>, Error> {
        self.budget.spend(keyword.len())?;
        let value = match keyword {
            "properties" | "patternProperties" => self.members(keyword, value)?,
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => self.list(keyword, value)?,
            "items" | "additionalItems" if value.is_array() => self.list(keyword, value)?,
            "items" | "additionalItems" | "additionalProperties" => self.schema(value)?,
            "enum" if !value.is_array() => return Err(not_a("list", keyword)),
            "required" => {
                let names = value.as_array().ok_or_else(|| not_a("list of names", keyword))?;
                if !names.iter().all(Value::is_string) {
                    return Err(not_a("list of names", keyword));
                }
                self.literal(value)?
            }
            "enum" | "const" | "type" => self.literal(value)?,
            "pattern" => {
                let pattern = value.as_str().ok_or_else(|| not_a("string", keyword))?;
                check_pattern(pattern)?;
                self.literal(value)?
            }
            "format" => {
                let known = value.as_str().is_some_and(|format| FORMATS.contains(&format));
                return if known { self.literal(value).map(Some) } else { Ok(None) };
            }
            "minItems" | "maxItems" | "minProperties" | "maxProperties" | "minLength" | "maxLength" => {
                count(keyword, value)?
            }
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => value.clone(),
            _ if self.strictness == Strictness::Strict && UNSUPPORTED.contains(&keyword) && restricts(value) => {
                return Err(Error::Unsupported { keyword: keyword.to_owned() });
            }
            _ => return Ok(None),
        };
        Ok(Some(value))
    }

    fn members(&mut self, keyword: &str, value: &'d Value) -> Result<Value, Error> {
        let members = value.as_object().ok_or_else(|| not_a("object", keyword))?;
        if members.len() > OBJECT_PROPERTIES_MAX {
            let (what, limit) = ("properties of one object", OBJECT_PROPERTIES_MAX);
            return Err(Error::TooLarge { what, found: members.len(), limit });
        }
        let mut result = Map::new();
        for (name, schema) in members {
            self.budget.spend(name.len())?;
            if keyword == "patternProperties" {
                check_pattern(name)?;
            }
            result.insert(name.clone(), self.schema(schema)?);
        }
        Ok(Value::Object(result))
    }

    fn list(&mut self, keyword: &str, value: &'d Value) -> Result<Value, Error> {
        let schemas = value.as_array().ok_or_else(|| not_a("list", keyword))?;
        schemas.iter().map(|schema| self.schema(schema)).collect::<Result<_, _>>().map(Value::Array)
    }

    fn literal(&mut self, value: &'d Value) -> Result<Value, Error> {
        self.nested(|this| match value {
            Value::String(text) => this.budget.spend(text.len()),
            Value::Array(values) => {
                this.budget.spend(2)?;
                values.iter().try_for_each(|value| this.literal(value).map(drop))
            }
            Value::Object(members) => members.iter().try_for_each(|(name, value)| {
                this.budget.spend(name.len())?;
                this.literal(value).map(drop)
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => this.budget.spend(4),
        })?;
        Ok(value.clone())
    }

    fn follow(&mut self, reference: &'d Value) -> Result<Value, Error> {
        let reference = reference.as_str().ok_or_else(|| not_a("string", "$ref"))?;
        let is_lenient = self.strictness == Strictness::Lenient;
        if self.open.contains(&reference) {
            if is_lenient {
                return Ok(Value::Bool(true));
            }
            return Err(Error::Recursive { reference: shown(reference) });
        }
        let missing = || Error::Reference { reference: shown(reference) };
        let target = match reference.strip_prefix('#') {
            Some("/") => Some(self.document),
            Some(pointer) => self.document.pointer(pointer),
            None => None,
        };
        let target = match target {
            Some(target) => target,
            None if is_lenient => return Ok(Value::Bool(true)),
            None => return Err(missing()),
        };
        self.open.push(reference);
        let result = self.schema(target);
        self.open.pop();
        result
    }
}

/// Whether an unsupported keyword says anything: `"uniqueItems": false` does not.
fn restricts(value: &Value) -> bool {
    !matches!(value, Value::Bool(false))
}

fn not_a(what: &str, keyword: &str) -> Error {
    Error::Schema { reason: format!("{keyword:?} must be a {what}") }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Counts may be written as `3.0`, and above this they mean nothing.
fn count(keyword: &str, value: &Value) -> Result<Value, Error> {
    const COUNT_MAX: u64 = 1 << 24;
    let number = value.as_f64().filter(|number| *number >= 0.0 && number.fract() == 0.0);
    let number = number.ok_or_else(|| not_a("whole number", keyword))?;
    // The cast saturates.
    let found = number as u64;
    if found <= COUNT_MAX {
        return Ok(Value::from(found));
    }
    let (what, limit) = ("as a length or number of items:", COUNT_MAX as usize);
    Err(Error::TooLarge { what, found: found as usize, limit })
}

fn check_pattern(pattern: &str) -> Result<(), Error> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(Error::TooLarge { what: "bytes of a pattern:", found: pattern.len(), limit: PATTERN_BYTES_MAX });
    }
    // The grammar library gives a group of this name a meaning of its own.
    if pattern.contains("<stop>") {
        return Err(Error::Unsupported { keyword: "pattern with a group called \"stop\"".to_owned() });
    }
    Ok(())
}
