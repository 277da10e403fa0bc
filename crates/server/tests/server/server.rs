//! The server with the demo model behind it, over real connections.

use ds4_engine::Precision;
use ds4_engine::cpu::{CpuBackend, CpuOptions};
use ds4_engine::kv::RowFormat;
use ds4_engine::scheduler::{Handle, Scheduler, SchedulerOptions};
use ds4_engine::speculation::Speculation;
use ds4_engine::{Config, DrafterOptions, Engine, EngineOptions, Pairing};
use ds4_gguf::File;
use ds4_server::http::Access;
use ds4_server::service::Service;
use ds4_server::wire::ServerFacts;
use ds4_server::{ServeOptions, serve};
use ds4_tokenizer::Tokenizer;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const CONTEXT: usize = 4096;

fn start(keys: &[&str]) -> SocketAddr {
    start_with(keys, CONTEXT)
}

fn start_with(keys: &[&str], context: usize) -> SocketAddr {
    start_drafting(keys, context, None)
}

/// A server that guesses so many tokens ahead.
fn start_drafting(keys: &[&str], context: usize, drafts: Option<usize>) -> SocketAddr {
    let open = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo").join(name);
        Arc::new(File::open(&path).unwrap())
    };
    let file = open("ds4-demo-q2.gguf");
    let config = Config::from_file(&file).unwrap();
    let tokenizer = Arc::new(Tokenizer::from_gguf(file.metadata()).unwrap());
    let cpu = CpuOptions { precision: Precision::Exact, threads: 2, rows: RowFormat::Native };
    let backend = CpuBackend::new(&config, cpu).unwrap();
    let options = EngineOptions { context, chunk: 64 };
    let drafter = drafts.map(|_| DrafterOptions { file: open("ds4-demo-mtp.gguf"), pairing: Pairing::Next });
    let engine = Engine::with_drafter(file, config, backend, options, drafter.as_ref()).unwrap();
    let mut scheduler = Scheduler::new(engine, SchedulerOptions::default());
    drafts.into_iter().for_each(|depth| scheduler.speculate(Speculation::always(depth)));
    let (handle, _thread) = Handle::start(scheduler).unwrap();
    let facts =
        ServerFacts { context, effort: Default::default(), default_max_tokens: None, strict_thinking_sampling: false };
    let service = Arc::new(Service::new(handle, tokenizer, facts).unwrap());
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    let options = ServeOptions {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        access: Access { keys, cors: false },
        trace: None,
    };
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let listening = |address| sender.send(address).unwrap();
        tokio::runtime::Runtime::new().unwrap().block_on(serve(service, options, listening, std::future::pending()))
    });
    receiver.recv_timeout(Duration::from_secs(30)).unwrap()
}

fn send(address: SocketAddr, method: &str, path: &str, head: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let host = if head.contains("Host:") { "" } else { "Host: localhost\r\n" };
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\n{host}{head}Connection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    stream
}

/// Status and body, chunks joined.
fn ask(address: SocketAddr, method: &str, path: &str, head: &str, body: &str) -> (u16, String) {
    let mut answer = String::new();
    send(address, method, path, head, body).read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return (status, body.to_owned());
    }
    let (mut rest, mut joined) = (body, String::new());
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        joined.push_str(&after[..size]);
        rest = &after[size + 2..];
        if size == 0 {
            break;
        }
    }
    (status, joined)
}

