//! What is sampled at random under a mask is well-formed and valid.

use crate::common::{self, GRAMMARS, Random, Sample, object_schema, sample, schema};
use ds4_chat::{Answer, BlockStatus, parse_answer};
use ds4_grammar::{Error, Format, Spec, Tool, ToolChoice};
use serde_json::{Value, json};

const TOKENS_MAX: usize = 400;

fn assert_valid(schema: &Value, value: &Value, text: &str) {
    let validator = jsonschema::validator_for(schema).unwrap();
    let errors = validator.iter_errors(value).map(|error| error.to_string()).collect::<Vec<_>>();
    assert!(errors.is_empty(), "{errors:?}\nschema {schema}\ntext {text:?}");
}

fn text_spec(thinking: bool, tools: &[Tool], choice: ToolChoice) -> Spec<'_> {
    Spec { thinking, tools, choice, parallel: true, format: Format::Text }
}

/// The value that `text` is; `None` for a number beyond the range of `f64`, which JSON allows and a schema
/// cannot exclude.
fn parsed(text: &str) -> Option<Value> {
    match serde_json::from_str(text) {
        Ok(value) => Some(value),
        Err(error) if error.to_string().starts_with("number out of range") => None,
        Err(error) => panic!("{error}: {text:?}"),
    }
}

#[test]
fn json_of_random_schemas_is_valid() {
    let mut random = Random(1);
    let (mut ended, mut sampled) = (0, 0);
    for case in 0..160 {
        let schema = if case % 2 == 0 { object_schema(&mut random, 2) } else { schema(&mut random, 3) };
        let format = Format::JsonSchema(schema.clone());
        let spec = Spec { thinking: false, tools: &[], choice: ToolChoice::Auto, parallel: true, format };
        let constraint = GRAMMARS.compile(&spec).unwrap_or_else(|error| panic!("{error}: {schema}"));
        for _ in 0..3 {
            let answer = sample(&mut constraint.clone(), &mut random, TOKENS_MAX);
            sampled += 1;
            if answer.ended {
                ended += 1;
                if let Some(value) = parsed(&answer.text) {
                    assert_valid(&schema, &value, &answer.text);
                }
            }
        }
    }
    println!("{ended} of {sampled} ended");
    assert!(ended * 10 >= sampled * 9, "{ended} of {sampled} ended");
}

fn tools(random: &mut Random) -> Vec<Tool> {
    let names = ["get_weather", "a.b/c", "search & <find>", "get_weather_2"];
    let count = 1 + random.below(names.len());
    names[..count]
        .iter()
        .map(|name| Tool { name: (*name).to_owned(), parameters: object_schema(random, 2), strict: false })
        .collect()
}

/// Checks the calls of an answer that has some; their number.
fn check_calls(answer: &Answer, tools: &[Tool], text: &str) -> usize {
    assert_eq!(answer.status, BlockStatus::Complete, "{text}");
    for call in &answer.calls {
        let tool = tools.iter().find(|tool| tool.name == call.name).unwrap_or_else(|| panic!("{}: {text}", call.name));
        let mut schema = tool.parameters.clone();
        if schema.get("additionalProperties").is_none() {
            schema["additionalProperties"] = json!(false);
        }
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
        assert_valid(&schema, &arguments, text);
    }
    answer.calls.len()
}

#[test]
fn demanded_calls_parse_and_their_arguments_are_valid() {
    let mut random = Random(2);
    let (mut ended, mut sampled, mut several) = (0, 0, 0);
    for case in 0..120 {
        let tools = tools(&mut random);
        let named = tools[tools.len() - 1].name.clone();
        let (thinking, parallel, is_named) = (case % 2 == 0, case % 3 == 0, case % 4 == 3);
        let choice = if is_named { ToolChoice::Named(named.clone()) } else { ToolChoice::Required };
        let spec = Spec { parallel, ..text_spec(thinking, &tools, choice) };
        let constraint = GRAMMARS.compile(&spec).unwrap_or_else(|error| panic!("{error}: {tools:?}"));
        for _ in 0..2 {
            let Sample { text, ended: has_ended, .. } = sample(&mut constraint.clone(), &mut random, TOKENS_MAX);
            sampled += 1;
            if !has_ended {
                continue;
            }
            ended += 1;
            let answer = parse_answer(&text, thinking, true);
            let calls = check_calls(&answer, &tools, &text);
            assert_eq!(answer.content, "", "{text}");
            assert!(calls == 1 || parallel && calls > 1, "{text}");
            assert!(!is_named || answer.calls.iter().all(|call| call.name == named), "{text}");
            let block = text.split_once("</think>").filter(|_| thinking).map_or(&*text, |(_, block)| block);
            assert!(
                block.starts_with("\n\n<\u{ff5c}DSML\u{ff5c}tool_calls>\n<\u{ff5c}DSML\u{ff5c}invoke name=\""),
                "{text}"
            );
            assert!(block.ends_with("</\u{ff5c}DSML\u{ff5c}invoke>\n</\u{ff5c}DSML\u{ff5c}tool_calls>"), "{text}");
            several += usize::from(calls > 1);
        }
    }
    println!("{ended} of {sampled} ended, {several} with several calls");
    assert!(ended * 10 >= sampled * 9 && several > 0, "{ended} of {sampled} ended, {several} with several calls");
}

