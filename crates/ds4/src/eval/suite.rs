//! Questions, and the texts that ask them.

use anyhow::{Context, Result, bail, ensure};
use ds4_tokenizer::Tokenizer;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// The questions of the program: our own.
const QUESTIONS: &str = include_str!("questions.jsonl");
/// Most bytes of a suite.
const SUITE_BYTES_MAX: u64 = 256 << 20;
/// Most answers to choose from: letters.
const CHOICES_MAX: usize = 26;
/// Longest text in which something is to be found, in tokens.
const HAYSTACK_TOKENS_MAX: usize = 1_000_000;

/// What an answer is.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One of the choices.
    Letter,
    /// A whole number.
    Integer,
    /// Line numbers; one of those accepted is enough, a wrong one too many.
    Lines,
    /// A word or a short text.
    Text,
    /// A call of a tool, or none.
    Tool,
}

/// A question.
#[derive(Clone, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub id: String,
    #[serde(default)]
    pub domain: String,
    pub kind: Kind,
    pub question: String,
    #[serde(default)]
    pub answer: String,
    #[serde(default)]
    pub choices: Vec<String>,
    #[serde(default)]
    pub tools: Vec<Tool>,
    #[serde(default)]
    pub call: Option<Call>,
    #[serde(default)]
    pub haystack: Option<Haystack>,
}

/// A tool that is offered.
#[derive(Clone, Deserialize, Debug)]
pub struct Tool {
    pub name: String,
    #[serde(default)]
    pub description: String,
    pub parameters: Value,
}

/// A call of a tool.
#[derive(Clone, Deserialize, Serialize, PartialEq, Debug)]
pub struct Call {
    pub name: String,
    pub arguments: Value,
}

/// A long text with one sentence that matters.
#[derive(Clone, Deserialize, Debug)]
pub struct Haystack {
    /// About so long.
    pub tokens: usize,
    /// Where the sentence stands, from 0 to 1.
    pub depth: f64,
    pub needle: String,
}

/// The questions in `path`, or those of the program.
pub fn load(path: Option<&Path>) -> Result<Vec<Case>> {
    let Some(path) = path else { return parse(QUESTIONS).context("the questions of the program") };
    let place = path.display();
    let bytes = std::fs::metadata(path).with_context(|| format!("cannot read {place}"))?.len();
    ensure!(bytes <= SUITE_BYTES_MAX, "{place} has more than {SUITE_BYTES_MAX} bytes; split it");
    parse(&std::fs::read_to_string(path).with_context(|| format!("cannot read {place}"))?)
        .with_context(|| place.to_string())
}

fn parse(text: &str) -> Result<Vec<Case>> {
    let (mut cases, mut ids) = (Vec::new(), BTreeSet::new());
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = || format!("line {}", index + 1);
        let case: Case = serde_json::from_str(line).with_context(at)?;
        case.check().with_context(at)?;
        ensure!(ids.insert(case.id.clone()), "line {}: the id {:?} is there twice", index + 1, case.id);
        cases.push(case);
    }
    Ok(cases)
}

impl Case {
    fn check(&self) -> Result<()> {
        let Self { kind, answer, choices, .. } = self;
        ensure!(!self.id.is_empty() && !self.question.is_empty(), "id and question must not be empty");
        match kind {
            Kind::Letter => {
                ensure!((2..=CHOICES_MAX).contains(&choices.len()), "a letter needs 2 to {CHOICES_MAX} choices");
                let index = answer.bytes().next().map_or(usize::MAX, |b| usize::from(b.wrapping_sub(b'A')));
                ensure!(answer.len() == 1 && index < choices.len(), "the answer {answer:?} is none of the choices");
            }
            Kind::Integer => ensure!(answer.parse::<i128>().is_ok(), "the answer {answer:?} is no whole number"),
            Kind::Lines => ensure!(
                super::grade::lines(answer).is_some_and(|lines| !lines.is_empty()),
                "the answer {answer:?} has no line numbers"
            ),
            Kind::Text => ensure!(!answer.trim().is_empty(), "the answer is empty"),
            Kind::Tool => ensure!(!self.tools.is_empty(), "a question for a call needs tools"),
        }
        if let Some(haystack) = &self.haystack {
            ensure!((1..=HAYSTACK_TOKENS_MAX).contains(&haystack.tokens), "haystack.tokens is not 1 to 1,000,000");
            ensure!((0.0..=1.0).contains(&haystack.depth), "haystack.depth is not from 0 to 1");
        }
        Ok(())
    }

    /// The first words, for lists.
    pub fn title(&self) -> String {
        let line = self.question.lines().next().unwrap_or_default();
        crate::output::printable(&line.chars().take(80).collect::<String>())
    }

