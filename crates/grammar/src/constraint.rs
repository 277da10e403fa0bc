use crate::Error;
use crate::closing::Closing;
use crate::vocabulary::Vocabulary;
use llguidance::Matcher;
use std::sync::Arc;
use toktrie::SimpleVob;

/// Where an answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Before `</think>`.
    Reasoning,
    /// Content that is free text.
    Free(Line),
    /// Content or calls that follow the grammar.
    Grammar,
    /// After the end of the answer.
    Done,
}

/// What of a line of free text was written. A block of calls can only begin where its `<` begins a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Empty,
    Less,
    Other,
}

impl Line {
    fn after(self, bytes: &[u8]) -> Self {
        match (self, bytes) {
            (_, []) => self,
            (Self::Empty, b"<") | (_, [.., b'\n', b'<']) => Self::Less,
            (_, [.., b'\n']) => Self::Empty,
            _ => Self::Other,
        }
    }
}

/// Follows one answer, token by token, and says what may come next.
#[derive(Clone)]
pub struct Constraint {
    pub(crate) vocabulary: Arc<Vocabulary>,
    pub(crate) phase: Phase,
    /// The phase that `</think>` begins.
    pub(crate) content: Phase,
    /// Absent if all content is free and no call may begin.
    pub(crate) matcher: Option<Matcher>,
    /// Whether the answer may end inside reasoning.
    pub(crate) ends_in_reasoning: bool,
    /// Where a value stands within a closing tag; absent outside blocks.
    pub(crate) closing: Option<Closing>,
    /// The last byte that the grammar took.
    pub(crate) last_byte: u8,
}

