//! Ctrl-C, where `/proc` tells when the program is ready for it.

use crate::support::{Done, command, directory, model, str, write};
use std::io::Read;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// How long a program may take to get ready on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The bit of SIGINT in the masks of `/proc/PID/status`.
const SIGINT_BIT: u64 = 1 << 1;

pub fn press_ctrl_c(child: &Child) {
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// Waits until the program handles SIGINT.
pub fn wait_until_ready(child: &Child) {
    let handles = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap() & SIGINT_BIT != 0
    };
    let begin = Instant::now();
    while !handles() {
        assert!(begin.elapsed() < PATIENCE, "not ready");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_completion_ends_with_its_timings() {
    let args = ["run", "--raw", "-m", model(), "-p", "x", "--ctx", "1000000", "--logit-bias", "1=-100"];
    let mut child = command(&args).spawn().unwrap();
    let mut first = [0; 8];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    press_ctrl_c(&child);
    let mut output = child.wait_with_output().unwrap();
    output.stdout.splice(0..0, first);
    let done = Done::new(output);
    assert_eq!(done.code, Some(130), "{}", done.err);
    assert!(done.out.ends_with('\n'), "{:?}", done.out);
    assert_eq!(done.err.lines().count(), 1, "{}", done.err);
    assert!(done.err.starts_with("ds4: load ") && done.err.contains("prefill 2 tokens"), "{}", done.err);
}

#[test]
fn a_prefill_ends_before_its_last_token() {
    let text = write(&directory("interrupt_prefill"), "long.txt", "a b c ".repeat(100_000));
    for source in ["-f", "--perplexity"] {
        let child =
            command(&["run", "--raw", "-m", model(), source, &text, "--ctx", "1000000", "--exact"]).spawn().unwrap();
        wait_until_ready(&child);
        press_ctrl_c(&child);
        let done = Done::new(child.wait_with_output().unwrap());
        assert_eq!((done.code, done.out.trim()), (Some(130), ""), "{source}: {}", done.err);
        assert!(done.err.starts_with("ds4: load ") && done.err.contains("decode 0 tokens"), "{source}: {}", done.err);
    }
}

#[test]
fn json_says_that_it_was_interrupted() {
    let args = ["run", "--raw", "-m", model(), "-p", "x", "--ctx", "1000000", "--logit-bias", "1=-100", "--json"];
    let child = command(&args).spawn().unwrap();
    wait_until_ready(&child);
    press_ctrl_c(&child);
    let done = Done::new(child.wait_with_output().unwrap());
    assert_eq!((done.code, done.err.as_str()), (Some(130), ""));
    let completion: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(completion["finish_reason"], "interrupted");
}

#[test]
fn a_dump_keeps_the_steps_that_were_made() {
    let path = directory("interrupt_dump").join("logprobs.json");
    let args = ["run", "--raw", "-m", model(), "-p", "x", "--ctx", "1000000", "--dump-logprobs", str(&path)];
    let child = command(&args).spawn().unwrap();
    wait_until_ready(&child);
    press_ctrl_c(&child);
    let done = Done::new(child.wait_with_output().unwrap());
    // A random model may come to its end of sequence before the signal does.
    assert!(matches!(done.code, Some(130 | 0)), "{:?} {}", done.code, done.err);
    let dump: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert!(dump["steps"].is_array());
}

#[test]
fn a_download_ends_at_once_and_keeps_what_came() {
    use crate::hub::{Fault, Server, content};
    let folder = directory("interrupt_download");
    let name = "DeepSeek-V4-Flash-MTP-Q4K-Q8_0-F32.gguf";
    let server = Server::start(content(200_000));
    // Half comes, then the storage is busy for ever.
    server.set(|state| {
        state.file = name.to_owned();
        state.faults = [Fault::Drop].into();
        state.always = Some(Fault::Status(503));
    });
    let mut download = command(&["download", "mtp", "--dir", str(&folder)]);
    download.env("HF_ENDPOINT", &server.url).env("NO_PROXY", "127.0.0.1");
    let child = download.spawn().unwrap();
    wait_until_ready(&child);
    let begin = Instant::now();
    while server.state.lock().unwrap().served < 3 {
        assert!(begin.elapsed() < PATIENCE, "nothing is asked for");
        std::thread::sleep(Duration::from_millis(5));
    }
    press_ctrl_c(&child);
    let done = Done::new(child.wait_with_output().unwrap());
    assert_eq!(done.code, Some(130), "{}", done.err);
    assert!(done.err.contains("run it again to resume"), "{}", done.err);
    assert!(!folder.join(name).exists());
    server.set(|state| state.always = None);
    let mut again = command(&["download", "mtp", "--dir", str(&folder), "--json"]);
    again.env("HF_ENDPOINT", &server.url).env("NO_PROXY", "127.0.0.1");
    assert_eq!(Done::new(again.output().unwrap()).json()["fetched_bytes"], 100_000);
}