fn chat(address: SocketAddr, body: &Value) -> Value {
    let (status, text) = ask(address, "POST", "/v1/chat/completions", "", &body.to_string());
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

#[test]
fn a_stream_says_what_the_whole_answer_says() {
    let address = start(&[]);
    let mut body =
        json!({"messages": [user("What is 57 + 85?")], "temperature": 0, "logprobs": true, "top_logprobs": 2});
    let whole = chat(address, &body);
    let message = &whole["choices"][0]["message"];
    assert!(message["content"].as_str().unwrap().contains("142"), "{whole}");
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let (status, text) = ask(address, "POST", "/v1/chat/completions", "", &body.to_string());
    assert_eq!(status, 200);
    let lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(lines.last(), Some(&"[DONE]"));
    let chunks: Vec<Value> = lines[..lines.len() - 1].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let join = |member: &str| -> String {
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"][member].as_str()).collect()
    };
    assert_eq!(join("content"), message["content"].as_str().unwrap());
    assert_eq!(join("reasoning_content"), message["reasoning_content"].as_str().unwrap());
    let tokens = |logprobs: &Value| {
        ["reasoning_content", "content"]
            .iter()
            .filter_map(|member| logprobs[member].as_array())
            .map(Vec::len)
            .sum::<usize>()
    };
    let streamed: usize = chunks.iter().map(|chunk| tokens(&chunk["choices"][0]["logprobs"])).sum();
    let usage = &chunks.last().unwrap()["usage"];
    assert_eq!(usage["completion_tokens"], whole["usage"]["completion_tokens"]);
    assert_eq!(streamed, tokens(&whole["choices"][0]["logprobs"]));
    assert_eq!(streamed as u64, usage["completion_tokens"].as_u64().unwrap());
}

#[test]
fn a_conversation_reads_only_what_is_new() {
    let address = start(&[]);
    let mut messages = vec![json!({"role": "system", "content": "You are ds4. Answer in one sentence."})];
    let tools = json!([{"type": "function", "function": {"name": "add_note", "description": "Add a note",
        "parameters": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}}}]);
    let mut known = 0;
    for turn in 0..6 {
        messages.push(user(&format!("Question {turn}: what is {turn} + 3?")));
        let body = json!({"messages": messages, "tools": tools, "temperature": 0, "max_tokens": 400});
        let answer = chat(address, &body);
        let usage = &answer["usage"];
        let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
        // The last token of an answer is sampled, not evaluated.
        assert!(cached + 1 >= known, "turn {turn}: {cached} of {known} tokens: {usage}");
        known = usage["total_tokens"].as_u64().unwrap();
        // As agents do: content and calls come back, reasoning does not.
        let mut message = answer["choices"][0]["message"].clone();
        message.as_object_mut().unwrap().remove("reasoning_content");
        let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
        messages.push(message);
        for call in calls {
            messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "done"}));
        }
        assert_ne!(answer["choices"][0]["finish_reason"], "length", "turn {turn}: {answer}");
    }
    assert!(known > 300, "{known}");
}

#[test]
fn responses_stream_what_they_are_and_continue() {
    let address = start(&[]);
    let respond = |body: &Value| -> Value {
        let (status, text) = ask(address, "POST", "/v1/responses", "", &body.to_string());
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    };
    let mut body = json!({"input": "What is 57 + 85?", "temperature": 0, "reasoning": {"summary": "auto"}});
    let whole = respond(&body);
    assert_eq!(whole["status"], "completed", "{whole}");
    assert_eq!(whole["output"][0]["type"], "reasoning");
    assert!(whole["output"][1]["content"][0]["text"].as_str().unwrap().contains("142"), "{whole}");
    body["stream"] = json!(true);
    let (status, text) = ask(address, "POST", "/v1/responses", "", &body.to_string());
    assert_eq!(status, 200);
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = data.map(|data| serde_json::from_str(data).unwrap()).collect();
    assert_eq!(events[0]["type"], "response.created");
    let join = |kind: &str| -> String {
        events.iter().filter(|event| event["type"] == kind).map(|event| event["delta"].as_str().unwrap()).collect()
    };
    let last = &events.last().unwrap()["response"];
    assert_eq!(join("response.reasoning_summary_text.delta"), whole["output"][0]["summary"][0]["text"]);
    assert_eq!(join("response.output_text.delta"), whole["output"][1]["content"][0]["text"]);
    assert_eq!(last["output"][1]["content"], whole["output"][1]["content"]);
    assert_eq!(last["usage"]["output_tokens"], whole["usage"]["output_tokens"]);
    assert!(whole["usage"]["output_tokens_details"]["reasoning_tokens"].as_u64().unwrap() > 0);

    // As Codex does: the output comes back, reasoning was never sent.
    let tools = json!([{"type": "function", "name": "add_note", "description": "Add a note",
        "parameters": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}}]);
    let mut input = Vec::new();
    let mut known = 0;
    let mut turns = 0;
    for turn in 0..6 {
        input.push(user(&format!("Question {turn}: what is {turn} + 3?")));
        let answer = respond(&json!({"instructions": "You are ds4. Answer in one sentence.", "input": input,
            "tools": tools, "temperature": 0, "max_output_tokens": 400}));
        let usage = &answer["usage"];
        let cached = usage["input_tokens_details"]["cached_tokens"].as_u64().unwrap();
        // The last token of an answer is sampled, not evaluated.
        assert!(cached + 1 >= known, "turn {turn}: {cached} of {known} tokens: {usage}");
        known = usage["total_tokens"].as_u64().unwrap();
        if answer["status"] == "incomplete" {
            break;
        }
        turns += 1;
        for item in answer["output"].as_array().unwrap() {
            assert_ne!(item["type"], "reasoning");
            input.push(item.clone());
        }
        for item in answer["output"].as_array().unwrap().iter().filter(|item| item["type"] == "function_call") {
            input.push(json!({"type": "function_call_output", "call_id": item["call_id"], "output": "done"}));
        }
    }
    assert!(turns > 2 && known > 200, "{turns} turns, {known} tokens");
    let long = json!({"input": "word ".repeat(CONTEXT + 10)});
    let (status, text) = ask(address, "POST", "/v1/responses", "", &long.to_string());
    let error: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &error["error"]["code"]), (400, &json!("context_length_exceeded")), "{text}");
    assert_eq!(error["error"]["param"], "input");
}

