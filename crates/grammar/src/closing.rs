//! Where a parser of answers would see a closing parameter tag.
//!
//! A parameter's value ends at the first text like `</parameter>`, with or without `DSML` and bars
//! (`spec/chat-format.md` §7.2). The real tag holds the control token; the same text spelled with
//! ordinary tokens inside a value would cut the value short, so it must not be sampled.

/// `</`, any bars, `DSML` or nothing, any bars, `parameter`, and a byte that ends a tag's name.
/// The discriminants number the positions inside this text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Closing(u8);

const OUTSIDE: u8 = 0;
const LESS: u8 = 1;
/// After `</` and bars; the next two are inside a bar of three bytes.
const BARS: u8 = 2;
/// `D`, `DS`, `DSM` were read.
const MARK: u8 = 5;
/// After `DSML` and bars; the next two are inside a bar.
const BARS_AFTER: u8 = 8;
/// `p` to `parameter` were read.
const NAME: u8 = 11;
const NAME_END: u8 = NAME + 8;
const CLOSED: u8 = NAME_END + 1;

/// Number of positions that are not yet a closing tag.
pub(crate) const POSITIONS: usize = CLOSED as usize;

impl Closing {
    /// The position with this number.
    pub(crate) fn numbered(position: usize) -> Self {
        Self(position.min(POSITIONS) as u8)
    }

    /// The number of this position, below [`POSITIONS`] unless it is closed.
    pub(crate) fn number(self) -> usize {
        usize::from(self.0)
    }

    /// Whether a closing tag was read.
    pub(crate) fn is_closed(self) -> bool {
        self.0 == CLOSED
    }

    /// The position after `bytes`.
    pub(crate) fn after(self, bytes: &[u8]) -> Self {
        bytes.iter().fold(self, |position, &byte| position.step(byte))
    }

    fn step(self, byte: u8) -> Self {
        let next = match (self.0, byte) {
            (CLOSED, _) => CLOSED,
            (LESS, b'/') => BARS,
            (BARS | BARS_AFTER, b'|') => self.0,
            (BARS | BARS_AFTER, 0xef) => self.0 + 1,
            (3 | 9, 0xbd) => self.0 + 1,
            (4 | 10, 0x9c) => self.0 - 2,
            (BARS, b'D') => MARK,
            (MARK, b'S') | (6, b'M') => self.0 + 1,
            (7, b'L') => BARS_AFTER,
            (BARS | BARS_AFTER, b'p') => NAME,
            (at @ NAME..NAME_END, _) if b"parameter".get(usize::from(at - NAME) + 1) == Some(&byte) => at + 1,
            // White space beyond ASCII ends a name too; all that begins with its kind of byte counts.
            (NAME_END, b'>' | b'\t'..=b'\r' | b' ' | 0x80..) => CLOSED,
            (_, b'<') => LESS,
            _ => OUTSIDE,
        };
        Self(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_the_closing_tag_is_seen_and_nothing_else() {
        let closed = |text: &str| Closing::default().after(text.as_bytes()).is_closed();
        for text in [
            "</parameter>",
            "a<<</parameter b",
            "</|parameter>",
            "</｜DSML｜parameter>",
            "</｜｜DSML｜｜parameter>",
            "</DSMLparameter\n",
            "</par</parameter>",
            "</parameter\u{a0}>",
        ] {
            assert!(closed(text), "{text}");
        }
        for text in ["</parameters>", "<parameter>", "</ parameter>", "</Parameter>", "</DSMparameter>", "</parameter"]
        {
            assert!(!closed(text), "{text}");
        }
    }
}
