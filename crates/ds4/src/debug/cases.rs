//! `ds4 debug cases`: prompts with known answers, several sequences at a time.

use super::{compute, never};
use crate::args::{DebugCases, KvMode};
use crate::model::{Model, on_engine};
use crate::output::{self, print_json};
use anyhow::{Context, Result, ensure};
use ds4_engine::backend::Backend;
use ds4_engine::sampler::{Sampler, SamplingParams};
use ds4_engine::{Engine, Logits, Rows, Sequence};
use ds4_tokenizer::{TokenId, Tokenizer, markers};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Sequences decoded together.
const BATCH: usize = 16;
/// Tokens of a prefill step.
const CHUNK: usize = 512;
/// Most bytes of one case.
const LINE_BYTES_MAX: usize = 1 << 20;

/// One line of a file of cases.
#[derive(Deserialize)]
struct Case {
    id: String,
    kind: String,
    /// The prompt's token ids.
    tokens: Vec<u32>,
    /// The expected text; without its end-of-sequence token.
    #[serde(default)]
    answer: String,
    check: Check,
}

/// What an answer must be.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Check {
    /// The expected text and nothing else.
    Exact,
    /// The part after the reasoning contains the expected text.
    FinalContains,
    /// From the first tool call on, the expected text; none at all if it is empty.
    ToolCall,
    /// Any text in the form of an answer.
    Format,
}

/// What came of a case.
#[derive(Serialize)]
struct Outcome<'a> {
    id: &'a str,
    kind: &'a str,
    passed: bool,
    expected: &'a str,
    got: String,
    tokens: usize,
}

/// Cases and passes of one kind.
#[derive(Default, Serialize)]
struct Score {
    cases: usize,
    passed: usize,
}

