//! Requests that are refused, and those made to cost too much.

use crate::common::{GRAMMARS, Random, TOKENIZER, feed};
use ds4_grammar::{Constraint, Error, Format, Grammars, Spec, Tool, ToolChoice};
use ds4_tokenizer::{TokenId, Tokenizer, Vocabulary, markers};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest that compiling a request may take.
const COMPILE_MAX: Duration = Duration::from_secs(1);

/// Longest that one mask may take.
const MASK_MAX: Duration = Duration::from_secs(1);

fn compile_format(schema: &Value) -> Result<Constraint, Error> {
    let format = Format::JsonSchema(schema.clone());
    GRAMMARS.compile(&Spec { thinking: false, tools: &[], choice: ToolChoice::Auto, parallel: true, format })
}

fn compile_tool(parameters: Value) -> Result<Constraint, Error> {
    compile_tool_as(parameters, false)
}

fn compile_tool_as(parameters: Value, strict: bool) -> Result<Constraint, Error> {
    let tools = [Tool { name: "t".to_owned(), parameters, strict }];
    let spec =
        Spec { thinking: false, tools: &tools, choice: ToolChoice::Required, parallel: true, format: Format::Text };
    GRAMMARS.compile(&spec)
}

#[test]
fn what_cannot_be_enforced_is_named() {
    for (keyword, value) in [
        ("not", json!({"type": "string"})),
        ("if", json!({})),
        ("uniqueItems", json!(true)),
        ("contains", json!({})),
        ("propertyNames", json!({"pattern": "x"})),
        ("dependentRequired", json!({"a": ["b"]})),
        ("unevaluatedProperties", json!({"type": "null"})),
    ] {
        let mut schema = json!({"type": "object", "properties": {"a": {"type": "object"}}});
        schema["properties"]["a"][keyword] = value;
        let error = compile_format(&schema).err().unwrap();
        assert_eq!(error, Error::Unsupported { keyword: keyword.to_owned() });
        assert!(error.to_string().contains(keyword));
    }
    for (keyword, schema) in [
        ("oneOf", json!({"oneOf": [{"type": "integer"}, {"type": "number"}]})),
        ("pattern", json!({"type": "string", "pattern": "(?=x)y"})),
        ("minProperties", json!({"properties": {"a": {}}, "minProperties": 2})),
    ] {
        let error = compile_format(&schema).err().unwrap();
        assert!(matches!(&error, Error::Unsupported { keyword: found } if found.contains(keyword)), "{error}");
    }
    // These say nothing or are annotations.
    compile_format(&json!({"type": "array", "uniqueItems": false, "x-order": 1, "title": "T", "default": []})).unwrap();
    compile_format(&json!({"oneOf": [{"$ref": "#/$defs/a"}, {"type": "null"}], "$defs": {"a": {"type": "string"}}}))
        .unwrap();
}

#[test]
fn recursive_schemas_are_refused() {
    for schema in [
        json!({"properties": {"child": {"$ref": "#"}}}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}}),
        json!({"properties": {"a": {"$ref": "#/properties/a"}}}),
        json!({"$ref": "#"}),
    ] {
        let error = compile_format(&schema).err().unwrap();
        assert!(matches!(error, Error::Recursive { .. }) && error.to_string().contains("recursive"), "{error}");
        let error = compile_tool_as(schema.clone(), true).err().unwrap();
        assert!(error.to_string().contains("recursive") && error.to_string().contains("\"t\""), "{error}");
        // Servers of tools do send such schemas; the tool must not be lost.
        compile_tool(schema).unwrap();
    }
    // A definition that no reference reaches does no harm.
    compile_format(&json!({"type": "null", "$defs": {"a": {"$ref": "#/$defs/a"}}})).unwrap();
    for reference in ["#/$defs/none", "http://localhost/x", "other.json#/a"] {
        let error = compile_format(&json!({"$ref": reference})).err().unwrap();
        assert_eq!(error, Error::Reference { reference: reference.to_owned() });
        compile_tool(json!({"properties": {"a": {"$ref": reference}}})).unwrap();
    }
}

#[test]
fn a_strict_tool_promises_no_more_than_is_kept() {
    let with = |schema: Value| json!({"type": "object", "properties": {"a": schema}, "required": ["a"]});
    for (schema, keyword) in [
        (with(json!({"type": "string", "format": "date"})), "format"),
        (with(json!({"type": "string", "maxLength": 1_000_000})), "maxLength"),
        (with(json!({"type": "string", "pattern": "(?=x)y"})), "pattern"),
        (with(json!({"type": "array", "uniqueItems": true})), "uniqueItems"),
        (json!({"type": "object", "anyOf": [{"required": ["a"]}]}), "anyOf"),
    ] {
        let error = compile_tool_as(schema.clone(), true).err().unwrap();
        assert!(error.to_string().contains(keyword), "{error}");
        compile_tool(schema).unwrap();
    }
    compile_tool_as(with(json!({"type": "string", "pattern": "^[a-z]{1,8}$", "maxLength": 8})), true).unwrap();
    compile_tool_as(with(json!({"type": ["integer", "null"], "minimum": 3})), true).unwrap();
}

