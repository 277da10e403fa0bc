use crate::Error;
use crate::closing::{Closing, POSITIONS};
use ds4_tokenizer::{TokenId, Tokenizer};
use std::sync::Arc;
use toktrie::{ApproximateTokEnv, SimpleVob, TokEnv, TokRxInfo, TokTrie};

/// Marks a token of the control alphabet: its string is literal, and no text ever merges into it.
const LITERAL_MARK: char = '\u{ff5c}';

/// Control tokens of the published vocabulary whose text has no [`LITERAL_MARK`]
/// and which [`ds4_tokenizer::Specials`] does not know.
const PLAIN_CONTROL: [&str; 3] = ["<|EOT|>", "<dsml:", "</dsml:"];

/// Longest token in bytes that may appear inside a grammar. The published vocabulary's longest has
/// 128; the library cannot hold tokens above 1024.
const GRAMMAR_TOKEN_BYTES_MAX: usize = 512;

/// What a constraint has to know of the tokens.
pub(crate) struct Vocabulary {
    tokenizer: Arc<Tokenizer>,
    /// Tokens that are no text, ascending: control tokens and tokens without bytes.
    pub control: Vec<u32>,
    /// For each position in a closing tag, the tokens that would complete it.
    closers: Vec<Vec<u32>>,
}

impl Vocabulary {
    pub(crate) fn new(tokenizer: &Arc<Tokenizer>) -> Self {
        let ids = || (0..tokenizer.vocab_size() as u32).map(TokenId);
        let control = ids().filter(|&id| is_control(tokenizer, id)).map(|TokenId(id)| id).collect::<Vec<_>>();
        let closers = (0..POSITIONS)
            .map(|position| {
                let closes = |id: &TokenId| Closing::numbered(position).after(tokenizer.token_bytes(*id)).is_closed();
                ids().filter(closes).map(|TokenId(id)| id).filter(|id| control.binary_search(id).is_err()).collect()
            })
            .collect();
        Self { tokenizer: Arc::clone(tokenizer), control, closers }
    }

    pub(crate) fn len(&self) -> usize {
        self.tokenizer.vocab_size()
    }

    pub(crate) fn eos(&self) -> u32 {
        self.tokenizer.specials().eos.0
    }

    pub(crate) fn think_end(&self) -> Option<u32> {
        self.tokenizer.specials().think_end.map(|TokenId(id)| id)
    }

    pub(crate) fn dsml(&self) -> Option<u32> {
        self.tokenizer.specials().dsml.map(|TokenId(id)| id)
    }

    pub(crate) fn is_control(&self, token: u32) -> bool {
        token as usize >= self.len() || self.control.binary_search(&token).is_ok()
    }

    pub(crate) fn bytes(&self, token: u32) -> &[u8] {
        self.tokenizer.token_bytes(TokenId(token))
    }

    /// Takes out of `allowed` what would spell a closing tag, unless nothing else is allowed.
    pub(crate) fn keep_open(&self, closing: Closing, allowed: &mut SimpleVob) {
        let closers = self.closers.get(closing.number()).map_or(&[][..], Vec::as_slice);
        if closers.iter().any(|&token| allowed.is_allowed(token)) {
            let mut kept = allowed.clone();
            closers.iter().for_each(|&token| kept.disallow_token(token));
            if !kept.is_zero() {
                *allowed = kept;
            }
        }
    }

    /// The tokens as the grammar library wants them: control tokens outside the text alphabet.
    pub(crate) fn environment(&self) -> TokEnv {
        let word = |id: u32| {
            let bytes = self.bytes(id);
            if self.is_control(id) {
                let mut word = vec![TokTrie::SPECIAL_TOKEN_MARKER];
                word.extend(format!("<{id}>").bytes());
                word
            } else if bytes.len() > GRAMMAR_TOKEN_BYTES_MAX || bytes.contains(&TokTrie::SPECIAL_TOKEN_MARKER) {
                Vec::new()
            } else {
                bytes.to_vec()
            }
        };
        let count = self.len() as u32;
        let words = (0..count).map(word).collect::<Vec<_>>();
        let trie = TokTrie::from(&TokRxInfo::new(count, self.eos()), &words);
        Arc::new(ApproximateTokEnv::new(trie))
    }

    pub(crate) fn check_logits(&self, logits: &[f32]) -> Result<(), Error> {
        match logits.len() {
            found if found < self.len() => Err(Error::Logits { found, expected: self.len() }),
            _ => Ok(()),
        }
    }
}

fn is_control(tokenizer: &Tokenizer, id: TokenId) -> bool {
    let string = tokenizer.token_str(id).unwrap_or_default();
    tokenizer.specials().contains(id)
        || string.contains(LITERAL_MARK)
        || PLAIN_CONTROL.contains(&string)
        || tokenizer.token_bytes(id).is_empty()
}
