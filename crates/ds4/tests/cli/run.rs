//! `ds4 run`

use crate::support::{Done, command, directory, ds4, model, open, str, write};
use ds4_engine::sampler::{argmax, log_sum_exp};
use ds4_tokenizer::{TokenId, Tokenizer};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::process::Stdio;

const PROMPT: &str = "The children of the old station";

/// Keeps a random model from ending its text.
const NO_END: &str = "1=-100";

fn run(more: &[&str]) -> Done {
    let args: Vec<&str> = ["run", "--raw", "-m", model()].iter().chain(more).copied().collect();
    ds4(&args)
}

fn complete(more: &[&str]) -> Value {
    let args: Vec<&str> = ["-p", PROMPT, "--json"].iter().chain(more).copied().collect();
    run(&args).json()
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_gguf(open(model()).metadata()).unwrap()
}

fn tokens(completion: &Value) -> Vec<u32> {
    serde_json::from_value(completion["tokens"].clone()).unwrap()
}

/// A text of a few hundred tokens, long enough for every kind of compressed row.
fn long_text() -> String {
    (0..18).map(|i| format!("{i} children and {} trains.\n", i * 7 % 40)).collect()
}

#[test]
fn json_tells_all_about_a_completion() {
    let completion = complete(&["-n", "20", "--seed", "5", "--logit-bias", NO_END]);
    let ids: Vec<TokenId> = tokens(&completion).into_iter().map(TokenId).collect();
    assert_eq!(ids.len(), 20);
    assert_eq!(completion["text"], tokenizer().decode(&ids));
    assert_eq!(completion["finish_reason"], "length");
    assert_eq!(completion["seed"], 5);
    let prompt = 1 + tokenizer().encode_text(PROMPT).unwrap().len();
    assert_eq!(completion["prompt_tokens"], prompt);
    assert_eq!(completion["timings"]["prefill_tokens"], prompt);
    assert_eq!(completion["timings"]["decode_tokens"], 19, "the last token need not be evaluated");
    assert!(completion["timings"]["decode_s"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_stream_is_the_same_text_and_timings_follow() {
    let args = ["-n", "20", "--seed", "5", "--logit-bias", NO_END];
    let text = complete(&args)["text"].as_str().unwrap().to_owned();
    let done = run(&[&["-p", PROMPT][..], &args].concat());
    assert_eq!(done.out, if text.ends_with('\n') { text } else { text + "\n" });
    assert_eq!(done.err.lines().count(), 1, "{}", done.err);
    assert!(done.err.starts_with("ds4: load ") && done.err.contains(" s, prefill "), "{}", done.err);
    assert!(done.err.contains(" t/s, decode 19 tokens "), "{}", done.err);
    assert_eq!(done.code, Some(0));
}

#[test]
fn greedy_text_depends_on_neither_run_nor_chunk_nor_threads() {
    let file = write(&directory("run_chunk"), "prompt.txt", long_text());
    let greedy = |more: &[&str]| {
        let base = ["-f", &file, "--temp", "0", "-n", "16", "--exact", "--json", "--logit-bias", NO_END];
        tokens(&run(&[&base[..], more].concat()).json())
    };
    let tokens = greedy(&[]);
    assert_eq!(tokens.len(), 16);
    for more in [&[][..], &["--chunk", "7"], &["--chunk", "128"], &["--threads", "1"], &["--seed", "9"]] {
        assert_eq!(greedy(more), tokens, "{more:?}");
    }
}

#[test]
fn arithmetic_is_as_asked_for() {
    let directory = directory("run_arithmetic");
    let file = write(&directory, "prompt.txt", long_text());
    let logits = |name: &str, more: &[&str]| {
        let path = directory.join(name);
        run(&[&["-f", &file, "--dump-logits", str(&path)], more].concat()).ok();
        let dump: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        serde_json::from_value::<Vec<f32>>(dump["logits"].clone()).unwrap()
    };
    let exact = logits("exact", &["--exact"]);
    assert_eq!(exact, logits("rounded", &["--exact", "--kv-rounding", "on"]));
    assert_ne!(exact, logits("unrounded", &["--exact", "--kv-rounding", "off"]));
    assert_ne!(exact, logits("fast", &[]));
}

#[test]
fn the_seed_decides_the_text() {
    let with = |seed| tokens(&complete(&["-n", "24", "--seed", seed]));
    assert_eq!(with("7"), with("7"));
    assert_ne!(with("7"), with("8"));
    let seed = || complete(&["-n", "1"])["seed"].as_u64().unwrap();
    assert_ne!(seed(), seed(), "a new one each time");
}

#[test]
fn sampling_flags_reach_the_sampler() {
    let greedy = tokens(&complete(&["-n", "8", "--temp", "0"]));
    for flags in [["--top-k", "1"], ["--top-p", "0.000001"], ["--min-p", "1"]] {
        assert_eq!(tokens(&complete(&[&["-n", "8"], &flags[..]].concat())), greedy, "{flags:?}");
    }
    let biased = complete(&["-n", "8", "--logit-bias", "42=1000"]);
    assert_eq!(tokens(&biased), [42; 8]);
    let args = ["-n", "4", "--temp", "0", "--logit-bias", "42=2000", "--logit-bias", "43=1000"];
    let penalised = |flag: &str, value: &str| tokens(&complete(&[&args[..], &[flag, value]].concat()));
    assert_eq!(penalised("--presence-penalty", "1500"), [42, 43, 42, 42]);
    assert_eq!(penalised("--frequency-penalty", "600"), [42, 42, 43, 42]);
    assert_eq!(penalised("--repetition-penalty", "3"), [42, 43, 42, 42]);
}

#[test]
fn it_ends_with_the_sequence_the_count_or_the_context() {
    let stopped = complete(&["--logit-bias", "1=1000"]);
    assert_eq!((&stopped["text"], &stopped["finish_reason"]), (&json!(""), &json!("stop")));
    let args = ["-p", PROMPT, "--logit-bias", "1=1000"];
    assert_eq!(run(&args).ok(), "", "end of sequence is not printed, and no line is ended");
    let full = complete(&["--ctx", "40", "--logit-bias", NO_END]);
    assert_eq!(full["finish_reason"], "context");
    assert_eq!(tokens(&full).len() + full["prompt_tokens"].as_u64().unwrap() as usize, 40);
    assert_eq!(complete(&["--ctx", "40", "-n", "2", "--logit-bias", NO_END])["finish_reason"], "length");
}

#[test]
fn a_prompt_can_come_from_standard_input() {
    let mut child = command(&["run", "--raw", "-m", model(), "-f", "/dev/stdin", "-n", "6", "--seed", "3", "--json"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(PROMPT.as_bytes()).unwrap();
    let completion = Done::new(child.wait_with_output().unwrap()).json();
    assert_eq!(tokens(&completion), tokens(&complete(&["-n", "6", "--seed", "3"])));
}

#[test]
fn it_stops_when_nobody_reads_on() {
    let mut child = command(&["run", "--raw", "-m", model(), "-p", PROMPT, "--ctx", "1000000", "--logit-bias", NO_END])
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 4]).unwrap();
    drop(out);
    let done = Done::new(child.wait_with_output().unwrap());
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
}

#[test]
fn dump_tokens_prints_the_tokens_as_written() {
    let text = "<think>a</think> the";
    let expected = ds4(&["tokenize", "-m", model(), "-p", text, "--rendered"]).ok();
    let done = run(&["-p", text, "--dump-tokens"]);
    assert_eq!((done.code, done.out, done.err.as_str()), (Some(0), expected, ""));
    let json = ds4(&["tokenize", "-m", model(), "-p", text, "--rendered", "--json"]).ok();
    assert_eq!(run(&["-p", text, "--dump-tokens", "--json"]).ok(), json);
}

#[test]
fn dump_logits_holds_what_follows_the_prompt() {
    let directory = directory("run_dump_logits");
    let path = directory.join("logits.json");
    assert_eq!(run(&["-p", PROMPT, "--dump-logits", str(&path), "--exact", "--ctx", "99"]).ok(), "");
    let dump: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let logits: Vec<f32> = serde_json::from_value(dump["logits"].clone()).unwrap();
    assert_eq!(logits.len(), tokenizer().vocab_size());
    assert_eq!((&dump["source"], &dump["ctx"]), (&json!("ds4"), &json!(99)));
    let first = tokens(&complete(&["--temp", "0", "-n", "1", "--exact"]))[0];
    assert_eq!(argmax(&logits), first);
    // The same numbers as the command that other programs check.
    let prompt: Vec<u32> =
        std::iter::once(0).chain(tokenizer().encode_text(PROMPT).unwrap().iter().map(|t| t.0)).collect();
    assert_eq!(dump["prompt_tokens"], prompt.len());
    let ids = write(&directory, "ids.json", json!(prompt).to_string());
    let at = write(&directory, "at.json", json!([prompt.len() - 1]).to_string());
    let checked = ds4(&["debug", "logits", "-m", model(), "--ids", &ids, "--at", &at]).json();
    let checked: Vec<f32> = serde_json::from_value(checked["logits"][0].clone()).unwrap();
    assert_eq!(checked, logits);
}

#[test]
fn dump_logprobs_follows_the_greedy_text() {
    let path = directory("run_dump_logprobs").join("logprobs.json");
    let args = ["-p", PROMPT, "--dump-logprobs", str(&path), "--logprobs-top-k", "5", "-n", "6", "--exact"];
    assert_eq!(run(&args).ok(), "");
    let dump: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!((&dump["source"], &dump["top_k"], &dump["ctx"]), (&json!("ds4"), &json!(5), &json!(32768)));
    let greedy = tokens(&complete(&["--temp", "0", "-n", "6", "--exact"]));
    let steps = dump["steps"].as_array().unwrap();
    let selected: Vec<u32> = steps.iter().map(|s| s["selected"]["id"].as_u64().unwrap() as u32).collect();
    assert_eq!(selected, greedy);
    for (n, step) in steps.iter().enumerate() {
        assert_eq!(step["step"], n);
        let top = step["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 5);
        assert_eq!(top[0]["token"], step["selected"], "greedy takes the best");
        let logprob = |i: usize| top[i]["logprob"].as_f64().unwrap();
        assert!((1..5).all(|i| logprob(i) <= logprob(i - 1)));
        // Log-probabilities are logits less one number.
        let offset = |i: usize| top[i]["logit"].as_f64().unwrap() - logprob(i);
        assert!((offset(0) - offset(4)).abs() < 1e-6);
        let id = step["selected"]["id"].as_u64().unwrap() as u32;
        let bytes: Vec<u8> = serde_json::from_value(step["selected"]["bytes"].clone()).unwrap();
        assert_eq!(bytes, tokenizer().token_bytes(TokenId(id)));
        let text = step["selected"]["text"].as_str().unwrap();
        assert_eq!(text.chars().count(), std::str::from_utf8(&bytes).map_or(bytes.len(), |t| t.chars().count()));
    }
}

#[test]
fn perplexity_is_that_of_the_logits() {
    let directory = directory("run_perplexity");
    let file = write(&directory, "text.txt", long_text());
    let all: Vec<u32> = tokenizer().encode_text(&long_text()).unwrap().iter().map(|t| t.0).collect();
    let scored = 50;
    // From the logits of every position, by definition.
    let ids = write(&directory, "ids.json", json!(all[..32 + scored]).to_string());
    let at: Vec<usize> = (31..31 + scored).collect();
    let at = write(&directory, "at.json", json!(at).to_string());
    let logits = ds4(&["debug", "logits", "-m", model(), "--ids", &ids, "--at", &at]).json();
    let logits: Vec<Vec<f32>> = serde_json::from_value(logits["logits"].clone()).unwrap();
    let loss = |(l, token): (&Vec<f32>, &u32)| log_sum_exp(l) - f64::from(l[*token as usize]);
    let nll: f64 = logits.iter().zip(&all[32..]).map(loss).sum();

    let args = ["--perplexity", &file, "--exact", "-n", "50"];
    let result = run(&[&args[..], &["--json", "--chunk", "9"]].concat()).json();
    assert_eq!((&result["tokens"], &result["scored"]), (&json!(all.len()), &json!(scored)));
    let close = |key: &str, want: f64| {
        let got = result[key].as_f64().unwrap();
        assert!((got - want).abs() < 1e-6 * want, "{key}: {got}, expected {want}");
    };
    close("nll", nll);
    close("avg_nll", nll / scored as f64);
    close("ppl", (nll / scored as f64).exp());
    let line = run(&args).ok();
    let number = |key: &str| result[key].as_f64().unwrap();
    let expected = format!(
        "tokens={} scored={scored} nll={:.9} avg_nll={:.9} ppl={:.9}\n",
        all.len(),
        number("nll"),
        number("avg_nll"),
        number("ppl")
    );
    assert_eq!(line, expected);

    let limited = run(&["--perplexity", &file, "--json", "--ctx", "48"]).json();
    assert_eq!(limited["scored"], 16, "the context limits it");
    let whole = run(&["--perplexity", &file, "--json"]).json();
    assert_eq!(whole["scored"], all.len() - 32);
}

#[test]
fn without_a_model_the_demo_answers_and_says_so() {
    let done = ds4(&["run", "--raw", "-p", "My grandmother told me this story.", "-n", "12", "--temp", "0", "--json"]);
    assert_eq!(done.err.lines().count(), 1, "{}", done.err);
    assert!(done.err.contains("built-in demo") && done.err.contains("-m FILE"), "{}", done.err);
    let text = done.json()["text"].as_str().unwrap().to_owned();
    let is_word = |w: &str| w.chars().all(|c| c.is_alphabetic() || ".,!?\"'-\u{a0}".contains(c));
    assert!(text.split_whitespace().count() >= 4 && text.split_whitespace().all(is_word), "{text:?}");
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo/eval/arithmetic.jsonl");
    let scores = ds4(&["debug", "cases", cases, "--limit", "10", "--json"]).json();
    assert!(scores["scores"]["arithmetic"]["passed"].as_u64().unwrap() >= 8, "{scores}");
}
