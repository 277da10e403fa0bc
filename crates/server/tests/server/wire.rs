//! Answers of the chat and messages APIs against those recorded from the C server, and against themselves: a stream says what the whole
//! answer says.

use ds4_chat::{EffortTable, parse_answer};
use ds4_server::anthropic::Messages;
use ds4_server::api::Api;
use ds4_server::openai::Chat;
use ds4_server::responses::Responses;
use ds4_server::turn::{Delta, Event, Finish, Piece};
use ds4_server::wire::{Outcome, ServerFacts, Sse, Stamp};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Cases whose answers differ on purpose, whatever the API. Where the C server sends the beginning of a call that it
/// cannot parse, or takes what stands before the broken block for content, ours sends the block as content after reasoning
/// that is still reasoning, and there is no finish reason `error`.
const DIFFERENT: [(&str, bool); 5] = [
    // Reasoning without an end is reasoning, as in the stream.
    ("length-in-thinking", false),
    ("malformed-closed-block", true),
    ("malformed-closed-block", false),
    ("unterminated-block", true),
    ("unterminated-block", false),
];

fn facts() -> ServerFacts {
    ServerFacts {
        context: 32768,
        effort: EffortTable::Preview,
        default_max_tokens: None,
        strict_thinking_sampling: false,
    }
}

fn cases(api: &str) -> Vec<Value> {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../../../chat/tests/data/ds4/wire_cases.json")).unwrap();
    cases.into_iter().filter(|case| case["api"] == api).collect()
}

