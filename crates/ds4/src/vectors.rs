//! `ds4 vectors`: recorded continuations of the official model against this one (`spec/session.md` §11).

use crate::args::{ComputeArgs, VectorsArgs};
use crate::interrupt::{self, Interrupt};
use crate::model::{Compute, Model, on_engine};
use crate::output;
use crate::progress::Progress;
use crate::text;
use anyhow::{Context, Result, bail, ensure};
use ds4_chat::{Message, Options, Role, ThinkingMode};
use ds4_engine::backend::Backend;
use ds4_engine::sampler::{argmax, top_logprobs};
use ds4_engine::{Engine, Logits, Rows};
use ds4_tokenizer::{TokenId, Tokenizer};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Alternatives of a step that are looked at.
const TOP: usize = 20;
/// Most that a log-probability may differ.
const TOLERANCE: f64 = 4.0;
const CONTEXT_MAX: usize = 1 << 20;
const STEPS_MAX: usize = 1 << 16;

/// A recorded continuation.
#[derive(Debug, PartialEq)]
struct Case {
    id: String,
    context: usize,
    prompt: PathBuf,
    steps: Vec<Step>,
}

/// A token, as bytes, and its rivals with their log-probabilities.
#[derive(Debug, Default, PartialEq)]
struct Step {
    selected: Vec<u8>,
    top: Vec<(Vec<u8>, f64)>,
}

/// What came of a case.
#[derive(Serialize)]
struct Judged {
    id: String,
    passed: bool,
    prompt_tokens: usize,
    steps: usize,
    /// Largest difference of a log-probability that was found on both sides.
    largest_difference: f64,
    /// What did not fit.
    problems: Vec<String>,
}

pub fn run(args: &VectorsArgs) -> Result<ExitCode> {
    let interrupt = Interrupt::install()?;
    let place = args.file.display();
    let mut cases = parse(&text::read_file(&args.file)?).with_context(|| place.to_string())?;
    cases.retain(|case| args.case.is_empty() || args.case.contains(&case.id));
    ensure!(!cases.is_empty(), "{place} has no case of that name; leave --case out to use all");
    let model = Model::open(args.model.model.as_deref())?;
    let tokenizer = model.tokenizer()?;
    ensure!(tokenizer.has_chat_markers(), "the model's vocabulary lacks control tokens of the chat format");
    let effort = model.effort_table();
    let prompts = cases
        .iter()
        .map(|case| {
            let path = beside(&args.file, &case.prompt)?;
            // No system text, no thinking, the exact bytes.
            let options = Options { thinking: ThinkingMode::None, effort, ..Options::default() };
            let prompt = ds4_chat::render(&[Message::new(Role::User, text::read_file(&path)?)], &options)?;
            let segments = prompt.segments().iter().map(|segment| (segment.text.as_str(), segment.trusted));
            Ok(tokenizer.encode_segments(segments)?.into_iter().map(|id| id.0).collect())
        })
        .collect::<Result<Vec<Vec<u32>>>>()?;
    let needed = cases.iter().zip(&prompts).map(|(case, prompt)| case.context.max(prompt.len() + case.steps.len() + 1));
    let ctx = needed.max().unwrap_or(1);
    let compute = ComputeArgs::plain(ctx, None, args.exact);
    let loaded = model.load(&Compute::new(&args.model, &compute))?;
    let judged = on_engine!(loaded, engine => judge(engine, &tokenizer, &cases, &prompts, &interrupt))?;
    let failed = judged.iter().filter(|case| !case.passed).count();
    if args.json {
        let passed = judged.len() - failed;
        output::print_json(&serde_json::json!({ "passed": passed, "failed": failed, "cases": judged }))?;
    } else {
        let line = |case: &Judged| {
            let Judged { id, passed, prompt_tokens, steps, largest_difference, problems } = case;
            let verdict = if *passed { "PASSED" } else { "FAILED" };
            let problems: String = problems.iter().map(|problem| format!("  {problem}\n")).collect();
            format!(
                "{verdict} {id}: {prompt_tokens} prompt tokens, {steps} steps, largest difference {largest_difference:.3}\n{problems}"
            )
        };
        output::print(&judged.iter().map(line).collect::<String>())?;
    }
    let ended = judged.len() < cases.len();
    Ok(if ended { interrupt::EXIT_CODE.into() } else { u8::from(failed > 0).into() })
}

