//! A real tokenizer, a sampler that follows a constraint at random, and random schemas.

use ds4_grammar::{Constraint, Grammars};
use ds4_tokenizer::{TokenId, Tokenizer};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// The demo model's tokenizer: 4096 tokens with all markers.
pub static TOKENIZER: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/ds4-demo-q2.gguf");
    let file = ds4_gguf::File::open(&path).unwrap();
    Arc::new(Tokenizer::from_gguf(file.metadata()).unwrap())
});

pub static GRAMMARS: LazyLock<Grammars> = LazyLock::new(|| Grammars::new(&TOKENIZER).unwrap());

/// Splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }
}

/// What a sampled answer was.
pub struct Sample {
    pub tokens: Vec<u32>,
    /// Text of the tokens, without the end.
    pub text: String,
    /// Whether it ended by itself.
    pub ended: bool,
}

/// Samples with random logits that favour what closes something, the more the longer the answer is.
pub fn sample(constraint: &mut Constraint, random: &mut Random, tokens_max: usize) -> Sample {
    let tokenizer = &*TOKENIZER;
    let eos = tokenizer.specials().eos.0;
    let closes = |id: u32| {
        let bytes = tokenizer.token_bytes(TokenId(id));
        let specials = [Some(tokenizer.specials().eos), tokenizer.specials().think_end, tokenizer.specials().dsml];
        specials.contains(&Some(TokenId(id))) || [&b"\""[..], b"}", b"]", b"</"].contains(&bytes)
    };
    let is_closer = (0..tokenizer.vocab_size() as u32).map(closes).collect::<Vec<_>>();
    let mut tokens = Vec::new();
    loop {
        let urge = tokens.len() as f32 / tokens_max as f32 * 2.0;
        let mut logits: Vec<f32> = is_closer
            .iter()
            .map(|&closer| random.unit() + if closer && random.unit() < urge + 0.1 { 1.0 } else { 0.0 })
            .collect();
        logits.extend([2.0; 3]);
        constraint.mask(&mut logits).unwrap();
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        assert!(logits[best] > f32::NEG_INFINITY, "the mask forbids every token");
        let allowed = logits.iter().filter(|logit| **logit > f32::NEG_INFINITY).count();
        let must_stop = constraint.must_stop();
        if must_stop {
            assert_eq!((best as u32, allowed), (eos, 1), "only the end may follow");
        }
        // A forbidden token is refused and changes nothing.
        if let Some(forbidden) = (0..logits.len()).find(|&id| logits[id] == f32::NEG_INFINITY && random.chance(2)) {
            assert!(constraint.accept(forbidden as u32).is_err(), "{forbidden}");
        }
        constraint.accept(best as u32).unwrap();
        if best as u32 == eos {
            assert!(constraint.must_stop());
            break;
        }
        tokens.push(best as u32);
        if tokens.len() == tokens_max {
            break;
        }
    }
    let ended = tokens.len() < tokens_max;
    let ids = tokens.iter().map(|&id| TokenId(id)).collect::<Vec<_>>();
    Sample { text: tokenizer.decode(&ids), tokens, ended }
}

/// Feeds a rendered text, markers as tokens; the number of tokens that were accepted, and their number.
pub fn feed(constraint: &mut Constraint, text: &str) -> (usize, usize) {
    let tokens = TOKENIZER.encode_rendered(text).unwrap();
    let accepted = tokens.iter().take_while(|id| {
        let mut logits = vec![0.0; TOKENIZER.vocab_size()];
        constraint.mask(&mut logits).unwrap();
        let is_allowed = logits[id.0 as usize] == 0.0;
        assert!(!is_allowed || constraint.accept(id.0).is_ok());
        is_allowed
    });
    (accepted.count(), tokens.len())
}

/// Whether a constraint lets the whole text pass and end.
pub fn passes(mut constraint: Constraint, text: &str) -> bool {
    let (accepted, all) = feed(&mut constraint, text);
    accepted == all && constraint.accept(TOKENIZER.specials().eos.0).is_ok()
}

/// A random schema of at most `depth` levels.
pub fn schema(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 7 } else { 11 }) {
        0 => json!({"type": "string"}),
        1 => text_schema(random),
        2 => {
            let least = random.below(200) as i64 - 100;
            json!({"type": "integer", "minimum": least, "maximum": least + random.below(1000) as i64})
        }
        3 => json!({"type": "number", "minimum": -1.5, "exclusiveMaximum": 100}),
        4 => json!({"type": ["boolean", "null"], "description": "a \"flag\""}),
        5 => json!({"enum": ["red", "a & b", "</x>", 3, null, "q\"uote", "&lt;"]}),
        6 => json!({"const": json!(["fixed \n text", {"k": 1}, "x"])[random.below(3)]}),
        7 => {
            json!({"type": "array", "items": schema(random, depth - 1), "minItems": random.below(2), "maxItems": 1 + random.below(4)})
        }
        8 => json!({"anyOf": [schema(random, depth - 1), schema(random, depth - 1)]}),
        _ => object_schema(random, depth - 1),
    }
}

fn text_schema(random: &mut Random) -> Value {
    match random.below(4) {
        0 => json!({"type": "string", "pattern": "^[a-z]{2,5}-[0-9]+$"}),
        1 => json!({"type": "string", "minLength": random.below(4), "maxLength": 4 + random.below(8)}),
        2 => json!({"type": "string", "pattern": "\\d\\d/x"}),
        _ => json!({"type": "string", "enum": ["one", "two words", "a&amp;b", "</parameters>"]}),
    }
}

/// A random schema of an object.
pub fn object_schema(random: &mut Random, depth: usize) -> Value {
    let mut properties = serde_json::Map::new();
    let mut required = Vec::new();
    for name in
        ["name", "a b", "x<y>", "\"q\"", "path", "größe"].into_iter().filter(|_| random.chance(60)).collect::<Vec<_>>()
    {
        properties.insert(name.to_owned(), schema(random, depth));
        if random.chance(50) {
            required.push(name);
        }
    }
    let mut schema = json!({"type": "object", "properties": properties, "required": required});
    match random.below(4) {
        0 => schema["additionalProperties"] = json!({"type": "integer"}),
        1 => {}
        _ => schema["additionalProperties"] = json!(false),
    }
    schema
}