#[test]
fn requests_that_make_no_sense_are_refused_by_name() {
    let address = start(&[]);
    let many = json!({"messages": [user(&"word ".repeat(CONTEXT + 10))]});
    for (body, param) in [
        (json!({}), "messages"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": [{"role": "robot"}]}), "messages[0].role"),
        (json!({"messages": [{"content": 5}]}), "messages[0].content"),
        (json!({"messages": [{"content": [{"type": "image_url"}]}]}), "messages[0].content[0]"),
        (json!({"messages": [user("x")], "temperature": "hot"}), "temperature"),
        (json!({"messages": [user("x")], "n": 0}), "n"),
        (json!({"messages": [user("x")], "max_tokens": -1}), "max_tokens"),
        (json!({"messages": [user("x")], "stop": 5}), "stop"),
        (json!({"messages": [user("x")], "tools": [{"type": "web"}]}), "tools[0].type"),
        (json!({"messages": [user("x")], "tool_choice": "always"}), "tool_choice"),
        (json!({"messages": [user("x")], "response_format": {"type": "xml"}}), "response_format.type"),
        (json!({"messages": [user("x")], "response_format": {"type": "json_schema"}}), "response_format.json_schema"),
        (many, "messages"),
    ] {
        let (status, text) = ask(address, "POST", "/v1/chat/completions", "", &body.to_string());
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, &error["error"]["param"]), (400, &json!(param)), "{text}");
        assert_eq!(error["error"]["type"], "invalid_request_error");
    }
    let nulls = json!({"messages": [user("Hello")], "max_tokens": 1, "temperature": null, "tools": null, "stop": null,
        "seed": null, "n": null, "stream": null, "logprobs": null, "response_format": null, "whatever": 1});
    assert_eq!(chat(address, &nulls)["choices"][0]["finish_reason"], "length");
    assert_eq!(ask(address, "POST", "/v1/chat/completions", "", "{").0, 400);
    assert_eq!(ask(address, "POST", "/v1/completions", "", r#"{"prompt":[99999999]}"#).0, 400);
    let mut large = TcpStream::connect(address).unwrap();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n";
    large.write_all(head.as_bytes()).unwrap();
    let mut status = [0; 12];
    large.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 413");
    assert_eq!(ask(address, "GET", "/v1/nothing", "", "").0, 404);
    assert_eq!(ask(address, "GET", "/v1/completions", "", "").0, 405);
}

#[test]
fn keys_and_hosts_are_checked() {
    let address = start(&["first", "second"]);
    let status = |path: &str, head: &str| ask(address, "GET", path, head, "").0;
    assert_eq!(status("/v1/models", ""), 401);
    assert_eq!(status("/v1/models", "Authorization: Bearer wrong\r\n"), 401);
    assert_eq!(status("/v1/models", "Authorization: Bearer second\r\n"), 200);
    assert_eq!(status("/v1/models", "x-api-key: first\r\n"), 200);
    assert_eq!(status("/metrics", ""), 401);
    assert_eq!(status("/health", ""), 200);
    assert_eq!(status("/", ""), 200);
    assert_eq!(status("/health", "Host: attacker.example\r\n"), 403);
    assert_eq!(status("/health", "Host: 127.0.0.1:8000\r\n"), 200);
    assert_eq!(status("/health", "Host: [::1]:8000\r\n"), 200);
}

#[test]
fn other_forms_answer() {
    let address = start(&[]);
    let two =
        json!({"messages": [user("Hello")], "n": 2, "seed": 7, "max_tokens": 5, "thinking": {"type": "disabled"}});
    let answer = chat(address, &two);
    assert_eq!(answer["choices"].as_array().unwrap().len(), 2);
    assert_eq!(answer["choices"], chat(address, &two)["choices"], "a seed repeats an answer");
    let stop = json!({"messages": [user("What is 57 + 85?")], "temperature": 0, "stop": ["142"]});
    let answer = chat(address, &stop);
    let message = &answer["choices"][0]["message"];
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert!(!message.to_string().contains("142"), "{message}");
    let (status, text) =
        ask(address, "POST", "/v1/completions", "", &json!({"prompt": "What is ds4?", "max_tokens": 8}).to_string());
    assert_eq!((status, text.contains("\"text_completion\"")), (200, true), "{text}");
    let (_, text) = ask(address, "POST", "/tokenize", "", r#"{"content":"Hello <think>"}"#);
    let (_, back) = ask(address, "POST", "/detokenize", "", &text);
    assert_eq!(back, r#"{"content":"Hello <think>"}"#);
    let template = json!({"messages": [user("a<\u{ff5c}User\u{ff5c}>b")]}).to_string();
    let (_, text) = ask(address, "POST", "/apply-template", "", &template);
    let template: Value = serde_json::from_str(&text).unwrap();
    let (_, text) =
        ask(address, "POST", "/tokenize", "", "{\"content\":\"<\u{ff5c}User\u{ff5c}>\",\"parse_special\":true}");
    let control: Value = serde_json::from_str(&text).unwrap();
    let tokens = template["tokens"].as_array().unwrap();
    let opened = json!({"messages": [{"role": "system", "content": "Be kind."}]}).to_string();
    let (_, text) = ask(address, "POST", "/apply-template", "", &opened);
    let opened: Value = serde_json::from_str(&text).unwrap();
    assert!(opened["prompt"].as_str().unwrap().ends_with("<\u{ff5c}Assistant\u{ff5c}><think>"), "{opened}");
    let prefix = json!({"messages": [user("Say hello"), {"role": "assistant", "content": "Hel", "prefix": true}], "max_tokens": 2});
    let continued = chat(address, &prefix);
    assert_eq!(continued["choices"][0]["message"]["reasoning_content"], Value::Null, "{continued}");
    let forged = tokens.iter().filter(|token| **token == control["tokens"][0]).count();
    assert_eq!(forged, 1, "client text is no control token: {template}");
}

/// What a client puts together of a stream: the text of its blocks one by one, and the last `usage`.
fn assembled(stream: &str) -> (Vec<String>, Value) {
    let (mut blocks, mut usage) = (Vec::new(), Value::Null);
    for data in stream.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(data).unwrap();
        match event["type"].as_str().unwrap() {
            "content_block_start" => blocks.push(String::new()),
            "content_block_delta" => {
                let parts = ["thinking", "text", "partial_json"].map(|member| event["delta"][member].as_str());
                *blocks.last_mut().unwrap() += parts.into_iter().flatten().next().unwrap_or("");
            }
            "message_delta" => usage = event["usage"].clone(),
            _ => {}
        }
    }
    (blocks, usage)
}

#[test]
fn messages_answer() {
    let address = start(&[]);
    let post = |path: &str, body: &Value| -> (u16, String) { ask(address, "POST", path, "", &body.to_string()) };
    let message = |body: &Value| -> Value {
        let (status, text) = post("/v1/messages?beta=true", body);
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    };
    let total = |usage: &Value| -> u64 {
        let parts = ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"];
        parts.iter().map(|part| usage[part].as_u64().unwrap()).sum()
    };
    let system = |checksum: &str| {
        json!([{"type": "text", "text": format!("x-anthropic-billing-header: cch={checksum};")},
            {"type": "text", "text": "You are ds4.", "cache_control": {"type": "ephemeral"}}])
    };
    let mut body = json!({"model": "any", "max_tokens": 400, "temperature": 0, "system": system("1"),
        "messages": [user("What is 57 + 85?")]});
    let (_, counted) = post("/v1/messages/count_tokens", &body);
    let counted: Value = serde_json::from_str(&counted).unwrap();

    // Read in advance, under another checksum.
    let mut early = body.clone();
    early["max_tokens"] = json!(0);
    early["system"] = system("another");
    let early = message(&early);
    assert_eq!((&early["content"], &early["stop_reason"]), (&json!([]), &json!("max_tokens")), "{early}");
    let whole = message(&body);
    assert_eq!(total(&whole["usage"]), counted["input_tokens"].as_u64().unwrap());
    let read = whole["usage"]["cache_read_input_tokens"].as_u64().unwrap();
    assert!(read + 2 >= total(&whole["usage"]), "{early} {whole}");
    let kinds: Vec<&Value> = whole["content"].as_array().unwrap().iter().map(|block| &block["type"]).collect();
    assert_eq!(kinds, ["thinking", "text"]);
    assert!(whole["content"][1]["text"].as_str().unwrap().contains("142"), "{whole}");
    assert_eq!((&whole["stop_reason"], &whole["model"]), (&json!("end_turn"), &json!("any")));

    body["stream"] = json!(true);
    let (status, text) = post("/v1/messages", &body);
    assert_eq!(status, 200);
    let (blocks, usage) = assembled(&text);
    let expected = [&whole["content"][0]["thinking"], &whole["content"][1]["text"]];
    assert_eq!(blocks, expected.map(|text| text.as_str().unwrap()));
    assert_eq!((total(&usage), &usage["output_tokens"]), (total(&whole["usage"]), &whole["usage"]["output_tokens"]));

    body["stream"] = json!(false);
    body["stop_sequences"] = json!(["142"]);
    let stopped = message(&body);
    assert_eq!((&stopped["stop_reason"], &stopped["stop_sequence"]), (&json!("stop_sequence"), &json!("142")));
    let continued = json!({"messages": [user("Say hello"), {"role": "assistant", "content": "Hel"}], "max_tokens": 2});
    assert_eq!(message(&continued)["content"][0]["type"], "text");

    let refusal = |answer: (u16, String)| -> (u16, Value) {
        let error: Value = serde_json::from_str(&answer.1).unwrap();
        assert_eq!(error["type"], "error", "{error}");
        (answer.0, error["error"]["type"].clone())
    };
    let invalid = (400, json!("invalid_request_error"));
    let long = json!({"messages": [user(&"word ".repeat(CONTEXT + 10))]});
    assert_eq!(refusal(post("/v1/messages", &json!({}))), invalid);
    assert_eq!(refusal(post("/v1/messages/count_tokens", &json!({}))), invalid);
    assert_eq!(refusal(post("/v1/messages", &long)), invalid);
    assert_eq!(refusal(post("/v1/messages/batches", &body)), (404, json!("not_found_error")));
    assert_eq!(refusal(ask(address, "GET", "/v1/messages", "", "")), (405, json!("invalid_request_error")));
    let foreign = ask(address, "POST", "/v1/messages", "Host: attacker.example\r\n", "{}");
    assert_eq!(refusal(foreign), (403, json!("permission_error")));
    let keyed = start(&["key"]);
    assert_eq!(refusal(ask(keyed, "POST", "/v1/messages", "", "{}")), (401, json!("authentication_error")));
}

#[test]
fn clients_that_hang_up_leave_an_idle_engine() {
    let address = start(&[]);
    let gauge = |name: &str| -> f64 {
        let (_, text) = ask(address, "GET", "/metrics", "", "");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
        line.parse().unwrap()
    };
    let streams: Vec<TcpStream> = (0..20)
        .map(|i| {
            let text = format!("{i} {}", "some words to read ".repeat(400));
            let body = json!({"messages": [user(&text)], "stream": i % 2 == 0}).to_string();
            send(address, "POST", "/v1/chat/completions", "", &body)
        })
        .collect();
    let begin = Instant::now();
    while gauge("ds4_prefill_tokens_total") == 0.0 {
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
    drop(streams);
    // Requests that were still on their way arrive, are noticed to be unwanted, and go.
    let begin = Instant::now();
    let mut idle = 0;
    while idle < 5 {
        assert!(begin.elapsed() < Duration::from_secs(30), "the engine still works for clients that are gone");
        std::thread::sleep(Duration::from_millis(100));
        let busy = gauge("ds4_sequences_prefilling") + gauge("ds4_sequences_decoding") + gauge("ds4_queue_length");
        idle = if busy == 0.0 { idle + 1 } else { 0 };
    }
    let read = gauge("ds4_prefill_tokens_total");
    assert!(read < 20.0 * 1600.0 / 2.0, "{read} tokens were read, most of what was asked for");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(gauge("ds4_prefill_tokens_total"), read);
    assert!(gauge("ds4_cancelled_total") > 0.0);
}

#[test]
fn formats_and_demanded_calls_are_kept() {
    let address = start(&[]);
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["sum", "unit", "steps"],
        "properties": {"sum": {"type": "integer", "minimum": 0, "maximum": 99}, "unit": {"enum": ["apples", "pears"]},
            "steps": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 3}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "sum", "schema": schema, "strict": true}});
    for thinking in [false, true] {
        for seed in 0..3 {
            let mut body = json!({"messages": [user("What is 12 + 30?")], "response_format": format, "seed": seed,
                "thinking": thinking, "logprobs": true, "max_tokens": 900});
            let whole = chat(address, &body);
            let choice = &whole["choices"][0];
            if choice["finish_reason"] == "length" {
                assert!(thinking, "{whole}");
                continue;
            }
            assert_eq!(choice["finish_reason"], "stop");
            let value: Value = serde_json::from_str(choice["message"]["content"].as_str().unwrap()).unwrap();
            assert!(value["sum"].as_u64().unwrap() < 100 && value["unit"].is_string(), "{value}");
            assert!((2..4).contains(&value["steps"].as_array().unwrap().len()), "{value}");
            assert_eq!(value.as_object().unwrap().len(), 3);
            body["response_format"] = json!({"type": "json_object"});
            let object = chat(address, &body);
            let choice = &object["choices"][0];
            if choice["finish_reason"] == "stop" {
                let text = choice["message"]["content"].as_str().unwrap();
                assert!(serde_json::from_str::<Value>(text).unwrap().is_object(), "{text}");
            }
        }
    }
    let tool = |name: &str| {
        json!({"type": "function", "function": {"name": name, "strict": true, "parameters": {"type": "object",
        "properties": {"count": {"type": "integer", "maximum": 9, "minimum": 1}}, "required": ["count"]}}})
    };
    let mut body = json!({"messages": [user("Hello!")], "tools": [tool("wave"), tool("nod")], "max_tokens": 900,
        "thinking": false, "parallel_tool_calls": false});
    for choice in [json!("required"), json!({"type": "function", "function": {"name": "nod"}})] {
        body["tool_choice"] = choice.clone();
        let answer = chat(address, &body);
        let choice_made = &answer["choices"][0];
        assert_eq!(choice_made["finish_reason"], "tool_calls", "{answer}");
        let calls = choice_made["message"]["tool_calls"].as_array().unwrap();
        assert_eq!(calls.len(), 1);
        assert!(choice.is_string() || calls[0]["function"]["name"] == "nod");
        let arguments: Value = serde_json::from_str(calls[0]["function"]["arguments"].as_str().unwrap()).unwrap();
        assert!((1..10).contains(&arguments["count"].as_u64().unwrap()), "{arguments}");
    }
    let recursive = json!({"type": "object", "properties": {"child": {"$ref": "#"}}});
    let huge: Vec<String> = (0..100_000).map(|number| format!("value {number}")).collect();
    for (member, value, word) in [
        ("response_format", json!({"type": "json_schema", "json_schema": {"schema": recursive}}), "recursive"),
        ("response_format", json!({"type": "json_schema", "json_schema": {"schema": {"enum": huge}}}), "too large"),
        ("tool_choice", json!({"type": "function", "function": {"name": "none"}}), "not among the tools"),
    ] {
        let mut body = body.clone();
        body["tool_choice"] = json!("auto");
        body[member] = value;
        let (status, text) = ask(address, "POST", "/v1/chat/completions", "", &body.to_string());
        assert_eq!(status, 400, "{text}");
        assert!(text.contains(word), "{text}");
    }
}

