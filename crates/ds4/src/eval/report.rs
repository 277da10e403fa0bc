//! What is kept of a run, and how it is shown.

use super::suite::{Call, Case};
use crate::args::EvalArgs;
use crate::model::{self, Model};
use crate::output;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Most bytes of a report.
const REPORT_BYTES_MAX: u64 = 1 << 30;
const FORMAT: &str = "ds4-eval-2";

/// How a question stands.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Passed,
    Failed,
    Skipped,
    Pending,
}

/// Who ended reasoning.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum CloseKind {
    Natural,
    SoftForced,
    HardForced,
}

/// How reasoning ended, and how many tokens of the answer came before its mark.
#[derive(Clone, Copy, Serialize, Deserialize, Debug)]
pub struct Close {
    pub kind: CloseKind,
    pub position: usize,
}

/// A question that was asked.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Done {
    pub id: String,
    pub domain: String,
    pub state: State,
    pub expected: String,
    pub got: String,
    pub prompt_tokens: usize,
    pub tokens: usize,
    pub seconds: f64,
    /// How reasoning ended, if it did.
    pub think_close: Option<Close>,
    pub prompt: String,
    pub reasoning: String,
    pub answer: String,
    pub calls: Vec<Call>,
}

impl Done {
    /// Not asked yet.
    pub fn pending(case: &Case) -> Self {
        let call =
            || case.call.as_ref().map_or("no call".to_owned(), |call| format!("{}({})", call.name, call.arguments));
        Self {
            id: case.id.clone(),
            domain: case.domain.clone(),
            state: State::Pending,
            expected: if case.tools.is_empty() { case.answer.clone() } else { call() },
            got: String::new(),
            prompt_tokens: 0,
            tokens: 0,
            seconds: 0.0,
            think_close: None,
            prompt: String::new(),
            reasoning: String::new(),
            answer: String::new(),
            calls: Vec::new(),
        }
    }

    fn cost(&self) -> String {
        let cost = format!("{:.1} s, {} tokens", self.seconds, self.tokens);
        match self.think_close {
            Some(Close { kind: CloseKind::SoftForced, position }) => {
                format!("{cost}, thinking closed early at {position}")
            }
            Some(Close { kind: CloseKind::HardForced, position }) => format!("{cost}, thinking cut off at {position}"),
            Some(Close { kind: CloseKind::Natural, .. }) | None => cost,
        }
    }

    /// One line.
    pub fn verdict(&self) -> String {
        let (got, expected) = (output::printable(&self.got), output::printable(&self.expected));
        match self.state {
            State::Passed => format!("PASSED {got} ({})", self.cost()),
            State::Failed => format!("FAILED got {got:?}, expected {expected:?} ({})", self.cost()),
            State::Skipped => format!("SKIPPED {got}"),
            State::Pending => "PENDING".to_owned(),
        }
    }
}

/// A report: what it has, and a file to add to.
pub struct Kept {
    pub done: BTreeMap<String, Done>,
    file: File,
    path: PathBuf,
}

impl Kept {
    /// Opens the report, or begins one.
    ///
    /// # Errors
    /// It was made with other settings: grades would not belong together.
    pub fn open(path: &Path, args: &EvalArgs, model: &Model) -> Result<Self> {
        let place = path.display();
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .with_context(|| format!("cannot write {place}"))?;
        let mut text = String::new();
        let reading = || format!("cannot read {place}");
        Read::by_ref(&mut file).take(REPORT_BYTES_MAX).read_to_string(&mut text).with_context(reading)?;
        let head = json!({
            "format": FORMAT, "model": model::name(args.model.model.as_deref()), "bytes": model.file.len(),
            "tokens": args.tokens, "soft_limit": args.soft_limit_reply_budget, "hard_limit": args.hard_limit_reply_budget,
            "close_rank": args.soft_limit_think_close_rank, "think": !args.nothink, "temp": args.temp,
            "seed": args.seed, "exact": args.exact,
        });
        let mut done = BTreeMap::new();
        let mut lines = text.lines();
        match lines.next() {
            None => writeln!(file, "{head}").with_context(|| format!("cannot write {place}"))?,
            Some(first) => {
                if serde_json::from_str::<Value>(first).ok().as_ref() != Some(&head) {
                    bail!("{place} was made with another model or other settings; use another file for --report");
                }
                // A line that was cut off by a crash is asked again.
                let entries = lines.filter_map(|line| serde_json::from_str::<Done>(line).ok());
                done = entries.map(|entry| (entry.id.clone(), entry)).collect();
                if !text.ends_with('\n') {
                    writeln!(file).with_context(|| format!("cannot write {place}"))?;
                }
            }
        }
        if !done.is_empty() {
            output::notice(&format!("{} questions are in {place} already", done.len()));
        }
        Ok(Self { done, file, path: path.to_owned() })
    }

    /// Adds an answer.
    pub fn add(&mut self, done: &Done) -> Result<()> {
        let line = serde_json::to_string(done)? + "\n";
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// How many stand like this.
pub fn count<'a>(all: impl IntoIterator<Item = &'a Done>, state: State) -> usize {
    all.into_iter().filter(|done| done.state == state).count()
}

/// Passed and asked, by domain.
fn domains(all: &[Done]) -> BTreeMap<&str, (usize, usize)> {
    let mut domains: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for done in all.iter().filter(|done| matches!(done.state, State::Passed | State::Failed)) {
        let (passed, asked) = domains.entry(&done.domain).or_default();
        *passed += usize::from(done.state == State::Passed);
        *asked += 1;
    }
    domains
}

/// Everything, for programs.
pub fn json(all: &[Done]) -> Value {
    let domains: BTreeMap<&str, Value> = domains(all)
        .into_iter()
        .map(|(domain, (passed, asked))| (domain, json!({"passed": passed, "asked": asked})))
        .collect();
    json!({
        "passed": count(all, State::Passed), "failed": count(all, State::Failed),
        "skipped": count(all, State::Skipped), "pending": count(all, State::Pending),
        "domains": domains, "cases": all,
    })
}

/// The table at the end.
pub fn table(all: &[Done]) -> String {
    let mut text = "\n  # state   prompt    gen  seconds given                correct              test\n".to_owned();
    let short = |text: &str| output::printable(&text.chars().take(20).collect::<String>());
    for (number, done) in all.iter().enumerate() {
        let state = format!("{:?}", done.state).to_uppercase();
        let Done { prompt_tokens, tokens, seconds, id, .. } = done;
        let (given, correct) = (short(&done.got), short(&done.expected));
        text += &format!(
            "{:>3} {state:<7} {prompt_tokens:>6} {tokens:>6} {seconds:>8.1} {given:<20} {correct:<20} {id}\n",
            number + 1
        );
    }
    for (domain, (passed, asked)) in domains(all) {
        text += &format!("{domain}: {passed} of {asked}\n");
    }
    let (passed, failed) = (count(all, State::Passed), count(all, State::Failed));
    text += &format!("passed {passed}, failed {failed}, skipped {}", count(all, State::Skipped));
    match count(all, State::Pending) {
        0 => text + "\n",
        pending => text + &format!(", not asked {pending}\n"),
    }
}
