//! The key/value table and its typed getters.

use crate::error::{Error, shown};
use crate::value::{Array, StringArray, Value};

/// The metadata of a file, in file order.
///
/// Every getter has two forms: `u32(key)` needs the key, `opt_u32(key)` yields `None` when it is
/// absent. Both fail when the key has another type or its value does not fit, naming key, expected
/// and found. Integer types convert freely where the value fits, since writers disagree on width and
/// sign; numbers convert to `f32`; nothing else converts.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    /// Positions in `entries`, sorted by key.
    by_key: Vec<u32>,
}

/// Why a value is not what the caller asked for.
enum Mismatch {
    Type,
    /// The value that does not fit, in words.
    Range(String),
}

/// Writes the required and the optional form of each getter.
macro_rules! getters {
    ($($name:ident, $opt:ident: $type:ty = $convert:expr, $expected:literal, $doc:literal;)*) => {
        $(
            #[doc = concat!($doc, "\n\n# Errors\nThe key is missing, of another type, or its value does not fit.")]
            pub fn $name(&self, key: &str) -> Result<$type, Error> {
                let missing = || Error::MissingKey { key: shown(key), expected: $expected };
                self.$opt(key)?.ok_or_else(missing)
            }

            #[doc = concat!("Like [`", stringify!($name), "`](Self::", stringify!($name), "), but")]
            /// `None` if the key is absent.
            ///
            /// # Errors
            /// The key is of another type, or its value does not fit.
            pub fn $opt(&self, key: &str) -> Result<Option<$type>, Error> {
                let Some(value) = self.get(key) else {
                    return Ok(None);
                };
                let convert: fn(&Value) -> Result<$type, Mismatch> = $convert;
                convert(value).map(Some).map_err(|mismatch| match mismatch {
                    Mismatch::Type => Error::WrongType {
                        key: shown(key),
                        expected: $expected,
                        found: value.type_name(),
                    },
                    Mismatch::Range(found) => {
                        Error::OutOfRange { key: shown(key), expected: $expected, found }
                    }
                })
            }
        )*
    };
}

impl Metadata {
    getters! {
        u32, opt_u32: u32 = integer, "u32", "An unsigned 32-bit number, from any integer type.";
        u64, opt_u64: u64 = integer, "u64", "An unsigned 64-bit number, from any integer type.";
        f32, opt_f32: f32 = float, "f32", "A number, from any numeric type, rounded to `f32`.";
        bool, opt_bool: bool = boolean, "bool", "A truth value.";
        str, opt_str: &str = string, "string", "A string.";
        str_array, opt_str_array: &StringArray = strings, "array of string", "A list of strings.";
        u32_array, opt_u32_array: Vec<u32> = integers, "array of u32",
            "Unsigned 32-bit numbers, from any integer array.";
        i32_array, opt_i32_array: Vec<i32> = integers, "array of i32",
            "Signed 32-bit numbers, from any integer array.";
        f32_array, opt_f32_array: Vec<f32> = floats, "array of f32",
            "Numbers, from any numeric array, rounded to `f32`.";
    }

    /// The value of a key, of whatever type.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let entry = |&position: &u32| &self.entries[position as usize];
        let found = self.by_key.binary_search_by(|position| entry(position).0.as_str().cmp(key));
        found.ok().map(|at| &entry(&self.by_key[at]).1)
    }

    /// Keys and values in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> + Clone {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A table of these entries, unless a key occurs twice.
    pub(crate) fn new(entries: Vec<(String, Value)>) -> Result<Self, Error> {
        match sorted_positions(&entries, |entry| &entry.0) {
            Ok(by_key) => Ok(Self { entries, by_key }),
            Err(key) => Err(Error::DuplicateKey { key: shown(key) }),
        }
    }
}

/// The positions of `items` in order of their names, or a name that occurs twice.
pub(crate) fn sorted_positions<T>(items: &[T], name: impl Fn(&T) -> &String) -> Result<Vec<u32>, &str> {
    let name = |position: u32| name(&items[position as usize]).as_str();
    // The limits keep the number of items far below 2^32.
    let mut positions: Vec<u32> = (0..items.len() as u32).collect();
    positions.sort_unstable_by_key(|&position| name(position));
    match positions.windows(2).find(|pair| name(pair[0]) == name(pair[1])) {
        Some(pair) => Err(name(pair[0])),
        None => Ok(positions),
    }
}

fn integer<T: TryFrom<i128>>(value: &Value) -> Result<T, Mismatch> {
    let wide = value.as_integer().ok_or(Mismatch::Type)?;
    T::try_from(wide).map_err(|_| Mismatch::Range(wide.to_string()))
}

fn float(value: &Value) -> Result<f32, Mismatch> {
    match *value {
        Value::F32(number) => Ok(number),
        Value::F64(number) => narrow(number),
        _ => value.as_integer().map(|number| number as f32).ok_or(Mismatch::Type),
    }
}

/// Rounds to `f32`; infinities and NaN pass, numbers too large for `f32` do not.
fn narrow(number: f64) -> Result<f32, Mismatch> {
    let narrow = number as f32;
    match number.is_finite() && !narrow.is_finite() {
        true => Err(Mismatch::Range(number.to_string())),
        false => Ok(narrow),
    }
}

fn boolean(value: &Value) -> Result<bool, Mismatch> {
    match *value {
        Value::Bool(truth) => Ok(truth),
        _ => Err(Mismatch::Type),
    }
}

fn string(value: &Value) -> Result<&str, Mismatch> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(Mismatch::Type),
    }
}

fn strings(value: &Value) -> Result<&StringArray, Mismatch> {
    match value {
        Value::Array(Array::String(strings)) => Ok(strings),
        _ => Err(Mismatch::Type),
    }
}

fn integers<T: TryFrom<i128>>(value: &Value) -> Result<Vec<T>, Mismatch> {
    fn convert<T: TryFrom<i128>, S: Copy + Into<i128>>(items: &[S]) -> Result<Vec<T>, Mismatch> {
        let convert = |(index, &item): (usize, &S)| {
            let wide = item.into();
            T::try_from(wide).map_err(|_| Mismatch::Range(format!("{wide} at index {index}")))
        };
        items.iter().enumerate().map(convert).collect()
    }
    match value {
        Value::Array(Array::U8(items)) => convert(items),
        Value::Array(Array::I8(items)) => convert(items),
        Value::Array(Array::U16(items)) => convert(items),
        Value::Array(Array::I16(items)) => convert(items),
        Value::Array(Array::U32(items)) => convert(items),
        Value::Array(Array::I32(items)) => convert(items),
        Value::Array(Array::U64(items)) => convert(items),
        Value::Array(Array::I64(items)) => convert(items),
        _ => Err(Mismatch::Type),
    }
}

fn floats(value: &Value) -> Result<Vec<f32>, Mismatch> {
    match value {
        Value::Array(Array::F32(items)) => Ok(items.clone()),
        Value::Array(Array::F64(items)) => items.iter().map(|&item| narrow(item)).collect(),
        _ => Ok(integers::<i128>(value)?.into_iter().map(|item| item as f32).collect()),
    }
}