impl Constraint {
    /// Sets the logits of forbidden tokens, and those past the vocabulary, to minus infinity. At
    /// least one token keeps its logit.
    ///
    /// # Errors
    ///
    /// [`Error::Logits`] if there are fewer logits than tokens, [`Error::Stuck`] if the grammar cannot
    /// be followed; the logits are then unchanged.
    pub fn mask(&mut self, logits: &mut [f32]) -> Result<(), Error> {
        self.vocabulary.check_logits(logits)?;
        if self.must_stop() {
            return self.allow_only_end(logits);
        }
        if self.phase == Phase::Grammar {
            self.mask_grammar(logits)?;
        } else {
            for &token in &self.vocabulary.control {
                if !self.allows_control(token)
                    && let Some(logit) = logits.get_mut(token as usize)
                {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        forbid(logits, self.vocabulary.len());
        Ok(())
    }

    /// Moves on by one token of the answer, end of sequence included.
    ///
    /// # Errors
    ///
    /// [`Error::Token`] if the mask forbids it; the state is then unchanged. [`Error::Stuck`] if the
    /// grammar cannot be followed.
    pub fn accept(&mut self, token: u32) -> Result<(), Error> {
        let bad = Error::Token { token };
        if self.must_stop() {
            if token != self.vocabulary.eos() {
                return Err(bad);
            }
            self.phase = Phase::Done;
            return Ok(());
        }
        if self.phase == Phase::Grammar {
            return self.accept_grammar(token);
        }
        if !self.vocabulary.is_control(token) {
            if let Phase::Free(line) = &mut self.phase {
                *line = line.after(self.vocabulary.bytes(token));
            }
            return Ok(());
        }
        if !self.allows_control(token) {
            return Err(bad);
        }
        if token == self.vocabulary.eos() {
            self.phase = Phase::Done;
        } else if self.phase != Phase::Reasoning {
            // The one control token of free content begins a block, whose grammar begins with it.
            self.phase = Phase::Grammar;
            return self.accept_grammar(token);
        } else if Some(token) == self.vocabulary.think_end() {
            self.phase = self.content;
        }
        Ok(())
    }

    /// Whether nothing but the end of sequence may follow.
    pub fn must_stop(&mut self) -> bool {
        match (self.phase, &mut self.matcher) {
            (Phase::Done, _) => true,
            (Phase::Grammar, Some(matcher)) => {
                // A complete value may only be followed by white space, unless it is a bare number or word.
                let may_grow = self.last_byte.is_ascii_alphanumeric() || self.last_byte == 0;
                let is_complete = !may_grow && matcher.is_accepting().unwrap_or(false);
                is_complete || (matcher.is_stopped() && matcher.stop_reason().is_ok())
            }
            _ => false,
        }
    }

    fn allows_control(&self, token: u32) -> bool {
        let is = |known: Option<u32>| known == Some(token);
        match self.phase {
            Phase::Reasoning => {
                is(self.vocabulary.think_end())
                    || is(self.vocabulary.dsml())
                    || (token == self.vocabulary.eos() && self.ends_in_reasoning)
            }
            Phase::Free(line) => {
                let begins_block = line == Line::Less && self.matcher.is_some();
                token == self.vocabulary.eos() || (begins_block && is(self.vocabulary.dsml()))
            }
            Phase::Grammar | Phase::Done => token == self.vocabulary.eos(),
        }
    }

    fn allow_only_end(&self, logits: &mut [f32]) -> Result<(), Error> {
        let eos = self.vocabulary.eos() as usize;
        let end = logits.get(eos).copied();
        logits.fill(f32::NEG_INFINITY);
        if let (Some(logit), Some(end)) = (logits.get_mut(eos), end) {
            *logit = end;
        }
        Ok(())
    }

    fn mask_grammar(&mut self, logits: &mut [f32]) -> Result<(), Error> {
        let allowed = self.allowed_by_grammar()?;
        for (logits, &word) in logits.chunks_mut(u32::BITS as usize).zip(allowed.as_slice()) {
            match word {
                0 => logits.fill(f32::NEG_INFINITY),
                u32::MAX => {}
                _ => {
                    for (bit, logit) in logits.iter_mut().enumerate() {
                        if word >> bit & 1 == 0 {
                            *logit = f32::NEG_INFINITY;
                        }
                    }
                }
            }
        }
        forbid(logits, allowed.len());
        Ok(())
    }

    fn allowed_by_grammar(&mut self) -> Result<SimpleVob, Error> {
        let matcher = self.matcher.as_mut().ok_or_else(no_grammar)?;
        let mut allowed = matcher.compute_mask_or_eos().map_err(|error| stuck(&error))?;
        if let Some(closing) = self.closing {
            self.vocabulary.keep_open(closing, &mut allowed);
        }
        Ok(allowed)
    }

    fn accept_grammar(&mut self, token: u32) -> Result<(), Error> {
        let is_control = self.vocabulary.is_control(token);
        let bytes = self.vocabulary.bytes(token);
        // The real tag holds the control token, which starts the search anew.
        let closing = match self.closing {
            _ if is_control => Some(Closing::default()),
            closing => closing.map(|closing| closing.after(bytes)),
        };
        let last_byte = bytes.last().copied().unwrap_or(self.last_byte);
        let closes = closing.is_some_and(Closing::is_closed);
        if closes && !self.allowed_by_grammar()?.is_allowed(token) {
            return Err(Error::Token { token });
        }
        let matcher = self.matcher.as_mut().ok_or_else(no_grammar)?;
        if token == self.vocabulary.eos() {
            if !matcher.is_accepting().map_err(|error| stuck(&error))? {
                return Err(Error::Token { token });
            }
            self.phase = Phase::Done;
            return Ok(());
        }
        if token as usize >= self.vocabulary.len()
            || matcher.try_consume_tokens(&[token]).map_err(|error| stuck(&error))? != 1
        {
            return Err(Error::Token { token });
        }
        (self.closing, self.last_byte) = (closing, last_byte);
        Ok(())
    }
}

fn forbid(logits: &mut [f32], from: usize) {
    if let Some(rest) = logits.get_mut(from..) {
        rest.fill(f32::NEG_INFINITY);
    }
}

fn no_grammar() -> Error {
    Error::Stuck { reason: "there is no grammar".to_owned() }
}

fn stuck(error: &impl std::fmt::Display) -> Error {
    let reason = error.to_string().lines().next().unwrap_or_default().chars().take(200).collect();
    Error::Stuck { reason }
}