/// What the engine would tell of the case's text.
fn events(case: &Value, prefix: &str) -> Vec<Event> {
    let generated: String = case["chunks"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let answer = parse_answer(&generated, case["thinking"] == true, case["tools"] == true);
    let piece = |text: &str| Piece { text: text.to_owned(), logprobs: Vec::new() };
    let mut deltas = vec![Delta::Reasoning(piece(&answer.reasoning)), Delta::Content(piece(&answer.content))];
    for (index, call) in answer.calls.iter().enumerate() {
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
        deltas.push(Delta::CallStart { index, id: format!("{prefix}ID{}", index + 1), name: call.name.clone() });
        deltas.push(Delta::CallArguments { index, fragment: arguments.to_string() });
        deltas.push(Delta::CallEnd { index });
    }
    let is_empty =
        |delta: &Delta| matches!(delta, Delta::Reasoning(piece) | Delta::Content(piece) if piece.text.is_empty());
    let finish = match case["decode_finish"].as_str() {
        Some("length") => Finish::Length,
        _ if !answer.calls.is_empty() => Finish::ToolCalls,
        _ => Finish::Stop,
    };
    let mut events = vec![Event::Started { prompt_tokens: 15, cached_tokens: 10 }];
    let deltas = deltas.into_iter().filter(|delta| !is_empty(delta));
    events.extend(deltas.map(|delta| Event::Delta { choice: 0, delta }));
    events.push(Event::Finished { choice: 0, finish, completion_tokens: 7, reasoning_tokens: 3, closed: None });
    events
}

/// What our server answers to `body` with these events.
fn answer<A: Api>(body: &Value, events: Vec<Event>) -> String {
    let Ok(request) = A::parse(body.to_string().as_bytes(), &facts()) else { panic!("{body} is refused") };
    let stamp = Stamp { id: "1".to_owned(), created: 0 };
    if !request.streams() {
        let mut outcome = Outcome::default();
        events.into_iter().for_each(|event| outcome.add(event));
        return request.complete(&stamp, &outcome).to_string();
    }
    let mut out = Sse::default();
    let mut encoder = request.encoder(stamp);
    events.into_iter().for_each(|event| encoder.event(event, &mut out));
    out.take()
}

/// The objects of an answer; pieces of one text that follow one another are joined, as servers cut texts as they like.
/// `texts` are the places of such texts, `parts` of members that must be equal.
fn objects(answer: &str, texts: &[&str], parts: &[&str]) -> Vec<Value> {
    let mut objects: Vec<Value> = Vec::new();
    if answer.starts_with('{') {
        return vec![serde_json::from_str(answer).unwrap()];
    }
    for event in answer.split_terminator("\n\n") {
        let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        if data == "[DONE]" {
            objects.push(json!(data));
            continue;
        }
        let object: Value = serde_json::from_str(data).unwrap();
        if let Some(name) = event.lines().find_map(|line| line.strip_prefix("event: ")) {
            assert_eq!(object["type"], name);
        }
        let is_joined = objects.last_mut().is_some_and(|last| {
            parts.iter().all(|part| last.pointer(part) == object.pointer(part))
                && texts.iter().any(|text| match (last.pointer_mut(text), object.pointer(text)) {
                    (Some(Value::String(last)), Some(Value::String(next))) => {
                        last.push_str(next);
                        true
                    }
                    _ => false,
                })
        });
        if !is_joined {
            objects.push(object);
        }
    }
    objects
}

/// Compares all cases of an API; the number of those that are equal. `normal` takes out what is ours alone.
fn compare<A: Api>(api: &str, prefix: &str, body: &Value, normal: impl Fn(&str) -> Value) -> usize {
    let mut equal = 0;
    for case in cases(api) {
        let mut body = body.clone();
        body["stream"] = case["stream"].clone();
        let ours = normal(&answer::<A>(&body, events(&case, prefix)));
        let recorded = normal(case["response"].as_str().unwrap());
        let streams = case["stream"] == true;
        let is_different = DIFFERENT.iter().any(|(name, stream)| case["case"] == *name && streams == *stream);
        assert_eq!(ours == recorded, !is_different, "{} {streams}\nours     {ours}\nrecorded {recorded}", case["case"]);
        equal += usize::from(!is_different);
    }
    equal
}

#[test]
fn recorded_chat_completions() {
    let body = json!({"messages": [{"content": "x"}], "stream_options": {"include_usage": true}});
    let normal = |answer: &str| {
        let arguments = "/choices/0/delta/tool_calls/0/function/arguments";
        let texts = ["/choices/0/delta/reasoning_content", "/choices/0/delta/content", arguments];
        let mut objects = objects(answer, &texts, &["/choices/0/delta/tool_calls/0/index"]);
        for object in &mut objects {
            // Ours has these besides.
            for (place, member) in
                [("", "logprobs"), ("/choices/0", "logprobs"), ("/usage", "completion_tokens_details")]
            {
                if let Some(Value::Object(members)) = object.pointer_mut(place) {
                    members.remove(member);
                }
            }
            if object["usage"].is_null()
                && let Some(members) = object.as_object_mut()
            {
                members.remove("usage");
            }
            let delta = object.pointer_mut("/choices/0/delta").and_then(Value::as_object_mut);
            if let Some(delta) = delta.filter(|delta| delta.contains_key("role")) {
                delta.remove("content");
            }
        }
        json!(objects)
    };
    assert_eq!(compare::<Chat>("openai", "call_", &body, normal), 7);
}

#[test]
fn recorded_messages() {
    let body = json!({"messages": [{"role": "user", "content": "x"}], "max_tokens": 9});
    let normal = |answer: &str| {
        // The C server counts its messages.
        let answer = answer.replace("chatcmpl-1", "msg_1");
        let texts = ["/delta/thinking", "/delta/text", "/delta/partial_json"];
        let mut objects = objects(&answer, &texts, &["/index", "/delta/type"]);
        for object in &mut objects {
            if object["type"] == "message_delta" {
                object["usage"] = json!({"output_tokens": object["usage"]["output_tokens"]});
            }
        }
        json!(objects)
    };
    assert_eq!(compare::<Messages>("anthropic", "toolu_", &body, normal), 7);
}

/// The events of an answer: reasoning, content, calls in pieces; the last call may be cut off.
fn some_events() -> impl Strategy<Value = Vec<Event>> {
    let pieces = || prop::collection::vec("[a-z\u{e9}\n\"]{1,6}", 0..4);
    let call = ("[a-z_]{1,8}", "[a-z ]{0,8}", 1..9usize);
    (pieces(), pieces(), prop::collection::vec(call, 0..4), any::<bool>()).prop_map(
        |(reasoning, content, calls, cut)| {
            let piece = |text: String| Piece { text, logprobs: Vec::new() };
            let mut deltas: Vec<Delta> = reasoning.into_iter().map(|text| Delta::Reasoning(piece(text))).collect();
            deltas.extend(content.into_iter().map(|text| Delta::Content(piece(text))));
            let last = calls.len();
            for (index, (name, value, size)) in calls.into_iter().enumerate() {
                deltas.push(Delta::CallStart { index, id: format!("call_{index}"), name });
                let arguments = json!({"input": value}).to_string();
                let is_cut = cut && index + 1 == last;
                let arguments = if is_cut { &arguments[..arguments.len() - 2] } else { &arguments };
                for fragment in arguments.as_bytes().chunks(size) {
                    let fragment = String::from_utf8(fragment.to_vec()).unwrap();
                    deltas.push(Delta::CallArguments { index, fragment });
                }
                if !is_cut {
                    deltas.push(Delta::CallEnd { index });
                }
            }
            let finish = match (cut, last) {
                (true, _) => Finish::Length,
                (false, 0) => Finish::Stop,
                _ => Finish::ToolCalls,
            };
            let mut events = vec![Event::Started { prompt_tokens: 15, cached_tokens: 10 }];
            events.extend(deltas.into_iter().map(|delta| Event::Delta { choice: 0, delta }));
            events.push(Event::Finished { choice: 0, finish, completion_tokens: 7, reasoning_tokens: 3, closed: None });
            events
        },
    )
}

proptest! {
    #[test]
    fn a_streamed_chat_completion_is_the_whole_one(events in some_events()) {
        let mut body = json!({"messages": [{"content": "x"}]});
        let whole: Value = serde_json::from_str(&answer::<Chat>(&body, events.clone())).unwrap();
        body["stream"] = json!(true);
        let stream = objects(&answer::<Chat>(&body, events), &[], &["/none"]);
        let (mut message, mut calls) = (json!({"content": "", "reasoning_content": ""}), Vec::<Value>::new());
        let append = |to: &mut Value, more: &Value| {
            if let (Some(text), Some(more)) = (to.as_str().map(str::to_owned), more.as_str()) {
                *to = json!(text + more);
            }
        };
        for chunk in &stream[..stream.len() - 1] {
            let delta = &chunk["choices"][0]["delta"];
            append(&mut message["content"], &delta["content"]);
            append(&mut message["reasoning_content"], &delta["reasoning_content"]);
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                if call.get("id").is_some() {
                    prop_assert_eq!(call["index"].as_u64(), Some(calls.len() as u64));
                    calls.push(call.clone());
                } else {
                    let arguments = &mut calls.last_mut().unwrap()["function"]["arguments"];
                    append(arguments, &call["function"]["arguments"]);
                }
            }
        }
        let expected = &whole["choices"][0]["message"];
        prop_assert_eq!(&message["content"], &expected["content"]);
        prop_assert_eq!(message["reasoning_content"].as_str(), expected["reasoning_content"].as_str().or(Some("")));
        for call in &mut calls {
            call.as_object_mut().unwrap().remove("index");
        }
        prop_assert_eq!(json!(calls), expected.get("tool_calls").cloned().unwrap_or(json!([])));
        prop_assert_eq!(&stream[stream.len() - 2]["choices"][0]["finish_reason"], &whole["choices"][0]["finish_reason"]);
    }
}

