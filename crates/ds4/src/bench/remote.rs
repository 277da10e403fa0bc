//! The same through a running server: what clients see.

use super::result::{Kind, Report, Row, quantile};
use crate::args::BenchArgs;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};
use ureq::Agent;

/// Requests of each client.
const ROUNDS: usize = 3;
/// A server that is silent for so long has stopped.
const SILENCE: Duration = Duration::from_secs(600);
/// Most bytes of a line of a stream, and of an error.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Letters of a word of the prompt; such a word has about two tokens.
const WORD_LETTERS: usize = 4;
const WORD_TOKENS: usize = 2;

/// What one request took.
struct Taken {
    prompt_tokens: usize,
    tokens: usize,
    first_s: f64,
    /// From the first token to the last.
    rest_s: f64,
}

pub fn measure(args: &BenchArgs, url: &str, interrupt: &Interrupt) -> Result<Report> {
    let url = url.trim_end_matches('/').trim_end_matches("/v1");
    if !url.starts_with("http://") && !url.starts_with("https://") {
        bail!("--url {url:?}, expected an address such as http://127.0.0.1:8000");
    }
    if args.gen_tokens < 2 {
        bail!("--gen-tokens {}, expected 2 or more to time tokens after the first", args.gen_tokens);
    }
    let agent: Agent =
        Agent::config_builder().timeout_per_read(Some(SILENCE)).http_status_as_error(false).build().into();
    let mut report = Report::new(Kind::Server, url.to_owned());
    let total = args.batch.iter().sum::<usize>() * ROUNDS;
    let progress = Progress::start("measuring", "requests", total);
    for (level, &clients) in args.batch.iter().enumerate() {
        let begin = Instant::now();
        let taken = std::thread::scope(|scope| {
            let client = |client: usize| {
                let (agent, progress) = (&agent, &progress);
                scope.spawn(move || -> Result<Vec<Taken>> {
                    let mut all = Vec::new();
                    for round in 0..ROUNDS {
                        if interrupt.is_requested() {
                            break;
                        }
                        let number = (level * 1_000_003 + client) * ROUNDS + round;
                        all.push(request(agent, url, args, number as u64, interrupt)?);
                        progress.add(1);
                    }
                    Ok(all)
                })
            };
            let threads: Vec<_> = (0..clients).map(client).collect();
            let joined = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a client failed")));
            joined.collect::<Result<Vec<Vec<Taken>>>>()
        })?;
        if interrupt.is_requested() {
            break;
        }
        let taken: Vec<Taken> = taken.into_iter().flatten().collect();
        report.rows.push(row(&taken, clients, begin.elapsed().as_secs_f64()));
    }
    Ok(report)
}

fn row(taken: &[Taken], clients: usize, seconds: f64) -> Row {
    let tokens: usize = taken.iter().map(|taken| taken.tokens).sum();
    let first: Vec<f64> = taken.iter().map(|taken| taken.first_s * 1e3).collect();
    let rest: Vec<f64> = taken
        .iter()
        .filter(|taken| taken.tokens > 1)
        .map(|taken| taken.rest_s * 1e3 / (taken.tokens - 1) as f64)
        .collect();
    let prompt: usize = taken.iter().map(|taken| taken.prompt_tokens).sum();
    let ttft = quantile(&first, 0.5).zip(quantile(&first, 0.95));
    let count = taken.len().max(1);
    Row {
        ctx_tokens: prompt / count,
        prefill_tokens: prompt / count,
        // As a client sees it: waiting for others is part of it.
        prefill_tps: prompt as f64 / first.iter().map(|ms| ms / 1e3).sum::<f64>().max(1e-9),
        gen_tokens: tokens / count,
        gen_tps: tokens as f64 / seconds,
        batch: clients,
        token_ms: quantile(&rest, 0.5),
        token_ms_p95: quantile(&rest, 0.95),
        ttft_ms: ttft.map(|(median, high)| [median, high]),
        ..Row::default()
    }
}

/// Words that no other request has, so that no prefix is known.
fn prompt(tokens: usize, number: u64) -> String {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut letter = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        char::from(b'a' + (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 60) as u8)
    };
    let mut word = || (0..WORD_LETTERS).map(|_| letter()).collect::<String>();
    let words: Vec<String> = (0..(tokens / WORD_TOKENS).max(1)).map(|_| word()).collect();
    words.join(" ")
}

fn request(agent: &Agent, url: &str, args: &BenchArgs, number: u64, interrupt: &Interrupt) -> Result<Taken> {
    let body = json!({
        "model": "deepseek-v4-flash", "prompt": prompt(args.ctx_start, number), "max_tokens": args.gen_tokens,
        "stream": true, "stream_options": {"include_usage": true},
        // Without an end of sequence all answers are as long as asked for, where the server honours it.
        "logit_bias": {"1": -100},
    });
    let begin = Instant::now();
    let address = format!("{url}/v1/completions");
    let request = agent.post(&address).header("content-type", "application/json");
    let request = match std::env::var("OPENAI_API_KEY").ok().filter(|key| !key.is_empty()) {
        Some(key) => request.header("authorization", format!("Bearer {key}")),
        None => request,
    };
    let sent = request.send(body.to_string());
    let mut reply = sent.with_context(|| format!("no answer from {address}; is a server running there?"))?;
    if reply.status() != 200 {
        let mut text = String::new();
        // The status is what counts.
        let _ = reply.body_mut().as_reader().take(LINE_BYTES_MAX).read_to_string(&mut text);
        bail!("{address} answers with status {}: {}", reply.status().as_u16(), text.trim());
    }
    let mut lines = BufReader::new(reply.body_mut().as_reader());
    let (mut first, mut last, mut usage) = (None, begin, None);
    loop {
        let mut line = Vec::new();
        let read = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).context("the stream broke off")?;
        if read == 0 || interrupt.is_requested() {
            break;
        }
        let Some(data) = std::str::from_utf8(&line).ok().and_then(|line| line.trim().strip_prefix("data: ")) else {
            continue;
        };
        if data == "[DONE]" {
            break;
        }
        let event: Value = serde_json::from_str(data).context("the stream holds something that is not JSON")?;
        if let Some(message) = event["error"]["message"].as_str() {
            bail!("the server failed: {message}");
        }
        if event["choices"][0]["text"].as_str().is_some_and(|text| !text.is_empty()) {
            last = Instant::now();
            first.get_or_insert(last);
        }
        if let Some(counted) = event["usage"].as_object() {
            let count = |name: &str| counted.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
            usage = count("prompt_tokens").zip(count("completion_tokens"));
        }
    }
    if interrupt.is_requested() {
        return Ok(Taken { prompt_tokens: 0, tokens: 0, first_s: 0.0, rest_s: 0.0 });
    }
    let first = first.context("the answer has no text; use a larger --gen-tokens")?;
    let (prompt_tokens, tokens) = usage.context("the server does not tell usage in streams; it cannot be measured")?;
    let (first_s, rest_s) = ((first - begin).as_secs_f64(), (last - first).as_secs_f64());
    Ok(Taken { prompt_tokens, tokens, first_s, rest_s })
}
