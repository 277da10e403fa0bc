use crate::block::{self, ParsedCall, Stop};
use crate::markers::{THINK, THINK_END};

/// Spellings of the tag that opens a block of tool calls.
const STARTS: [&str; 6] = [
    "<\u{ff5c}DSML\u{ff5c}tool_calls>",
    "<DSML\u{ff5c}tool_calls>",
    "<tool_calls>",
    "<\u{ff5c}\u{ff5c}DSML\u{ff5c}\u{ff5c}tool_calls>",
    "<|DSML|tool_calls>",
    "<||DSML||tool_calls>",
];

/// How the block of tool calls ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BlockStatus {
    /// There is none.
    #[default]
    Absent,
    /// It was parsed.
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
    /// The parsed block, with the two newlines before it if they were there, for replay.
    pub raw_block: Option<String>,
    /// How the block ended.
    pub status: BlockStatus,
}

/// Parses the complete text of an answer that began with thinking on or off (`spec/chat-format.md` §7).
///
/// The earliest block after the reasoning counts. A string value ends at the first closing parameter tag, also at one
/// that was meant literally; a block inside reasoning that was never closed is reasoning.
pub fn parse_answer(text: &str, thinking: bool) -> Answer {
    let mut answer = Answer::default();
    let mut rest = text;
    if thinking {
        rest = rest.strip_prefix(THINK).unwrap_or(rest);
        let (reasoning, after) = rest.split_once(THINK_END).unwrap_or((rest, ""));
        reasoning.clone_into(&mut answer.reasoning);
        rest = after;
    }
    let Some(start) = STARTS.iter().filter_map(|start| rest.find(start)).min() else {
        rest.clone_into(&mut answer.content);
        return answer;
    };
    let (before, block) = rest.split_at(start);
    let (calls, length) = match block::parse(block) {
        Ok(parsed) => parsed,
        Err(stop) => {
            answer.status = match stop {
                Stop::Incomplete => BlockStatus::Unterminated,
                Stop::Malformed => BlockStatus::Malformed,
            };
            rest.clone_into(&mut answer.content);
            return answer;
        }
    };
    before.trim_end().clone_into(&mut answer.content);
    let lead = if before.ends_with("\n\n") { "\n\n" } else { "" };
    answer.raw_block = Some(format!("{lead}{}", block.get(..length).unwrap_or(block)));
    answer.calls = calls;
    answer.status = BlockStatus::Complete;
    answer
}
