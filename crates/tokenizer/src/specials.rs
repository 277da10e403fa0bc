use crate::table::TokenTable;
use crate::{Error, TokenId, Vocabulary};

/// Texts of the seven control tokens (`spec/tokenizer.md` §1).
pub mod markers {
    /// Begins every prompt.
    pub const BOS: &str = "<\u{ff5c}begin\u{2581}of\u{2581}sentence\u{ff5c}>";
    /// Ends an assistant turn.
    pub const EOS: &str = "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>";
    /// Opens a user turn.
    pub const USER: &str = "<\u{ff5c}User\u{ff5c}>";
    /// Opens an assistant turn.
    pub const ASSISTANT: &str = "<\u{ff5c}Assistant\u{ff5c}>";
    /// Opens the reasoning part of an assistant turn.
    pub const THINK: &str = "<think>";
    /// Closes the reasoning part, or says that there is none.
    pub const THINK_END: &str = "</think>";
    /// Part of every tag of a tool call.
    pub const DSML: &str = "\u{ff5c}DSML\u{ff5c}";
}

/// Metadata key that names the BOS token.
pub(crate) const BOS_KEY: &str = "tokenizer.ggml.bos_token_id";
/// Metadata key that names the EOS token.
pub(crate) const EOS_KEY: &str = "tokenizer.ggml.eos_token_id";

/// Ids of the control tokens. A small model may lack the optional ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Specials {
    /// [`markers::BOS`].
    pub bos: TokenId,
    /// [`markers::EOS`].
    pub eos: TokenId,
    /// [`markers::USER`].
    pub user: Option<TokenId>,
    /// [`markers::ASSISTANT`].
    pub assistant: Option<TokenId>,
    /// [`markers::THINK`].
    pub think: Option<TokenId>,
    /// [`markers::THINK_END`].
    pub think_end: Option<TokenId>,
    /// [`markers::DSML`].
    pub dsml: Option<TokenId>,
}

impl Specials {
    /// Finds the markers by their text. BOS and EOS alone may instead be named by id, because a
    /// model cannot be prompted without them.
    pub(crate) fn find(vocabulary: &Vocabulary, id_of: impl Fn(&str) -> Option<TokenId>) -> Result<Self, Error> {
        let required =
            |text, key, named: Option<TokenId>| id_of(text).or(named).ok_or(Error::MissingSpecial { text, key });
        Ok(Self {
            bos: required(markers::BOS, BOS_KEY, vocabulary.bos)?,
            eos: required(markers::EOS, EOS_KEY, vocabulary.eos)?,
            user: id_of(markers::USER),
            assistant: id_of(markers::ASSISTANT),
            think: id_of(markers::THINK),
            think_end: id_of(markers::THINK_END),
            dsml: id_of(markers::DSML),
        })
    }

    /// Whether `id` is one of the control tokens.
    pub fn contains(&self, id: TokenId) -> bool {
        self.ids().any(|special| special == id)
    }

    fn ids(&self) -> impl Iterator<Item = TokenId> {
        let optional = [self.user, self.assistant, self.think, self.think_end, self.dsml];
        [self.bos, self.eos].into_iter().chain(optional.into_iter().flatten())
    }
}

/// Finds control markers in rendered text.
pub(crate) struct MarkerScanner {
    /// Longest first, so that a marker that begins with another one wins.
    markers: Vec<(String, TokenId)>,
    is_first_byte: [bool; 256],
}

impl MarkerScanner {
    /// Checks that each special can serve as a marker. The official texts always can; a token that
    /// only a metadata key names might not.
    pub(crate) fn new(specials: &Specials, table: &TokenTable) -> Result<Self, Error> {
        let mut markers = Vec::new();
        let mut is_first_byte = [false; 256];
        for id in specials.ids() {
            let key = if id == specials.bos { BOS_KEY } else { EOS_KEY };
            let bad = |reason| Error::BadSpecial { key, id: id.0, reason };
            let text = table.string(id).ok_or_else(|| bad("is outside the vocabulary"))?;
            let first = *text.as_bytes().first().ok_or_else(|| bad("is a token without text"))?;
            if text.chars().nth(1).is_none() {
                return Err(bad("is a token of one character, which ordinary text needs"));
            }
            if let Some(entry) = is_first_byte.get_mut(usize::from(first)) {
                *entry = true;
            }
            markers.push((text.to_owned(), id));
        }
        markers.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        Ok(Self { markers, is_first_byte })
    }

    /// The first marker in `text`: the text before it, its id, the text after it.
    pub(crate) fn split_once<'t>(&self, text: &'t str) -> Option<(&'t str, TokenId, &'t str)> {
        text.bytes().enumerate().find_map(|(position, byte)| {
            if !*self.is_first_byte.get(usize::from(byte))? {
                return None;
            }
            let (before, rest) = text.split_at_checked(position)?;
            let (marker, id) = self.markers.iter().find(|(marker, _)| rest.starts_with(marker.as_str()))?;
            Some((before, *id, rest.get(marker.len()..)?))
        })
    }
}