#[test]
fn with_tools_and_a_format_content_is_a_call_or_a_value() {
    let mut random = Random(3);
    let (mut calls, mut values) = (0, 0);
    for case in 0..60 {
        let tools = tools(&mut random);
        let schema = object_schema(&mut random, 1);
        let format = if case % 2 == 0 { Format::JsonObject } else { Format::JsonSchema(schema.clone()) };
        let thinking = case % 3 == 0;
        let spec = Spec { thinking, tools: &tools, choice: ToolChoice::Auto, parallel: false, format };
        let constraint = GRAMMARS.compile(&spec).unwrap();
        for _ in 0..3 {
            let Sample { text, ended, .. } = sample(&mut constraint.clone(), &mut random, TOKENS_MAX);
            if !ended {
                continue;
            }
            let answer = parse_answer(&text, thinking, true);
            if answer.calls.is_empty() {
                if let Some(value) = parsed(&answer.content) {
                    assert!(value.is_object());
                    assert_valid(if case % 2 == 0 { &Value::Bool(true) } else { &schema }, &value, &text);
                }
                values += 1;
            } else {
                assert_eq!((check_calls(&answer, &tools, &text), &*answer.content), (1, ""), "{text}");
                calls += 1;
            }
        }
    }
    println!("{calls} calls, {values} values");
    assert!(calls > 10 && values > 10, "{calls} calls, {values} values");
}

#[test]
fn free_text_has_no_control_tokens_and_may_call() {
    let mut random = Random(4);
    let specials = common::TOKENIZER.specials();
    let dsml = specials.dsml.unwrap().0;
    for case in 0..60 {
        let tools = tools(&mut random);
        let thinking = case % 2 == 0;
        let choice = if case % 3 == 0 { ToolChoice::None } else { ToolChoice::Auto };
        let constraint = GRAMMARS.compile(&text_spec(thinking, &tools, choice.clone())).unwrap();
        let Sample { text, tokens, ended } = sample(&mut constraint.clone(), &mut random, TOKENS_MAX);
        let is_control =
            |&&token: &&u32| common::TOKENIZER.token_str(ds4_tokenizer::TokenId(token)).unwrap().contains('\u{ff5c}');
        assert!(tokens.iter().filter(is_control).all(|&token| token == dsml), "{text}");
        let content = tokens.iter().rposition(|&token| Some(token) == specials.think_end.map(|id| id.0));
        assert!(thinking || content.is_none());
        let content = if thinking { content.map_or(&[][..], |end| &tokens[end..]) } else { &tokens[..] };
        if choice == ToolChoice::None {
            assert!(!content.contains(&dsml), "{text}");
        } else if content.contains(&dsml) && ended {
            check_calls(&parse_answer(&text, thinking, true), &tools, &text);
        }
    }
}

#[test]
fn a_call_that_free_text_begins_is_completed() {
    let mut random = Random(6);
    let start = "Let me look.\n\n<\u{ff5c}DSML\u{ff5c}";
    let mut calls = 0;
    for case in 0..60 {
        let tools = tools(&mut random);
        let thinking = case % 2 == 0;
        let mut constraint = GRAMMARS.compile(&text_spec(thinking, &tools, ToolChoice::Auto)).unwrap();
        let start = if thinking { format!("Hm</think>{start}") } else { start.to_owned() };
        let (accepted, all) = common::feed(&mut constraint, &start);
        assert_eq!(accepted, all);
        let Sample { text, ended, .. } = sample(&mut constraint, &mut random, TOKENS_MAX);
        if ended {
            let text = start + &text;
            let answer = parse_answer(&text, thinking, true);
            calls += check_calls(&answer, &tools, &text);
            assert_eq!(answer.content, "Let me look.");
        }
    }
    println!("{calls} calls");
    assert!(calls >= 50, "{calls} calls");
}

#[test]
fn a_schema_that_nothing_satisfies_is_refused() {
    let format = Format::JsonSchema(json!({"type": "object", "properties": {"a": false}, "required": ["a"]}));
    let spec = Spec { thinking: false, tools: &[], choice: ToolChoice::Auto, parallel: true, format };
    assert!(matches!(GRAMMARS.compile(&spec), Err(Error::Schema { .. })));
}
