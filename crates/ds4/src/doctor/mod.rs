//! `ds4 doctor`: what is right, what is not, and what to do about it.
//!
//! | file | content |
//! |---|---|
//! | `machine.rs` | processor, GPU, memory, disk |
//! | `model.rs` | the model file, unfinished downloads |
//! | `around.rs` | permissions, port, settings, clients |

mod around;
mod machine;
mod model;

use crate::args::DoctorArgs;
use crate::interrupt::{self, Interrupt};
use crate::output;
use crate::published;
use anyhow::Result;
use serde::Serialize;
use std::process::ExitCode;

/// How a thing is.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// It will disturb.
    Warning,
    /// It prevents work.
    Error,
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Finding {
    area: &'static str,
    state: State,
    finding: String,
    /// What to do, of everything that is not right.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// What was found so far.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, area: &'static str, finding: impl Into<String>) {
        self.0.push(Finding { area, state: State::Ok, finding: finding.into(), remedy: None });
    }

    fn add(&mut self, area: &'static str, state: State, finding: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Finding { area, state, finding: finding.into(), remedy: Some(remedy.into()) });
    }
}

pub fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let interrupt = Interrupt::install()?;
    let dir = published::models_dir(args.dir.as_deref())?;
    let mut findings = Findings::default();
    machine::processor(&mut findings, args);
    machine::gpu(&mut findings);
    machine::memory(&mut findings);
    machine::disk(&mut findings, &dir);
    let is_whole = model::file(&mut findings, args, &interrupt)?;
    model::unfinished(&mut findings, &dir);
    around::permissions(&mut findings, args, &dir);
    around::port(&mut findings, args);
    around::settings(&mut findings);
    around::clients(&mut findings, args);
    let findings = findings.0;
    let worst = findings.iter().any(|finding| finding.state == State::Error);
    if args.json {
        output::print_json(&serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "findings": findings }))?;
    } else {
        let mut text = String::new();
        for Finding { area, state, finding, remedy } in &findings {
            let mark = match state {
                State::Ok => "ok     ",
                State::Note => "note   ",
                State::Warning => "WARNING",
                State::Error => "ERROR  ",
            };
            text += &format!("{mark} {area:<11} {}\n", output::printable(finding));
            if let Some(remedy) = remedy {
                text += &format!("{:>20}→ {}\n", "", output::printable(remedy));
            }
        }
        let count = |wanted| findings.iter().filter(|finding| finding.state == wanted).count();
        text += &format!("{} errors, {} warnings\n", count(State::Error), count(State::Warning));
        output::print(&text)?;
    }
    Ok(match (is_whole, worst) {
        (false, _) => interrupt::EXIT_CODE.into(),
        (true, true) => ExitCode::FAILURE,
        (true, false) => ExitCode::SUCCESS,
    })
}
