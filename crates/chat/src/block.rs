//! The block of tool calls, read while it is written.

use crate::stream::{Event, Place};
use crate::tag::{self, Match, TAG_BYTES_MAX, Tag};
use serde_json::Value;

/// How deep objects made of parameters may nest inside a call.
const DEPTH_MAX: usize = 8;

/// A call that the model made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedCall {
    /// Name of the tool.
    pub name: String,
    /// Arguments: a JSON object as text without white space outside strings, members in the order of the model.
    pub arguments: String,
}

/// What a block came to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is more to read at once.
    Go,
    /// More text is needed.
    Wait,
    /// The closing tag has been read.
    Closed,
    /// It breaks the grammar.
    Malformed,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// White space and a tag.
    Tag,
    /// A value that did not say whether it is a string: parameters make it an object.
    Undecided { marked: bool },
    /// The rest of a string.
    Text { marked: bool },
    /// The rest of a JSON value, held back as a whole.
    Json { marked: bool, in_string: bool, escaped: bool },
}

/// A block that is being read. It sees the whole text each time and remembers its place there.
pub(crate) struct Block {
    /// Everything before this byte has been read; after [`Step::Malformed`] the text may be something else from here on.
    pub(crate) at: usize,
    pub(crate) calls: Vec<ParsedCall>,
    /// From `at` to here nothing was found, so that no byte is searched twice.
    searched: usize,
    expect: Expect,
    /// The last call is open.
    is_open: bool,
    /// Objects open inside the arguments of the open call.
    depth: usize,
    /// The innermost object has no member yet.
    is_empty: bool,
    /// Bytes of the open call's arguments that have gone out as events.
    sent: usize,
}

impl Block {
    /// A block whose opening tag ends before byte `at`.
    pub(crate) fn new(at: usize) -> Self {
        Self {
            at,
            calls: Vec::new(),
            searched: at,
            expect: Expect::Tag,
            is_open: false,
            depth: 0,
            is_empty: true,
            sent: 0,
        }
    }

    /// Reads as far as `text` goes.
    pub(crate) fn advance(&mut self, text: &str, events: &mut Vec<Event>) -> Step {
        loop {
            let step = match self.expect {
                Expect::Tag => self.tag(text, events),
                Expect::Undecided { marked } => self.undecided(text, marked),
                Expect::Text { marked } => self.text(text, marked),
                Expect::Json { marked, in_string, escaped } => self.json(text, marked, in_string, escaped),
            };
            if step != Step::Go {
                self.send(events);
                return step;
            }
        }
    }

    /// Whether the text may end here: after a closed invoke.
    pub(crate) fn may_end(&self, text: &str) -> bool {
        self.expect == Expect::Tag && !self.is_open && !self.calls.is_empty() && after(text, self.at).trim().is_empty()
    }

    /// Where the next character stands: `</` of a closing tag counts as syntax until it turns out to be text.
    pub(crate) fn place(&self, text: &str) -> Place {
        let in_tag = |from: usize| after(text, from).trim_start().strip_prefix('<').is_some_and(|tag| !tag.is_empty());
        let is_payload = match self.expect {
            Expect::Tag => false,
            Expect::Undecided { .. } | Expect::Text { .. } => !in_tag(self.at),
            Expect::Json { in_string, .. } => in_string && !in_tag(self.searched),
        };
        if is_payload { Place::Payload } else { Place::Syntax }
    }

    fn tag(&mut self, text: &str, events: &mut Vec<Event>) -> Step {
        let rest = after(text, self.at);
        self.at += rest.len() - rest.trim_start().len();
        self.searched = self.searched.max(self.at);
        let rest = after(text, self.at);
        if rest.is_empty() {
            return Step::Wait;
        }
        let unsearched = self.searched - self.at;
        let end = rest.bytes().take(TAG_BYTES_MAX).skip(unsearched).position(|byte| byte == b'>');
        let Some(inner) = end.and_then(|end| rest.get(..unsearched + end)).map(|tag| tag.strip_prefix('<')) else {
            self.searched = text.len();
            let hopeless = !rest.starts_with('<') || rest.len() >= TAG_BYTES_MAX;
            return if hopeless { Step::Malformed } else { Step::Wait };
        };
        let Some(inner) = inner else { return Step::Malformed };
        // `<`, the inner part and `>`.
        let end = self.at + inner.len() + 2;
        let step = self.enter(&Tag::parse(inner), end, events);
        if step != Step::Malformed {
            (self.at, self.searched) = (end, end);
        }
        step
    }

    fn enter(&mut self, tag: &Tag<'_>, end: usize, events: &mut Vec<Event>) -> Step {
        match (self.is_open, tag.closes, tag.name) {
            (false, true, "tool_calls") if !self.calls.is_empty() => Step::Closed,
            (false, false, "invoke") => {
                let Some(name) = tag.attribute("name") else { return Step::Malformed };
                events.push(Event::CallStart { index: self.calls.len(), name: name.clone() });
                self.calls.push(ParsedCall { name, arguments: "{".to_owned() });
                (self.is_open, self.is_empty, self.depth, self.sent) = (true, true, 0, 0);
                Step::Go
            }
            (true, true, "invoke") => {
                // The end of a call is also the end of the objects in it.
                self.write(&"}".repeat(self.depth + 1));
                self.send(events);
                events.push(Event::CallEnd { index: self.calls.len().saturating_sub(1) });
                self.is_open = false;
                Step::Go
            }
            (true, true, "parameter") if self.depth > 0 => {
                self.write("}");
                // It has a member, or it would not be an object.
                self.depth -= 1;
                Step::Go
            }
            (true, false, "parameter") => {
                let Some(name) = tag.attribute("name") else { return Step::Malformed };
                if !self.is_empty {
                    self.write(",");
                }
                self.is_empty = false;
                self.write(&format!("{}:", Value::String(name)));
                self.at = end;
                let marked = tag.marked;
                match tag.attribute("string") {
                    None => self.expect = Expect::Undecided { marked },
                    Some(string) if string.eq_ignore_ascii_case("true") => self.open_text(marked),
                    Some(_) => self.expect = Expect::Json { marked, in_string: false, escaped: false },
                }
                Step::Go
            }
            _ => Step::Malformed,
        }
    }

