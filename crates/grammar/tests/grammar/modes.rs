//! What each kind of request lets pass, told by whole answers.

use crate::common::{GRAMMARS, TOKENIZER, feed, passes};
use ds4_grammar::{Constraint, Error, Format, Spec, Tool, ToolChoice};
use serde_json::{Value, json};

fn tool(name: &str, parameters: Value) -> Tool {
    Tool { name: name.to_owned(), parameters, strict: false }
}

fn weather() -> Vec<Tool> {
    let parameters = json!({
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer", "minimum": 1, "maximum": 7},
            "unit": {"enum": ["C", "F"]},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
            "note": {"type": ["string", "null"]}
        },
        "required": ["city"],
        "$defs": {"tag": {"type": "string", "maxLength": 3}}
    });
    vec![tool("weather", parameters), tool("ping", json!({"type": "object", "properties": {"n": {"type": "number"}}}))]
}

fn compile(thinking: bool, tools: &[Tool], choice: ToolChoice, parallel: bool, format: Format) -> Constraint {
    GRAMMARS.compile(&Spec { thinking, tools, choice, parallel, format }).unwrap()
}

fn auto() -> Constraint {
    compile(false, &weather(), ToolChoice::Auto, true, Format::Text)
}

/// A block in the canonical form; `<` and `</` before a `:` stand for the marker.
fn block(calls: &str) -> String {
    let text = format!("\n\n<:tool_calls>\n{calls}</:tool_calls>");
    text.replace("<:", "<\u{ff5c}DSML\u{ff5c}").replace("</:", "</\u{ff5c}DSML\u{ff5c}")
}

fn call(name: &str, parameters: &str) -> String {
    format!("<:invoke name=\"{name}\">\n{parameters}</:invoke>\n")
}

fn text(name: &str, value: &str) -> String {
    format!("<:parameter name=\"{name}\" string=\"true\">{value}</:parameter>\n")
}

fn value(name: &str, value: &str) -> String {
    format!("<:parameter name=\"{name}\" string=\"false\">{value}</:parameter>\n")
}

#[test]
fn canonical_blocks_pass_and_others_do_not() {
    let city = text("city", "Bad Ems <b> & \"more\" </x>\n{}");
    let good = [
        call("weather", &city),
        call("weather", &text("city", "")),
        call("weather", &(city.clone() + &value("days", "7") + &text("unit", "F"))),
        call("weather", &(city.clone() + &value("tags", "[\"a\", \"bcd\"]") + &value("note", "null"))),
        call("weather", &(city.clone() + &value("tags", "[\n  \"a\",\n  \"b\"\n]") + &text("note", "null"))),
        call("ping", "\n"),
        call("ping", &value("n", "-1.5")) + &call("weather", &city),
    ];
    for calls in &good {
        assert!(passes(auto(), &block(calls)), "{calls}");
        assert!(passes(auto(), &format!("Let me see.{}", block(calls))), "{calls}");
    }
    let bad = [
        call("weather", "\n"),
        call("weather", &value("days", "3")),
        call("weather", &(city.clone() + &city)),
        call("weather", &(city.clone() + &value("days", "8"))),
        call("weather", &(city.clone() + &text("days", "3"))),
        call("weather", &(city.clone() + &text("unit", "K"))),
        call("weather", &(city.clone() + &text("other", "x"))),
        call("weather", &(city.clone() + &value("tags", "[\"abcd\"]"))),
        call("weather", &value("city", "\"x\"")),
        call("weather", &city.replace("string=\"true\"", "string=\"no\"")),
        call("wether", &city),
        call("ping", ""),
        String::new(),
    ];
    for calls in &bad {
        assert!(!passes(auto(), &block(calls)), "{calls}");
    }
}

#[test]
fn a_block_begins_with_its_line_and_nothing_follows_it() {
    let calls = block(&call("ping", "\n"));
    assert!(passes(auto(), calls.trim_start()));
    assert!(passes(auto(), &format!("a\n{}", calls.trim_start())));
    assert!(!passes(auto(), &format!("a {}", calls.trim_start())));
    assert!(!passes(auto(), &format!("{calls}\n")));
    assert!(!passes(auto(), &calls.replace("tool_calls>\n", "tool_call>\n")));
    let mut constraint = auto();
    let (accepted, all) = feed(&mut constraint, &calls);
    assert_eq!(accepted, all);
    assert!(constraint.must_stop());
    assert_eq!(constraint.accept(300), Err(Error::Token { token: 300 }));
    constraint.accept(TOKENIZER.specials().eos.0).unwrap();
}

