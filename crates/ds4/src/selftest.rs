//! `ds4 selftest`: whether the GPU computes what it should, and how fast.

use crate::args::SelftestArgs;
use crate::interrupt::{self, Interrupt};
use crate::output::{self, JsonFile};
use crate::progress::Progress;
use crate::tuning;
use anyhow::{Result, bail};
use ds4_gpu::selftest::{Case, Outcome, Shapes, Speed, cases};
use ds4_gpu::tune::{self, End, ExpertFormats, Tuned};
use ds4_gpu::{DeviceInfo, Gpu, measure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// Format of the file.
const VERSION: u32 = 1;
/// Seconds that each speed is measured.
const SECONDS: f64 = 0.05;
/// Bytes of the copy whose bandwidth is measured: more than any cache, but for a software device.
const COPY_BYTES: u64 = 512 << 20;
const COPY_BYTES_SOFTWARE: u64 = 32 << 20;

pub fn run(args: &SelftestArgs) -> Result<ExitCode> {
    let interrupt = Interrupt::install()?;
    let mut device = Arc::new(Gpu::open(args.device)?);
    let info = device.info().clone();
    let is_small = args.small || info.caps.is_software && !args.full;
    let chosen = planned(&args.only, is_small, info.caps != info.caps.plain());
    if chosen.is_empty() {
        bail!("no operation has \"{}\" in its name; without --only all are tested", args.only);
    }
    let path = args.out.clone().unwrap_or_else(|| default_path(&info.name));
    let file = JsonFile::create(&path)?;
    output::print(&format!("{info}, driver {}\n", info.driver))?;
    let mut report = Report { limits: limits(&device, &interrupt)?, ..Report::default() };
    if args.only.is_empty() && !is_small && !info.caps.is_software {
        report.choose(&info)?;
    }
    let progress = Progress::start("testing", "cases", chosen.len());
    for (case, variant) in &chosen {
        if interrupt.is_requested() {
            break;
        }
        let start = Instant::now();
        let gpu = match variant {
            Variant::Own => Arc::clone(&device),
            Variant::Plain => Arc::new(Gpu::open(Some(info.index))?.limited(info.caps.plain())),
        };
        let result = case.run(&gpu, SECONDS);
        if result.is_err() {
            // What one case left behind is not the next one's.
            device = Arc::new(Gpu::open(Some(info.index))?);
        }
        let found = Found { case, variant: *variant, result: result.map_err(|e| e.to_string()), start };
        output::print(&found.line())?;
        report.add(&found);
        progress.add(1);
    }
    drop(progress);
    let is_whole = report.cases.len() == chosen.len();
    file.write(&report.json(&info, is_whole))?;
    let Report { wrong, failed, cases, .. } = &report;
    output::print(&format!("{} cases, {wrong} wrong, {failed} not run to their end\n", cases.len()))?;
    output::notice(&format!("everything is in {}; docs/selftests/README.md says where it helps", path.display()));
    Ok(match (wrong + failed, is_whole) {
        (0, true) => ExitCode::SUCCESS,
        (0, false) => interrupt::EXIT_CODE.into(),
        _ => ExitCode::FAILURE,
    })
}

/// `ds4-selftest-ADAPTER.json`, with what a file's name takes of the adapter's.
fn default_path(adapter: &str) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = adapter.chars().take(80).map(plain).collect();
    let words: Vec<&str> = name.split('-').filter(|word| !word.is_empty()).collect();
    PathBuf::from(format!("ds4-selftest-{}.json", words.join("-")))
}

/// What kernels may use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    /// All that the device has.
    Own,
    /// The least that every device has.
    Plain,
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Plain => "plain",
        }
    }
}

/// What is to be tested.
fn planned(only: &str, is_small: bool, has_plain: bool) -> Vec<(Case, Variant)> {
    let of = |shapes: Shapes, variant: Variant| cases(shapes).into_iter().map(move |case| (case, variant));
    let mut all: Vec<_> = of(Shapes::Small, Variant::Own).collect();
    if has_plain {
        all.extend(of(Shapes::Small, Variant::Plain));
    }
    if !is_small {
        all.extend(of(Shapes::Model, Variant::Own));
    }
    all.retain(|(case, _)| case.operation.contains(only));
    all
}