#[test]
fn wrong_requests_are_refused() {
    let compile = |tools: &[Tool], choice| {
        GRAMMARS.compile(&Spec { thinking: false, tools, choice, parallel: true, format: Format::Text }).map(drop)
    };
    let tool = |name: &str| Tool { name: name.to_owned(), parameters: json!({}), strict: false };
    assert_eq!(compile(&[], ToolChoice::Required), Err(Error::NoTools));
    assert_eq!(compile(&[tool("a")], ToolChoice::Named("b".into())), Err(Error::UnknownTool { name: "b".into() }));
    assert_eq!(compile(&[tool("a"), tool("a")], ToolChoice::Auto), Err(Error::DuplicateTool { name: "a".into() }));
    assert!(matches!(compile(&[tool("\u{201c}a")], ToolChoice::Auto), Err(Error::Tool { .. })));
    for schema in [
        json!("text"),
        json!({"properties": []}),
        json!({"required": "a"}),
        json!({"minLength": -1}),
        json!({"anyOf": 1}),
    ] {
        assert!(matches!(compile_format(&schema), Err(Error::Schema { .. })), "{schema}");
    }
    assert!(compile_tool(json!({"type": "string"})).is_err());
}

fn nested(levels: usize, keyword: &str) -> Value {
    let wrap =
        |inner: Value| if keyword == "properties" { json!({keyword: {"a": inner}}) } else { json!({keyword: [inner]}) };
    (0..levels).fold(json!({"type": "string"}), |inner, _| wrap(inner))
}

fn many_properties(count: usize) -> Value {
    let properties =
        (0..count).map(|index| (format!("p{index}"), json!({"type": "string"}))).collect::<serde_json::Map<_, _>>();
    json!({"type": "object", "properties": properties})
}

/// References double at each level.
fn billion_laughs() -> Value {
    let mut definitions = serde_json::Map::new();
    definitions.insert("d0".to_owned(), json!({"type": "string"}));
    for level in 1..20 {
        let inner = json!({"$ref": format!("#/$defs/d{}", level - 1)});
        definitions.insert(format!("d{level}"), json!({"properties": {"a": inner, "b": inner}}));
    }
    json!({"$ref": "#/$defs/d19", "$defs": definitions})
}

/// Alternatives that multiply.
fn product() -> Value {
    let option = |n: usize| json!({"properties": {format!("p{n}"): {"type": "string"}}});
    let any = |from: usize| json!({"anyOf": (from..from + 10).map(option).collect::<Vec<_>>()});
    json!({"allOf": (0..10).map(|n| any(n * 10)).collect::<Vec<_>>()})
}

/// Time of the slowest mask of the first tokens. A grammar may become too expensive, but says so in time.
fn longest_mask(mut constraint: Constraint, strict: bool) -> Duration {
    let mut random = Random(5);
    let mut logits = vec![0.0; TOKENIZER.vocab_size()];
    let mut longest = Duration::ZERO;
    let start = "\n\n<\u{ff5c}DSML\u{ff5c}tool_calls>\n<\u{ff5c}DSML\u{ff5c}invoke name=\"t\">\n";
    if !strict {
        feed(&mut constraint, start);
    }
    for _ in 0..60 {
        logits.fill_with(|| random.unit());
        let start = Instant::now();
        let masked = constraint.mask(&mut logits);
        longest = longest.max(start.elapsed());
        match masked {
            Ok(()) => {}
            Err(Error::Stuck { reason }) => {
                println!("  stuck: {reason}");
                return longest;
            }
            Err(error) => panic!("{error}"),
        }
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        if constraint.accept(best as u32).is_err() {
            return longest;
        }
    }
    longest
}

