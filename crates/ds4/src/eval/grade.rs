//! Whether an answer is right. The last line that begins with `Answer:` counts; without one the last place that says
//! "answer", and without that the last candidate of the whole text.

use super::ask::Given;
use super::suite::{Case, Kind};
use serde_json::Value;
use std::collections::BTreeSet;

/// Characters behind the word "answer" that are looked at.
const REACH: usize = 160;

/// Whether `given` is right, and what was taken as the answer.
pub fn grade(case: &Case, given: &Given) -> (bool, String) {
    if case.kind == Kind::Tool {
        return calls(case, given);
    }
    let text = &given.content;
    let found = places(text).into_iter().find_map(|place| candidate(case, place));
    let got = found.or_else(|| last_candidate(case, text)).unwrap_or_default();
    let passed = match case.kind {
        Kind::Letter => got == case.answer,
        Kind::Integer => got == case.answer.trim_start_matches('+'),
        Kind::Text => got.to_lowercase() == case.answer.trim().to_lowercase(),
        Kind::Lines => {
            let (accepted, named) = (lines(&case.answer).unwrap_or_default(), lines(&got).unwrap_or_default());
            !named.is_empty() && named.is_subset(&accepted)
        }
        Kind::Tool => false,
    };
    (passed, got)
}

/// What stands behind the word "answer", the best place first.
fn places(text: &str) -> Vec<&str> {
    let is_line = |line: &&str| {
        let start = line.trim_start_matches(['*', '#', ' ', '>', '`', '_']);
        start.get(..6).is_some_and(|word| word.eq_ignore_ascii_case("answer"))
            && start[6..].trim_start_matches(['*', ' ', '_']).starts_with(':')
    };
    let line = text.lines().rev().find(is_line).and_then(|line| line.split_once(':')).map(|(_, rest)| rest);
    let lower = text.to_ascii_lowercase();
    let word = lower.rfind("answer").map(|at| {
        let rest = &text[at + "answer".len()..];
        let end = rest.char_indices().nth(REACH).map_or(rest.len(), |(at, _)| at);
        &rest[..end]
    });
    [line, word].into_iter().flatten().collect()
}

/// The first thing in `text` that can be an answer.
fn candidate(case: &Case, text: &str) -> Option<String> {
    match case.kind {
        Kind::Letter => letters(case, text).into_iter().next(),
        Kind::Integer => integers(text).into_iter().next(),
        Kind::Lines => {
            let line = text.lines().next()?;
            lines(line).filter(|lines| !lines.is_empty()).map(|_| line.trim().to_owned())
        }
        Kind::Text => {
            let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
            let plain = line.trim_matches(|c: char| c.is_whitespace() || "*`\"'.“”_:".contains(c));
            (!plain.is_empty()).then(|| plain.to_owned())
        }
        Kind::Tool => None,
    }
}

fn last_candidate(case: &Case, text: &str) -> Option<String> {
    match case.kind {
        Kind::Letter => letters(case, text).pop(),
        Kind::Integer => integers(text).pop(),
        Kind::Lines | Kind::Text => candidate(case, text.lines().rev().find(|line| !line.trim().is_empty())?),
        Kind::Tool => None,
    }
}

/// Capital letters of the choices that touch no other letter or digit.
fn letters(case: &Case, text: &str) -> Vec<String> {
    let last = char::from(b'A' + u8::try_from(case.choices.len().saturating_sub(1)).unwrap_or(25).min(25));
    let words = text.split(|c: char| !c.is_alphanumeric());
    words
        .filter(|word| matches!(word.as_bytes(), [b] if ('A'..=last).contains(&char::from(*b))))
        .map(str::to_owned)
        .collect()
}

