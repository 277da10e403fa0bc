//! `ds4 eval`: questions with known answers.
//!
//! | file | content |
//! |---|---|
//! | `suite.rs` | questions and their prompts; `questions.jsonl` are those of the program |
//! | `grade.rs` | whether an answer is right |
//! | `ask.rs` | the way to the model |
//! | `show.rs` | what a run is shown on: lines, or nothing |
//! | `board.rs` | the same on a whole terminal |
//! | `report.rs` | what is kept, and the table |

mod ask;
mod board;
mod grade;
mod report;
mod show;
mod suite;

use crate::args::EvalArgs;
use crate::interrupt::{self, Interrupt};
use crate::model::{self, Model};
use crate::output;
use anyhow::{Result, bail};
use ask::{Answer, Asked, Asker};
use board::Board;
use report::{Done, Kept, State};
use show::{Plain, Show, Silent, Wish};
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
    let reply = args.hard_limit_reply_budget;
    if reply >= args.tokens && !args.nothink {
        bail!("--hard-limit {reply} leaves no room to think; use a larger -n, or --nothink");
    }
    let model = Model::open(args.model.model.as_deref())?;
    let tokenizer = model.tokenizer()?;
    let prompts: Vec<String> = cases.iter().map(|case| case.text(&tokenizer)).collect::<Result<_>>()?;
    let mut kept = args.report.as_deref().map(|path| Kept::open(path, args, &model)).transpose()?;
    let known = |case: &Case| kept.as_ref().and_then(|kept| kept.done.get(&case.id).cloned());
    let mut all: Vec<Done> = cases.iter().map(|case| known(case).unwrap_or_else(|| Done::pending(case))).collect();
    let interrupt = Interrupt::install()?;
    if all.iter().any(|done| done.state == State::Pending) {
        let asker = Asker::start(args, model, &cases, &prompts, &interrupt)?;
        let mut show: Box<dyn Show> = if args.json {
            Box::new(Silent)
        } else if !args.plain && Board::has_room() {
            Box::new(Board::open(model::name(args.model.model.as_deref()), &cases, &all, &interrupt)?)
        } else {
            Box::new(Plain::new(&cases))
        };
        let asked = ask_all(&asker, &cases, &prompts, &mut all, kept.as_mut(), show.as_mut());
        // The screen is given back before anything else is written.
        drop(show);
        asker.end()?;
        asked?;
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

/// Asks what is pending until all is asked or somebody has enough.
fn ask_all(
    asker: &Asker<'_>,
    cases: &[Case],
    prompts: &[String],
    all: &mut [Done],
    mut kept: Option<&mut Kept>,
    show: &mut dyn Show,
) -> Result<()> {
    let mut wanted = None;
    loop {
        let first = |all: &[Done]| all.iter().position(|done| done.state == State::Pending);
        let Some(mut index) = wanted.take().or_else(|| first(all)) else { return Ok(()) };
        loop {
            match asker.wish(show)? {
                Wish::Go => break,
                Wish::Pause => std::thread::sleep(ask::TICK),
                Wish::Ask(other) => index = other,
                Wish::Stop => return Ok(()),
            }
        }
        show.begin(index)?;
        let begin = Instant::now();
        match asker.ask(&cases[index], &prompts[index], show)? {
            Asked::Answer(answer) => {
                all[index] = judged(&cases[index], &prompts[index], answer, begin.elapsed().as_secs_f64());
                // Kept before it is shown: what was seen is not lost.
                if let Some(kept) = &mut kept {
                    kept.add(&all[index])?;
                }
            }
            Asked::Stopped => return Ok(()),
            Asked::Switched(other) => wanted = Some(other),
        }
        show.end(index, &all[index])?;
    }
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
                think_close: given.think_close,
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