    fn open_text(&mut self, marked: bool) {
        self.write("\"");
        self.expect = Expect::Text { marked };
    }

    fn undecided(&mut self, text: &str, marked: bool) -> Step {
        match tag::nested_parameter(after(text, self.at)) {
            Match::Partial => return Step::Wait,
            Match::No => self.open_text(marked),
            Match::Yes(_) if self.depth == DEPTH_MAX => return Step::Malformed,
            Match::Yes(lead) => {
                self.write("{");
                (self.depth, self.is_empty) = (self.depth + 1, true);
                self.at += lead;
                self.expect = Expect::Tag;
            }
        }
        Step::Go
    }

    fn text(&mut self, text: &str, marked: bool) -> Step {
        loop {
            let rest = after(text, self.at);
            let (plain, rest) = rest.split_at(rest.find(['<', '&']).unwrap_or(rest.len()));
            self.write_escaped(plain);
            self.at += plain.len();
            if rest.is_empty() {
                return Step::Wait;
            }
            if rest.starts_with('<') {
                match tag::value_end(rest, marked) {
                    Match::Yes(length) => {
                        self.write("\"");
                        return self.leave(self.at + length);
                    }
                    Match::Partial => return Step::Wait,
                    Match::No => self.write("<"),
                }
                self.at += 1;
            } else {
                let (length, character) = match tag::entity(rest) {
                    Match::Yes(entity) => entity,
                    Match::Partial => return Step::Wait,
                    Match::No => (1, '&'),
                };
                self.write_escaped(character.encode_utf8(&mut [0; 4]));
                self.at += length;
            }
        }
    }

    fn json(&mut self, text: &str, marked: bool, mut in_string: bool, mut escaped: bool) -> Step {
        loop {
            let rest = after(text, self.searched);
            let plain = rest.find('<').unwrap_or(rest.len());
            for byte in rest.bytes().take(plain) {
                (in_string, escaped) = match byte {
                    _ if escaped => (in_string, false),
                    b'"' => (!in_string, false),
                    byte => (in_string, in_string && byte == b'\\'),
                };
            }
            self.searched += plain;
            self.expect = Expect::Json { marked, in_string, escaped };
            let rest = after(text, self.searched);
            match tag::value_end(rest, marked) {
                Match::Yes(length) => {
                    let value = minified(text.get(self.at..self.searched).unwrap_or_default());
                    let step = self.leave(self.searched + length);
                    let Some(value) = value else { return Step::Malformed };
                    self.write(&value);
                    return step;
                }
                Match::Partial => return Step::Wait,
                Match::No => (self.searched, escaped) = (self.searched + 1, false),
            }
        }
    }

    /// Goes on behind a value.
    fn leave(&mut self, end: usize) -> Step {
        (self.at, self.searched, self.expect) = (end, end, Expect::Tag);
        Step::Go
    }

    fn write(&mut self, json: &str) {
        if let Some(call) = self.calls.last_mut() {
            call.arguments.push_str(json);
        }
    }

    /// Writes a piece of a string. Escapes do not depend on their neighbours, so pieces may be cut anywhere.
    fn write_escaped(&mut self, piece: &str) {
        let quoted = Value::String(piece.to_owned()).to_string();
        self.write(quoted.get(1..quoted.len() - 1).unwrap_or_default());
    }

    /// Sends what the open call's arguments have gained.
    fn send(&mut self, events: &mut Vec<Event>) {
        let Some(call) = self.calls.last().filter(|_| self.is_open) else { return };
        let fragment = after(&call.arguments, self.sent);
        if !fragment.is_empty() {
            let index = self.calls.len() - 1;
            events.push(Event::CallArguments { index, fragment: fragment.to_owned() });
            self.sent = call.arguments.len();
        }
    }
}

/// `text` from byte `at` on, which is the start of a character.
pub(crate) fn after(text: &str, at: usize) -> &str {
    text.get(at..).unwrap_or_default()
}

/// A JSON value without white space outside strings, none if it is not JSON. Nothing stands for `null`. Digits and
/// repeated keys stay as they were written.
fn minified(raw: &str) -> Option<String> {
    if raw.trim().is_empty() {
        return Some("null".to_owned());
    }
    // Also bounds the nesting, for the sake of clients.
    serde_json::from_str::<Value>(raw).ok()?;
    let (mut in_string, mut escaped) = (false, false);
    let keep = |c: &char| {
        let kept = in_string || !c.is_ascii_whitespace();
        (in_string, escaped) = match c {
            _ if escaped => (in_string, false),
            '"' => (!in_string, false),
            c => (in_string, in_string && *c == '\\'),
        };
        kept
    };
    Some(raw.chars().filter(keep).collect())
}
