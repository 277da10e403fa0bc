//! Anthropic's Messages API without an engine: what requests ask for, and how answers are written.

use ds4_chat::{EffortTable, Message, Role, ThinkingMode, ToolCall};
use ds4_server::anthropic::Messages;
use ds4_server::api::Api;
use ds4_server::error::ApiError;
use ds4_server::turn::{Delta, Event, Finish, Format, Input, Piece, ToolChoice};
use ds4_server::wire::{Outcome, ServerFacts, Sse, Stamp};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

fn facts() -> ServerFacts {
    ServerFacts {
        context: 400_000,
        effort: EffortTable::Preview,
        default_max_tokens: None,
        strict_thinking_sampling: false,
    }
}

fn parse(body: &Value) -> Result<Messages, ApiError> {
    Messages::parse(body.to_string().as_bytes(), &facts())
}

fn read(body: &Value) -> Messages {
    parse(body).unwrap_or_else(|error| panic!("{body} is refused: {error}"))
}

fn conversation(body: &Value) -> Vec<Message> {
    let Input::Conversation(messages) = read(body).turn().input.clone() else { panic!("{body}") };
    messages
}

/// `{"messages": …}` with more members.
fn with(more: Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// A request with everything that clients send.
fn full() -> Value {
    json!({
        "model": "claude", "max_tokens": 100, "stream": true, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "seed": 1,
        "stop_sequences": ["END", ""],
        "metadata": {"user_id": "u"}, "service_tier": "auto", "context_management": {"edits": []},
        "thinking": {"type": "enabled", "budget_tokens": 2000}, "output_config": {"effort": "max"},
        "tool_choice": {"type": "tool", "name": "read", "disable_parallel_tool_use": true},
        "tools": [
            {"name": "read", "description": "Read", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}},
            {"type": "custom", "name": "write", "input_schema": {"type": "object", "properties": {"n": {"type": "integer"}}}},
        ],
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cch=12345;"},
            {"type": "text", "text": "Be ds4.", "cache_control": {"type": "ephemeral"}},
            "Be kind.",
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "text", "text": " there"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "msg_1"},
                {"type": "redacted_thinking", "data": "AAAA"},
                {"type": "text", "text": "Reading."},
                {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"b": 1, "a": [true]}},
                {"type": "tool_use", "id": "toolu_2", "name": "write"},
            ]},
            {"role": "user", "content": [
                {"type": "text", "text": "before"},
                {"type": "tool_result", "tool_use_id": "toolu_2", "is_error": true},
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
                {"type": "text", "text": "after", "cache_control": {"type": "ephemeral"}},
            ]},
            {"role": "system", "content": "It is late."},
            {"role": "assistant", "content": "So"},
        ],
    })
}

