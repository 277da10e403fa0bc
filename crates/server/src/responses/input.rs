//! The text of a custom tool's call. The model writes it as a JSON argument; clients expect it as it is.

use serde_json::{Map, Value};

/// How the arguments begin where the input can be read before they are complete.
const OPENING: &str = r#"{"input":""#;

/// The input in complete arguments: the member of that name, or all of them where the model wrote something else.
pub fn whole(arguments: &str) -> String {
    match serde_json::from_str::<Map<String, Value>>(arguments).ok().and_then(|mut members| members.remove("input")) {
        Some(Value::String(input)) => input,
        Some(other) => other.to_string(),
        None => arguments.to_owned(),
    }
}

/// Reads the input while its arguments come in.
#[derive(Debug, Default)]
pub struct Live {
    /// What was read of the input.
    pub text: String,
    /// Arguments that were not read yet.
    rest: String,
    is_open: bool,
    is_over: bool,
}

impl Live {
    /// Takes more of the arguments and returns what they add to the input.
    pub fn push(&mut self, fragment: &str) -> String {
        if self.is_over {
            return String::new();
        }
        self.rest.push_str(fragment);
        if !self.is_open {
            match self.rest.strip_prefix(OPENING) {
                Some(rest) => (self.is_open, self.rest) = (true, rest.to_owned()),
                None => {
                    self.is_over = !OPENING.starts_with(&self.rest);
                    return String::new();
                }
            }
        }
        let (length, ends) = whole_characters(self.rest.as_bytes());
        let encoded = self.rest.get(..length).map(|text| format!("\"{text}\""));
        // What is no JSON after all stays for `whole` to judge.
        let Some(text) = encoded.and_then(|text| serde_json::from_str::<String>(&text).ok()) else {
            self.is_over = true;
            return String::new();
        };
        self.is_over = ends;
        self.rest.drain(..length);
        self.text.push_str(&text);
        text
    }
}

/// Bytes of the beginning of a JSON string's inside that can be read without what follows, and whether the string ends there.
fn whole_characters(bytes: &[u8]) -> (usize, bool) {
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let length = match byte {
            b'"' => return (at, true),
            b'\\' => match escape_length(bytes.get(at..).unwrap_or_default()) {
                Some(length) if at + length <= bytes.len() => length,
                _ => break,
            },
            _ => 1,
        };
        at += length;
    }
    (at, false)
}

/// Bytes of the escape at the beginning of `bytes`, if enough is there to tell. The first half of a surrogate pair is
/// nothing without the second.
fn escape_length(bytes: &[u8]) -> Option<usize> {
    if *bytes.get(1)? != b'u' {
        return Some(2);
    }
    let digits = bytes.get(2..6)?;
    let is_first_half = matches!(digits, [b'd' | b'D', b'8' | b'9' | b'a' | b'A' | b'b' | b'B', ..]);
    Some(if is_first_half { 12 } else { 6 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(arguments: &str, cuts: &[usize]) -> String {
        let mut live = Live::default();
        let characters: Vec<char> = arguments.chars().collect();
        let (mut joined, mut at) = (String::new(), 0);
        for cut in cuts.iter().copied().chain([characters.len()]) {
            let end = (at + cut).min(characters.len());
            joined += &live.push(&characters[at..end].iter().collect::<String>());
            at = end;
        }
        assert_eq!(joined, live.text);
        joined
    }

    proptest! {
        #[test]
        fn every_cut_gives_the_input(input in any::<String>(), cuts in proptest::collection::vec(0usize..5, 0..60), ascii in any::<bool>()) {
            let mut arguments = json!({"input": input}).to_string();
            if ascii {
                let escape = |c: char| -> String {
                    if c.is_ascii() { return c.to_string() }
                    c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
                };
                arguments = arguments.chars().map(escape).collect();
            }
            prop_assert_eq!(read(&arguments, &cuts), &*input);
            prop_assert_eq!(whole(&arguments), &*input);
        }

        #[test]
        fn nothing_panics(rest in r#"[\\ud8c0"a-f\u{e9}]{0,20}"#, cuts in proptest::collection::vec(0usize..4, 0..20)) {
            let arguments = format!("{OPENING}{rest}");
            // What was read is the beginning of what the whole says, if that is JSON.
            if serde_json::from_str::<Map<String, Value>>(&arguments).is_ok() {
                prop_assert!(whole(&arguments).starts_with(&read(&arguments, &cuts)));
            } else {
                read(&arguments, &cuts);
                prop_assert_eq!(whole(&arguments), arguments);
            }
        }
    }

    #[test]
    fn other_arguments_are_the_input() {
        for (arguments, input) in [
            (r#"{"patch":"x"}"#, r#"{"patch":"x"}"#),
            (r#"{"input":5}"#, "5"),
            (r#"{"a":1,"input":"x"}"#, "x"),
            ("{}", "{}"),
        ] {
            assert_eq!(whole(arguments), input);
            assert_eq!(read(arguments, &[1, 2]), "");
        }
    }
}