/// What the device can do at most.
fn limits(gpu: &Gpu, interrupt: &Interrupt) -> Result<Value> {
    if interrupt.is_requested() {
        return Ok(Value::Null);
    }
    let is_software = gpu.caps().is_software;
    let copy = measure::copy_bandwidth(gpu, if is_software { COPY_BYTES_SOFTWARE } else { COPY_BYTES })?;
    let (on_device, recording) = measure::dispatch_seconds(gpu)?;
    let units = gpu.caps().matrix16.then(|| measure::check_matrix_units(gpu).map_err(|error| error.to_string()));
    // Those were checked when the device was opened.
    let small = gpu.info().caps.matrix8.then(|| gpu.units_fault().unwrap_or("right"));
    if let Some(found) = small {
        output::print(&format!("matrix units of 8×8: {}\n", output::printable(found)))?;
    }
    output::print(&format!("copy {:.1} GB/s, a dispatch {:.2} µs\n", copy / 1e9, on_device * 1e6))?;
    Ok(json!({
        "copy_bytes_per_s": copy, "dispatch_seconds": on_device, "dispatch_recording_seconds": recording,
        "matrix_units": units.map(|found| found.err().unwrap_or_else(|| "right".to_owned())),
        "matrix_units_8": small,
    }))
}

/// One case with what came of it.
struct Found<'a> {
    case: &'a Case,
    variant: Variant,
    result: Result<Outcome, String>,
    start: Instant,
}

impl Found<'_> {
    fn state(&self) -> &'static str {
        match &self.result {
            Ok(outcome) if outcome.verdict.is_right() => "right",
            Ok(_) => "wrong",
            Err(_) => "failed",
        }
    }

    /// For people: the case, and a line for each speed.
    fn line(&self) -> String {
        let Case { operation, shape, .. } = self.case;
        let mut text = format!("{:6} {operation:18} {shape}, {}", self.state(), self.variant.name());
        match &self.result {
            Ok(outcome) => {
                text += &format!(": {:.3} of the error allowed\n", outcome.verdict.worst);
                if let Some(finding) = &outcome.verdict.finding {
                    text += &format!("       {}\n", output::printable(finding));
                }
                for speed in &outcome.speeds {
                    let (bytes, operations) = rates(speed);
                    let name = &speed.name;
                    let micros = speed.seconds_inside() * 1e6;
                    text += &format!("       {name:24} {micros:12.1} µs");
                    text += &format!(" {:9.1} GB/s {:9.3} TFLOP/s\n", bytes / 1e9, operations / 1e12);
                }
            }
            Err(error) => text += &format!(": {}\n", output::printable(error)),
        }
        text
    }

    fn json(&self) -> Value {
        let (verdict, speeds) = match &self.result {
            Ok(outcome) => (Some(&outcome.verdict), &outcome.speeds[..]),
            Err(_) => (None, &[][..]),
        };
        json!({
            "operation": self.case.operation,
            "shape": self.case.shape,
            "is_model_shape": self.case.shapes == Shapes::Model,
            "variant": self.variant.name(),
            "state": self.state(),
            "error_of_allowed": verdict.map(|verdict| verdict.worst),
            "compared": verdict.map(|verdict| verdict.compared),
            "finding": verdict.and_then(|verdict| verdict.finding.as_deref()).or(self.result.as_ref().err().map(|e| e.as_str())),
            "seconds": self.start.elapsed().as_secs_f64(),
            "speeds": speeds.iter().map(speed_json).collect::<Vec<_>>(),
        })
    }
}

/// Bytes and operations a second, by the device's clock where it has one.
fn rates(speed: &Speed) -> (f64, f64) {
    let seconds = speed.seconds_inside().max(1e-12);
    (speed.work.bytes / seconds, speed.work.operations / seconds)
}