/// The file of a prompt: the path as it is recorded, or its last parts, seen from the directory of `file`.
fn beside(file: &Path, prompt: &Path) -> Result<PathBuf> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let parts: Vec<_> = prompt.components().collect();
    let shorter = (0..parts.len()).map(|from| folder.join(parts[from..].iter().collect::<PathBuf>()));
    shorter.into_iter().find(|path| path.is_file()).with_context(|| {
        format!("the prompt {} is not beside {}; copy the directory of prompts there", prompt.display(), file.display())
    })
}

/// The cases that could be judged until Ctrl-C.
fn judge<B: Backend>(
    mut engine: Engine<B>,
    tokenizer: &Tokenizer,
    cases: &[Case],
    prompts: &[Vec<u32>],
    interrupt: &Interrupt,
) -> Result<Vec<Judged>> {
    let mut all = Vec::new();
    let progress = Progress::start("comparing", "tokens", prompts.iter().map(Vec::len).sum());
    let mut before = 0;
    let stop = || interrupt.is_requested();
    for (case, prompt) in cases.iter().zip(prompts) {
        let mut sequence = engine.sequence()?;
        let read = engine.prefill(&mut sequence, prompt, Logits::Last, &mut |done| progress.set(before + done), &stop);
        let mut logits = match read {
            Err(ds4_engine::Error::Interrupted) => break,
            read => read?,
        };
        before += prompt.len();
        let (mut problems, mut largest) = (Vec::new(), 0.0f64);
        for (index, step) in case.steps.iter().enumerate() {
            let best = argmax(&logits);
            compare(tokenizer, step, index, best, &logits, &mut problems, &mut largest);
            if index + 1 == case.steps.len() {
                break;
            }
            // Goes on as recorded, also where this model would not.
            let token = named(tokenizer, &logits, &step.selected, best)?;
            let rows = Rows { sequence: &mut sequence, tokens: &[token], logits: Logits::Last };
            logits = match engine.step(&mut [rows], &stop) {
                Err(ds4_engine::Error::Interrupted) => return Ok(all),
                logits => logits?,
            };
        }
        all.push(Judged {
            id: case.id.clone(),
            passed: problems.is_empty(),
            prompt_tokens: prompt.len(),
            steps: case.steps.len(),
            largest_difference: largest,
            problems,
        });
    }
    Ok(all)
}

fn bytes(tokenizer: &Tokenizer, id: u32) -> &[u8] {
    tokenizer.token_bytes(TokenId(id))
}

fn shown(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(bytes))
}

fn compare(
    tokenizer: &Tokenizer,
    step: &Step,
    index: usize,
    best: u32,
    logits: &[f32],
    problems: &mut Vec<String>,
    largest: &mut f64,
) {
    if bytes(tokenizer, best) != step.selected {
        let (got, expected) = (shown(bytes(tokenizer, best)), shown(&step.selected));
        problems.push(format!("step {index}: {got} is the most probable, recorded {expected}"));
    }
    let tops = top_logprobs(logits, TOP);
    for (expected, recorded) in &step.top {
        let found = tops.iter().find(|top| bytes(tokenizer, top.token) == expected);
        let Some(found) = found else {
            problems.push(format!("step {index}: {} is not among the {TOP} best", shown(expected)));
            continue;
        };
        let difference = (found.logprob - recorded).abs();
        *largest = largest.max(difference);
        if difference > TOLERANCE {
            let (expected, logprob) = (shown(expected), found.logprob);
            problems.push(format!("step {index}: {expected} has {logprob:.3}, recorded {recorded:.3}"));
        }
    }
}