#[test]
fn one_call_unless_parallel() {
    let two = block(&(call("ping", "\n") + &call("ping", "\n")));
    assert!(passes(auto(), &two));
    let single = compile(false, &weather(), ToolChoice::Auto, false, Format::Text);
    assert!(passes(single.clone(), &block(&call("ping", "\n"))));
    assert!(!passes(single, &two));
}

#[test]
fn demanded_calls_leave_no_choice() {
    for choice in [ToolChoice::Required, ToolChoice::Named("ping".to_owned())] {
        let named = matches!(choice, ToolChoice::Named(_));
        let format = if named { Format::JsonObject } else { Format::Text };
        let thinking = compile(true, &weather(), choice.clone(), true, format.clone());
        let constraint = compile(false, &weather(), choice, true, format);
        let ping = block(&call("ping", "\n"));
        let weather = block(&call("weather", &text("city", "Ulm")));
        assert!(passes(constraint.clone(), &ping));
        assert_eq!(passes(constraint.clone(), &weather), !named);
        assert!(!passes(constraint.clone(), ""));
        assert!(!passes(constraint.clone(), &format!("Well.{ping}")));
        assert!(!passes(constraint.clone(), "{}"));
        assert!(!passes(constraint, ping.trim_start()));
        assert!(passes(thinking.clone(), &format!("Hm {ping} hm</think>{ping}")));
        assert!(!passes(thinking.clone(), "Hm"));
        assert!(!passes(thinking, "Hm</think>"));
    }
}

#[test]
fn without_tools_no_marker_appears_in_content() {
    let ping = block(&call("ping", "\n"));
    for (tools, choice) in [(weather(), ToolChoice::None), (Vec::new(), ToolChoice::Auto)] {
        let plain = compile(false, &tools, choice.clone(), true, Format::Text);
        assert!(passes(plain.clone(), "Any text\n\n<tool_calls>"));
        assert!(passes(plain.clone(), ""));
        assert!(!passes(plain.clone(), &ping));
        assert!(!passes(plain, "a</think>b"));
        let thinking = compile(true, &tools, choice, true, Format::Text);
        assert!(passes(thinking.clone(), &format!("quoting {ping}</think>So.")));
        // A model may give up inside reasoning when nothing is asked of its content.
        assert!(passes(thinking.clone(), "Hm"));
        assert!(!passes(thinking.clone(), "Hm<think>"));
        assert!(!passes(thinking.clone(), "Hm</think>a</think>"));
        assert!(!passes(thinking, &format!("Hm</think>a{ping}")));
    }
}

#[test]
fn json_content_is_one_value() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]});
    for (format, other) in [(Format::JsonObject, true), (Format::JsonSchema(schema), false)] {
        let plain = compile(false, &[], ToolChoice::Auto, true, format.clone());
        for good in ["{\"a\": 1}", "{\"a\":1}", "\n\n{\n    \"a\": 1,\n    \"b\": [\"</parameter>\"]\n}"] {
            assert!(passes(plain.clone(), good), "{good}");
        }
        assert_eq!(passes(plain.clone(), "{\"a\": \"x\"}"), other);
        for bad in ["", "{\"a\": 1} {}", "```json", "[]", "\n\n\n{\"a\": 1}", "{\"a\":    1}", "{\"a\": 1"] {
            assert!(!passes(plain.clone(), bad), "{bad}");
        }
        let mut complete = plain.clone();
        feed(&mut complete, "{\"a\": 1}");
        assert!(complete.must_stop());
        assert!(!passes(plain, &block(&call("ping", "\n"))));
        let thinking = compile(true, &weather(), ToolChoice::Auto, true, format);
        assert!(passes(thinking.clone(), "Hm</think>{\"a\": 1}"));
        assert!(passes(thinking.clone(), &format!("Hm</think>{}", block(&call("ping", "\n")))));
        assert!(!passes(thinking.clone(), &format!("Hm</think>{{\"a\": 1}}{}", block(&call("ping", "\n")))));
        assert!(!passes(thinking, "Hm"));
    }
}

#[test]
fn a_bare_number_may_grow() {
    let format = Format::JsonSchema(json!({"type": "integer"}));
    let mut constraint = compile(false, &[], ToolChoice::Auto, true, format);
    feed(&mut constraint, "12");
    assert!(!constraint.must_stop());
    assert!(passes(constraint.clone(), "3"));
    assert!(passes(constraint, ""));
}

