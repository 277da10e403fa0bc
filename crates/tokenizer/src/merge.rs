use crate::error::shown;
use crate::table::TokenTable;
use crate::{Error, MERGES_MAX, Specials, TokenId, alphabet};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU8, Ordering};
use tokenizers::Model;
use tokenizers::models::bpe::{BPE, Merges, Vocab};

/// Byte-pair merging of one piece (`spec/tokenizer.md` §4).
///
/// The merging itself is the `tokenizers` library's: a heap over a linked list, so its time grows
/// with n log n in the piece. The library's own cache is off. It keeps up to ten thousand pieces
/// for every thread, forever, whichever came first; instead this remembers, one byte a token and for all
/// threads, which pieces are a token as a whole, as about four in five are.
pub(crate) struct Merger {
    bpe: BPE,
    /// For each token: does the piece with its string encode to just this token?
    whole: Box<[AtomicU8]>,
}

/// Not asked yet.
const UNKNOWN: u8 = 0;
/// The piece is the token.
const WHOLE: u8 = 1;
/// Merging yields something else, as with a marker's text or with a token that no merge makes.
const PARTS: u8 = 2;

/// Token ids by their strings.
pub(crate) struct TokenIds(Vocab);

impl TokenIds {
    /// Indexes the strings of `table`, which `tokens` holds too.
    pub(crate) fn new(tokens: Vec<String>, table: &TokenTable) -> Result<Self, Error> {
        let mut ids = Vocab::with_capacity(tokens.len());
        for (second, token) in (0u32..).zip(tokens) {
            if let Some(first) = ids.insert(token, second) {
                let text = shown(table.string(TokenId(second)).unwrap_or_default());
                return Err(Error::DuplicateToken { first, second, text });
            }
        }
        Ok(Self(ids))
    }

    pub(crate) fn get(&self, text: &str) -> Option<TokenId> {
        self.0.get(text).copied().map(TokenId)
    }
}

impl Merger {
    pub(crate) fn new(ids: TokenIds, merges: &[String], specials: &Specials) -> Result<Self, Error> {
        check_bytes(&ids)?;
        let merges = check_merges(&ids, merges, specials)?;
        let token_count = ids.0.len();
        let bpe = BPE::builder()
            .vocab_and_merges(ids.0, merges)
            .cache_capacity(0)
            .build()
            .map_err(|e| Error::Merger(e.to_string()))?;
        let whole = std::iter::repeat_with(|| AtomicU8::new(UNKNOWN)).take(token_count).collect();
        Ok(Self { bpe, whole })
    }

    /// Appends the tokens of a piece, which is written in the byte alphabet and not empty.
    pub(crate) fn encode(&self, piece: &str, out: &mut Vec<TokenId>) -> Result<(), Error> {
        let same = self.bpe.token_to_id(piece).and_then(|id| Some((id, self.whole.get(id as usize)?)));
        // Relaxed: the entry is the whole message, and every thread would write the same.
        if let Some((id, entry)) = same
            && entry.load(Ordering::Relaxed) == WHOLE
        {
            out.push(TokenId(id));
            return Ok(());
        }
        let tokens = self.bpe.tokenize(piece).map_err(|e| Error::Merger(e.to_string()))?;
        if let Some((id, entry)) = same {
            let is_whole = matches!(tokens.as_slice(), [token] if token.id == id);
            entry.store(if is_whole { WHOLE } else { PARTS }, Ordering::Relaxed);
        }
        out.extend(tokens.iter().map(|token| TokenId(token.id)));
        Ok(())
    }
}

/// Every byte needs a token, or some text could not be encoded.
fn check_bytes(ids: &TokenIds) -> Result<(), Error> {
    for (byte, character) in (0u8..=255).zip(alphabet::CHAR_OF_BYTE) {
        if ids.get(character.encode_utf8(&mut [0; 4])).is_none() {
            return Err(Error::MissingByte { byte, character });
        }
    }
    Ok(())
}

/// Splits the merges into pairs and checks all that the library takes for granted.
fn check_merges(ids: &TokenIds, merges: &[String], specials: &Specials) -> Result<Merges, Error> {
    if merges.len() > MERGES_MAX {
        return Err(Error::MergeCount { found: merges.len() });
    }
    let mut seen = HashSet::with_capacity(merges.len());
    let mut joined = String::new();
    let check = |(index, merge): (usize, &String)| {
        let syntax = || Error::MergeSyntax { index, text: shown(merge) };
        let (left, right) = merge.split_once(' ').ok_or_else(syntax)?;
        if left.is_empty() || right.is_empty() || right.contains(' ') {
            return Err(syntax());
        }
        let known = |text: &str| ids.get(text).ok_or_else(|| Error::MergeUnknownToken { index, text: shown(text) });
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        if specials.contains(known(&joined)?) {
            return Err(Error::MergeMakesMarker { index, text: shown(&joined) });
        }
        if !seen.insert((known(left)?, known(right)?)) {
            return Err(Error::DuplicateMerge { index, text: shown(merge) });
        }
        Ok((left.to_owned(), right.to_owned()))
    };
    merges.iter().enumerate().map(check).collect()
}
