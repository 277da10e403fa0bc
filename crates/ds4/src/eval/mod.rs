//! `ds4 eval`: questions with known answers.
//!
//! | file | content |
//! |---|---|
//! | `suite.rs` | questions and their prompts; `questions.jsonl` are those of the program |
//! | `grade.rs` | whether an answer is right |
//! | `ask.rs` | the way to the model |
//! | `report.rs` | what is kept, and the table |

mod ask;
mod grade;
mod report;
mod suite;

use crate::args::EvalArgs;
use crate::interrupt::{self, Interrupt};
use crate::model::Model;
use crate::output;
use anyhow::{Result, bail};
use ask::{Answer, Asker};
use report::{Done, Kept, State};
use std::process::ExitCode;
use std::time::Instant;
use suite::Case;

/// Longest context that is made for questions unless `--ctx` says otherwise.
const CONTEXT_TOKENS_MAX: usize = 1_000_000;

pub fn run(args: &EvalArgs) -> Result<ExitCode> {
    let cases = chosen(args)?;
    if args.list {
        let line = |case: &Case| format!("{:<16} {:<14} {}\n", case.id, case.domain, case.title());
        return output::print(&cases.iter().map(line).collect::<String>()).map(|()| ExitCode::SUCCESS);
    }
    if args.reply_tokens >= args.tokens && !args.nothink {
        bail!("--reply-tokens {} leaves no room to think; use a larger -n, or --nothink", args.reply_tokens);
    }
    let model = Model::open(args.model.model.as_deref())?;
    let tokenizer = model.tokenizer()?;
    let prompts: Vec<String> = cases.iter().map(|case| case.text(&tokenizer)).collect::<Result<_>>()?;
    let mut kept = args.report.as_deref().map(|path| Kept::open(path, args, &model)).transpose()?;
    let known = |case: &Case| kept.as_ref().and_then(|kept| kept.done.get(&case.id).cloned());
    let mut all: Vec<Done> = cases.iter().map(|case| known(case).unwrap_or_else(|| Done::pending(case))).collect();
    let is_pending = |done: &Done| done.state == State::Pending;
    let interrupt = Interrupt::install()?;
    if all.iter().any(is_pending) {
        let asker = Asker::start(args, model, &cases, &prompts, &interrupt)?;
        for (number, ((case, prompt), done)) in cases.iter().zip(&prompts).zip(&mut all).enumerate() {
            if !is_pending(done) {
                continue;
            }
            if interrupt.is_requested() {
                break;
            }
            if !args.json {
                output::print(&format!("===== {}/{} {} ({}) =====\n", number + 1, cases.len(), case.id, case.domain))?;
            }
            let begin = Instant::now();
            let Some(answer) = asker.ask(case, prompt, !args.json)? else { break };
            *done = judged(case, prompt, answer, begin.elapsed().as_secs_f64());
            if !args.json {
                output::print(&format!("{}\n", done.verdict()))?;
            }
            if let Some(kept) = &mut kept {
                kept.add(done)?;
            }
        }
        asker.end()?;
    }
    let is_right = all.iter().all(|done| !matches!(done.state, State::Failed | State::Pending));
    if args.json {
        output::print_json(&report::json(&all))?
    } else {
        output::print(&report::table(&all))?
    }
    Ok(match (interrupt.is_requested(), is_right) {
        (true, _) => interrupt::EXIT_CODE.into(),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    })
}

fn chosen(args: &EvalArgs) -> Result<Vec<Case>> {
    let mut cases = suite::load(args.suite.as_deref())?;
    let begins = |case: &Case| {
        args.only.iter().any(|prefix| case.id.starts_with(prefix.as_str()) || case.domain.starts_with(prefix.as_str()))
    };
    cases.retain(|case| args.only.is_empty() || begins(case));
    cases.truncate(args.questions.unwrap_or(usize::MAX));
    if cases.is_empty() {
        bail!("no question is left; `ds4 eval --list` shows ids and domains for --only");
    }
    Ok(cases)
}

fn judged(case: &Case, prompt: &str, answer: Answer, seconds: f64) -> Done {
    let done = Done::pending(case);
    match answer {
        Answer::TooLong { tokens, room } => {
            let got = format!("the question has {tokens} tokens, there is room for {room}");
            Done { state: State::Skipped, got, prompt_tokens: tokens, ..done }
        }
        Answer::Given(given) => {
            let (passed, got) = grade::grade(case, &given);
            Done {
                state: if passed { State::Passed } else { State::Failed },
                got,
                prompt_tokens: given.prompt_tokens,
                tokens: given.tokens,
                seconds,
                thinking_closed: given.closed,
                // Long texts can be made again from the suite.
                prompt: if case.haystack.is_some() { case.question.clone() } else { prompt.to_owned() },
                reasoning: given.reasoning,
                answer: given.content,
                calls: given.calls,
                ..done
            }
        }
    }
}