    /// The message that asks.
    pub fn text(&self, tokenizer: &Tokenizer) -> Result<String> {
        let mut text = String::new();
        if let Some(haystack) = &self.haystack {
            text += &haystack.text(tokenizer)?;
            text += "\n\n";
        }
        text += &self.question;
        if !self.choices.is_empty() {
            text += "\n\nChoices:";
            for (letter, choice) in ('A'..='Z').zip(&self.choices) {
                text += &format!("\n{letter}. {choice}");
            }
        }
        let form = match self.kind {
            Kind::Letter => "<letter>",
            Kind::Integer => "<integer>",
            Kind::Lines => "<line number, or several with commas>",
            Kind::Text => "<word>",
            Kind::Tool => return Ok(text),
        };
        text += &format!("\n\nEnd with exactly one line of this form:\nAnswer: {form}");
        Ok(text)
    }
}

/// Parts of sentences that say nothing of use.
const WHO: [&str; 8] = [
    "The miller",
    "A traveller",
    "The old teacher",
    "My neighbour",
    "The captain",
    "A gardener",
    "The clerk",
    "Her uncle",
];
const DID: [&str; 8] = [
    "walked slowly to",
    "wrote a long letter about",
    "often spoke of",
    "painted",
    "could not forget",
    "was looking for",
    "once lived near",
    "told a story about",
];
const WHAT: [&str; 8] = [
    "the quiet harbour",
    "the stone bridge",
    "the market square",
    "a field of barley",
    "the lighthouse",
    "the narrow road",
    "the winter garden",
    "the empty station",
];
const WHEN: [&str; 8] = [
    "before the rain began",
    "on a cold morning",
    "when the bells rang",
    "after the harvest",
    "in the last days of May",
    "without saying why",
    "as the light went down",
    "every other year",
];

impl Haystack {
    /// About so many tokens of harmless sentences, the one that matters among them.
    fn text(&self, tokenizer: &Tokenizer) -> Result<String> {
        let mut state = 0x5851_f42d_4c95_7f2du64;
        let mut pick = |from: &[&'static str; 8]| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            from[(state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 61) as usize]
        };
        let place = (self.tokens as f64 * self.depth) as usize;
        let (mut text, mut tokens, mut is_in) = (String::new(), 0, false);
        while tokens < self.tokens || !is_in {
            let sentence = if tokens >= place && !is_in {
                is_in = true;
                format!(" {}", self.needle)
            } else {
                format!(" {} {} {} {}.", pick(&WHO), pick(&DID), pick(&WHAT), pick(&WHEN))
            };
            // A space belongs to the word behind it, so that the tokens of sentences add up.
            let count = tokenizer.encode_text(&sentence)?.len();
            if count == 0 {
                bail!("the vocabulary has no tokens for a sentence");
            }
            tokens += count;
            text += &sentence;
        }
        Ok(text.trim_start().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_questions_are_sound() {
        let cases = load(None).unwrap();
        assert!(cases.len() >= 60);
        let of = |domain: &str| cases.iter().filter(|case| case.domain == domain).count();
        for domain in ["arithmetic", "logic", "code reading", "tool calls", "recall"] {
            assert!(of(domain) >= 10, "{domain}");
        }
        let lengths: Vec<_> = cases.iter().filter_map(|case| Some(case.haystack.as_ref()?.tokens)).collect();
        assert_eq!((lengths.iter().min(), lengths.iter().max()), (Some(&1000), Some(&100_000)));
    }

    #[test]
    fn suites_that_cannot_be_graded_are_refused() {
        for (line, part) in [
            (r#"{"id":"a","kind":"letter","question":"q","answer":"C","choices":["x","y"]}"#, "none of the choices"),
            (r#"{"id":"a","kind":"letter","question":"q","answer":"A"}"#, "choices"),
            (r#"{"id":"a","kind":"integer","question":"q","answer":"four"}"#, "no whole number"),
            (r#"{"id":"a","kind":"lines","question":"q","answer":"x"}"#, "no line numbers"),
            (r#"{"id":"a","kind":"text","question":"q"}"#, "empty"),
            (r#"{"id":"a","kind":"tool","question":"q"}"#, "needs tools"),
            (r#"{"id":"a","kind":"text","question":"q","answer":"x","anwser":1}"#, "unknown field"),
            ("{", "line 1"),
        ] {
            let error = format!("{:#}", parse(line).unwrap_err());
            assert!(error.contains(part), "{line}: {error}");
        }
        let good = r#"{"id":"a","kind":"text","question":"q","answer":"x"}"#;
        assert!(format!("{:#}", parse(&format!("{good}\n{good}")).unwrap_err()).contains("twice"));
    }
}
