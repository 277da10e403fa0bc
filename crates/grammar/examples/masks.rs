//! Times of compiling and masking, with a vocabulary as large as the published one:
//! `cargo run --release -p ds4-grammar --example masks`

use ds4_gguf::File;
use ds4_grammar::{Constraint, Format, Grammars, Spec, Tool, ToolChoice};
use ds4_tokenizer::{TokenId, Tokenizer, Vocabulary};
use serde_json::json;
use std::collections::HashSet;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Tokens of the published vocabulary.
const TOKENS: usize = 129_280;

/// The demo vocabulary, filled up with concatenations of its own tokens: words, brackets and line breaks
/// mixed as real tokens mix them, only more so.
fn large(demo: &Tokenizer) -> Result<Tokenizer, ds4_tokenizer::Error> {
    let string = |id: usize| demo.token_str(TokenId(id as u32)).unwrap_or_default().to_owned();
    let mut tokens = (0..demo.vocab_size()).map(string).collect::<Vec<_>>();
    let mut known = tokens.iter().cloned().collect::<HashSet<_>>();
    let parts = tokens.iter().filter(|token| token.is_ascii() && token.len() > 1).cloned().collect::<Vec<_>>();
    let mut seed = 1usize;
    while tokens.len() < TOKENS {
        let mut part = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            &*parts[(seed >> 33) % parts.len()]
        };
        let token = format!("{}{}", part(), part());
        if known.insert(token.clone()) {
            tokens.push(token);
        }
    }
    Tokenizer::new(Vocabulary { tokens, ..Vocabulary::default() })
}

fn report(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let sum: Duration = times.iter().sum();
    if let (Some(median), Some(most)) = (times.get(times.len() / 2), times.last()) {
        let mean = sum / times.len() as u32;
        println!("  {name}: {} masks, median {median:?}, mean {mean:?}, longest {most:?}", times.len());
    }
}

/// Follows `text`, timing each mask.
fn follow(name: &str, tokenizer: &Tokenizer, mut constraint: Constraint, text: &str) -> Result<(), Box<dyn Error>> {
    let mut times = Vec::new();
    for TokenId(token) in tokenizer.encode_rendered(text)? {
        let mut logits = vec![0.0; tokenizer.vocab_size()];
        let start = Instant::now();
        constraint.mask(&mut logits)?;
        times.push(start.elapsed());
        constraint.accept(token)?;
    }
    report(name, times);
    Ok(())
}

fn measure(tokenizer: Tokenizer) -> Result<(), Box<dyn Error>> {
    let tokenizer = Arc::new(tokenizer);
    println!("{} tokens", tokenizer.vocab_size());
    let start = Instant::now();
    let grammars = Grammars::new(&tokenizer)?;
    println!("  prepared in {:?}", start.elapsed());
    let parameters = json!({"type": "object", "properties": {
        "path": {"type": "string"}, "content": {"type": "string"},
        "edits": {"type": "array", "items": {"type": "object", "properties": {
            "line": {"type": "integer"}, "text": {"type": "string"}}, "required": ["line", "text"], "additionalProperties": false}}
    }, "required": ["path"]});
    let tools = (0..30)
        .map(|n| Tool { name: format!("tool_{n}"), parameters: parameters.clone(), strict: false })
        .collect::<Vec<_>>();
    let spec = |format| Spec { thinking: true, tools: &tools, choice: ToolChoice::Auto, parallel: true, format };
    let start = Instant::now();
    let call = grammars.compile(&spec(Format::Text))?;
    println!("  30 tools compiled in {:?}", start.elapsed());
    let start = Instant::now();
    let json = grammars
        .compile(&spec(Format::JsonSchema(json!({"type": "object", "properties": {"name": {"type": "string"},
        "items": parameters}, "required": ["name"]}))))?;
    println!("  30 tools and a schema compiled in {:?}", start.elapsed());
    let prose = "The quick brown fox jumps over the lazy dog, <b>again</b> and again: {\"a\": [1, 2]}.\n\n".repeat(30);
    let open = "</think>\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"tool_7\">\n";
    let raw = "<｜DSML｜parameter name=\"path\" string=\"true\">src/main.rs</｜DSML｜parameter>\n";
    let edits = format!("[{}]", [r#"{"line": 12, "text": "let x = \"a\";\n"}"#; 20].join(", "));
    follow("reasoning", &tokenizer, call.clone(), &prose)?;
    follow("content", &tokenizer, call.clone(), &format!("</think>{prose}"))?;
    let long = format!("{open}{raw}<｜DSML｜parameter name=\"content\" string=\"true\">{prose}</｜DSML｜parameter>\n");
    follow("call, raw text", &tokenizer, call.clone(), &long)?;
    let nested = format!("{open}{raw}<｜DSML｜parameter name=\"edits\" string=\"false\">{edits}</｜DSML｜parameter>\n");
    follow("call, JSON", &tokenizer, call, &nested)?;
    let answer = format!(
        "</think>{{\"name\": \"A name of some length\", \"items\": {{\"path\": \"src\", \"edits\": {edits}}}}}"
    );
    follow("JSON content", &tokenizer, json, &answer)
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/ds4-demo-q2.gguf");
    let demo = Tokenizer::from_gguf(File::open(&path)?.metadata())?;
    let large = large(&demo)?;
    measure(demo)?;
    measure(large)
}