/// An agent's conversation of 30 turns, each a demanded call and its result. Half-way it goes back and on another way.
#[test]
fn thirty_turns_of_an_agent_read_only_what_is_new() {
    for thinking in [false, true] {
        converse(thinking);
    }
}

fn converse(thinking: bool) {
    let address = start(&[]);
    let tools = json!([{"type": "function", "function": {"name": "read_file", "description": "Read a file",
        "parameters": {"type": "object", "properties": {"path": {"type": "string", "maxLength": 12}},
            "required": ["path"]}}}]);
    let mut messages = vec![json!({"role": "system", "content": "You are ds4, an agent."}), user("Read the files.")];
    // After each turn: how long the history was, and how many tokens the engine knows of it.
    let mut known: Vec<(usize, u64)> = Vec::new();
    let mut turn = 0;
    let mut has_branched = false;
    while turn < 30 {
        let body = json!({"messages": messages, "tools": tools, "tool_choice": "required", "temperature": 0,
            "parallel_tool_calls": false, "max_tokens": 300, "thinking": thinking});
        let answer = chat(address, &body);
        let choice = &answer["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls", "turn {turn}: {answer}");
        let usage = &answer["usage"];
        let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
        let before = known.last().map_or(0, |(_, tokens)| *tokens);
        // The last token of an answer is sampled, not evaluated.
        assert!(cached + 1 >= before, "turn {turn}: {cached} of {before} tokens: {usage}");
        let mut message = choice["message"].clone();
        // Agents send calls back, reasoning they do not.
        message.as_object_mut().unwrap().remove("reasoning_content");
        let id = message["tool_calls"][0]["id"].clone();
        messages.push(message);
        known.push((messages.len(), usage["total_tokens"].as_u64().unwrap()));
        messages.push(json!({"role": "tool", "tool_call_id": id, "content": format!("line {turn}")}));
        turn += 1;
        if turn == 20 && !has_branched {
            has_branched = true;
            known.truncate(10);
            messages.truncate(known[9].0);
            let id = messages.last().unwrap()["tool_calls"][0]["id"].clone();
            messages.push(json!({"role": "tool", "tool_call_id": id, "content": "no such file"}));
        }
    }
    assert!(has_branched && known.last().unwrap().1 > 1000, "{known:?}");
    println!("thinking {thinking}: {known:?}");
}

