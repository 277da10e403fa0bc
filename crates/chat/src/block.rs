use serde_json::Value;

/// How deep parameters may nest.
const MAX_DEPTH: usize = 8;

/// Most bytes in a tag, names included; bounds the search for its end.
const TAG_BYTES_MAX: usize = 4096;

/// A call that the model made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedCall {
    /// Name of the tool.
    pub name: String,
    /// Arguments: a JSON object as text, members in the order of the model.
    pub arguments: String,
}

struct Tag<'t> {
    closes: bool,
    name: &'t str,
    attributes: &'t str,
    rest: &'t str,
}

/// Why a block has no calls.
pub(crate) enum Stop {
    /// The text ends inside it.
    Incomplete,
    /// It breaks the grammar.
    Malformed,
}

/// Reads a tag with any number of bars around `DSML`, or without it.
fn tag(text: &str) -> Result<Tag<'_>, Stop> {
    if text.is_empty() {
        return Err(Stop::Incomplete);
    }
    let inner = text.strip_prefix('<').ok_or(Stop::Malformed)?;
    let end = inner.bytes().take(TAG_BYTES_MAX).position(|byte| byte == b'>');
    let end = end.ok_or(if inner.len() < TAG_BYTES_MAX { Stop::Incomplete } else { Stop::Malformed })?;
    let (inner, rest) = (&inner[..end], &inner[end + 1..]);
    let is_bar = |c| c == '\u{ff5c}' || c == '|';
    let (closes, inner) = inner.strip_prefix('/').map_or((false, inner), |inner| (true, inner));
    let inner = inner.trim_start_matches(is_bar);
    let inner = inner.strip_prefix("DSML").unwrap_or(inner).trim_start_matches(is_bar);
    let (name, attributes) = inner.split_at(inner.find(char::is_whitespace).unwrap_or(inner.len()));
    Ok(Tag { closes, name, attributes, rest })
}

fn decode(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    text.replace("&amp;", "&")
}

/// An attribute, with straight or typographic quotes.
fn attribute(attributes: &str, key: &str) -> Option<String> {
    let is_quote = |c| matches!(c, '"' | '\u{201c}' | '\u{201d}');
    // Only before a sign and a quote is it the attribute: a parameter may be called `string`.
    let mut places = attributes.match_indices(key).map(|(position, key)| &attributes[position + key.len()..]);
    let value = places.find_map(|after| after.strip_prefix('=')?.strip_prefix(is_quote))?;
    value.split_once(is_quote).map(|(value, _)| decode(value))
}

/// The first closing parameter tag of any spelling: the text before it and after it.
fn split_value(text: &str) -> Result<(&str, &str), Stop> {
    for (position, _) in text.match_indices("</") {
        let (value, end) = text.split_at(position);
        match tag(end) {
            Ok(tag) if tag.closes && tag.name == "parameter" => return Ok((value, tag.rest)),
            Ok(_) | Err(Stop::Malformed) => {}
            Err(stop) => return Err(stop),
        }
    }
    Err(Stop::Incomplete)
}

/// Parameters up to the closing tag called `end`: their JSON object and the text after the tag.
fn parameters<'t>(mut text: &'t str, end: &str, depth: usize) -> Result<(String, &'t str), Stop> {
    let mut members = Vec::new();
    // As ds4 writes them: nested objects without spaces.
    let (comma, colon) = if depth == MAX_DEPTH { (", ", ": ") } else { (",", ":") };
    loop {
        let tag = tag(text.trim_start())?;
        if tag.closes && tag.name == end {
            return Ok((format!("{{{}}}", members.join(comma)), tag.rest));
        }
        if tag.closes || tag.name != "parameter" || depth == 0 {
            return Err(Stop::Malformed);
        }
        let name = attribute(tag.attributes, "name").ok_or(Stop::Malformed)?;
        let string = attribute(tag.attributes, "string");
        let nests = string.is_none()
            && self::tag(tag.rest.trim_start()).is_ok_and(|inner| !inner.closes && inner.name == "parameter");
        let value = if nests {
            let (value, rest) = parameters(tag.rest, "parameter", depth - 1)?;
            text = rest;
            value
        } else {
            let (raw, rest) = split_value(tag.rest)?;
            text = rest;
            if string.is_none_or(|string| string == "true") {
                Value::String(decode(raw)).to_string()
            } else if raw.trim().is_empty() {
                "null".to_owned()
            } else {
                serde_json::from_str::<Value>(raw).map_err(|_| Stop::Malformed)?.to_string()
            }
        };
        members.push(format!("{}{colon}{value}", Value::String(name)));
    }
}

/// The calls of the block at the start of `block`, and its length. After a closed invoke the text may end.
pub(crate) fn parse(block: &str) -> Result<(Vec<ParsedCall>, usize), Stop> {
    let mut calls = Vec::new();
    let mut text = tag(block.trim_start())?.rest;
    loop {
        let tag = tag(text.trim_start())?;
        match (tag.closes, tag.name) {
            (true, "tool_calls") if !calls.is_empty() => return Ok((calls, block.len() - tag.rest.len())),
            (false, "invoke") => {
                let name = attribute(tag.attributes, "name").ok_or(Stop::Malformed)?;
                let (arguments, rest) = parameters(tag.rest, "invoke", MAX_DEPTH)?;
                calls.push(ParsedCall { name, arguments });
                text = rest;
            }
            _ => return Err(Stop::Malformed),
        }
        if text.trim().is_empty() {
            return Ok((calls, block.len()));
        }
    }
}
