//! Recognising tags in text that may still grow: bars around `DSML` are normalised, and what is cut off is told from
//! what is wrong.

/// Most bytes in a tag, names included; bounds what is held back while its end is awaited.
pub(crate) const TAG_BYTES_MAX: usize = 4096;

/// Most bars on either side of `DSML`. Models double them.
const BARS_MAX: usize = 2;

/// Most bytes of white space inside a closing tag, and before the tag that has to follow a marker of ordinary text;
/// bounds what is held back.
const SPACE_BYTES_MAX: usize = 64;

/// Whether a pattern stands at the start of a text that may still grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match<T> {
    Yes(T),
    /// The text is the beginning of the pattern.
    Partial,
    No,
}

/// Whether `text` starts with `pattern`.
pub(crate) fn literal(text: &str, pattern: &str) -> Match<usize> {
    if text.starts_with(pattern) {
        Match::Yes(pattern.len())
    } else if pattern.starts_with(text) {
        Match::Partial
    } else {
        Match::No
    }
}

/// A pattern being followed through a text.
struct Cursor<'t> {
    rest: &'t str,
    /// There was a bar or `DSML`.
    marked: bool,
}

/// Why a cursor stopped.
enum Miss {
    Partial,
    No,
}

impl Cursor<'_> {
    fn literal(&mut self, pattern: &str) -> Result<(), Miss> {
        match literal(self.rest, pattern) {
            Match::Yes(length) => {
                self.rest = self.rest.get(length..).unwrap_or_default();
                Ok(())
            }
            Match::Partial => Err(Miss::Partial),
            Match::No => Err(Miss::No),
        }
    }

    fn bars(&mut self) {
        for _ in 0..BARS_MAX {
            let Some(rest) = self.rest.strip_prefix(is_bar) else { return };
            (self.rest, self.marked) = (rest, true);
        }
    }

    /// `<` or `</`, with the marker or without it.
    fn opening(&mut self, closes: bool) -> Result<(), Miss> {
        self.literal(if closes { "</" } else { "<" })?;
        self.bars();
        match self.literal("DSML") {
            Ok(()) => self.marked = true,
            Err(Miss::Partial) => return Err(Miss::Partial),
            Err(Miss::No) => return Ok(()),
        }
        self.bars();
        Ok(())
    }

    fn space(&mut self) -> Result<(), Miss> {
        let trimmed = self.rest.trim_start();
        if self.rest.len() - trimmed.len() > SPACE_BYTES_MAX {
            return Err(Miss::No);
        }
        self.rest = trimmed;
        Ok(())
    }

    /// A whole tag without attributes.
    fn bare(&mut self, closes: bool, name: &str) -> Result<(), Miss> {
        self.opening(closes)?;
        self.literal(name)?;
        self.space()?;
        self.literal(">")
    }
}

