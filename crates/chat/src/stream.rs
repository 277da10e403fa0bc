//! Answers read while they are generated.

use crate::block::{Block, Step, after};
use crate::markers::{THINK, THINK_END};
use crate::output::{Answer, BlockStatus};
use crate::tag::{self, Match};
use std::mem;

/// A piece of an answer. Neighbours of one kind belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Text before `</think>`.
    Reasoning(String),
    /// Text of the answer.
    Content(String),
    /// A call begins.
    CallStart {
        /// Position of the call in the answer, from 0.
        index: usize,
        /// Name of the tool.
        name: String,
    },
    /// Some of the arguments of the call that began last.
    CallArguments {
        /// Position of the call in the answer.
        index: usize,
        /// Cut at any character; all fragments together are one JSON object.
        fragment: String,
    },
    /// The call is complete.
    CallEnd {
        /// Position of the call in the answer.
        index: usize,
    },
}

/// Where the next character stands (`spec/chat-format.md` §7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the reasoning, where tool markers are ordinary text.
    Reasoning,
    /// In the content, also behind a block and in a block that broke the grammar.
    Content,
    /// In a block, outside strings: tags, numbers, literals.
    Syntax,
    /// In a string value of a call. `</` of a closing tag is [`Place::Syntax`] until it turns out to be text.
    Payload,
}

enum State {
    /// Before anything but the beginning of a marker.
    Start {
        thinking: bool,
    },
    Reasoning,
    /// In a block inside reasoning: a call if it is complete and last, else a quotation. `think` is where to search
    /// for the end of the reasoning.
    Quote {
        block: Block,
        think: usize,
    },
    /// Behind the end of such a block.
    Quoted(Block),
    Content,
    Block(Block),
    /// In a block that broke the grammar, or behind its end.
    Broken {
        is_closed: bool,
    },
    Closed(Block),
    Finished(Answer),
}

/// Parses an answer while it is generated (`spec/chat-format.md` §7). Any cut of the text gives the same events, up to
/// how they are split.
///
/// The reasoning and content of the events together are those of the [`Answer`], always. The calls are too if the block
/// is complete. If it is not ([`BlockStatus::Malformed`], [`BlockStatus::Unterminated`]), the caller has seen the
/// content before the block, without the white space in between, then the calls as far as they went: all but the last
/// with their end; the last has no end if the fault is inside it, and its arguments stop anywhere. [`finish`] then
/// sends the white space and the raw block to the end of the text as content, which the caller may suppress.
///
/// A block inside reasoning is held back until it is known to be a quotation. If it is closed, nothing but white space
/// comes after it and the text ends without `</think>`, its start was the end of thinking: [`finish`] sends its calls.
///
/// Memory and time are linear in the text; the caller limits its length.
///
/// [`finish`]: AnswerStream::finish
pub struct AnswerStream {
    tools: bool,
    text: String,
    state: State,
    /// All text before has been sent or is syntax.
    shown: usize,
    /// End of the last character that is not white space, of the text searched; white space before a block is syntax.
    solid: usize,
    /// All text before has been searched for markers.
    searched: usize,
    reasoning_start: usize,
    reasoning_end: usize,
    content_start: usize,
}

/// What [`AnswerStream::search`] found.
enum Marker {
    ThinkEnd,
    Block,
}

impl AnswerStream {
    /// For an answer whose prompt ended with `<think>` (`thinking`) or `</think>`, and that may call tools or for which
    /// tool markers are ordinary text.
    pub fn new(thinking: bool, tools: bool) -> Self {
        Self {
            tools,
            text: String::new(),
            state: State::Start { thinking },
            shown: 0,
            solid: 0,
            searched: 0,
            reasoning_start: 0,
            reasoning_end: 0,
            content_start: 0,
        }
    }

    /// Appends generated text and sends what has become certain. After [`AnswerStream::finish`] it does nothing.
    pub fn push(&mut self, text: &str, events: &mut Vec<Event>) {
        if matches!(self.state, State::Finished(_)) {
            return;
        }
        self.text.push_str(text);
        let mut goes_on = true;
        while goes_on {
            let state = mem::replace(&mut self.state, State::Content);
            (self.state, goes_on) = self.step(state, events);
        }
    }