#[test]
fn blocks_become_messages() {
    let result =
        |id: &str, content: &str| Message { tool_call_id: Some(id.to_owned()), ..Message::new(Role::Tool, content) };
    let call = |id: &str, name: &str, arguments: &str| ToolCall {
        id: Some(id.to_owned()),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
    };
    let expected = [
        Message::new(Role::System, "Be ds4.\n\nBe kind."),
        Message::new(Role::User, "Look there"),
        Message {
            reasoning: "Hm.".to_owned(),
            tool_calls: vec![call("toolu_1", "read", r#"{"b":1,"a":[true]}"#), call("toolu_2", "write", "{}")],
            ..Message::new(Role::Assistant, "Reading.")
        },
        Message::new(Role::User, "before"),
        result("toolu_2", ""),
        result("toolu_1", "onetwo"),
        Message::new(Role::User, "after"),
        Message::new(Role::System, "It is late."),
        Message { prefix: true, ..Message::new(Role::Assistant, "So") },
    ];
    assert_eq!(conversation(&full()), expected);
    let only = |system: Value| conversation(&with(json!({"system": system})))[0].clone();
    assert_eq!(only(json!("Plain.")), Message::new(Role::System, "Plain."));
    // Nothing but the header, or nothing: no system message.
    for nothing in [json!([{"type": "text", "text": "x-anthropic-billing-header: a"}]), json!(""), json!([])] {
        assert_eq!(only(nothing), Message::new(Role::User, "x"));
    }
}

#[test]
fn only_a_last_message_without_calls_is_continued() {
    let call = json!({"type": "tool_use", "id": "t", "name": "f", "input": {}});
    for (messages, expected) in [
        (json!([{"role": "assistant", "content": "a"}]), vec![true]),
        (json!([{"role": "assistant", "content": [call]}]), vec![false]),
        (json!([{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]), vec![false, false]),
    ] {
        let read = conversation(&json!({"messages": messages}));
        assert_eq!(read.iter().map(|message| message.prefix).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn options_reach_the_turn() {
    let asked = read(&full());
    let turn = asked.turn();
    assert!(asked.streams());
    assert_eq!(turn.thinking, ThinkingMode::Max);
    assert_eq!((turn.max_tokens, turn.stop.as_slice()), (Some(100), ["END".to_owned()].as_slice()));
    let sampling = &turn.sampling;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.top_k, sampling.seed), (0.5, 0.9, 40, 1));
    assert_eq!((&turn.tool_choice, turn.parallel_tool_calls), (&ToolChoice::Named("read".to_owned()), false));
    assert_eq!((turn.choices, turn.call_id_prefix, turn.logprobs), (1, "toolu_", None));
    // Only what the model was trained to see, under the names that it knows.
    assert_eq!(turn.tools[0].schema, json!({"name": "read", "description": "Read", "parameters": {"type": "object"}}));
    assert_eq!(turn.tools[1].parameters["properties"]["n"], json!({"type": "integer"}));

    let thinking = |more: Value| read(&with(more)).turn().thinking;
    for (more, expected) in [
        (json!({}), ThinkingMode::High),
        (json!({"thinking": {"type": "disabled"}}), ThinkingMode::None),
        (json!({"thinking": {"type": "adaptive"}}), ThinkingMode::High),
        (json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}), ThinkingMode::Low),
        (json!({"reasoning_effort": "low"}), ThinkingMode::Low),
        (json!({"reasoning_effort": "low", "output_config": {"effort": "max"}}), ThinkingMode::Max),
        (json!({"model": "deepseek-chat"}), ThinkingMode::None),
    ] {
        assert_eq!(thinking(more.clone()), expected, "{more}");
    }
    for (choice, expected) in [
        (json!({"type": "auto"}), (ToolChoice::Auto, true)),
        (json!({"type": "auto", "disable_parallel_tool_use": true}), (ToolChoice::Auto, false)),
        (json!({"type": "any", "disable_parallel_tool_use": false}), (ToolChoice::Required, true)),
        (json!({"type": "none"}), (ToolChoice::None, true)),
    ] {
        let asked = read(&with(json!({"tool_choice": choice, "tools": [{"name": "f"}]})));
        assert_eq!((asked.turn().tool_choice.clone(), asked.turn().parallel_tool_calls), expected);
    }
    let schema = json!({"type": "object", "properties": {"a": {"type": "null"}}});
    let format = json!({"type": "json_schema", "schema": schema});
    for more in [json!({"output_format": format}), json!({"output_config": {"format": format}})] {
        assert_eq!(read(&with(more)).turn().format, Format::JsonSchema(schema.clone()));
    }
    // Zero tokens are asked for to have the prompt read in advance.
    assert_eq!(read(&with(json!({"max_tokens": 0}))).turn().max_tokens, Some(0));
    assert_eq!(read(&with(json!({}))).turn().max_tokens, None);
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let block = |role: &str, block: Value| json!({"messages": [{"role": role, "content": [block]}]});
    for (body, param, word) in [
        (json!({}), "messages", "missing"),
        (json!({"messages": []}), "messages", "0 entries"),
        (json!({"messages": [{"role": "tool", "content": "x"}]}), "messages[0].role", "tool"),
        (json!({"messages": [{"role": "user", "content": 5}]}), "messages[0].content", "a number"),
        (block("user", json!({"type": "image", "source": {}})), "messages[0].content[0].type", "image"),
        (block("user", json!({"type": "document"})), "messages[0].content[0].type", "document"),
        (block("user", json!({"type": "tool_use", "name": "f"})), "messages[0].content[0].type", "assistant"),
        (block("assistant", json!({"type": "tool_result"})), "messages[0].content[0].type", "user"),
        (block("assistant", json!({"type": "server_tool_use"})), "messages[0].content[0].type", "server_tool_use"),
        (block("assistant", json!({"type": "tool_use"})), "messages[0].content[0].name", "missing"),
        (
            block("assistant", json!({"type": "tool_use", "name": "f", "input": "{}"})),
            "messages[0].content[0].input",
            "an object",
        ),
        (block("user", json!({"type": "tool_result"})), "messages[0].content[0].tool_use_id", "missing"),
        (
            block("user", json!({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image"}]})),
            "messages[0].content[0].content[0]",
            "image",
        ),
        (with(json!({"system": [{"type": "image"}]})), "system[0]", "image"),
        (with(json!({"system": 1})), "system", "a number"),
        (with(json!({"max_tokens": -1})), "max_tokens", "-1"),
        (with(json!({"stop_sequences": [1]})), "stop_sequences", "strings"),
        (
            with(json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]})),
            "tools[0].type",
            "web_search_20250305",
        ),
        (with(json!({"tools": [{"input_schema": {}}]})), "tools[0].name", "missing"),
        (with(json!({"tools": [{"name": "f", "input_schema": "{}"}]})), "tools[0].input_schema", "an object"),
        (with(json!({"tool_choice": "auto"})), "tool_choice", "an object"),
        (with(json!({"tool_choice": {"type": "some"}})), "tool_choice.type", "any"),
        (with(json!({"tool_choice": {"type": "tool"}})), "tool_choice.name", "missing"),
        (with(json!({"output_format": {"type": "grammar"}})), "output_format.type", "json_schema"),
        (with(json!({"output_config": {"format": {"type": "json_schema"}}})), "output_config.format.schema", "schema"),
    ] {
        let error = parse(&body).err().unwrap_or_else(|| panic!("{body} is accepted"));
        let ApiError::Invalid { message, param: found } = &error else { panic!("{error:?}") };
        assert_eq!(found.as_deref(), Some(param), "{message}");
        assert!(message.contains(word), "{message}");
    }
    assert!(Messages::parse(b"{", &facts()).is_err());
    assert!(Messages::parse(b"[]", &facts()).is_err());
}

#[test]
fn a_message_cannot_be_blown_up() {
    let results = |count: usize| {
        let result = json!({"type": "tool_result", "tool_use_id": ""});
        json!({"role": "user", "content": vec![result; count]})
    };
    let most = ds4_server::limits::MESSAGES_MAX;
    assert!(parse(&json!({"messages": [results(most)]})).is_ok());
    assert!(parse(&json!({"messages": [results(most + 1)]})).is_err());
    assert!(parse(&json!({"messages": [results(most), results(2), results(1)]})).is_err());
}

#[test]
fn refusals_have_the_form_of_the_api() {
    let text = String::new;
    for (error, kind) in [
        (ApiError::invalid("x"), "invalid_request_error"),
        (ApiError::Unauthorized, "authentication_error"),
        (ApiError::Forbidden(text()), "permission_error"),
        (ApiError::NotFound(text()), "not_found_error"),
        (ApiError::Method(text()), "invalid_request_error"),
        (ApiError::TooLarge(text()), "request_too_large"),
        (ApiError::Busy(text()), "rate_limit_error"),
        (ApiError::Internal(text()), "api_error"),
        (ApiError::Unavailable(text()), "overloaded_error"),
    ] {
        let expected = json!({"type": "error", "error": {"type": kind, "message": error.to_string()}});
        assert_eq!(Messages::error(&error), expected);
    }
    let long = Messages::error(&ApiError::ContextLength { prompt: 9, context: 8, param: "messages" });
    let expected = json!({"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8 maximum",
        "n_prompt_tokens": 9, "n_ctx": 8});
    assert_eq!(long["error"], expected);
}

/// Where values stand in `value`, but for those that are handed on as they are.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    let mut go = |key: String, value: &Value| {
        let place = format!("{at}/{key}");
        if !matches!(key.as_str(), "input" | "input_schema" | "schema" | "metadata") {
            places(value, &place, out);
        }
        out.push(place);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| go(key.clone(), value)),
        Value::Array(values) => values.iter().enumerate().for_each(|(index, value)| go(index.to_string(), value)),
        _ => {}
    }
}

