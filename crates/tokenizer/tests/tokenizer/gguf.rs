//! From a file's metadata to a tokenizer.

use crate::common::{self, small_vocabulary};
use ds4_gguf::{File, StringArray, Value, Writer};
use ds4_tokenizer::{Error, TokenId, Tokenizer, Vocabulary};

/// A file without tensors that carries the small vocabulary, after a change to its keys.
fn file(change: impl FnOnce(&mut Vec<(&str, Value)>)) -> File {
    let vocabulary = small_vocabulary();
    let mut entries: Vec<(&str, Value)> = vec![
        ("tokenizer.ggml.model", "gpt2".into()),
        ("tokenizer.ggml.pre", "joyai-llm".into()),
        ("tokenizer.ggml.tokens", vocabulary.tokens.iter().collect::<StringArray>().into()),
        ("tokenizer.ggml.merges", vocabulary.merges.iter().collect::<StringArray>().into()),
        ("tokenizer.ggml.bos_token_id", 0u32.into()),
        ("tokenizer.ggml.eos_token_id", 1u32.into()),
    ];
    change(&mut entries);
    let mut writer = Writer::new();
    for (key, value) in entries {
        writer.metadata(key, value);
    }
    let mut bytes = Vec::new();
    writer.write_to(&mut bytes).unwrap();
    File::from_vec(bytes).unwrap()
}

fn set(key: &'static str, value: impl Into<Value>) -> impl FnOnce(&mut Vec<(&str, Value)>) {
    let value = value.into();
    move |entries| {
        entries.retain(|(other, _)| *other != key);
        entries.push((key, value));
    }
}

fn remove(key: &'static str) -> impl FnOnce(&mut Vec<(&str, Value)>) {
    move |entries| entries.retain(|(other, _)| *other != key)
}

#[test]
fn the_vocabulary_arrives_unchanged() {
    let file = file(|_| ());
    let vocabulary = Vocabulary::from_gguf(file.metadata()).unwrap();
    assert_eq!(vocabulary.tokens, small_vocabulary().tokens);
    assert_eq!(vocabulary.merges, small_vocabulary().merges);
    assert_eq!((vocabulary.bos, vocabulary.eos), (Some(TokenId(0)), Some(TokenId(1))));

    let tokenizer = Tokenizer::from_gguf(file.metadata()).unwrap();
    let text = "The baker counts 大 <think>\n";
    assert_eq!(tokenizer.encode_text(text).unwrap(), common::small_tokenizer().encode_text(text).unwrap());
}

#[test]
fn optional_keys_may_be_missing() {
    for key in
        ["tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"]
    {
        let tokenizer = Tokenizer::from_gguf(file(remove(key)).metadata()).expect(key);
        assert_eq!(tokenizer.specials().eos, TokenId(1));
    }
}

#[test]
fn required_keys_and_types_are_checked() {
    for key in ["tokenizer.ggml.tokens", "tokenizer.ggml.merges"] {
        for file in [file(remove(key)), file(set(key, 1u32)), file(set(key, vec![1u32]))] {
            let error = Tokenizer::from_gguf(file.metadata()).unwrap_err();
            assert!(matches!(error, Error::Metadata(_)), "{error:?}");
            assert!(error.to_string().contains(key), "{error}");
        }
    }
    for key in ["tokenizer.ggml.bos_token_id", "tokenizer.ggml.model"] {
        let error = Tokenizer::from_gguf(file(set(key, true)).metadata()).unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
}

#[test]
fn other_tokenizers_are_refused() {
    for (key, value) in [("tokenizer.ggml.model", "llama"), ("tokenizer.ggml.pre", "llama-bpe")] {
        let error = Tokenizer::from_gguf(file(set(key, value)).metadata()).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
        assert!(error.to_string().contains(key) && error.to_string().contains(value), "{error}");
    }
}
