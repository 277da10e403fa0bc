//! `ds4 tokenize`: the tokens of a text.

use crate::args::TokenizeArgs;
use crate::{model, output, text};
use anyhow::Result;
use ds4_tokenizer::{TokenId, Tokenizer};
use serde_json::json;
use std::fmt::Write;

pub fn run(args: &TokenizeArgs) -> Result<()> {
    let text = text::read(args.text.prompt.as_deref(), args.text.file.as_deref())?;
    let path = args.model.as_deref();
    let tokenizer = model::tokenizer(&model::open(path)?, &model::name(path))?;
    let ids = if args.rendered { tokenizer.encode_rendered(&text)? } else { tokenizer.encode_text(&text)? };
    print(&tokenizer, &ids, args.json)
}

/// Prints `ids` as JSON or for people: the list, then id and vocabulary string of each (`spec/cli.md` §1, dump formats).
pub fn print(tokenizer: &Tokenizer, ids: &[TokenId], as_json: bool) -> Result<()> {
    let numbers: Vec<u32> = ids.iter().map(|id| id.0).collect();
    if as_json {
        return output::print_json(&json!({ "tokens": numbers }));
    }
    let mut text = format!("{numbers:?}\n");
    for id in ids {
        let string = tokenizer.token_str(*id).unwrap_or_default();
        writeln!(text, "{:>6}  {}", id.0, output::printable(string))?;
    }
    output::print(&text)
}
