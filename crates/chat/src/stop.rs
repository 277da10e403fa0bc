//! Stop strings in generated text.

/// One string to look for, by Knuth, Morris and Pratt.
struct Needle {
    /// Position in the caller's list.
    index: usize,
    bytes: Vec<u8>,
    /// Per length matched, the length of the longest proper border: where to go on after a mismatch.
    borders: Vec<usize>,
    /// Bytes matched at the end of the text so far.
    matched: usize,
}

impl Needle {
    fn new(index: usize, text: &str) -> Self {
        let mut needle = Self { index, bytes: text.as_bytes().to_vec(), borders: vec![0, 0], matched: 0 };
        for &byte in text.as_bytes().iter().skip(1) {
            needle.step(byte);
            needle.borders.push(needle.matched);
        }
        needle.matched = 0;
        needle
    }

    /// Follows one more byte of the text; true at the end of an occurrence.
    fn step(&mut self, byte: u8) -> bool {
        while self.matched > 0 && self.bytes.get(self.matched) != Some(&byte) {
            self.matched = self.borders.get(self.matched).copied().unwrap_or(0);
        }
        if self.bytes.get(self.matched) == Some(&byte) {
            self.matched += 1;
        }
        self.matched == self.bytes.len()
    }
}

/// Finds stop strings in text that comes in pieces and holds back what may be the beginning of one.
///
/// The occurrence that ends first wins, since generation can stop there; of those that end together the longest, then
/// the one earlier in the list. Time is linear in the text, times the number of strings.
pub struct StopStrings {
    needles: Vec<Needle>,
    /// Text that may belong to an occurrence; shorter than the longest string.
    held: String,
    hit: Option<usize>,
}

impl StopStrings {
    /// Looks for `strings`; empty ones are ignored but keep their index. The caller limits their number and length.
    pub fn new(strings: Vec<String>) -> Self {
        let nonempty = strings.iter().enumerate().filter(|(_, text)| !text.is_empty());
        Self {
            needles: nonempty.map(|(index, text)| Needle::new(index, text)).collect(),
            held: String::new(),
            hit: None,
        }
    }

    /// Takes more text. Appends to `out` what is certainly not part of a stop string, and returns the index of the
    /// stop string that was hit. The hit itself and all text after it are dropped.
    pub fn push(&mut self, text: &str, out: &mut String) -> Option<usize> {
        if self.hit.is_some() {
            return self.hit;
        }
        let before = self.held.len();
        self.held.push_str(text);
        for (position, byte) in text.bytes().enumerate() {
            let mut longest: Option<&Needle> = None;
            for needle in &mut self.needles {
                if needle.step(byte) && longest.is_none_or(|found| needle.bytes.len() > found.bytes.len()) {
                    longest = Some(needle);
                }
            }
            if let Some(needle) = longest {
                self.hit = Some(needle.index);
                let end = before + position + 1;
                out.push_str(self.held.get(..end - needle.bytes.len()).unwrap_or_default());
                self.held.clear();
                return self.hit;
            }
        }
        let held = self.needles.iter().map(|needle| needle.matched).max().unwrap_or(0);
        // A match begins with the first byte of a character, so this cuts none.
        out.extend(self.held.drain(..self.held.len() - held));
        None
    }

    /// Ends the text and appends what was held back.
    pub fn finish(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
        self.needles.iter_mut().for_each(|needle| needle.matched = 0);
    }
}