fn speed_json(speed: &Speed) -> Value {
    let (bytes, operations) = rates(speed);
    let calls = speed.profiled_calls.max(1);
    let kernel = |kernel: &ds4_gpu::Timing| {
        json!({
            "name": kernel.name, "dispatches": kernel.count as f64 / calls as f64,
            "seconds": kernel.seconds / calls as f64,
        })
    };
    json!({
        "name": speed.name, "seconds": speed.seconds, "seconds_inside": speed.seconds_inside(),
        "bytes": speed.work.bytes, "operations": speed.work.operations,
        "bytes_per_s": bytes, "operations_per_s": operations,
        "kernels": speed.kernels.iter().map(kernel).collect::<Vec<_>>(),
    })
}

fn names(experts: ExpertFormats) -> String {
    experts.map(|format| format.to_string()).join(" ")
}

/// For people: the kernels chosen for these experts, and a line for each other value.
fn choice_text(experts: ExpertFormats, tuned: &Result<Tuned, String>) -> String {
    let names = names(experts);
    match tuned {
        Ok(tuned) => {
            let values: Vec<String> =
                tune::values(&tuned.tuning).iter().map(|(name, value)| format!("{name} {value}")).collect();
            let end = match tuned.end {
                End::Whole => "",
                End::Limit => "; not all was tried in the time it may take",
                End::Stopped => "; not kept, because it was interrupted",
            };
            let mut text = format!("chosen for experts of {names}: {}{end}\n", values.join(", "));
            for tried in &tuned.tried {
                let (name, value) = (tried.parameter.name(), tried.value);
                let ratio = tried.ratio.map_or_else(|| "not measured".to_owned(), |r| format!("{r:.3} of the time"));
                let better = if tried.is_better { ", better" } else { "" };
                text += &format!("       {name:16} {value:5}  {ratio}{better}\n");
            }
            text
        }
        Err(error) => format!("nothing chosen for experts of {names}: {}\n", output::printable(error)),
    }
}

fn choice_json(experts: ExpertFormats, tuned: &Result<Tuned, String>) -> Value {
    let tried = |tried: &tune::Tried| {
        json!({
            "name": tried.parameter.name(), "value": tried.value, "of_the_time": tried.ratio,
            "is_better": tried.is_better,
        })
    };
    let end = |end| match end {
        End::Whole => "whole",
        End::Limit => "limit",
        End::Stopped => "stopped",
    };
    match tuned {
        Ok(tuned) => json!({
            "experts": names(experts), "end": end(tuned.end),
            "values": tune::values(&tuned.tuning).into_iter().collect::<BTreeMap<_, _>>(),
            "tried": tuned.tried.iter().map(tried).collect::<Vec<_>>(),
        }),
        Err(error) => json!({ "experts": names(experts), "error": error }),
    }
}

/// All that goes to the file.
#[derive(Default)]
struct Report {
    limits: Value,
    choices: Vec<Value>,
    cases: Vec<Value>,
    wrong: usize,
    failed: usize,
}

impl Report {
    /// Chooses the kernels of both published models again; what is found is kept for them.
    fn choose(&mut self, info: &DeviceInfo) -> Result<()> {
        for experts in [tune::Q2, tune::Q4] {
            let tuned = tuning::again(info, experts).map_err(|error| error.to_string());
            output::print(&choice_text(experts, &tuned))?;
            self.choices.push(choice_json(experts, &tuned));
            if tuned.is_ok_and(|tuned| tuned.end == End::Stopped) {
                break;
            }
        }
        Ok(())
    }

    fn add(&mut self, found: &Found<'_>) {
        self.wrong += usize::from(found.state() == "wrong");
        self.failed += usize::from(found.state() == "failed");
        self.cases.push(found.json());
    }