/// Requests of real agents (`data/agents`), each sent twice: whole and as a stream that ends as its API says.
#[test]
fn requests_of_agents_are_answered() {
    let address = start_with(&[], 16384);
    for (name, recorded, path, end) in [
        ("codex", include_str!("../data/agents/codex.json"), "/v1/responses", "event: response.incomplete"),
        ("opencode", include_str!("../data/agents/opencode.json"), "/v1/chat/completions", "data: [DONE]"),
        (
            "claude-code",
            include_str!("../data/agents/claude-code.json"),
            "/v1/messages?beta=true",
            "event: message_stop",
        ),
    ] {
        let requests: Vec<Value> = serde_json::from_str(recorded).unwrap();
        for (index, request) in requests.iter().enumerate() {
            assert!(path.starts_with(request["path"].as_str().unwrap()));
            let mut body = request["body"].clone();
            assert_eq!(body["stream"], true);
            body["max_tokens"] = json!(3);
            let (status, text) = ask(address, "POST", path, "anthropic-version: 2023-06-01\r\n", &body.to_string());
            assert_eq!(status, 200, "{name} {index}: {text}");
            assert!(text.contains(end), "{name} {index}: {text}");
            body["stream"] = json!(false);
            let (status, text) = ask(address, "POST", path, "", &body.to_string());
            assert_eq!(status, 200, "{name} {index}: {text}");
            let usage = &serde_json::from_str::<Value>(&text).unwrap()["usage"];
            let cached = [
                "/cache_read_input_tokens",
                "/prompt_tokens_details/cached_tokens",
                "/input_tokens_details/cached_tokens",
            ]
            .iter()
            .find_map(|member| usage.pointer(member)?.as_u64());
            assert!(cached.unwrap() > 30, "{name} {index}: {usage}");
        }
    }
}