/// Replaces what stands at `place`, or takes it out; whether there was something.
fn mutate(body: &mut Value, place: &str, new: Option<Value>) -> bool {
    let (parent, key) = place.rsplit_once('/').unwrap();
    match (body.pointer_mut(parent), new) {
        (Some(Value::Object(members)), None) => members.remove(key).is_some(),
        (Some(Value::Array(values)), None) => {
            let index = key.parse().ok().filter(|index: &usize| *index < values.len());
            index.map(|index| values.remove(index)).is_some()
        }
        (_, Some(new)) => body.pointer_mut(place).map(|old| *old = new).is_some(),
        _ => false,
    }
}

fn strange() -> Vec<Value> {
    let mut deep = json!([]);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let long = "x".repeat(5000);
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("\u{0}\u{10ffff}"),
        json!(long),
        json!([]),
        json!([null]),
        json!(["text"]),
        json!([[]]),
        json!({}),
        json!({"type": "x"}),
        json!({"type": 1}),
        json!([{"type": "text"}]),
        deep,
    ]
}

/// What is asked for, or that it is refused as the client's fault.
fn verdict(body: &Value) -> Option<String> {
    match parse(body) {
        Ok(asked) => {
            assert!(asked.turn().stop.iter().all(|text| !text.is_empty()));
            Some(format!("{} {:?}", asked.streams(), asked.turn()))
        }
        Err(error) => {
            assert_eq!(error.status(), 400);
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

#[test]
fn strange_members_are_read_or_refused_and_null_is_absent() {
    let mut all = Vec::new();
    places(&full(), "", &mut all);
    let mut refused = 0;
    for place in &all {
        for value in strange() {
            let mut body = full();
            assert!(mutate(&mut body, place, Some(value)));
            refused += usize::from(verdict(&body).is_none());
        }
        let is_member = place.rsplit('/').next().is_some_and(|key| key.parse::<usize>().is_err());
        // Without a seed every request has one of its own.
        if is_member && place != "/seed" {
            let (mut without, mut null) = (full(), full());
            assert!(mutate(&mut without, place, None) && mutate(&mut null, place, Some(Value::Null)));
            assert_eq!(verdict(&without), verdict(&null), "{place}");
        }
    }
    assert!(refused > all.len() * 5, "{refused} of {} places with {} values", all.len(), strange().len());
}

/// An answer as the model may give it. The last call may be cut off anywhere.
#[derive(Clone, Debug)]
struct Said {
    reasoning: Vec<String>,
    content: Vec<String>,
    calls: Vec<(String, Vec<Value>)>,
    cut: Option<Index>,
    finish: Finish,
    tokens: usize,
}

fn said() -> impl Strategy<Value = Said> {
    let texts = || prop::collection::vec(".{0,6}", 0..4);
    let value = prop_oneof![
        any::<String>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::collection::vec(any::<bool>(), 0..3).prop_map(|items| json!({"a, }": items, "b": null})),
    ];
    let call = ("[a-z_]{1,8}", prop::collection::vec(value, 0..4));
    let finish = prop_oneof![
        Just(Finish::Stop),
        Just(Finish::Length),
        ".{1,4}".prop_map(Finish::StopString),
        Just(Finish::ToolCalls)
    ];
    let cut = prop::option::of(any::<Index>());
    (texts(), texts(), prop::collection::vec(call, 0..4), cut, finish, 0..50_usize).prop_map(
        |(reasoning, content, calls, cut, finish, tokens)| Said { reasoning, content, calls, cut, finish, tokens },
    )
}

/// The events of an answer, and what clients can make of the last call's arguments.
fn events(said: &Said) -> (Vec<Event>, Value) {
    let piece = |text: &String| Piece { text: text.clone(), logprobs: Vec::new() };
    let mut deltas: Vec<Delta> = said.reasoning.iter().map(|text| Delta::Reasoning(piece(text))).collect();
    deltas.extend(said.content.iter().map(|text| Delta::Content(piece(text))));
    let mut last_input = json!({});
    let mut is_cut = false;
    for (index, (name, values)) in said.calls.iter().enumerate() {
        let mut text = "{".to_owned();
        // Length of the text with the comma behind each member.
        let mut whole = Vec::new();
        for (number, value) in values.iter().enumerate() {
            text += &format!("\"k\\\"{number}\":{value}");
            text += if number + 1 < values.len() { "," } else { "}" };
            whole.push(text.len());
        }
        text += if values.is_empty() { "}" } else { "" };
        let mut end = text.len();
        if let Some(cut) = said.cut.filter(|_| index + 1 == said.calls.len()) {
            end = cut.index(text.len());
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            is_cut = true;
        }
        let members = values.iter().enumerate().zip(&whole).filter(|(_, whole)| **whole <= end);
        last_input = members.map(|((number, value), _)| (format!("k\"{number}"), value.clone())).collect();
        let id = format!("toolu_{index}");
        deltas.push(Delta::CallStart { index, id, name: name.clone() });
        let characters: Vec<char> = text[..end].chars().collect();
        let fragments = characters.chunks(3).map(|fragment| fragment.iter().collect());
        deltas.extend(fragments.map(|fragment| Delta::CallArguments { index, fragment }));
        if !is_cut {
            deltas.push(Delta::CallEnd { index });
        }
    }
    let finish = if is_cut { Finish::Length } else { said.finish.clone() };
    let mut events = vec![Event::Started { prompt_tokens: 20, cached_tokens: said.tokens.min(20) }];
    events.extend(deltas.into_iter().map(|delta| Event::Delta { choice: 0, delta }));
    events.push(Event::Finished {
        choice: 0,
        finish,
        completion_tokens: said.tokens,
        reasoning_tokens: 0,
        closed: None,
    });
    (events, last_input)
}

fn stamp() -> Stamp {
    Stamp { id: "1".to_owned(), created: 0 }
}

/// The events of a stream, each with the name that its data have.
fn stream(events: &[Event]) -> Vec<Value> {
    let mut encoder = read(&with(json!({}))).encoder(stamp());
    let mut out = Sse::default();
    events.iter().for_each(|event| encoder.event(event.clone(), &mut out));
    let text = out.take();
    let event = |event: &str| {
        let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["type"], name);
        data
    };
    text.split_terminator("\n\n").map(event).collect()
}

fn append(block: &mut Value, member: &str, text: &Value) {
    let joined = block[member].as_str().unwrap().to_owned() + text.as_str().unwrap();
    block[member] = json!(joined);
}

/// The message that a client puts together, which accepts no event out of order.
fn assemble(stream: &[Value], cut_input: &Value) -> Value {
    let (first, last) = (&stream[0], stream.last().unwrap());
    assert_eq!((&first["type"], &last["type"]), (&json!("message_start"), &json!("message_stop")));
    let mut message = first["message"].clone();
    assert_eq!(message["content"], json!([]));
    let mut blocks: Vec<Value> = Vec::new();
    let mut arguments = String::new();
    let (mut is_open, mut is_over) = (false, false);
    for event in &stream[1..stream.len() - 1] {
        assert!(!is_over, "{event}");
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert!(!is_open);
                assert_eq!(event["index"], blocks.len());
                blocks.push(event["content_block"].clone());
                arguments.clear();
                is_open = true;
            }
            "content_block_delta" => {
                assert!(is_open);
                assert_eq!(event["index"], blocks.len() - 1);
                let block = blocks.last_mut().unwrap();
                let delta = &event["delta"];
                let of = |kind: &str| assert_eq!(block["type"], kind);
                match delta["type"].as_str().unwrap() {
                    "thinking_delta" => {
                        of("thinking");
                        assert_eq!(block["signature"], "", "the signature comes last");
                        append(block, "thinking", &delta["thinking"]);
                    }
                    "signature_delta" => {
                        of("thinking");
                        append(block, "signature", &delta["signature"]);
                    }
                    "text_delta" => {
                        of("text");
                        append(block, "text", &delta["text"]);
                    }
                    "input_json_delta" => {
                        of("tool_use");
                        arguments += delta["partial_json"].as_str().unwrap();
                    }
                    other => panic!("{other}"),
                }
            }
            "content_block_stop" => {
                assert!(is_open);
                assert_eq!(event["index"], blocks.len() - 1);
                let block = blocks.last_mut().unwrap();
                if block["type"] == "tool_use" {
                    assert_eq!(block["input"], json!({}));
                    block["input"] = serde_json::from_str(&arguments).unwrap_or_else(|_| cut_input.clone());
                }
                is_open = false;
            }
            "message_delta" => {
                assert!(!is_open);
                is_over = true;
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                message["stop_sequence"] = event["delta"]["stop_sequence"].clone();
                let sent = event["usage"].as_object().unwrap();
                message["usage"].as_object_mut().unwrap().extend(sent.clone());
            }
            other => panic!("{other}"),
        }
    }
    assert!(is_over);
    message["content"] = json!(blocks);
    message
}

