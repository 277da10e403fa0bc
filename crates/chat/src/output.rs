use crate::block::ParsedCall;
use crate::stream::AnswerStream;

/// How the block of tool calls ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BlockStatus {
    /// There is none.
    #[default]
    Absent,
    /// It was parsed. After a closed invoke the end of the text may stand for the end of the block.
    Complete,
    /// It breaks the grammar; its text is content.
    Malformed,
    /// The text ended inside it; its text is content.
    Unterminated,
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Text before `</think>`, when thinking.
    pub reasoning: String,
    /// Text outside reasoning and calls.
    pub content: String,
    /// The calls.
    pub calls: Vec<ParsedCall>,
    /// The parsed block with all white space before it, as it was generated, for [`crate::Message::raw_block`].
    pub raw_block: Option<String>,
    /// How the block ended.
    pub status: BlockStatus,
}

/// Parses the complete text of an answer (`spec/chat-format.md` §7), as [`AnswerStream`] does piece by piece.
pub fn parse_answer(text: &str, thinking: bool, tools: bool) -> Answer {
    let mut stream = AnswerStream::new(thinking, tools);
    let mut events = Vec::new();
    stream.push(text, &mut events);
    stream.finish(&mut events)
}
