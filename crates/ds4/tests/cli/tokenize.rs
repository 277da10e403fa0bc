//! `ds4 tokenize`

use crate::support::{directory, ds4, model, open, write};
use ds4_tokenizer::Tokenizer;
use serde_json::json;

const TEXT: &str = "Hello <think> the 大\n\nand (x) == 12345";

fn tokenizer() -> Tokenizer {
    Tokenizer::from_gguf(open(model()).metadata()).unwrap()
}

fn ids(tokens: &[ds4_tokenizer::TokenId]) -> Vec<u32> {
    tokens.iter().map(|id| id.0).collect()
}

#[test]
fn json_is_what_the_tokenizer_gives() {
    let tokenizer = tokenizer();
    let plain = ids(&tokenizer.encode_text(TEXT).unwrap());
    let rendered = ids(&tokenizer.encode_rendered(TEXT).unwrap());
    assert!(rendered.len() < plain.len(), "the marker is one token");
    assert!(!plain.contains(&tokenizer.specials().bos.0));
    assert_eq!(ds4(&["tokenize", "-m", model(), "-p", TEXT, "--json"]).json(), json!({ "tokens": plain }));
    let args = ["tokenize", "-m", model(), "-p", TEXT, "--json", "--rendered"];
    assert_eq!(ds4(&args).json(), json!({ "tokens": rendered }));
}

#[test]
fn a_file_gives_the_same_as_its_text() {
    let file = write(&directory("tokenize_file"), "text.txt", TEXT);
    let from_file = ds4(&["tokenize", "-m", model(), "-f", &file, "--json"]).ok();
    assert_eq!(from_file, ds4(&["tokenize", "-m", model(), "-p", TEXT, "--json"]).ok());
}

#[test]
fn people_get_the_list_and_a_line_for_each_token() {
    let tokenizer = tokenizer();
    let tokens = tokenizer.encode_text("the cat\n").unwrap();
    let mut expected = format!("{:?}\n", ids(&tokens));
    for id in tokens {
        expected += &format!("{:>6}  {}\n", id.0, tokenizer.token_str(id).unwrap());
    }
    assert_eq!(ds4(&["tokenize", "-m", model(), "-p", "the cat\n"]).ok(), expected);
    assert!(expected.contains("  Ċ\n"), "{expected}");
}

#[test]
fn no_text_has_no_tokens() {
    assert_eq!(ds4(&["tokenize", "-m", model(), "-p", ""]).ok(), "[]\n");
}
