//! Members of a JSON object by type. `null` is absent, unknown members are ignored, a wrong type is a refusal with its path.

use crate::error::ApiError;
use serde_json::{Map, Value};

/// A body as a JSON value.
pub fn body(bytes: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| ApiError::invalid(format!("the body is not JSON: {error}")))
}

/// An object and where it stands in the request.
#[derive(Clone)]
pub struct Fields<'v> {
    object: &'v Map<String, Value>,
    path: String,
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

impl<'v> Fields<'v> {
    /// The members of `value`, which stands at `path`.
    pub fn new(value: &'v Value, path: impl Into<String>) -> Result<Self, ApiError> {
        let path = path.into();
        match value {
            Value::Object(object) => Ok(Self { object, path }),
            other => Err(ApiError::param(path.clone(), format!("{path} is {}, expected an object", kind(other)))),
        }
    }

    /// The path of a member.
    pub fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A member that is there and not `null`.
    pub fn get(&self, key: &str) -> Option<&'v Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// A refusal about a member.
    pub fn wrong(&self, key: &str, expected: &str) -> ApiError {
        let path = self.path(key);
        let found = self.object.get(key).map_or("missing", kind);
        ApiError::param(path.clone(), format!("{path} is {found}, expected {expected}"))
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&'v Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        self.get(key).map(|value| read(value).ok_or_else(|| self.wrong(key, expected))).transpose()
    }

    pub fn text(&self, key: &str) -> Result<Option<&'v str>, ApiError> {
        self.typed(key, "a string", Value::as_str)
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>, ApiError> {
        self.typed(key, "a boolean", Value::as_bool)
    }

    pub fn number(&self, key: &str) -> Result<Option<f32>, ApiError> {
        self.typed(key, "a number", |value| value.as_f64().map(|number| number as f32))
    }

    pub fn integer(&self, key: &str) -> Result<Option<i64>, ApiError> {
        self.typed(key, "an integer", Value::as_i64)
    }

    pub fn array(&self, key: &str) -> Result<Option<&'v Vec<Value>>, ApiError> {
        self.typed(key, "an array", Value::as_array)
    }

    /// A member that is an object.
    pub fn object(&self, key: &str) -> Result<Option<Self>, ApiError> {
        self.get(key).map(|value| Self::new(value, self.path(key))).transpose()
    }

    /// A number of things from `min` to `max`.
    pub fn count(&self, key: &str, min: u64, max: u64) -> Result<Option<usize>, ApiError> {
        let Some(number) = self.integer(key)? else { return Ok(None) };
        match u64::try_from(number) {
            Ok(number) if (min..=max).contains(&number) => Ok(usize::try_from(number).ok()),
            _ => {
                let path = self.path(key);
                Err(ApiError::param(path.clone(), format!("{path} is {number}, expected {min} to {max}")))
            }
        }
    }
}
