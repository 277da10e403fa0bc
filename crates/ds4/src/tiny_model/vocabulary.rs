//! A byte-level vocabulary: three specials, the 256 bytes, some merges, the markers (`spec/tokenizer.md` §1, §2).

/// Begin of sequence.
pub const BOS_ID: u32 = 0;
/// End of sequence.
pub const EOS_ID: u32 = 1;
/// Padding.
pub const PAD_ID: u32 = 2;

/// `tokenizer.ggml.token_type`: ordinary text, control token, added token.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const ADDED: i32 = 4;

const SPECIALS: [&str; 3] = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"];

/// Ids 128800 to 128846 of the published vocabulary, in its order.
const MARKERS: [&str; 47] = [
    "<｜fim▁hole｜>",
    "<｜fim▁begin｜>",
    "<｜fim▁end｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<|EOT|>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁outputs▁begin｜>",
    "<｜tool▁outputs▁end｜>",
    "<｜tool▁output▁begin｜>",
    "<｜tool▁output▁end｜>",
    "<｜tool▁sep｜>",
    "<｜begin▁of▁repo▁name｜>",
    "<｜end▁of▁repo▁name｜>",
    "<｜begin▁of▁file▁name｜>",
    "<｜end▁of▁file▁name｜>",
    "<｜begin▁of▁file｜>",
    "<｜end▁of▁file｜>",
    "<think>",
    "</think>",
    "<｜place▁holder▁for▁copy｜>",
    "<｜place▁holder▁for▁pointer▁replace｜>",
    "｜DSML｜",
    "<｜begin▁sys｜>",
    "<｜end▁sys｜>",
    "<｜latest_reminder｜>",
    "<｜action｜>",
    "<｜query｜>",
    "<｜authority｜>",
    "<｜domain｜>",
    "<｜task｜>",
    "<｜political｜>",
    "<｜entity｜>",
    "<｜title｜>",
    "<｜safety｜>",
    "<｜answer｜>",
    "<｜search｜>",
    "<dsml:",
    "</dsml:",
    "<｜search▁begin｜>",
    "<｜search▁end｜>",
    "<｜extracted_url｜>",
    "<｜read_url｜>",
    "<｜end_of_query｜>",
];

/// Merges in order of rank, over the byte alphabet: Ġ is a space, Ċ a line break.
const MERGES: [&str; 64] = [
    "Ġ Ġ",
    "Ġ t",
    "h e",
    "i n",
    "Ġ a",
    "r e",
    "o n",
    "Ġt he",
    "e r",
    "a t",
    "Ġ s",
    "o r",
    "n d",
    "Ġ o",
    "e n",
    "Ġ w",
    "a n",
    "i t",
    "i s",
    "e s",
    "Ġ b",
    "Ġ c",
    "in g",
    "Ġ i",
    "Ġo f",
    "a l",
    "Ġ f",
    "a r",
    "e d",
    "Ġ p",
    "Ġ m",
    "Ġa nd",
    "Ġi n",
    "Ġt o",
    "o u",
    "l e",
    "i on",
    "Ġ d",
    "Ġ h",
    "Ġ l",
    "s t",
    "Ġi s",
    "a s",
    "ou t",
    "ĠĠ ĠĠ",
    "Ċ Ċ",
    "l l",
    "o m",
    "Ġ n",
    "Ġ e",
    "Ġ g",
    "Ġ y",
    "Ġy ou",
    "i c",
    "u r",
    "Ġ re",
    "v e",
    "Ġt h",
    "Ġth at",
    "Ġ (",
    "( )",
    "; Ċ",
    ": Ċ",
    "0 0",
];

/// What a file says about its tokens.
pub struct Vocabulary {
    /// Strings over the byte alphabet; the index is the id.
    pub tokens: Vec<String>,
    /// One a token.
    pub kinds: Vec<i32>,
    /// `LEFT RIGHT`
    pub merges: Vec<String>,
}

impl Vocabulary {
    /// The one vocabulary of all tiny models.
    pub fn new() -> Self {
        let mut vocabulary = Self { tokens: Vec::new(), kinds: Vec::new(), merges: Vec::new() };
        vocabulary.add(SPECIALS.map(String::from), CONTROL);
        vocabulary.add(byte_alphabet().map(String::from), NORMAL);
        vocabulary.add(MERGES.map(|merge| merge.replace(' ', "")), NORMAL);
        vocabulary.add(MARKERS.map(String::from), ADDED);
        vocabulary.merges = MERGES.map(String::from).into();
        vocabulary
    }

    fn add(&mut self, tokens: impl IntoIterator<Item = String>, kind: i32) {
        self.tokens.extend(tokens);
        self.kinds.resize(self.tokens.len(), kind);
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }
}

/// The character of each byte: itself where it is printable, the next one from U+0100 where not.
fn byte_alphabet() -> [char; 256] {
    let mut substitutes = '\u{100}'..;
    std::array::from_fn(|byte| match byte as u8 {
        byte @ (b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff) => char::from(byte),
        _ => substitutes.next().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ds4_tokenizer::{TokenId, Tokenizer, markers};

    fn tokenizer() -> Tokenizer {
        let Vocabulary { tokens, merges, .. } = Vocabulary::new();
        Tokenizer::new(ds4_tokenizer::Vocabulary { tokens, merges, bos: None, eos: None }).unwrap()
    }

    #[test]
    fn it_makes_a_tokenizer_with_all_control_tokens() {
        let specials = *tokenizer().specials();
        assert_eq!((specials.bos, specials.eos), (TokenId(BOS_ID), TokenId(EOS_ID)));
        let all = [specials.user, specials.assistant, specials.think, specials.think_end, specials.dsml];
        assert!(all.iter().all(Option::is_some), "{specials:?}");
    }

    #[test]
    fn any_text_survives_and_merges_are_used() {
        let tokenizer = tokenizer();
        let text = "The cat and the other one, that is \u{1}\u{ad} 100 大 =={ }\n\n  é";
        let ids = tokenizer.encode_text(text).unwrap();
        assert_eq!(tokenizer.decode(&ids), text);
        assert!(ids.len() < text.len() * 3 / 4, "{} tokens for {} bytes", ids.len(), text.len());
        let rendered = tokenizer.encode_rendered(&format!("{}x{}", markers::USER, markers::THINK)).unwrap();
        assert_eq!(rendered.len(), 3);
    }
}