/// Values that no request should have, or not there.
fn strange() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("\u{0}\u{ff5c}DSML\u{ff5c}"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({"type": "text"}),
        json!([{"type": "function"}]),
    ]
}

/// Paths of all values inside of `value`.
fn paths(value: &Value, path: String, all: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                paths(value, format!("{path}/{}", name.replace('~', "~0").replace('/', "~1")), all);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                paths(value, format!("{path}/{index}"), all);
            }
        }
        _ => {}
    }
    all.push(path);
}

/// Every value of an agent's request in turn is one of the strange ones: a refusal with status 400 or a request, no panic.
fn survives<A: Api>(recorded: &str) {
    let requests: Vec<Value> = serde_json::from_str(recorded).unwrap();
    let body = &requests.last().unwrap()["body"];
    let mut places = Vec::new();
    paths(body, String::new(), &mut places);
    let (strange, facts) = (strange(), facts());
    let (mut refused, mut read) = (0, 0);
    // Tools are many and alike.
    let few = places.iter().enumerate().filter(|(index, path)| !path.starts_with("/tools/") || index % 7 == 0);
    for (index, (_, path)) in few.enumerate() {
        // All of them near the top, one of them below.
        let is_near = path.matches('/').count() < 4;
        for (_, value) in
            strange.iter().enumerate().filter(|(at, _)| is_near || at % strange.len() == index % strange.len())
        {
            let mut body = body.clone();
            *body.pointer_mut(path).unwrap() = value.clone();
            match A::parse(body.to_string().as_bytes(), &facts) {
                Ok(_) => read += 1,
                Err(error) => {
                    assert_eq!(error.status(), 400, "{path} {value}");
                    assert!(A::error(&error).to_string().len() < 1000, "{path} {value}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 50 && read > 50, "{refused} refused, {read} read");
}

#[test]
fn strange_requests_are_refused_or_read() {
    survives::<Responses>(include_str!("../data/agents/codex.json"));
    survives::<Chat>(include_str!("../data/agents/opencode.json"));
    survives::<Messages>(include_str!("../data/agents/claude-code.json"));
}