/// In exact mode an answer does not depend on what else is computed in the same step.
#[test]
fn answers_together_are_the_answers_alone() {
    let address = start(&[]);
    let body = |number: usize| {
        let words = "and a lamp ".repeat(number * 7);
        json!({"messages": [user(&format!("Tell me about {number} trains {words}"))], "temperature": 0,
            "max_tokens": 20 + number, "thinking": number.is_multiple_of(2)})
    };
    let ask = |number: usize| chat(address, &body(number))["choices"].clone();
    let together: Vec<Value> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..16).map(|number| scope.spawn(move || ask(number))).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    // A server that has read nothing yet, so that no prompt is known.
    let address = start(&[]);
    for (number, answer) in together.iter().enumerate() {
        assert_eq!(*answer, chat(address, &body(number))["choices"], "{number}");
    }
}

/// A completed text leaves reasoning out; while the model reasons, the stream says that it is alive.
#[test]
fn hidden_reasoning_is_not_silence() {
    let address = start(&[]);
    let tokenize = json!({"content": "</think>", "parse_special": true}).to_string();
    let (_, text) = ask(address, "POST", "/tokenize", "", &tokenize);
    let think_end = &serde_json::from_str::<Value>(&text).unwrap()["tokens"][0];
    // Neither reasoning nor answer may end.
    let bias = json!({think_end.to_string(): -100, "1": -100});
    let body = json!({"prompt": "Think.", "thinking": true, "logit_bias": bias, "stream": true});
    let mut stream = send(address, "POST", "/v1/completions", "", &body.to_string());
    let mut said = Vec::new();
    let begin = Instant::now();
    while !String::from_utf8_lossy(&said).contains(": keep-alive") {
        assert!(begin.elapsed() < Duration::from_secs(20), "{}", String::from_utf8_lossy(&said));
        let mut bytes = [0; 1024];
        let length = stream.read(&mut bytes).unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&bytes[..length]);
    }
}

