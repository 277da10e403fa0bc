/// A stretch of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The text, never empty.
    pub text: String,
    /// Control tokens are recognised here. Client text is never trusted.
    pub trusted: bool,
}

/// A rendered prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    segments: Vec<Segment>,
}

impl Prompt {
    /// The segments in order; neighbours differ in trust.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// All text as one string, for cache keys. It has lost the trust.
    pub fn text(&self) -> String {
        self.segments.iter().map(|segment| segment.text.as_str()).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    pub(crate) fn append(&mut self, other: Self) {
        for segment in other.segments {
            self.push(&segment.text, segment.trusted);
        }
    }

    pub(crate) fn protocol(&mut self, text: &str) {
        self.push(text, true);
    }

    pub(crate) fn client(&mut self, text: &str) {
        self.push(text, false);
    }

    fn push(&mut self, text: &str, trusted: bool) {
        if text.is_empty() {
            return;
        }
        match self.segments.last_mut() {
            Some(last) if last.trusted == trusted => last.text.push_str(text),
            _ => self.segments.push(Segment { text: text.to_owned(), trusted }),
        }
    }
}
