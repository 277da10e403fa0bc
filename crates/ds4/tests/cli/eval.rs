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

#[test]
fn reasoning_is_closed_when_room_runs_out() {
    let folder = directory("eval_think");
    let suite = write(&folder, "suite.jsonl", SUITE.lines().next().unwrap());
    // Three tokens are no room to think, so the answer is asked for at once.
    let args = ["eval", "--suite", &suite, "-n", "19", "--reply-tokens", "16", "--json"];
    let json: serde_json::Value = serde_json::from_str(&ds4(&args).out).unwrap();
    let case = &json["cases"][0];
    assert_eq!(case["thinking_closed"], true, "{case}");
    assert!(case["tokens"].as_u64().unwrap() <= 19 && !case["answer"].as_str().unwrap().is_empty(), "{case}");
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
