//! Any text survives encoding and decoding, plain text yields no control token, and a stream cut
//! anywhere reads the same.
#![no_main]

use ds4_tokenizer::{TokenId, Tokenizer, Utf8Assembler, Vocabulary, markers};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// Single bytes, a handful of merges that nest and overlap, and the markers.
static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let merges =
        ["Ġ Ġ", "ĠĠ ĠĠ", "h e", "t he", "Ġ the", "a a", "aa a", "aa aa", "Ċ Ċ", "1 1", "ï ½", "ï½ ľ", "< t", "k >"];
    let bytes = (0..=255u8).scan('\u{100}', |substitute, byte| match byte {
        33..=126 | 161..=172 | 174..=255 => Some(char::from(byte)),
        _ => {
            let c = *substitute;
            *substitute = char::from_u32(u32::from(c) + 1)?;
            Some(c)
        }
    });
    let mut tokens: Vec<String> = bytes.map(String::from).collect();
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    let special = [
        markers::BOS,
        markers::EOS,
        markers::USER,
        markers::ASSISTANT,
        markers::THINK,
        markers::THINK_END,
        markers::DSML,
    ];
    tokens.extend(special.map(str::to_owned));
    let merges = merges.map(str::to_owned).to_vec();
    Tokenizer::new(Vocabulary { tokens, merges, bos: None, eos: None }).expect("a sound vocabulary")
});

fn stream(ids: &[TokenId]) -> String {
    let mut decoder = TOKENIZER.decoder();
    let mut text: String = ids.iter().map(|&id| decoder.push(id)).collect();
    text.push_str(&decoder.finish());
    text
}

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);

    let plain = TOKENIZER.encode_text(&text).expect("short enough");
    assert!(!plain.iter().any(|&id| TOKENIZER.specials().contains(id)));
    assert_eq!(TOKENIZER.decode(&plain), text);
    assert_eq!(stream(&plain), text);

    let rendered = TOKENIZER.encode_rendered(&text).expect("short enough");
    assert_eq!(TOKENIZER.decode(&rendered), text);

    let mut assembler = Utf8Assembler::new();
    let mut assembled = String::new();
    for chunk in data.chunks(1 + data.len() % 5) {
        assembler.push(chunk, &mut assembled);
        assert!(assembler.held_back() <= 3);
    }
    assembler.finish(&mut assembled);
    assert_eq!(assembled, text);
});