/// The token with these bytes: the most probable one that has them.
fn named(tokenizer: &Tokenizer, logits: &[f32], wanted: &[u8], best: u32) -> Result<u32> {
    if bytes(tokenizer, best) == wanted {
        return Ok(best);
    }
    let ids = (0..logits.len() as u32).filter(|id| bytes(tokenizer, *id) == wanted);
    ids.max_by(|a, b| logits[*a as usize].total_cmp(&logits[*b as usize]))
        .with_context(|| format!("the vocabulary has no token {}; use a model of the same family", shown(wanted)))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// The cases of a file in the compact form: `case ID CTX STEPS PROMPT`, `step I HEX N`, `top HEX LOGPROB`, `end`.
fn parse(text: &str) -> Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    // Steps and alternatives that are still to come.
    let mut open: Option<(usize, usize)> = None;
    for (index, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let wrong =
            || format!("line {}: {:?} is not understood; expected case, step, top or end", index + 1, line.trim());
        let count = |word: &str, max: usize| word.parse().ok().filter(|n| *n <= max).with_context(wrong);
        match (words.as_slice(), open) {
            ([], _) => {}
            ([first, ..], _) if first.starts_with('#') => {}
            (["case", id, context, steps, prompt @ ..], None) if !prompt.is_empty() => {
                let (context, steps) = (count(context, CONTEXT_MAX)?, count(steps, STEPS_MAX)?);
                cases.push(Case { id: (*id).to_owned(), context, prompt: prompt.join(" ").into(), steps: Vec::new() });
                open = Some((steps, 0));
            }
            (["step", number, selected, tops], Some((steps, 0))) if steps > 0 => {
                let case = cases.last_mut().with_context(wrong)?;
                if count(number, STEPS_MAX)? != case.steps.len() {
                    bail!("line {}: step {number} is not the next one", index + 1);
                }
                case.steps.push(Step { selected: from_hex(selected).with_context(wrong)?, top: Vec::new() });
                open = Some((steps - 1, count(tops, TOP)?));
            }
            (["top", token, logprob], Some((steps, tops))) if tops > 0 => {
                let step = cases.last_mut().and_then(|case| case.steps.last_mut()).with_context(wrong)?;
                let logprob: f64 = logprob.parse().ok().filter(|x: &f64| x.is_finite()).with_context(wrong)?;
                step.top.push((from_hex(token).with_context(wrong)?, logprob));
                open = Some((steps, tops - 1));
            }
            (["end"], Some((0, 0))) => open = None,
            _ => bail!(wrong()),
        }
    }
    ensure!(open.is_none(), "the last case has no end: the file was cut off");
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# c\ncase a 100 2 x/p.txt\nstep 0 41 1\ntop 41 -0.5\nstep 1 0aff 0\nend\n";

    #[test]
    fn the_compact_form_is_read() {
        let steps = vec![
            Step { selected: b"A".to_vec(), top: vec![(b"A".to_vec(), -0.5)] },
            Step { selected: vec![10, 255], top: vec![] },
        ];
        let case = Case { id: "a".into(), context: 100, prompt: "x/p.txt".into(), steps };
        assert_eq!(parse(GOOD).unwrap(), [case]);
    }

    #[test]
    fn files_that_are_not_whole_are_refused() {
        let lines: Vec<&str> = GOOD.lines().collect();
        for cut in 2..lines.len() {
            assert!(parse(&lines[..cut].join("\n")).is_err(), "{cut}");
        }
        for (from, to) in
            [("41 1", "4 1"), ("-0.5", "nan"), ("step 1", "step 2"), ("0aff 0", "0aff 1"), ("100", "x"), ("end", "eng")]
        {
            assert!(parse(&GOOD.replace(from, to)).is_err(), "{from}");
        }
    }
}