fn complete(events: &[Event]) -> Value {
    let mut outcome = Outcome::default();
    events.iter().for_each(|event| outcome.add(event.clone()));
    read(&with(json!({}))).complete(&stamp(), &outcome)
}

proptest! {
    #[test]
    fn a_stream_says_what_the_whole_message_says(said in said()) {
        let (events, cut_input) = events(&said);
        let whole = complete(&events);
        prop_assert_eq!(&assemble(&stream(&events), &cut_input), &whole);
        if let (Some(_), Some(call)) = (said.cut, whole["content"].as_array().unwrap().last()) {
            prop_assert!(said.calls.is_empty() || call["input"] == cut_input, "{} {}", call, cut_input);
        }
        let usage = &whole["usage"];
        let parts = ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"];
        prop_assert_eq!(parts.iter().map(|part| usage[part].as_u64().unwrap()).sum::<u64>(), 20);
        prop_assert_eq!(usage["output_tokens"].as_u64(), Some(said.tokens as u64));
    }

    #[test]
    fn a_failure_ends_the_stream_wherever_it_happens(said in said(), at in any::<Index>()) {
        let (mut events, _) = events(&said);
        // The first event is always there, the last is what fails to come.
        events.truncate(1 + at.index(events.len() - 1));
        events.push(Event::Failed("broken".to_owned()));
        let stream = stream(&events);
        let error = json!({"type": "error", "error": {"type": "api_error", "message": "broken"}});
        prop_assert_eq!(stream.last(), Some(&error));
        prop_assert!(stream.iter().all(|event| event["type"] != "message_stop"));
    }

    #[test]
    fn requests_with_several_strange_members_are_read_or_refused(
        changes in prop::collection::vec((any::<Index>(), prop::option::of(any::<Index>())), 1..6),
    ) {
        let mut body = full();
        let values = strange();
        for (place, value) in changes {
            let mut all = Vec::new();
            places(&body, "", &mut all);
            if all.is_empty() {
                break;
            }
            mutate(&mut body, place.get::<String>(&all), value.map(|value| value.get::<Value>(&values).clone()));
        }
        verdict(&body);
    }
}