    /// The block is closed, well-formed or not: decoding must stop.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Closed(_) | State::Broken { is_closed: true } | State::Finished(_))
    }

    /// Where the next character stands.
    pub fn place(&self) -> Place {
        match &self.state {
            State::Start { thinking: true } | State::Reasoning | State::Quote { .. } | State::Quoted(_) => {
                Place::Reasoning
            }
            State::Block(block) => block.place(&self.text),
            State::Start { thinking: false }
            | State::Content
            | State::Broken { .. }
            | State::Closed(_)
            | State::Finished(_) => Place::Content,
        }
    }

    /// Ends the text, sends what was held back and returns the answer, the same as [`crate::parse_answer`] returns for
    /// the whole text.
    pub fn finish(&mut self, events: &mut Vec<Event>) -> Answer {
        let answer = match mem::replace(&mut self.state, State::Content) {
            State::Finished(answer) => answer,
            State::Start { thinking: true } | State::Reasoning | State::Quote { .. } => {
                self.reasoning_end = self.text.len();
                self.show(self.text.len(), Event::Reasoning, events);
                self.answer(self.text.len(), self.text.len(), BlockStatus::Absent)
            }
            State::Quoted(block) => {
                (self.reasoning_end, self.content_start) = (self.solid, self.solid);
                for (index, call) in block.calls.iter().enumerate() {
                    events.push(Event::CallStart { index, name: call.name.clone() });
                    events.push(Event::CallArguments { index, fragment: call.arguments.clone() });
                    events.push(Event::CallEnd { index });
                }
                self.complete(block, None)
            }
            State::Start { thinking: false } | State::Content => self.plain(BlockStatus::Absent, events),
            State::Block(block) if block.may_end(&self.text) => self.complete(block, Some(self.text.len())),
            State::Block(_) => self.plain(BlockStatus::Unterminated, events),
            State::Broken { .. } => self.plain(BlockStatus::Malformed, events),
            State::Closed(block) => self.complete(block, None),
        };
        self.state = State::Finished(answer.clone());
        answer
    }

    fn plain(&mut self, status: BlockStatus, events: &mut Vec<Event>) -> Answer {
        self.show(self.text.len(), Event::Content, events);
        self.answer(self.content_start, self.text.len(), status)
    }

    fn complete(&self, block: Block, end: Option<usize>) -> Answer {
        let raw_block = self.text.get(self.solid..end.unwrap_or(block.at)).map(str::to_owned);
        Answer { calls: block.calls, raw_block, ..self.answer(self.content_start, self.solid, BlockStatus::Complete) }
    }

    fn answer(&self, content_start: usize, content_end: usize, status: BlockStatus) -> Answer {
        let part = |start: usize, end: usize| self.text.get(start..end).unwrap_or_default().to_owned();
        Answer {
            reasoning: part(self.reasoning_start, self.reasoning_end),
            content: part(content_start, content_end),
            status,
            ..Answer::default()
        }
    }

    /// The next state, and whether it has work to do at once.
    fn step(&mut self, state: State, events: &mut Vec<Event>) -> (State, bool) {
        match state {
            State::Start { thinking } => self.start(thinking),
            State::Reasoning => match self.search(true, events) {
                Some(Marker::ThinkEnd) => {
                    self.reasoning_end = self.searched;
                    self.begin_content(self.searched + THINK_END.len());
                    (State::Content, true)
                }
                Some(Marker::Block) => {
                    let block = Block::new(self.searched);
                    (State::Quote { block, think: self.searched }, true)
                }
                None => (State::Reasoning, false),
            },
            State::Quote { block, think } => self.quote(block, think),
            State::Quoted(block) => {
                let rest = after(&self.text, self.searched);
                if rest.trim_start().is_empty() {
                    self.searched = self.text.len();
                    return (State::Quoted(block), false);
                }
                self.resume(block.at);
                (State::Reasoning, true)
            }
            State::Content => match self.search(false, events) {
                Some(_) => (State::Block(Block::new(self.searched)), true),
                None => (State::Content, false),
            },
            State::Block(mut block) => match block.advance(&self.text, events) {
                Step::Go | Step::Wait => (State::Block(block), false),
                Step::Closed => (State::Closed(block), false),
                Step::Malformed => {
                    self.searched = block.at;
                    (State::Broken { is_closed: false }, true)
                }
            },
            State::Broken { is_closed: false } => (State::Broken { is_closed: self.find_block_end() }, false),
            last => (last, false),
        }
    }

    /// Skips a marker that repeats the end of the prompt. Without thinking a leading `<think>` begins it all the same.
    fn start(&mut self, thinking: bool) -> (State, bool) {
        match (tag::literal(&self.text, THINK), tag::literal(&self.text, THINK_END)) {
            (Match::Yes(length), _) => {
                self.reasoning_start = length;
                self.reasoning_end = length;
                self.resume(length);
                self.shown = length;
                (State::Reasoning, true)
            }
            (_, Match::Yes(length)) if !thinking => {
                self.begin_content(length);
                (State::Content, true)
            }
            (Match::Partial, _) => (State::Start { thinking }, false),
            (_, Match::Partial) if !thinking => (State::Start { thinking }, false),
            _ if thinking => (State::Reasoning, true),
            _ => (State::Content, true),
        }
    }

    fn begin_content(&mut self, at: usize) {
        (self.content_start, self.shown, self.solid, self.searched) = (at, at, at, at);
    }

    /// Goes on searching at `at`.
    fn resume(&mut self, at: usize) {
        self.solid = self.text.get(..at).unwrap_or_default().trim_end().len();
        self.searched = at;
    }

    /// A block inside reasoning. Where it breaks off, the search goes on behind what it has read, so that blocks inside
    /// blocks cost nothing.
    fn quote(&mut self, mut block: Block, think: usize) -> (State, bool) {
        if let Some(position) = after(&self.text, think).find(THINK_END) {
            self.resume(think + position);
            return (State::Reasoning, true);
        }
        // The end of the text may be the beginning of the marker.
        let mut next = (self.text.len() + 1).saturating_sub(THINK_END.len()).max(think);
        while !self.text.is_char_boundary(next) {
            next -= 1;
        }
        match block.advance(&self.text, &mut Vec::new()) {
            Step::Go | Step::Wait => (State::Quote { block, think: next }, false),
            Step::Closed => {
                self.searched = block.at;
                (State::Quoted(block), true)
            }
            Step::Malformed => {
                self.resume(block.at);
                (State::Reasoning, true)
            }
        }
    }

    /// Sends text up to the next marker. `searched` is then the start of `</think>`, or the end of the tag that opens a
    /// block, with `solid` before its white space.
    fn search(&mut self, reasoning: bool, events: &mut Vec<Event>) -> Option<Marker> {
        let kind = if reasoning { Event::Reasoning } else { Event::Content };
        loop {
            let rest = after(&self.text, self.searched);
            let (plain, rest) = rest.split_at(rest.find('<').unwrap_or(rest.len()));
            let solid = if self.tools { plain.trim_end().len() } else { plain.len() };
            if solid > 0 {
                self.solid = self.searched + solid;
            }
            self.searched += plain.len();
            let think_end = if reasoning { tag::literal(rest, THINK_END) } else { Match::No };
            let block = if self.tools { tag::block_start(rest) } else { Match::No };
            match (think_end, block) {
                (Match::Yes(_), _) => {
                    self.show(self.searched, kind, events);
                    return Some(Marker::ThinkEnd);
                }
                (_, Match::Yes(length)) => {
                    self.show(self.solid, kind, events);
                    self.searched += length;
                    return Some(Marker::Block);
                }
                _ if rest.is_empty() => {
                    self.show(self.solid, kind, events);
                    return None;
                }
                (Match::Partial, _) | (_, Match::Partial) => {
                    self.show(self.solid, kind, events);
                    return None;
                }
                (Match::No, Match::No) => {
                    self.searched += 1;
                    self.solid = self.searched;
                }
            }
        }
    }

    fn find_block_end(&mut self) -> bool {
        loop {
            let rest = after(&self.text, self.searched);
            let (plain, rest) = rest.split_at(rest.find('<').unwrap_or(rest.len()));
            self.searched += plain.len();
            match tag::block_end(rest) {
                Match::Yes(_) => return true,
                Match::Partial => return false,
                Match::No => self.searched += 1,
            }
        }
    }

    fn show(&mut self, end: usize, kind: fn(String) -> Event, events: &mut Vec<Event>) {
        if let Some(text) = self.text.get(self.shown..end).filter(|text| !text.is_empty()) {
            events.push(kind(text.to_owned()));
            self.shown = end;
        }
    }
}