fn follow(text: &str, pattern: impl FnOnce(&mut Cursor<'_>) -> Result<usize, Miss>) -> Match<usize> {
    match pattern(&mut Cursor { rest: text, marked: false }) {
        Ok(rest) => Match::Yes(text.len() - rest),
        Err(Miss::Partial) => Match::Partial,
        Err(Miss::No) => Match::No,
    }
}

fn is_bar(c: char) -> bool {
    matches!(c, '\u{ff5c}' | '|')
}

/// The tag that opens a block. Without the marker it is ordinary text, unless an invoke follows.
pub(crate) fn block_start(text: &str) -> Match<usize> {
    follow(text, |cursor| {
        cursor.bare(false, "tool_calls")?;
        let rest = cursor.rest.len();
        if !cursor.marked {
            cursor.space()?;
            cursor.opening(false)?;
            cursor.literal("invoke")?;
        }
        Ok(rest)
    })
}

/// The tag that closes a block.
pub(crate) fn block_end(text: &str) -> Match<usize> {
    follow(text, |cursor| {
        cursor.bare(true, "tool_calls")?;
        Ok(cursor.rest.len())
    })
}

/// The tag that closes a value. Where the value was opened with the marker (`marked`), a tag without it is text, unless
/// a marked tag or the end of the invoke follows: a file that is being written may hold a `</parameter>` of its own.
pub(crate) fn value_end(text: &str, marked: bool) -> Match<usize> {
    follow(text, |cursor| {
        cursor.bare(true, "parameter")?;
        let rest = cursor.rest.len();
        if marked && !cursor.marked {
            cursor.space()?;
            let closes = match literal(cursor.rest, "</") {
                Match::Yes(_) => true,
                Match::Partial => return Err(Miss::Partial),
                Match::No => false,
            };
            cursor.opening(closes)?;
            if !cursor.marked {
                if !closes {
                    return Err(Miss::No);
                }
                cursor.literal("invoke")?;
            }
        }
        Ok(rest)
    })
}

/// Whether a parameter opens after white space; yields the length of the white space.
pub(crate) fn nested_parameter(text: &str) -> Match<usize> {
    let mut lead = 0;
    let found = follow(text, |cursor| {
        cursor.space()?;
        lead = text.len() - cursor.rest.len();
        cursor.opening(false)?;
        cursor.literal("parameter")?;
        match cursor.rest.chars().next() {
            None => Err(Miss::Partial),
            Some(c) if c == '>' || c.is_whitespace() => Ok(0),
            Some(_) => Err(Miss::No),
        }
    });
    match found {
        Match::Yes(_) => Match::Yes(lead),
        other => other,
    }
}

const ENTITIES: [(&str, char); 5] = [("&amp;", '&'), ("&lt;", '<'), ("&gt;", '>'), ("&quot;", '"'), ("&apos;", '\'')];

/// The character that an entity stands for, and the length of the entity.
pub(crate) fn entity(text: &str) -> Match<(usize, char)> {
    let mut found = Match::No;
    for (name, character) in ENTITIES {
        match literal(text, name) {
            Match::Yes(length) => return Match::Yes((length, character)),
            Match::Partial => found = Match::Partial,
            Match::No => {}
        }
    }
    found
}

fn decode(mut text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    while let Some((plain, after)) = text.split_once('&') {
        decoded.push_str(plain);
        text = match entity(text.get(plain.len()..).unwrap_or_default()) {
            Match::Yes((length, character)) => {
                decoded.push(character);
                text.get(plain.len() + length..).unwrap_or_default()
            }
            Match::Partial | Match::No => {
                decoded.push('&');
                after
            }
        };
    }
    decoded + text
}

/// A complete tag.
pub(crate) struct Tag<'t> {
    pub(crate) closes: bool,
    /// There was a bar or `DSML`.
    pub(crate) marked: bool,
    pub(crate) name: &'t str,
    attributes: &'t str,
}

impl<'t> Tag<'t> {
    /// Reads what stands between `<` and `>`.
    pub(crate) fn parse(inner: &'t str) -> Self {
        let (closes, inner) = inner.strip_prefix('/').map_or((false, inner), |inner| (true, inner));
        let name = inner.trim_start_matches(is_bar);
        let name = name.strip_prefix("DSML").unwrap_or(name).trim_start_matches(is_bar);
        let marked = name.len() < inner.len();
        let (name, attributes) = name.split_at(name.find(char::is_whitespace).unwrap_or(name.len()));
        Self { closes, marked, name, attributes }
    }

    /// The decoded value of an attribute, with straight or typographic quotes.
    pub(crate) fn attribute(&self, key: &str) -> Option<String> {
        let is_quote = |c| matches!(c, '"' | '\u{201c}' | '\u{201d}');
        // Only before a sign and a quote is it the attribute: a parameter may be called `string`.
        let mut places = self.attributes.match_indices(key);
        let value = places.find_map(|(position, _)| {
            let after = self.attributes.get(position + key.len()..)?;
            after.strip_prefix('=')?.strip_prefix(is_quote)
        })?;
        value.split_once(is_quote).map(|(value, _)| decode(value))
    }
}
