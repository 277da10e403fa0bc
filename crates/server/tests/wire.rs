//! Answers of the APIs against those recorded from the C server, and against themselves: a stream says what the whole
//! answer says.

use ds4_chat::{EffortTable, parse_answer};
use ds4_server::anthropic::Messages;
use ds4_server::api::Api;
use ds4_server::openai::Chat;
use ds4_server::responses::Responses;
use ds4_server::turn::{Delta, Event, Finish, Piece};
use ds4_server::wire::{Outcome, ServerFacts, Sse, Stamp};
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
        max_effort_context: 393_216,
        default_max_tokens: None,
        strict_thinking_sampling: false,
    }
}

fn cases(api: &str) -> Vec<Value> {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../../chat/tests/data/ds4/wire_cases.json")).unwrap();
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
    events.push(Event::Finished { choice: 0, finish, completion_tokens: 7, reasoning_tokens: 3 });
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

/// Ours sends events that the C server lacks, closes the reasoning before the message and streams arguments: compared are
/// the final response and each kind of text.
#[test]
fn recorded_responses() {
    for summary in [false, true] {
        let mut body = json!({"input": "x"});
        if summary {
            body["reasoning"] = json!({"summary": "auto"});
        }
        let mut equal = 0;
        for case in cases("responses").iter().filter(|case| case["reasoning_summary"] == summary) {
            body["stream"] = case["stream"].clone();
            let ours = final_response(&answer::<Responses>(&body, events(case, "call_")));
            let recorded = final_response(case["response"].as_str().unwrap());
            let streams = case["stream"] == true;
            let name = case["case"].as_str().unwrap();
            let is_different = DIFFERENT.iter().any(|(different, stream)| *different == name && *stream == streams);
            if !is_different {
                assert_eq!(ours, recorded, "{name} {streams}");
                equal += 1;
            }
        }
        assert_eq!(equal, 7);
    }
}

/// The last response of an answer and its texts, without what is ours alone.
fn final_response(answer: &str) -> Value {
    let objects = objects(answer, &[], &["/none"]);
    let join = |kind: &str| -> String {
        objects.iter().filter(|event| event["type"] == kind).filter_map(|event| event["delta"].as_str()).collect()
    };
    let texts = ["response.output_text.delta", "response.reasoning_summary_text.delta"].map(join);
    let calls = join("response.function_call_arguments.delta");
    let last = objects.last().unwrap();
    let response = last.get("response").unwrap_or(last);
    let mut output = response["output"].clone();
    for item in output.as_array_mut().unwrap() {
        item["id"] = json!("");
    }
    let usage = &response["usage"];
    json!([
        texts,
        calls,
        response["status"],
        output,
        response["incomplete_details"].is_null(),
        usage["total_tokens"],
        usage["input_tokens_details"]
    ])
}