fn answer(deltas: Vec<Delta>, finish: Finish, completion_tokens: usize) -> Vec<Event> {
    let mut events = vec![Event::Started { prompt_tokens: 15, cached_tokens: 10 }];
    events.extend(deltas.into_iter().map(|delta| Event::Delta { choice: 0, delta }));
    events.push(Event::Finished { choice: 0, finish, completion_tokens, reasoning_tokens: 0, closed: None });
    events
}

#[test]
fn every_end_has_its_reason() {
    let text = |text: &str| Delta::Content(Piece { text: text.to_owned(), logprobs: Vec::new() });
    let thought = || Delta::Reasoning(Piece { text: "Hm".to_owned(), logprobs: Vec::new() });
    let call = || Delta::CallStart { index: 0, id: "toolu_0".to_owned(), name: "f".to_owned() };
    let part = |fragment: &str| Delta::CallArguments { index: 0, fragment: fragment.to_owned() };
    let thinking = json!({"type": "thinking", "thinking": "Hm", "signature": "msg_1"});
    let nothing = json!({"type": "text", "text": ""});
    let used = |input: Value| json!({"type": "tool_use", "id": "toolu_0", "name": "f", "input": input});
    for (deltas, finish, tokens, content, reason, sequence) in [
        (vec![text("Hi")], Finish::Stop, 2, json!([{"type": "text", "text": "Hi"}]), "end_turn", json!(null)),
        (vec![], Finish::StopString("x".to_owned()), 1, json!([nothing]), "stop_sequence", json!("x")),
        (vec![], Finish::Stop, 0, json!([nothing]), "end_turn", json!(null)),
        (vec![thought()], Finish::Length, 1, json!([thinking, nothing]), "max_tokens", json!(null)),
        (vec![call(), part("{}")], Finish::ToolCalls, 5, json!([used(json!({}))]), "tool_use", json!(null)),
        // No token was asked for.
        (vec![], Finish::Length, 0, json!([]), "max_tokens", json!(null)),
        // Cut off: what is whole of the arguments.
        (vec![call()], Finish::Length, 3, json!([used(json!({}))]), "max_tokens", json!(null)),
        (
            vec![call(), part(r#"{"a":"}, \"","b":{"c":1,"#)],
            Finish::Length,
            9,
            json!([used(json!({"a": "}, \""}))]),
            "max_tokens",
            json!(null),
        ),
    ] {
        let events = answer(deltas, finish, tokens);
        let whole = complete(&events);
        assert_eq!((&whole["content"], &whole["stop_reason"]), (&content, &json!(reason)));
        assert_eq!(whole["stop_sequence"], sequence);
        let last_input = content.as_array().unwrap().last().map_or(Value::Null, |block| block["input"].clone());
        assert_eq!(assemble(&stream(&events), &last_input), whole);
    }
}

#[test]
fn silence_is_broken_by_a_ping() {
    let ping = read(&with(json!({}))).encoder(stamp()).keep_alive();
    let data = ping.strip_prefix("event: ping\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
    assert_eq!(serde_json::from_str::<Value>(data).unwrap(), json!({"type": "ping"}));
}