/// Whole numbers, without leading zeros and commas between groups of three digits.
fn integers(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let characters: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < characters.len() {
        if !characters[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let is_negative =
            at > 0 && matches!(characters[at - 1], '-' | '−') && !(at > 1 && characters[at - 2].is_alphanumeric());
        let mut digits = String::new();
        while let Some(c) = characters.get(at) {
            let groups =
                |from: usize| characters.get(from..from + 3).is_some_and(|g| g.iter().all(char::is_ascii_digit));
            let ends = |from: usize| !characters.get(from).is_some_and(char::is_ascii_digit);
            if c.is_ascii_digit() {
                digits.push(*c);
            } else if !(matches!(c, ',' | '\u{202f}' | '\'') && groups(at + 1) && ends(at + 4)) {
                break;
            }
            at += 1;
        }
        let plain = digits.trim_start_matches('0');
        let plain = if plain.is_empty() { "0" } else { plain };
        found.push(if is_negative && plain != "0" { format!("-{plain}") } else { plain.to_owned() });
    }
    found
}

/// The line numbers of `3, 5-7`; `None` where a range is absurd.
pub fn lines(text: &str) -> Option<BTreeSet<u32>> {
    /// Longest range.
    const RANGE_MAX: u32 = 10_000;
    let mut found = BTreeSet::new();
    for part in text.split([',', ' ', ';']) {
        let part = part.trim_matches(|c: char| !c.is_ascii_digit());
        let mut ends = part.split(['-', '–']).map(str::parse::<u32>);
        match (ends.next(), ends.next(), ends.next()) {
            (Some(Ok(first)), None, _) => {
                found.insert(first);
            }
            (Some(Ok(first)), Some(Ok(last)), None) if last >= first && last - first <= RANGE_MAX => {
                found.extend(first..=last);
            }
            (Some(Ok(_)), Some(_), _) => return None,
            _ => {}
        }
    }
    Some(found)
}

/// Calls are compared by name and arguments; of numbers the value counts.
fn calls(case: &Case, given: &Given) -> (bool, String) {
    let shown = if given.calls.is_empty() {
        "no call".to_owned()
    } else {
        given.calls.iter().map(|call| format!("{}({})", call.name, call.arguments)).collect::<Vec<_>>().join("; ")
    };
    let passed = match (&case.call, given.calls.as_slice()) {
        (None, []) => !given.content.trim().is_empty(),
        (Some(expected), [call]) => call.name == expected.name && same(&expected.arguments, &call.arguments),
        _ => false,
    };
    (passed, shown)
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::String(a), Value::String(b)) => a.trim() == b.trim(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::super::suite::Call;
    use super::*;
    use serde_json::json;

    fn passes(kind: &str, answer: &str, content: &str) -> bool {
        let case = json!({"id": "a", "kind": kind, "question": "q", "answer": answer, "choices": ["1", "2", "3", "4"]});
        let case: Case = serde_json::from_value(case).unwrap();
        grade(&case, &Given { content: content.to_owned(), ..Given::default() }).0
    }

    #[test]
    fn the_last_answer_line_counts() {
        assert!(passes("letter", "C", "The answer cannot be B.\n\nAnswer: C"));
        assert!(!passes("letter", "B", "The answer cannot be B.\n\nAnswer: C"));
        assert!(passes("letter", "C", "Answer: A\nNo, wait.\n**Answer: C**"));
        assert!(passes("letter", "D", "So a better answer is D."));
        assert!(passes("letter", "B", "It must be B"));
        assert!(!passes("letter", "A", "this is a guess"), "an article is no letter");
        assert!(!passes("letter", "A", "Answer: E"), "not among the choices");
        assert!(passes("integer", "1234567", "1 + 1\nAnswer: 1,234,567"));
        assert!(passes("integer", "-5", "Answer: -5") && passes("integer", "-5", "Answer: −5"));
        assert!(passes("integer", "7", "Answer: 007."));
        assert!(!passes("integer", "12", "Answer: 1, 2"));
        assert!(passes("integer", "42", "the result is 40 + 2 = 42"));
        assert!(passes("text", "Friday", "Answer: **friday**.") && !passes("text", "Friday", "Answer: not Friday"));
        assert!(passes("lines", "5,8", "Answer: 8") && passes("lines", "5,8", "Answer: line 5 and 8"));
        assert!(passes("lines", "3-6", "Answer: 4-5") && !passes("lines", "5,8", "Answer: 5, 6"));
        assert!(!passes("lines", "5", "Answer: none") && !passes("lines", "5", ""));
    }

    #[test]
    fn calls_are_compared_by_their_values() {
        let call = |name: &str, arguments: Value| Call { name: name.to_owned(), arguments };
        let case = json!({"id": "a", "kind": "tool", "question": "q", "tools": [], "call": {"name": "f", "arguments": {"n": 250}}});
        let wanting: Case = serde_json::from_value(case).unwrap();
        let none: Case = Case { call: None, ..wanting.clone() };
        let given = |calls: Vec<Call>, content: &str| Given { calls, content: content.to_owned(), ..Given::default() };
        assert!(grade(&wanting, &given(vec![call("f", json!({"n": 250.0}))], "")).0);
        for wrong in [vec![], vec![call("g", json!({"n": 250}))], vec![call("f", json!({"n": 250, "m": 1}))]] {
            assert!(!grade(&wanting, &given(wrong, "x")).0);
        }
        assert!(grade(&none, &given(vec![], "4")).0 && !grade(&none, &given(vec![], " ")).0);
        assert!(!grade(&none, &given(vec![call("f", json!({}))], "4")).0);
    }
}
