//! Which texts a parameter takes as `string="true"`, as a terminal of a grammar.

use crate::Error;
use crate::schema::Strictness;
use llguidance::derivre::RegexBuilder;
use llguidance::regex_to_lark;
use serde_json::Value;

/// Longest text in characters whose length is enforced; longer bounds would cost a state for each.
const LENGTH_MAX: u64 = 4096;

/// Texts that a parser would decode to something else.
const NO_ENTITY: &str = r"~/(?s:.*)&(amp|lt|gt|quot|apos);(?s:.*)/";

/// The strings among the values of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Texts {
    /// There are none.
    None,
    /// All, as far as can be said.
    Any,
    /// Those that match a terminal.
    Terminal(String),
}

/// The strings that `schema`, free of references, accepts.
///
/// # Errors
/// [`Error::Unsupported`] if `schema` is to be followed strictly and bounds or shapes its strings in a way that is not enforced.
pub(crate) fn texts(schema: &Value, strictness: Strictness) -> Result<Texts, Error> {
    let keywords = match schema {
        Value::Bool(false) => return Ok(Texts::None),
        Value::Object(keywords) => keywords,
        _ => return Ok(Texts::Any),
    };
    if keywords.get("type").is_some_and(|kinds| !names(kinds, |kind| kind == "string")) {
        return Ok(Texts::None);
    }
    let listed = keywords.get("const").into_iter().chain(list(keywords.get("enum")));
    if keywords.contains_key("const") || keywords.contains_key("enum") {
        return Ok(either(listed.filter_map(Value::as_str).map(|text| Texts::Terminal(literal(&encoded(text))))));
    }
    let mut parts = vec![pattern(keywords.get("pattern"), strictness)?, length(keywords, strictness)?];
    if strictness == Strictness::Strict && keywords.contains_key("format") {
        return Err(unsupported("format of a text parameter of a strict tool"));
    }
    for part in list(keywords.get("allOf")) {
        parts.push(texts(part, strictness)?);
    }
    for alternatives in ["anyOf", "oneOf"] {
        if keywords.contains_key(alternatives) {
            let options = list(keywords.get(alternatives)).map(|option| texts(option, strictness));
            parts.push(either(options.collect::<Result<Vec<_>, _>>()?.into_iter()));
        }
    }
    if parts.contains(&Texts::None) {
        return Ok(Texts::None);
    }
    let terminals = parts.into_iter().filter_map(|part| match part {
        Texts::Terminal(terminal) => Some(terminal),
        Texts::None | Texts::Any => None,
    });
    Ok(match terminals.collect::<Vec<_>>() {
        terminals if terminals.is_empty() => Texts::Any,
        terminals => Texts::Terminal(format!("({})", terminals.join(" & "))),
    })
}

fn unsupported(what: &str) -> Error {
    Error::Unsupported { keyword: what.to_owned() }
}

/// Whether `schema` accepts a value that is no string.
pub(crate) fn accepts_others(schema: &Value) -> bool {
    let keywords = match schema {
        Value::Object(keywords) => keywords,
        other => return *other != Value::Bool(false),
    };
    let others = |values: Option<&Value>| list(values).any(|value| !value.is_string());
    keywords.get("type").is_none_or(|kinds| names(kinds, |kind| kind != "string"))
        && keywords.get("const").is_none_or(|value| !value.is_string())
        && (!keywords.contains_key("enum") || others(keywords.get("enum")))
        && list(keywords.get("allOf")).all(accepts_others)
        && ["anyOf", "oneOf"].into_iter().all(|alternatives| {
            !keywords.contains_key(alternatives) || list(keywords.get(alternatives)).any(accepts_others)
        })
}

/// A string in the notation of the grammar.
pub(crate) fn literal(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// `text` as it must be written so that a parser decodes it to `text`.
fn encoded(text: &str) -> String {
    let decoded = ["&amp;", "&lt;", "&gt;", "&quot;", "&apos;"].iter().any(|entity| text.contains(entity));
    let closes = crate::closing::Closing::default().after(text.as_bytes()).is_closed();
    if !decoded && !closes {
        return text.to_owned();
    }
    let text = text.replace('&', "&amp;");
    if closes { text.replace("</", "&lt;/") } else { text }
}

fn either(options: impl Iterator<Item = Texts>) -> Texts {
    let mut terminals = Vec::new();
    for option in options {
        match option {
            Texts::None => {}
            Texts::Any => return Texts::Any,
            Texts::Terminal(terminal) => terminals.push(terminal),
        }
    }
    if terminals.is_empty() { Texts::None } else { Texts::Terminal(format!("({})", terminals.join(" | "))) }
}

fn list(values: Option<&Value>) -> impl Iterator<Item = &Value> {
    values.and_then(Value::as_array).into_iter().flatten()
}

fn names(kinds: &Value, matches: impl Fn(&str) -> bool) -> bool {
    match kinds {
        Value::String(kind) => matches(kind),
        kinds => list(Some(kinds)).filter_map(Value::as_str).any(matches),
    }
}

fn length(keywords: &serde_json::Map<String, Value>, strictness: Strictness) -> Result<Texts, Error> {
    let bound = |keyword| match keywords.get(keyword).and_then(Value::as_u64) {
        Some(bound) if bound > LENGTH_MAX && strictness == Strictness::Strict => {
            Err(unsupported(&format!("{keyword} above {LENGTH_MAX} of a text parameter of a strict tool")))
        }
        bound => Ok(bound.filter(|&bound| bound <= LENGTH_MAX)),
    };
    Ok(match (bound("minLength")?.unwrap_or(0), bound("maxLength")?) {
        (0, None) => Texts::Any,
        (least, None) => Texts::Terminal(format!("(/(?s:.{{{least},}})/ & {NO_ENTITY})")),
        (least, Some(most)) if least > most => Texts::None,
        (_, Some(0)) => Texts::Terminal(r#""""#.to_owned()),
        (least, Some(most)) => Texts::Terminal(format!("(/(?s:.{{{least},{most}}})/ & {NO_ENTITY})")),
    })
}

/// A pattern that the library cannot compile is not enforced unless it must be: the tool will say what it thinks of the text.
fn pattern(pattern: Option<&Value>, strictness: Strictness) -> Result<Texts, Error> {
    let Some(pattern) = pattern.and_then(Value::as_str) else {
        return Ok(Texts::Any);
    };
    let anything = "(?s:.*)";
    let before = if pattern.starts_with('^') { "" } else { anything };
    let after = if pattern.ends_with('$') && !pattern.ends_with("\\$") { "" } else { anything };
    let whole = regex_to_lark(&format!("{before}(?:{pattern}){after}"), "dw");
    // The notation of the grammar escapes slashes, the regular expression library does not mind.
    match RegexBuilder::new().mk_regex(&whole) {
        Ok(_) => Ok(Texts::Terminal(format!("(/{whole}/ & {NO_ENTITY})"))),
        Err(_) if strictness == Strictness::Strict => Err(unsupported("pattern that is no plain regular expression")),
        Err(_) => Ok(Texts::Any),
    }
}