#[test]
fn tokens_guessed_ahead_change_no_answer() {
    let servers = [None, Some(3)].map(|drafts| start_drafting(&[], CONTEXT, drafts));
    let question = json!([user("What is 57 + 85?")]);
    let weather = json!({"type": "function", "function": {"name": "get_weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}});
    let shape = json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": {
        "type": "object", "properties": {"sum": {"type": "integer"}, "unit": {"enum": ["m", "kg"]}},
        "required": ["sum", "unit"], "additionalProperties": false}}});
    let bodies = [
        json!({"messages": question, "temperature": 0}),
        json!({"messages": question, "temperature": 0, "stop": ["carry"]}),
        json!({"messages": question, "temperature": 0, "max_tokens": 17, "logprobs": true, "top_logprobs": 2}),
        json!({"messages": question, "temperature": 1.3, "seed": 11, "n": 3, "max_tokens": 40, "presence_penalty": 0.5}),
        json!({"messages": question, "seed": 3, "response_format": shape, "max_tokens": 120}),
        json!({"messages": [user("What is the weather in Paris?")], "tools": [weather], "tool_choice": "required",
            "seed": 5, "max_tokens": 200}),
        json!({"messages": [question[0], {"role": "assistant", "content": "142"}, user("What is 12 + 30?")],
            "temperature": 0, "max_tokens": 60}),
    ];
    let answers = servers.map(|address| {
        let ask = |body: &Value| {
            let body = body.clone();
            std::thread::spawn(move || chat(address, &body)["choices"].take())
        };
        // All at once, then once more from what is kept of them.
        let together: Vec<_> = bodies.iter().map(ask).collect();
        let mut answers: Vec<Value> = together.into_iter().map(|answer| answer.join().unwrap()).collect();
        answers.extend(bodies.iter().map(|body| chat(address, body)["choices"].take()));
        answers.iter_mut().for_each(forget_ids);
        answers
    });
    for (without, with) in answers[0].iter().zip(&answers[1]) {
        assert_eq!(without, with);
    }
    let (_, metrics) = ask(servers[1], "GET", "/metrics", "", "");
    let count = |name: &str| -> f64 {
        metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap().parse().unwrap()
    };
    let (tried, right) = (count("ds4_drafts_total{depth=\"2\"}"), count("ds4_drafts_accepted_total{depth=\"2\"}"));
    assert!(right > 50.0 && right < tried, "{right} of {tried}");
    assert!(count("ds4_draft_seconds_total") > 0.0 && count("ds4_draft_depth") == 3.0);
    assert!(!ask(servers[0], "GET", "/metrics", "", "").1.contains("draft"));
}

/// Takes away what is random in an answer.
fn forget_ids(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove("id");
            members.values_mut().for_each(forget_ids);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_ids),
        _ => {}
    }
}