#[test]
fn hostile_schemas_are_settled_in_time() {
    let large_enum = (0..39_000).map(|index| format!("value {index}")).collect::<Vec<_>>();
    let too_large_enum = (0..1_000_000).collect::<Vec<_>>();
    let string =
        |pattern: &str| json!({"properties": {"a": {"type": "string", "pattern": pattern}}, "required": ["a"]});
    let schemas = [
        ("nested properties", nested(100, "properties"), true),
        ("nested alternatives", nested(100, "anyOf"), true),
        ("nesting allowed", nested(40, "properties"), false),
        ("properties", many_properties(10_000), true),
        ("properties allowed", many_properties(1_000), false),
        ("enum", json!({"properties": {"a": {"enum": too_large_enum}}}), true),
        ("enum allowed", json!({"properties": {"a": {"enum": large_enum}}}), false),
        ("doubling references", billion_laughs(), true),
        ("products", product(), false),
        ("long text", json!({"properties": {"a": {"const": "x".repeat(600_000)}}}), true),
        ("long pattern", string(&"x".repeat(3_000)), true),
        ("nested repetition", string("^((a{1,1000}){1,1000}){1,1000}$"), false),
        ("backtracking", string("^(a+)+$"), false),
        ("exponential states", string("(a|b)*a(a|b){100}"), false),
        ("many classes", string(&"[\\w\\W]?\\p{L}{0,1000}".repeat(80)), false),
        ("length", json!({"properties": {"a": {"type": "string", "minLength": 10_000_000}}}), false),
        ("impossible length", json!({"properties": {"a": {"type": "string", "maxLength": 1e300}}}), true),
        ("items", json!({"properties": {"a": {"type": "array", "items": {}, "minItems": 10_000_000}}}), false),
        ("multiple", json!({"properties": {"a": {"type": "number", "multipleOf": 1e-300}}}), false),
        ("bounds", json!({"properties": {"a": {"type": "number", "minimum": -1e308, "maximum": 1e308}}}), false),
    ];
    let mut slow = Vec::new();
    for (name, schema, refused) in schemas {
        for strict in [true, false] {
            let start = Instant::now();
            let result = if strict { compile_format(&schema) } else { compile_tool(schema.clone()) };
            let took = start.elapsed();
            println!(
                "{name}, {strict}: {took:?} {}",
                result.as_ref().err().map_or("accepted".to_owned(), Error::to_string)
            );
            assert!(result.is_err() || !refused, "{name} was accepted");
            let longest = result.map_or(Duration::ZERO, |constraint| longest_mask(constraint, strict));
            println!("  longest mask {longest:?}");
            if took > COMPILE_MAX || longest > MASK_MAX {
                slow.push((name, strict, took, longest));
            }
        }
    }
    assert!(slow.is_empty(), "{slow:?}");
}

#[test]
fn many_tools_are_settled_in_time() {
    let tool = |n: usize, parameters: usize| {
        // No two schemas are alike, so that nothing is compiled once for all.
        let parameter = |p: usize| (format!("p{p}"), json!({"type": "integer", "maximum": n * 1000 + p}));
        let properties = (0..parameters).map(parameter).collect::<serde_json::Map<_, _>>();
        Tool {
            name: format!("tool {n}"),
            parameters: json!({"type": "object", "properties": properties}),
            strict: false,
        }
    };
    for (count, parameters, refused) in
        [(2_000, 0, true), (1_000, 0, false), (500, 1, false), (50, 10, false), (1_000, 5, true), (5, 1_000, true)]
    {
        let tools = (0..count).map(|n| tool(n, parameters)).collect::<Vec<_>>();
        let start = Instant::now();
        let choice = ToolChoice::Required;
        let spec = Spec { thinking: false, tools: &tools, choice, parallel: true, format: Format::Text };
        let result = GRAMMARS.compile(&spec);
        let took = start.elapsed();
        println!("{count} tools of {parameters}: {took:?} {:?}", result.as_ref().err().map(Error::to_string));
        assert!(took < COMPILE_MAX, "{count} tools of {parameters}: {took:?}");
        assert_eq!(result.is_err(), refused, "{count} tools of {parameters}");
    }
}

#[test]
fn a_vocabulary_without_the_markers_is_named() {
    let plain = |id: usize| match TOKENIZER.token_str(TokenId(id as u32)).unwrap() {
        markers::DSML | markers::THINK_END => format!("<\u{ff5c}unused {id}\u{ff5c}>"),
        token => token.to_owned(),
    };
    let tokens = (0..TOKENIZER.vocab_size()).map(plain).collect();
    let tokenizer = Tokenizer::new(Vocabulary { tokens, ..Vocabulary::default() }).unwrap();
    let grammars = Grammars::new(&Arc::new(tokenizer)).unwrap();
    let tools = [Tool { name: "t".to_owned(), parameters: Value::Null, strict: false }];
    let compile = |thinking, tools, format| {
        grammars.compile(&Spec { thinking, tools, choice: ToolChoice::Auto, parallel: true, format }).map(drop)
    };
    let missing = |marker| Err(Error::MissingToken { marker });
    assert_eq!(compile(true, &[], Format::Text), missing(markers::THINK_END));
    assert_eq!(compile(false, &tools, Format::Text), missing(markers::DSML));
    assert_eq!(compile(false, &[], Format::JsonObject), Ok(()));
    let spec = Spec { thinking: false, tools: &[], choice: ToolChoice::Auto, parallel: true, format: Format::Text };
    let expected = TOKENIZER.vocab_size();
    assert_eq!(grammars.compile(&spec).unwrap().mask(&mut [0.0; 9]), Err(Error::Logits { found: 9, expected }));
}
