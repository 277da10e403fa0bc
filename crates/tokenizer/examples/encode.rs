//! Encodes many texts with the vocabulary of a GGUF file, for comparison with another tokenizer.
//!
//! `encode VOCABULARY.gguf TEXTS IDS [--rendered]`
//!
//! TEXTS is a sequence of records: length in bytes, then the text. IDS gets one record for each:
//! number of ids, then the ids. All numbers are little-endian `u32`. `--rendered` recognises control
//! markers. Each result is decoded again and compared with its text.

use ds4_tokenizer::{TokenId, Tokenizer};
use std::error::Error;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (vocabulary, texts, ids, is_rendered) = match args.as_slice() {
        [vocabulary, texts, ids] => (vocabulary, texts, ids, false),
        [vocabulary, texts, ids, flag] if flag == "--rendered" => (vocabulary, texts, ids, true),
        _ => return Err("usage: encode VOCABULARY.gguf TEXTS IDS [--rendered]".into()),
    };

    let start = Instant::now();
    let file = ds4_gguf::File::open(vocabulary.as_ref())?;
    let opened = start.elapsed();
    let tokenizer = Tokenizer::from_gguf(file.metadata())?;
    println!(
        "{} tokens: file opened in {opened:.0?}, tokenizer built in {:.0?}",
        tokenizer.vocab_size(),
        start.elapsed() - opened
    );

    let texts = std::fs::read(texts)?;
    let texts = read_texts(&texts)?;
    let start = Instant::now();
    let encode = |text: &&str| match is_rendered {
        true => tokenizer.encode_rendered(text),
        false => tokenizer.encode_text(text),
    };
    let encoded: Vec<Vec<TokenId>> = texts.iter().map(encode).collect::<Result<_, _>>()?;
    let seconds = start.elapsed().as_secs_f64();
    let megabytes = texts.iter().map(|text| text.len()).sum::<usize>() as f64 / 1e6;
    println!("{} texts, {megabytes:.1} MB, encoded at {:.1} MB/s", texts.len(), megabytes / seconds);

    let mut out = Vec::new();
    for (text, ids) in texts.iter().zip(&encoded) {
        if tokenizer.decode(ids) != *text {
            return Err(format!("decoding does not give this text back: {text:?}").into());
        }
        out.extend(u32::try_from(ids.len())?.to_le_bytes());
        out.extend(ids.iter().flat_map(|id| id.0.to_le_bytes()));
    }
    std::fs::write(ids, out)?;
    Ok(())
}

fn read_texts(mut records: &[u8]) -> Result<Vec<&str>, Box<dyn Error>> {
    let mut texts = Vec::new();
    while let Some((length, rest)) = records.split_first_chunk() {
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or("truncated record")?;
        texts.push(std::str::from_utf8(text)?);
        records = rest;
    }
    Ok(texts)
}
