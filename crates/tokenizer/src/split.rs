//! Pre-tokenisation (`spec/tokenizer.md` §3.1): three splits in a row, written by hand.
//!
//! A backtracking regular-expression engine takes the same rules, but gives up on a megabyte of spaces
//! when its stack limit is reached. Here every rule looks ahead at most once over the characters that
//! it consumes, so the time is linear and every text is accepted.

use crate::Error;
use regex_syntax::hir::{Class, HirKind};

/// `\p{N}`.
const NUMBER: u8 = 1;
/// Rule 2's ranges: U+4E00–9FA5 (Han), U+3040–309F (Hiragana), U+30A0–30FF (Katakana).
const CJK: u8 = 2;
/// `[\p{L}\p{M}]`: letters and the marks that attach to them.
const LETTER_OR_MARK: u8 = 4;
/// `[\p{P}\p{S}]`: punctuation and symbols.
const SYMBOL: u8 = 8;
/// `\s`.
const SPACE: u8 = 16;

/// Longest run of numbers in one piece (rule 1).
const NUMBERS_PER_PIECE: usize = 3;

/// One byte of class bits for each code point. 1.1 MB, of which text touches a few pages.
pub(crate) struct CharClasses {
    bits: Box<[u8]>,
}

impl CharClasses {
    /// Builds the table from the Unicode data of `regex-syntax`.
    pub(crate) fn new() -> Result<Self, Error> {
        let mut bits = vec![0; char::MAX as usize + 1].into_boxed_slice();
        for (pattern, bit) in [
            (r"\p{N}", NUMBER),
            (r"[\x{4E00}-\x{9FA5}\x{3040}-\x{30FF}]", CJK),
            (r"[\p{L}\p{M}]", LETTER_OR_MARK),
            (r"[\p{P}\p{S}]", SYMBOL),
            (r"\s", SPACE),
        ] {
            for (first, last) in class_ranges(pattern)? {
                for entry in bits.iter_mut().take(last as usize + 1).skip(first as usize) {
                    *entry |= bit;
                }
            }
        }
        Ok(Self { bits })
    }

    /// Cuts `text` into pieces. Their concatenation is `text`; none is empty.
    pub(crate) fn pieces<'c, 't>(&'c self, text: &'t str) -> Pieces<'c, 't> {
        Pieces { classes: self, text, segment: "", segment_is_numbers: false }
    }

    fn has(&self, c: char, mask: u8) -> bool {
        self.bits.get(c as usize).is_some_and(|bits| bits & mask != 0)
    }

    /// Bytes of the longest prefix of `text` whose characters all have a bit of `mask`.
    fn run(&self, text: &str, mask: u8) -> usize {
        prefix_len(text, |c| self.has(c, mask))
    }

    /// Bytes that rule 3 matches at the start of `text`: its first alternative that matches.
    fn match_len(&self, text: &str) -> Option<usize> {
        let first = text.chars().next()?;
        let (head, tail) = text.split_at(first.len_utf8());

        // (a) ASCII punctuation with ASCII letters
        if first.is_ascii_punctuation() {
            let letters = prefix_len(tail, |c| c.is_ascii_alphabetic());
            if letters > 0 {
                return Some(head.len() + letters);
            }
        }

        // (b) letters and marks, with one character before them that is no line break, letter,
        // punctuation or symbol. A mark may take either role: the match is the same.
        if self.has(first, LETTER_OR_MARK) {
            return Some(self.run(text, LETTER_OR_MARK));
        }
        if !is_line_break(first) && !self.has(first, SYMBOL) {
            let letters = self.run(tail, LETTER_OR_MARK);
            if letters > 0 {
                return Some(head.len() + letters);
            }
        }

        // (c) punctuation and symbols, with one space before and the line breaks after them
        let (lead, body) = if first == ' ' { (head.len(), tail) } else { (0, text) };
        let symbols = self.run(body, SYMBOL);
        if symbols > 0 {
            let breaks = body.get(symbols..).map_or(0, |rest| prefix_len(rest, is_line_break));
            return Some(lead + symbols + breaks);
        }

        self.whitespace_len(text)
    }

    /// Alternatives (d), (e) and (f): what they take of the whitespace at the start of `text`.
    fn whitespace_len(&self, text: &str) -> Option<usize> {
        let (run, rest) = text.split_at_checked(self.run(text, SPACE))?;
        let last = run.chars().next_back()?;
        // (d) up to and including the last line break
        if let Some(position) = run.rfind(is_line_break) {
            return Some(position + 1);
        }
        // (e) all of it at the end, else all but one character, which (b) or (c) may want
        let spared = if rest.is_empty() { 0 } else { last.len_utf8() };
        match run.len() - spared {
            0 => Some(run.len()), // (f)
            taken => Some(taken),
        }
    }

    /// Bytes of the next piece of rule 3: a match, or what lies before the next match.
    fn piece_len(&self, segment: &str) -> usize {
        if let Some(matched) = self.match_len(segment) {
            return matched;
        }
        segment
            .char_indices()
            .map(|(position, _)| position)
            .find(|&position| segment.get(position..).is_some_and(|rest| self.match_len(rest).is_some()))
            .unwrap_or(segment.len())
    }
}

/// Iterator over the pieces of a text.
pub(crate) struct Pieces<'c, 't> {
    classes: &'c CharClasses,
    /// What rules 1 and 2 have not seen yet.
    text: &'t str,
    /// What they split off last and rule 3 has not consumed. Rules see no further than its end, so
    /// whitespace before a number counts as whitespace at the end of text.
    segment: &'t str,
    segment_is_numbers: bool,
}

impl<'t> Pieces<'_, 't> {
    /// Splits off the next maximal run of numbers, of [`CJK`] characters, or of anything else.
    fn next_segment(&mut self) -> Option<()> {
        let first = self.text.chars().next()?;
        let kind = |c| (self.classes.has(c, NUMBER), self.classes.has(c, CJK));
        let first_kind = kind(first);
        let len = prefix_len(self.text, |c| kind(c) == first_kind);
        (self.segment, self.text) = self.text.split_at_checked(len)?;
        self.segment_is_numbers = first_kind.0;
        Some(())
    }
}

impl<'t> Iterator for Pieces<'_, 't> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        if self.segment.is_empty() {
            self.next_segment()?;
        }
        let len = if self.segment_is_numbers {
            self.segment.chars().take(NUMBERS_PER_PIECE).map(char::len_utf8).sum()
        } else {
            self.classes.piece_len(self.segment)
        };
        let piece;
        (piece, self.segment) = self.segment.split_at_checked(len)?;
        Some(piece)
    }
}

fn is_line_break(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

fn prefix_len(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// The code point ranges, both ends included, of a pattern that is one character class.
fn class_ranges(pattern: &'static str) -> Result<Vec<(char, char)>, Error> {
    let unavailable = |cause: String| Error::UnicodeClass { class: pattern, cause };
    let hir = regex_syntax::parse(pattern).map_err(|e| unavailable(e.to_string()))?;
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => Ok(class.iter().map(|range| (range.start(), range.end())).collect()),
        other => Err(unavailable(format!("parsed as {other:?}"))),
    }
}
