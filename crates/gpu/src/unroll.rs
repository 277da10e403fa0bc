//! Loops of a known number of turns, written out.
//!
//! Drivers do not unroll what WGSL becomes, and an array that a loop indexes lives in memory instead of registers: products ran ten times slower.

use std::collections::HashMap;

/// Most turns of a loop that is written out.
const TURNS_MAX: u32 = 16;

/// `text` with its short loops written out, those whose number of turns follows from its constants.
pub(crate) fn unrolled(text: &str) -> String {
    unroll(text, &constants(text))
}

/// Values of the lines `const NAME: u32 = …;` that are literals, earlier constants, or sums, differences, products and quotients of them.
fn constants(text: &str) -> HashMap<String, u32> {
    let mut known = HashMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("const ")) {
        if let Some((name, value)) = line.split_once(": u32 = ")
            && let Some((value, _)) = value.split_once(';')
            && let Some((value, "")) = sum(value, &known)
        {
            known.insert(name.to_owned(), value);
        }
    }
    known
}

/// The value at the beginning of `text`, and what follows it.
fn sum<'a>(text: &'a str, known: &HashMap<String, u32>) -> Option<(u32, &'a str)> {
    let (mut value, mut rest) = product(text, known)?;
    while let Some(operator) = rest.chars().next().filter(|c| "+-".contains(*c)) {
        let (by, after) = product(&rest[1..], known)?;
        value = if operator == '+' { value.checked_add(by)? } else { value.checked_sub(by)? };
        rest = after;
    }
    Some((value, rest))
}

fn product<'a>(text: &'a str, known: &HashMap<String, u32>) -> Option<(u32, &'a str)> {
    let (mut value, mut rest) = factor(text, known)?;
    while let Some(operator) = rest.chars().next().filter(|c| "*/".contains(*c)) {
        let (by, after) = factor(&rest[1..], known)?;
        value = if operator == '*' { value.checked_mul(by)? } else { value.checked_div(by)? };
        rest = after;
    }
    Some((value, rest))
}

fn factor<'a>(text: &'a str, known: &HashMap<String, u32>) -> Option<(u32, &'a str)> {
    let text = text.trim_start();
    if let Some(inner) = text.strip_prefix('(') {
        let (value, rest) = sum(inner, known)?;
        return Some((value, rest.strip_prefix(')')?.trim_start()));
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let literal = || word.strip_suffix('u').and_then(|number| number.parse().ok());
    let value = known.get(word).copied().or_else(literal)?;
    Some((value, rest.trim_start()))
}

/// Writes out every loop of the form `for (var i = 0u; i < N; i++) {`, where N is a literal or one of `constants` and at most 16. Loops that must
/// stay count with `i += 1u`.
fn unroll(text: &str, constants: &HashMap<String, u32>) -> String {
    let mut out = String::with_capacity(2 * text.len());
    let mut rest = text;
    while let Some(at) = rest.find("for (var ") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        match parse(from, constants) {
            Some((name, turns, body, after)) => {
                for turn in 0..turns {
                    let body = replace_words(body, &[(name, &format!("{turn}u"))]);
                    out.push_str("{\n");
                    out.push_str(&unroll(&body, constants));
                    out.push_str("}\n");
                }
                rest = after;
            }
            None => {
                out.push_str("for (var ");
                rest = &from["for (var ".len()..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// Variable, turns, body and what follows of a loop at the beginning of `text`.
fn parse<'a>(text: &'a str, constants: &HashMap<String, u32>) -> Option<(&'a str, u32, &'a str, &'a str)> {
    let (name, head) = text.strip_prefix("for (var ")?.split_once(" = 0u; ")?;
    let (bound, head) = head.strip_prefix(name)?.strip_prefix(" < ")?.split_once("; ")?;
    let body = head.strip_prefix(name)?.strip_prefix("++) {")?;
    let literal = bound.strip_suffix('u').and_then(|number| number.parse().ok());
    let turns = literal.or_else(|| constants.get(bound).copied()).filter(|turns| *turns <= TURNS_MAX)?;
    let mut depth = 1;
    for (at, c) in body.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((name, turns, &body[..at], &body[at + 1..]));
        }
    }
    None
}

/// `text` with the variables of these names replaced; members of the same names stay.
pub(crate) fn replace_words(text: &str, by: &[(&str, &str)]) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_word) {
        let end = rest[start..].find(|c| !is_word(c)).map_or(rest.len(), |n| start + n);
        let is_member = rest[..start].ends_with('.');
        let word = &rest[start..end];
        let new = by.iter().find(|(name, _)| *name == word && !is_member).map_or(word, |(_, new)| new);
        out.push_str(&rest[..start]);
        out.push_str(new);
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_are_written_out_and_members_stay() {
        let constants = HashMap::from([("N".to_owned(), 2)]);
        let text = "a; for (var i = 0u; i < N; i++) { for (var j = 0u; j < 1u; j++) { w[i + j] = x.i * ii; } } b;";
        let expected = "a; {\n { w[0u + 0u] = x.i * ii; } }\n{\n { w[1u + 0u] = x.i * ii; } }\n b;";
        let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(plain(&unroll(text, &constants)), plain(expected));
    }

    #[test]
    fn constants_follow_from_each_other() {
        let text = "const E: u32 = 4096u;\nconst QUADS: u32 = E / 4u;\nconst OWN: u32 = (QUADS + 512u - 1u) / 512u;\n\
                    const LESS: u32 = 1u - 2u;\nconst M: u32 = max(E, 1u);\nconst HALF: f32 = 0.5;";
        let known = constants(text);
        assert_eq!((known["E"], known["QUADS"], known["OWN"], known.len()), (4096, 1024, 2, 3));
    }

    #[test]
    fn other_loops_stay() {
        let constants = HashMap::from([("MANY".to_owned(), 17)]);
        for text in [
            "for (var i = lane; i < 4u; i += 2u) { a; }",
            "for (var i = 0u; i < MANY; i++) { a; }",
            "for (var i = 0u; i < 4u; i += 1u) { a; }",
            "for (var i = 0u; i < unknown; i++) { a; }",
        ] {
            assert_eq!(unroll(text, &constants), text);
        }
    }
}
