//! Small functions written in place of their calls, so that parts can be exchanged and what drivers see does not depend on it.

use crate::unroll::replace_words;

/// `parts`, blocks with empty lines between them, in front of `text`. Those that are functions of one expression, or of assignments, stand in place
/// of their calls instead; types of their parameters have no commas.
pub(crate) fn inlined(parts: &str, text: &str) -> String {
    let (mut all, mut functions) = (String::new(), Vec::new());
    for block in parts.split("\n\n") {
        match Function::parse(block.trim()) {
            Some(function) => functions.push(function),
            None => all.extend([block, "\n"]),
        }
    }
    all.push_str(text);
    functions.iter().fold(all, |all, function| function.in_place_of_calls(&all))
}

struct Function<'a> {
    name: &'a str,
    parameters: Vec<&'a str>,
    /// Without `return`, and without the semicolon at the end.
    body: &'a str,
}

impl<'a> Function<'a> {
    fn parse(block: &'a str) -> Option<Self> {
        let (name, rest) = block.strip_prefix("fn ")?.split_once('(')?;
        let (parameters, rest) = rest.split_once(')')?;
        let body = rest.split_once('{')?.1.strip_suffix('}')?.trim().strip_suffix(';')?;
        let has_own = body.contains('{') || ["let ", "var "].iter().any(|word| body.contains(word));
        let parameters = parameters.split(',').map(|p| p.split(':').next().unwrap_or_default().trim()).collect();
        (!has_own).then(|| Self { name, parameters, body: body.strip_prefix("return ").unwrap_or(body) })
    }

    fn in_place_of_calls(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(self.name) {
            let (before, from) = rest.split_at(at);
            let after = &from[self.name.len()..];
            let is_word = before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            out.push_str(before);
            match arguments(after).filter(|(all, _)| !is_word && all.len() == self.parameters.len()) {
                Some((all, after)) => {
                    let all: Vec<String> = all.into_iter().map(|argument| format!("({argument})")).collect();
                    let pairs: Vec<(&str, &str)> =
                        self.parameters.iter().copied().zip(all.iter().map(String::as_str)).collect();
                    out.push_str(&replace_words(self.body, &pairs));
                    rest = after;
                }
                None => {
                    out.push_str(self.name);
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        out
    }
}

/// The arguments in brackets at the beginning of `text`, and what follows.
fn arguments(text: &str) -> Option<(Vec<&str>, &str)> {
    let inside = text.strip_prefix('(')?;
    let (mut depth, mut begin, mut all) = (0, 0, Vec::new());
    for (at, c) in inside.char_indices() {
        match c {
            ')' if depth == 0 => {
                all.push(inside[begin..at].trim());
                return Some((all, &inside[at + 1..]));
            }
            ',' if depth == 0 => {
                all.push(inside[begin..at].trim());
                begin = at + 1;
            }
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::inlined;

    #[test]
    fn functions_of_expressions_and_assignments_stand_in_place_of_their_calls() {
        let parts = "const A: u32 = 1u;\n\nfn sum(a: u32, b: u32) -> u32 {\n    return a + x.a + b;\n}\n\n\
                     fn put(to: u32, v: u32) {\n    t[to] = v;\n    t[to + 1u] = v;\n}\n\n\
                     fn long(a: u32) -> u32 {\n    var b = a;\n    return b;\n}";
        let text = "put(i, sum(f(1u, b), a[2, 3]));\nsum_of(1u, 2u); long(4u); sum(1u);";
        let expected = "const A: u32 = 1u;\nfn long(a: u32) -> u32 {\n    var b = a;\n    return b;\n}\n\
                        t[(i)] = ((f(1u, b)) + x.a + (a[2, 3]));\n    t[(i) + 1u] = ((f(1u, b)) + x.a + (a[2, 3]));\n\
                        sum_of(1u, 2u); long(4u); sum(1u);";
        assert_eq!(inlined(parts, text), expected);
    }
}
