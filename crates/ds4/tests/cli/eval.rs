//! `ds4 eval` and `ds4 vectors`, on the demo model and on small suites.

use crate::support::{directory, ds4, model, str, write};

/// The demo model answers with numbers; all of them are right, or none is.
const SUITE: &str = r#"{"id":"sum","domain":"easy","kind":"lines","question":"What is 57 + 85?","answer":"0-9999"}
{"id":"wrong","domain":"easy","kind":"integer","question":"What is 57 + 85?","answer":"-1"}
{"id":"far","domain":"long","kind":"text","question":"Who?","answer":"x","haystack":{"tokens":3000,"depth":0.5,"needle":"It was x."}}
"#;

#[test]
fn questions_are_asked_graded_and_not_asked_twice() {
    let folder = directory("eval");
    let (suite, report) = (write(&folder, "suite.jsonl", SUITE), folder.join("report.jsonl"));
    let args = ["eval", "--suite", &suite, "--nothink", "-n", "64", "--ctx", "1024", "--report", str(&report)];
    let first = ds4(&args);
    assert_eq!(first.code, Some(1), "one answer is wrong: {}", first.err);
    for part in ["PASSED ", "expected \"-1\"", "SKIPPED", "easy: 1 of 2", "passed 1, failed 1, skipped 1"] {
        assert!(first.out.contains(part), "{part:?} is not in {}", first.out);
    }
    let lines = std::fs::read_to_string(&report).unwrap();
    assert_eq!(lines.lines().count(), 4);

    // Nothing is asked again: the report has it.
    let again = ds4(&[&args[..], &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!((&json["passed"], &json["failed"], &json["skipped"]), (&1.into(), &1.into(), &1.into()));
    assert_eq!(std::fs::read_to_string(&report).unwrap(), lines);
    assert!(json["cases"][0]["answer"].as_str().unwrap().contains(char::is_numeric));

    // A cut-off last line is asked again.
    let cut = lines.trim_end().rsplit_once('\n').unwrap().0.len() + 20;
    std::fs::write(&report, &lines[..cut]).unwrap();
    ds4(&args);
    let kept = std::fs::read_to_string(&report).unwrap();
    assert!(kept.lines().last().unwrap().contains("\"far\""), "{kept}");

    let other = ds4(&[&args[..], &["--seed", "2"]].concat());
    assert!(other.code == Some(1) && other.err.contains("other settings"), "{}", other.err);
}

/// The only case of `ds4 eval` on the first question with these flags.
fn first(flags: &[&str]) -> serde_json::Value {
    let suite = write(&directory(&format!("eval{}", flags.concat())), "suite.jsonl", SUITE.lines().next().unwrap());
    let done = ds4(&[&["eval", "--suite", &suite, "--json"], flags].concat());
    let json: serde_json::Value = serde_json::from_str(&done.out).expect(&done.err);
    json["cases"][0].clone()
}

#[test]
fn reasoning_ends_by_itself_where_there_is_room() {
    let case = first(&["-n", "2000"]);
    let close = &case["think_close"];
    assert_eq!(close["kind"], "natural", "{case}");
    assert!(close["position"].as_u64().unwrap() > 3 && !case["reasoning"].as_str().unwrap().is_empty(), "{case}");
    assert_eq!(first(&["-n", "2000", "--nothink"])["think_close"], serde_json::Value::Null);
}

#[test]
fn reasoning_is_cut_off_at_the_hard_limit() {
    // Three tokens are no room to think.
    let case = first(&["-n", "19", "--hard-limit-reply-budget", "16", "--soft-limit-reply-budget", "16"]);
    assert_eq!(case["think_close"], serde_json::json!({"kind": "hard_forced", "position": 3}), "{case}");
    assert!(case["tokens"].as_u64().unwrap() <= 19 && !case["answer"].as_str().unwrap().is_empty(), "{case}");
    let none = ds4(&["eval", "-n", "16", "--hard-limit-reply-budget", "16"]);
    assert!(none.code == Some(1) && none.err.contains("no room to think"), "{}", none.err);
}

#[test]
fn reasoning_is_closed_early_once_its_end_is_a_good_candidate() {
    let natural = first(&["-n", "2000"])["think_close"]["position"].as_u64().unwrap();
    let soft = |rank: &str| {
        let limits = ["--soft-limit-reply-budget", "1998", "--hard-limit-reply-budget", "16"];
        let case = first(&[&["-n", "2000", "--soft-limit-think-close-rank", rank], &limits[..]].concat());
        (case["think_close"]["kind"].as_str().unwrap().to_owned(), case["think_close"]["position"].as_u64().unwrap())
    };
    // Every token is a candidate: it ends with the first token that the limit holds for.
    assert_eq!(soft("1000000"), ("soft_forced".to_owned(), 2));
    // Only the best is one: greedy, it comes by itself.
    assert_eq!(soft("1"), ("natural".to_owned(), natural));
    let (_, between) = soft("20");
    assert!((2..=natural).contains(&between), "{between}, by itself {natural}");
}

/// The program in a terminal of its own.
#[cfg(unix)]
mod terminal {
    use super::*;
    use crate::support::command;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use std::fs::{File, OpenOptions};
    use std::io::{Read, Write};
    use std::process::Child;
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    /// How long a screen may take on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(60);
    struct Session {
        child: Child,
        keys: File,
        screen: Arc<Mutex<vt100::Parser>>,
    }

    impl Session {
        fn start(args: &[&str]) -> Self {
            let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
            grantpt(&keys).unwrap();
            unlockpt(&keys).unwrap();
            let name = ptsname(&keys, Vec::new()).unwrap();
            let terminal = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
            let (rows, columns) = (30, 100);
            let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            rustix::termios::tcsetwinsize(&terminal, size).unwrap();
            let mut command = command(args);
            command.stdin(terminal.try_clone().unwrap()).stdout(terminal.try_clone().unwrap()).stderr(terminal);
            let child = command.env("TERM", "xterm-256color").env_remove("NO_COLOR").spawn().unwrap();
            let keys = File::from(keys);
            let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
            let (mut from, to) = (keys.try_clone().unwrap(), Arc::clone(&screen));
            std::thread::spawn(move || {
                let mut piece = [0; 4096];
                // Ends with the program: a terminal without users cannot be read.
                while let Ok(count @ 1..) = from.read(&mut piece) {
                    to.lock().unwrap().process(&piece[..count]);
                }
            });
            Self { child, keys, screen }
        }

        /// What a user sees, and whether it is a screen of its own.
        fn sees(&self) -> (String, bool) {
            let parser = self.screen.lock().unwrap();
            (parser.screen().contents(), parser.screen().alternate_screen())
        }

        fn wait_for(&self, part: &str) -> (String, bool) {
            let begin = Instant::now();
            loop {
                let (text, is_own) = self.sees();
                if text.contains(part) {
                    return (text, is_own);
                }
                assert!(begin.elapsed() < PATIENCE, "{part:?} is not in {text}");
                std::thread::sleep(Duration::from_millis(5));
            }
        }

        fn press(&mut self, keys: &str) {
            self.keys.write_all(keys.as_bytes()).unwrap();
        }

        /// Exit code, and what is seen at the end.
        fn end(mut self) -> (Option<i32>, String) {
            let code = self.child.wait().unwrap().code();
            let (text, is_own) = self.wait_for("skipped 0, not asked 1");
            assert!(!is_own, "the screen is not given back: {text}");
            (code, text)
        }
    }

    /// One question, and one that takes long to read.
    fn suite(folder: &std::path::Path) -> String {
        let long = SUITE.lines().nth(2).unwrap().replace("3000", "300000");
        write(folder, "suite.jsonl", format!("{}\n{long}\n", SUITE.lines().next().unwrap()))
    }

    #[test]
    fn a_run_takes_the_screen_and_q_keeps_what_was_answered() {
        let folder = directory("eval_screen");
        let (suite, report) = (suite(&folder), folder.join("report.jsonl"));
        let args = ["eval", "--suite", &suite, "--nothink", "-n", "64", "--exact", "--report", str(&report)];
        for (keys, code) in [("q", 1), ("\u{3}", 130)] {
            let mut session = Session::start(&args);
            session.wait_for("PASSED");
            let (text, is_own) = session.wait_for("READ ");
            assert!(is_own && text.contains("PASSED") && text.contains("q stop"), "{text}");
            session.press(keys);
            let (ended, text) = session.end();
            assert!(ended == Some(code) && text.contains("passed 1, failed 0"), "{ended:?} {text}");
            // The head and the answer; the second run did not ask it again.
            assert_eq!(std::fs::read_to_string(&report).unwrap().lines().count(), 2);
        }
    }

    #[test]
    fn plain_writes_lines_on_a_terminal_too() {
        let folder = directory("eval_plain");
        let args = ["eval", "--suite", &suite(&folder), "--nothink", "-n", "64", "--exact", "--plain"];
        let session = Session::start(&args);
        let (text, is_own) = session.wait_for("===== 2/2 far (long) =====");
        assert!(!is_own && text.contains("PASSED"), "{text}");
        session.wait_for("reading");
        // The terminal makes a signal of it only for a session that it controls.
        rustix::process::kill_process(rustix::process::Pid::from_child(&session.child), rustix::process::Signal::INT)
            .unwrap();
        assert_eq!(session.end().0, Some(130));
    }
}

#[test]
fn questions_are_listed_and_chosen() {
    let all = ds4(&["eval", "--list"]).ok();
    assert!(all.lines().count() >= 60, "{all}");
    let some = ds4(&["eval", "--list", "--only", "tool", "--only", "logic-01", "--questions", "5"]).ok();
    assert_eq!(some.lines().count(), 5);
    assert!(ds4(&["eval", "--list", "--only", "nothing"]).err.contains("--list"));
}

#[test]
fn vectors_of_a_model_are_those_of_the_model() {
    let folder = directory("vectors");
    let (dump, question) = (folder.join("dump.json"), "What is 57 + 85?");
    std::fs::create_dir_all(folder.join("prompts")).unwrap();
    write(&folder, "prompts/q.txt", question);
    let args = ["run", "-p", question, "--nothink", "-s", "", "-n", "3", "--dump-logprobs", str(&dump)];
    ds4(&args).ok();
    let dump: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(dump).unwrap()).unwrap();
    let hex = |token: &serde_json::Value| -> String {
        token["bytes"].as_array().unwrap().iter().map(|byte| format!("{:02x}", byte.as_u64().unwrap())).collect()
    };
    let steps = dump["steps"].as_array().unwrap();
    let mut text = format!("case q 256 {} elsewhere/prompts/q.txt\n", steps.len());
    for (index, step) in steps.iter().enumerate() {
        text += &format!("step {index} {} 2\n", hex(&step["selected"]));
        for top in &step["top_logprobs"].as_array().unwrap()[..2] {
            text += &format!("top {} {}\n", hex(&top["token"]), top["logprob"]);
        }
    }
    text += "end\n";
    let vectors = write(&folder, "own.vec", &text);
    let json = ds4(&["vectors", &vectors, "--json"]).json();
    assert_eq!((&json["passed"], &json["cases"][0]["steps"]), (&1.into(), &steps.len().into()));
    assert!(json["cases"][0]["largest_difference"].as_f64().unwrap() < 0.5, "{json}");

    // Another token, and a log-probability that is far off.
    let first = hex(&steps[0]["selected"]);
    let other = write(&folder, "other.vec", text.replacen(&format!("step 0 {first}"), "step 0 78", 1));
    let failed = ds4(&["vectors", &other]);
    assert!(failed.code == Some(1) && failed.out.contains("is the most probable, recorded \"x\""), "{}", failed.out);
    let absurd = write(&folder, "absurd.vec", text.replacen(&format!("top {first} "), &format!("top {first} -9"), 1));
    assert_eq!(ds4(&["vectors", &absurd]).code, Some(1));
    let lost = write(&directory("vectors_lost"), "own.vec", &text);
    assert!(ds4(&["vectors", &lost]).err.contains("is not beside"));
    assert_eq!(ds4(&["vectors", model()]).code, Some(1));
}
