//! `ds4 bench`, on the engine and through a server.

use crate::support::{Done, command, directory, ds4, model, str, write};
use std::io::{BufRead, BufReader};

/// Values of a column.
fn column(csv: &str, name: &str) -> Vec<String> {
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let at = lines.next().unwrap().iter().position(|column| *column == name).unwrap();
    lines.map(|line| line[at].to_owned()).collect()
}

const SMALL: [&str; 8] = ["--ctx-start", "32", "--ctx-max", "80", "--step-incr", "32", "-n", "4"];

#[test]
fn the_engine_is_measured_at_context_lengths_and_compared() {
    let folder = directory("bench");
    let (json, svg) = (folder.join("a.json"), folder.join("a.svg"));
    let args = [&["bench", "-m", model(), "--batch", "1,3"], &SMALL[..], &["--json", str(&json), "--svg", str(&svg)]];
    let csv = ds4(&args.concat()).ok();
    assert!(csv.starts_with("ctx_tokens,prefill_tokens,prefill_tps,gen_tokens,gen_tps,kvcache_bytes"));
    assert_eq!(column(&csv, "ctx_tokens"), ["32", "32", "64", "64", "80", "80"]);
    assert_eq!(column(&csv, "prefill_tokens"), ["32", "32", "32", "32", "16", "16"]);
    assert_eq!(column(&csv, "batch"), ["1", "3", "1", "3", "1", "3"]);
    for name in ["prefill_tps", "gen_tps", "kvcache_bytes", "token_ms", "floor_share"] {
        assert!(column(&csv, name).iter().all(|value| value.parse::<f64>().unwrap() > 0.0), "{name}: {csv}");
    }
    let drawn = std::fs::read_to_string(&svg).unwrap();
    assert!(
        drawn.starts_with("<svg") && drawn.contains("batch 3") && !drawn.contains("NaN") && !drawn.contains("href")
    );

    // Against itself every speed is the same.
    let compared = ds4(&["bench", "compare", str(&json), str(&json), "--json"]).json();
    assert_eq!(compared["rows"].as_array().unwrap().len(), 6);
    assert!(
        compared["rows"].as_array().unwrap().iter().all(|row| row["gen_ratio"] == 1.0 && row["prefill_ratio"] == 1.0)
    );
    let other = write(&folder, "other.json", "{}");
    let refused = ds4(&["bench", "compare", str(&json), &other]);
    assert!(refused.code == Some(1) && refused.err.contains("expected what `ds4 bench --json FILE` wrote"));
}

#[test]
fn prompts_that_are_too_short_are_refused() {
    let text = write(&directory("bench_short"), "text", "a".repeat(50));
    let refused = ds4(&[&["bench", "-m", model(), "--prompt-file", &text], &SMALL[..]].concat());
    assert!(
        refused.code == Some(1) && refused.err.contains("50 tokens, expected at least --ctx-max 80"),
        "{}",
        refused.err
    );
    let read = ds4(&["bench", "-m", model(), "--prompt-file", &text, "--ctx-start", "9", "--ctx-max", "50", "-n", "0"]);
    assert_eq!(column(&read.ok(), "gen_tps"), ["0.00", "0.00"]);
    assert_eq!(ds4(&["bench", "--ctx-start", "9", "--ctx-max", "8"]).code, Some(1));
}

#[test]
fn a_server_is_measured_through_its_api() {
    let mut server = command(&["serve", "-m", model(), "--port", "0", "--ctx", "512"]).spawn().unwrap();
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok);
    let url = lines.find_map(|line| Some(line.split("listening on ").nth(1)?.split(' ').next()?.to_owned())).unwrap();
    let measured = ds4(&["bench", "--url", &url, "--batch", "1,2", "--ctx-start", "20", "-n", "5"]);
    server.kill().unwrap();
    server.wait().unwrap();
    let csv = measured.ok();
    assert_eq!(column(&csv, "batch"), ["1", "2"]);
    assert_eq!(column(&csv, "gen_tokens"), ["5", "5"]);
    for name in ["gen_tps", "ttft_ms", "token_ms"] {
        assert!(column(&csv, name).iter().all(|value| value.parse::<f64>().unwrap() > 0.0), "{name}: {csv}");
    }
    let gone = Done::new(command(&["bench", "--url", &url, "-n", "5"]).output().unwrap());
    assert!(gone.code == Some(1) && gone.err.contains("is a server running there?"), "{}", gone.err);
}