    fn json(&self, info: &DeviceInfo, is_whole: bool) -> Value {
        let caps = &info.caps;
        let details = ds4_gpu::details(info.index);
        let limits = details.as_ref().map(|d| d.limits.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect());
        json!({
            "version": VERSION,
            "program": {
                "version": env!("CARGO_PKG_VERSION"), "system": std::env::consts::OS,
                "processor": std::env::consts::ARCH, "is_debug": cfg!(debug_assertions),
            },
            "device": {
                "name": info.name, "api": info.api, "driver": info.driver, "kind": info.kind, "memory": info.memory,
                "subgroup": caps.subgroup, "f16": caps.f16, "matrix_16": caps.matrix16, "matrix_8": caps.matrix8,
                "timestamps": caps.timestamps, "workgroup_bytes": caps.workgroup_bytes,
                "workgroup_threads": caps.workgroup_threads,
                "binding_bytes": caps.binding_bytes, "is_software": caps.is_software,
                "features": details.as_ref().map(|details| &details.features),
                "limits": limits.map(Value::Object),
                "matrix_units": details.as_ref().map(|details| &details.matrix_units),
            },
            "measured": self.limits,
            "choices": self.choices,
            "is_whole": is_whole,
            "wrong": self.wrong,
            "failed": self.failed,
            "cases": self.cases,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ds4_engine::Precision;
    use ds4_gpu::ops::linear::Tuning;
    use ds4_gpu::selftest::Verdict;
    use ds4_gpu::tune::Parameter;

    fn found(case: &Case, verdict: Result<Verdict, String>) -> Found<'_> {
        let result = verdict.map(|verdict| Outcome { verdict, speeds: Vec::new() });
        Found { case, variant: Variant::Own, result, start: Instant::now() }
    }

    #[test]
    fn what_is_wrong_and_what_failed_is_counted_and_told() {
        let case = cases(Shapes::Small).remove(0);
        let (mut right, mut wrong) = (Verdict::default(), Verdict::default());
        right.see(0.5, 1.0, String::new);
        wrong.see(2.0, 1.0, || "value 3 is 5, not 3".to_owned());
        let mut report = Report::default();
        for verdict in [Ok(right), Ok(wrong), Ok(Verdict::default()), Err("no memory".to_owned())] {
            report.add(&found(&case, verdict));
        }
        // Nothing compared is nothing right.
        assert_eq!((report.wrong, report.failed), (2, 1));
        let states: Vec<&str> = report.cases.iter().filter_map(|case| case["state"].as_str()).collect();
        assert_eq!(states, ["right", "wrong", "wrong", "failed"]);
        assert_eq!(report.cases[1]["finding"], "value 3 is 5, not 3");
        assert_eq!(report.cases[3]["finding"], "no memory");
    }

    #[test]
    fn what_was_chosen_is_told() {
        let tuning = Tuning { team_rows: 4, ..Tuning::of(Precision::Fast) };
        let better = tune::Tried { parameter: Parameter::TeamRows, value: 4, ratio: Some(0.9), is_better: true };
        let none = tune::Tried { parameter: Parameter::Prefetch, value: 0, ratio: None, is_better: false };
        let tuned = Ok(Tuned { tuning, tried: vec![better, none], end: End::Limit });
        let text = choice_text(tune::Q2, &tuned);
        assert!(text.contains("IQ2_XXS IQ2_XXS Q2_K: team_rows 4, lattice_copies 4"), "{text}");
        assert!(text.contains("0.900 of the time, better") && text.contains("not measured"), "{text}");
        let json = choice_json(tune::Q2, &tuned);
        assert_eq!((&json["values"]["team_rows"], &json["end"]), (&4.into(), &"limit".into()));
        assert_eq!((&json["tried"][0]["of_the_time"], &json["tried"][1]["of_the_time"]), (&0.9.into(), &Value::Null));
        let failed = Err("no memory".to_owned());
        assert!(choice_text(tune::Q4, &failed).contains("Q4_K Q4_K Q4_K: no memory"));
        assert_eq!(choice_json(tune::Q4, &failed)["error"], "no memory");
    }

    #[test]
    fn the_file_is_named_after_the_adapter() {
        let of = |name| default_path(name).to_str().map(ToOwned::to_owned);
        assert_eq!(
            of("llvmpipe (LLVM 15.0, 256 bits)").as_deref(),
            Some("ds4-selftest-llvmpipe-llvm-15-0-256-bits.json")
        );
        assert_eq!(of("../../x").as_deref(), Some("ds4-selftest-x.json"));
    }

    #[test]
    fn plans_name_what_was_asked_for() {
        let count = |only: &str, is_small, has_plain| planned(only, is_small, has_plain).len();
        assert_eq!(count("", true, true), 2 * count("", true, false));
        assert!(count("", false, false) > count("", true, false));
        assert_eq!(count("no such operation", false, true), 0);
        assert!(planned("attention", false, true).iter().all(|(case, _)| case.operation.contains("attention")));
    }
}