#[test]
fn a_value_cannot_spell_its_closing_tag() {
    let code = "<tag></parameters> </paramete";
    assert!(passes(auto(), &block(&call("weather", &text("city", code)))));
    for tag in ["</parameter>", "</\u{ff5c}parameter>", "</parameter "] {
        assert!(!passes(auto(), &block(&call("weather", &text("city", &format!("x {tag} y"))))), "{tag}");
        let note = value("note", &format!("\"x {tag} y\""));
        assert!(!passes(auto(), &block(&call("weather", &(text("city", "") + &note)))), "{tag}");
    }
}

#[test]
fn fixed_texts_are_written_so_that_they_are_read_back() {
    let texts = ["plain & <simple>", "&lt;b&gt;", "x</parameter>y", "&amp;"];
    let tools = [tool("t", json!({"properties": {"p": {"enum": texts}}, "required": ["p"]}))];
    let constraint = compile(false, &tools, ToolChoice::Required, true, Format::Text);
    for (text_of, written) in
        texts.iter().zip(["plain & <simple>", "&amp;lt;b&amp;gt;", "x&lt;/parameter>y", "&amp;amp;"])
    {
        let calls = block(&call("t", &text("p", written)));
        assert!(passes(constraint.clone(), &calls), "{calls}");
        let arguments: Value =
            serde_json::from_str(&ds4_chat::parse_answer(&calls, false, true).calls[0].arguments).unwrap();
        assert_eq!(arguments["p"], *text_of);
    }
    assert!(!passes(constraint, &block(&call("t", &text("p", "&lt;b&gt;")))));
}

#[test]
fn other_parameters_come_if_the_schema_allows_them() {
    let parameters = |others: Value| json!({"properties": {"a": {"type": "string"}}, "additionalProperties": others});
    let a = text("a", "1");
    for (others, texts, values) in [
        (json!(true), true, true),
        (json!({}), true, true),
        (json!({"type": "integer"}), false, true),
        (json!({"type": "string", "pattern": "^x+$"}), true, false),
        (json!(false), false, false),
    ] {
        let tools = [tool("t", parameters(others.clone()))];
        let constraint = compile(false, &tools, ToolChoice::Required, true, Format::Text);
        assert_eq!(
            passes(constraint.clone(), &block(&call("t", &(a.clone() + &text("other", "xx"))))),
            texts,
            "{others}"
        );
        assert_eq!(
            passes(constraint.clone(), &block(&call("t", &(a.clone() + &value("other", "3"))))),
            values,
            "{others}"
        );
        assert_eq!(passes(constraint.clone(), &block(&call("t", &value("other", "3")))), values, "{others}");
        assert!(!passes(constraint.clone(), &block(&call("t", &(a.clone() + &a)))), "{others}");
        assert!(passes(constraint, &block(&call("t", "\n"))), "{others}");
    }
    let named_elsewhere = [tool("t", json!({"required": ["q"], "anyOf": [{"required": ["q"]}]}))];
    let constraint = compile(false, &named_elsewhere, ToolChoice::Required, true, Format::Text);
    assert!(passes(constraint.clone(), &block(&call("t", &(text("q", "1") + &value("r", "{}"))))));
    assert!(!passes(constraint, &block(&call("t", &value("r", "{}")))));
}

#[test]
fn tools_keep_working_with_keywords_that_cannot_be_enforced() {
    let parameters = json!({"properties": {"a": {
        "type": "array", "uniqueItems": true, "contains": {"const": 1},
        "items": {"type": "integer", "format": "uint8", "not": {"const": 5}}
    }, "b": {"type": "string", "pattern": "^(?!x)y"}}});
    let tools = [tool("t", parameters), tool("nothing", Value::Null)];
    let constraint = compile(false, &tools, ToolChoice::Required, true, Format::Text);
    assert!(passes(constraint.clone(), &block(&call("t", &(value("a", "[1, 1]") + &text("b", "x"))))));
    assert!(!passes(constraint.clone(), &block(&call("t", &value("a", "[true]")))));
    assert!(passes(constraint, &block(&call("nothing", "\n"))));
}

#[test]
fn a_clone_goes_its_own_way() {
    let mut constraint = auto();
    feed(&mut constraint, "\n\n<\u{ff5c}DSML\u{ff5c}tool_calls>\n<\u{ff5c}DSML\u{ff5c}invoke name=\"");
    let clone = constraint.clone();
    let (accepted, all) = feed(&mut constraint, "pi");
    assert_eq!(accepted, all);
    let rest = block(&call("weather", &text("city", "Ulm")));
    assert!(passes(clone, rest.split_once("name=\"").unwrap().1));
}

#[test]
fn the_types_may_cross_threads() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send + Clone>() {}
    shared::<ds4_grammar::Grammars>();
    sent::<Constraint>();
}
