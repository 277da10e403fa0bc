//! What the integration tests share: the small vocabulary, and an independent tokenizer to compare
//! with, made of the `tokenizers` library's regular-expression splits and an obvious merge loop.

use ds4_tokenizer::{TokenId, Tokenizer, Vocabulary};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior};

/// The vocabulary of the small conformance models: 384 tokens, 120 merges, all seven markers.
pub fn small_vocabulary() -> Vocabulary {
    let json: serde_json::Value = serde_json::from_str(include_str!("../data/small_vocabulary.json")).unwrap();
    let strings = |key: &str| {
        let list = json[key].as_array().unwrap();
        list.iter().map(|entry| entry.as_str().unwrap().to_owned()).collect()
    };
    Vocabulary { tokens: strings("tokens"), merges: strings("merges"), bos: None, eos: None }
}

/// One tokenizer for all tests of a file.
pub fn small_tokenizer() -> Arc<Tokenizer> {
    static TOKENIZER: LazyLock<Arc<Tokenizer>> =
        LazyLock::new(|| Arc::new(Tokenizer::new(small_vocabulary()).unwrap()));
    Arc::clone(&TOKENIZER)
}

/// A vocabulary in which any two bytes merge, in an order without pattern. A piece that ends in the
/// wrong place nearly always shows in the ids.
pub fn pairs_vocabulary() -> Vocabulary {
    let bytes: Vec<String> = small_vocabulary().tokens[3..259].to_vec();
    let pairs = (0..1 << 16).map(|n: usize| (n * 40_503) % (1 << 16)).map(|n| (&bytes[n >> 8], &bytes[n & 255]));
    let tokens = bytes.iter().cloned().chain(pairs.clone().map(|(left, right)| format!("{left}{right}")));
    Vocabulary {
        tokens: tokens.chain(MARKERS.map(str::to_owned)).collect(),
        merges: pairs.map(|(left, right)| format!("{left} {right}")).collect(),
        bos: None,
        eos: None,
    }
}

/// The rules of `spec/tokenizer.md` §3.1 as patterns.
const SPLITS: [&str; 3] = [
    r"\p{N}{1,3}",
    r"[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+",
    concat!(
        r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
        r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+",
        r"| ?[\p{P}\p{S}]+[\r\n]*",
        r"|\s*[\r\n]+",
        r"|\s+(?!\S)",
        r"|\s+",
    ),
];

/// The independent tokenizer.
pub struct Reference {
    splits: Sequence,
    ids: HashMap<String, u32>,
    ranks: HashMap<(String, String), usize>,
}

impl Reference {
    pub fn new(vocabulary: &Vocabulary) -> Self {
        let mut splits: Vec<PreTokenizerWrapper> = SPLITS
            .iter()
            .map(|rule| {
                let pattern = SplitPattern::Regex((*rule).to_owned());
                Split::new(pattern, SplitDelimiterBehavior::Isolated, false).unwrap().into()
            })
            .collect();
        splits.push(ByteLevel::new(false, true, false).into());
        let pairs = vocabulary.merges.iter().map(|merge| merge.split_once(' ').unwrap());
        Self {
            splits: Sequence::new(splits),
            ids: vocabulary.tokens.iter().cloned().zip(0..).collect(),
            ranks: pairs.map(|(left, right)| (left.to_owned(), right.to_owned())).zip(0..).collect(),
        }
    }

    /// Pieces in the byte alphabet.
    pub fn pieces(&self, text: &str) -> Vec<String> {
        let mut split = PreTokenizedString::from(text);
        self.splits.pre_tokenize(&mut split).unwrap();
        let pieces = split.get_splits(OffsetReferential::Original, OffsetType::Byte);
        pieces.into_iter().map(|(piece, _, _)| piece.to_owned()).collect()
    }

    pub fn encode(&self, text: &str) -> Vec<TokenId> {
        self.pieces(text).iter().flat_map(|piece| self.merge(piece)).collect()
    }

    /// `spec/tokenizer.md` §4 word for word: join the leftmost pair of lowest rank until none is left.
    fn merge(&self, piece: &str) -> Vec<TokenId> {
        let mut symbols: Vec<String> = piece.chars().map(String::from).collect();
        loop {
            let ranked = symbols.windows(2).enumerate().filter_map(|(position, pair)| {
                let rank = self.ranks.get(&(pair[0].clone(), pair[1].clone()))?;
                Some((rank, position))
            });
            let Some((_, position)) = ranked.min() else { break };
            let right = symbols.remove(position + 1);
            symbols[position].push_str(&right);
        }
        symbols.iter().map(|symbol| TokenId(self.ids[symbol])).collect()
    }
}

/// Text that meets every rule and its edges: runs from pools of characters that matter, and markers.
pub fn hostile_text() -> impl Strategy<Value = String> {
    const POOLS: [&str; 14] = [
        "abcdefthinksuZ",
        "0123456789",
        "½²٣Ⅷ〇",
        "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
        " ",
        "\n\r",
        "\t\u{b}\u{c}\u{85}\u{a0}\u{1680}\u{2003}\u{2028}\u{3000}",
        "大川山一\u{9fa5}\u{9fa6}\u{4dff}",
        "のさ\u{3040}\u{3097}\u{3099}\u{309b}\u{309f}カ\u{30a0}\u{30fb}ー\u{30ff}\u{303f}\u{3100}",
        "éàñßЖ한",
        "\u{301}\u{308}\u{20dd}\u{fe0f}",
        "，。…“”«»—｜€▁",
        "😀👍🏽\u{200d}",
        "\0\u{1}\u{7f}\u{ad}\u{378}\u{e000}\u{10ffff}",
    ];
    let pools: Vec<Vec<char>> = POOLS.iter().map(|pool| pool.chars().collect()).collect();
    let from_pool = prop::sample::select(pools)
        .prop_flat_map(|pool| prop::collection::vec(prop::sample::select(pool), 1..5).prop_map(String::from_iter));
    let marker = prop::sample::select(MARKERS.as_slice()).prop_map(str::to_owned);
    let chunk = prop_oneof![12 => from_pool, 1 => marker, 2 => any::<char>().prop_map(String::from)];
    prop::collection::vec(chunk, 0..24).prop_map(|chunks| chunks.concat())
}

/// The seven markers, written out here on their own.
pub const MARKERS: [&str; 7] = [
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<think>",
    "</think>",
    "｜DSML｜",
];