pub fn run(args: &DebugCases) -> Result<()> {
    let model = Model::open(args.model.model.as_deref())?;
    let tokenizer = model.tokenizer()?;
    let mut cases = Vec::new();
    for path in &args.files {
        cases.extend(read(path)?.into_iter().take(args.limit.unwrap_or(usize::MAX)));
    }
    ensure!(!cases.is_empty(), "there are no cases");
    let longest = cases.iter().map(|case| case.tokens.len()).max().unwrap_or(0);
    let compute = compute(&args.model, KvMode::Cache, !args.exact, longest + args.n, CHUNK);
    let eos = tokenizer.specials().eos.0;
    let answers = on_engine!(model.load(&compute)?, mut engine => generate(&mut engine, &cases, args, eos))?;

    let mut scores: BTreeMap<&str, Score> = BTreeMap::new();
    let mut outcomes = Vec::new();
    for (case, answer) in cases.iter().zip(&answers) {
        let ended = answer.last() == Some(&tokenizer.specials().eos.0);
        let body = if ended { &answer[..answer.len() - 1] } else { &answer[..] };
        let got = tokenizer.decode(&body.iter().map(|t| TokenId(*t)).collect::<Vec<_>>());
        let passed = ended && case.passes(&got, case.thinks(&tokenizer));
        let score = scores.entry(&case.kind).or_default();
        score.cases += 1;
        score.passed += usize::from(passed);
        let (id, kind, expected) = (&*case.id, &*case.kind, &*case.answer);
        outcomes.push(Outcome { id, kind, passed, expected, got, tokens: answer.len() });
    }
    if args.json {
        return print_json(&serde_json::json!({ "scores": scores, "cases": outcomes }));
    }
    for outcome in outcomes.iter().filter(|o| !o.passed) {
        output::notice(&format!("{}: expected {:?}, got {:?}", outcome.id, outcome.expected, outcome.got));
    }
    for (kind, Score { cases, passed }) in scores {
        output::print(&format!("{kind}: {passed} of {cases}\n"))?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<Case>> {
    let place = path.display();
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {place}"))?;
    let mut cases = Vec::new();
    for (i, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {place}"))?;
        ensure!(line.len() <= LINE_BYTES_MAX, "{place}: line {} has more than {LINE_BYTES_MAX} bytes", i + 1);
        if !line.trim().is_empty() {
            cases.push(serde_json::from_str(&line).with_context(|| format!("{place}: line {}", i + 1))?);
        }
    }
    Ok(cases)
}

/// A case that is being answered.
struct Running<B: Backend> {
    case: usize,
    sequence: Sequence<B>,
    sampler: Sampler,
    logits: Vec<f32>,
}

/// The answers, each with the end-of-sequence token if the model chose it.
fn generate<B: Backend>(engine: &mut Engine<B>, cases: &[Case], args: &DebugCases, eos: u32) -> Result<Vec<Vec<u32>>> {
    let mut answers = vec![Vec::new(); cases.len()];
    let mut waiting = 0..cases.len();
    let mut running: Vec<Running<B>> = Vec::new();
    loop {
        while running.len() < BATCH
            && let Some(case) = waiting.next()
        {
            let mut sequence = engine.sequence()?;
            let logits = engine.prefill(&mut sequence, &cases[case].tokens, Logits::Last, &mut |_| (), &never)?;
            let seed = args.seed.wrapping_add(case as u64);
            let params = SamplingParams { temperature: args.temp, seed, ..SamplingParams::default() };
            let sampler = Sampler::new(params, &cases[case].tokens)?;
            running.push(Running { case, sequence, sampler, logits });
        }
        if running.is_empty() {
            return Ok(answers);
        }
        running.retain_mut(|r| {
            let token = r.sampler.sample(&r.logits);
            r.sampler.accept(token);
            answers[r.case].push(token);
            token != eos && answers[r.case].len() < args.n
        });
        let next: Vec<[u32; 1]> = running.iter().map(|r| answers[r.case].last().map_or([eos], |t| [*t])).collect();
        let mut rows: Vec<_> = running
            .iter_mut()
            .zip(&next)
            .map(|(r, tokens)| Rows { sequence: &mut r.sequence, tokens, logits: Logits::Last })
            .collect();
        if rows.is_empty() {
            continue;
        }
        let logits = engine.step(&mut rows, &never)?;
        let vocab = engine.config().vocab;
        running.iter_mut().zip(logits.chunks_exact(vocab)).for_each(|(r, l)| r.logits = l.to_vec());
    }
}

impl Case {
    /// Whether the prompt ends with the opening of the reasoning.
    fn thinks(&self, tokenizer: &Tokenizer) -> bool {
        self.tokens.last().is_some_and(|last| tokenizer.specials().think == Some(TokenId(*last)))
    }

    /// Whether `got`, an answer without its end-of-sequence token, is right.
    fn passes(&self, got: &str, thinks: bool) -> bool {
        if !is_well_formed(got, thinks) {
            return false;
        }
        let last = if thinks { got.split_once(markers::THINK_END).map_or("", |(_, last)| last) } else { got };
        match self.check {
            Check::Exact => got == self.answer,
            Check::FinalContains => last.contains(&self.answer),
            Check::ToolCall => last.find(CALLS).map_or("", |at| &last[at..]) == self.answer,
            Check::Format => true,
        }
    }
}

/// How a block of tool calls begins (`spec/chat-format.md` §6).
const CALLS: &str = "\n\n<\u{ff5c}DSML\u{ff5c}tool_calls>\n";
const CALLS_END: &str = "</\u{ff5c}DSML\u{ff5c}tool_calls>";

/// Whether an answer has the form of one: reasoning closed once where it was opened, no turn markers, at most one block of tool
/// calls, whole and at the end.
fn is_well_formed(got: &str, thinks: bool) -> bool {
    let turn = [markers::BOS, markers::EOS, markers::USER, markers::ASSISTANT, markers::THINK];
    if turn.iter().any(|marker| got.contains(marker)) || got.matches(markers::THINK_END).count() != usize::from(thinks)
    {
        return false;
    }
    let last = got.rsplit_once(markers::THINK_END).map_or(got, |(_, last)| last);
    if got.matches(markers::DSML).count() != last.matches(markers::DSML).count() {
        return false;
    }
    match last.split_once(CALLS) {
        None => !last.contains(markers::DSML),
        Some((text, calls)) => {
            !text.contains(markers::DSML) && calls.strip_suffix(CALLS_END).is_some_and(are_invocations)
        }
    }
}

/// Whether `calls` is a run of complete invocations.
fn are_invocations(mut calls: &str) -> bool {
    let (open, close) = ("<\u{ff5c}DSML\u{ff5c}invoke name=\"", "</\u{ff5c}DSML\u{ff5c}invoke>\n");
    let mut any = false;
    while let Some(rest) = calls.strip_prefix(open) {
        let Some((head, rest)) = rest.split_once("\">\n") else { return false };
        let Some((body, rest)) = rest.split_once(close) else { return false };
        if head.contains('"') || !are_parameters(body) {
            return false;
        }
        (calls, any) = (rest, true);
    }
    any && calls.is_empty()
}

/// Whether `body` is a run of complete parameters, or an empty line.
fn are_parameters(mut body: &str) -> bool {
    let (open, close) = ("<\u{ff5c}DSML\u{ff5c}parameter name=\"", "</\u{ff5c}DSML\u{ff5c}parameter>\n");
    if body == "\n" {
        return true;
    }
    while let Some(rest) = body.strip_prefix(open) {
        let Some((name, rest)) = rest.split_once("\" string=\"") else { return false };
        let Some((kind, rest)) = rest.split_once("\">") else { return false };
        let Some((value, rest)) = rest.split_once(close) else { return false };
        let is_json = || serde_json::from_str::<serde_json::Value>(value).is_ok();
        if name.contains('"') || !(kind == "true" || kind == "false" && is_json()) {
            return false;
        }
        body = rest;
    }
    body.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n\
        <｜DSML｜parameter name=\"a\" string=\"true\">x y</｜DSML｜parameter>\n\
        <｜DSML｜parameter name=\"b\" string=\"false\">[1, 2]</｜DSML｜parameter>\n\
        </｜DSML｜invoke>\n</｜DSML｜tool_calls>";

    fn passes(thinks: bool, check: Check, answer: &str, got: &str) -> bool {
        let answer = answer.to_owned();
        Case { id: String::new(), kind: String::new(), tokens: Vec::new(), answer, check }.passes(got, thinks)
    }

    #[test]
    fn well_formed_answers_are_told_from_broken_ones() {
        assert!(is_well_formed("Hello.", false));
        assert!(is_well_formed("a</think>b", true));
        assert!(!is_well_formed("Hello.", true), "reasoning is not closed");
        assert!(!is_well_formed("a</think>b", false), "reasoning was not opened");
        assert!(!is_well_formed("a<｜User｜>", false));
        assert!(is_well_formed(CALL, false));
        assert!(is_well_formed(&format!("a</think>b{CALL}"), true));
        assert!(!is_well_formed(&format!("{CALL}b</think>"), true), "a call in the reasoning");
        assert!(!is_well_formed(&format!("{CALL} more"), false));
        assert!(!is_well_formed(&CALL[..CALL.len() - 5], false));
        assert!(!is_well_formed(&CALL.replace("[1, 2]", "[1, 2"), false), "not JSON");
        assert!(!is_well_formed(&CALL.replace("</｜DSML｜invoke>\n", ""), false));
        assert!(!is_well_formed("x ｜DSML｜", false));
    }

    #[test]
    fn answers_are_checked_as_the_case_says() {
        assert!(passes(true, Check::FinalContains, "42", "40 + 2</think>It is 42."));
        assert!(!passes(true, Check::FinalContains, "42", "42</think>It is 41."));
        assert!(passes(false, Check::ToolCall, CALL, &format!("Looking.{CALL}")));
        assert!(!passes(false, Check::ToolCall, CALL, "Looking."));
        assert!(passes(false, Check::ToolCall, "", "No tool fits."));
        assert!(!passes(false, Check::ToolCall, "", CALL));
        assert!(passes(false, Check::Exact, "yes", "yes") && !passes(false, Check::Exact, "yes", "yes."));
        assert!(passes(false, Check::Format, "", "anything"));
    }
}
