//! The chat format of DeepSeek V4 (`spec/chat-format.md`): prompts from conversations, answers
//! from generated text.
//!
//! [`render`] writes a typed conversation as a [`Prompt`], a list of segments. Text of the client is
//! untrusted: the tokenizer must read it as plain text. Only trusted segments hold control tokens. A block
//! of calls that the model wrote is repeated byte for byte from [`Message::raw_block`]; only its markers are
//! trusted.
//!
//! [`AnswerStream`] reads generated text in pieces and sends [`Event`]s; [`parse_answer`] is the same for a
//! whole text. [`StopStrings`] cuts text at stop strings.
//!
//! The [`Style::Official`] form differs from DeepSeek's encoder on purpose:
//! - the closing sentinel inside an argument or a tool result is escaped, as are the characters
//!   `&<>"` of names, so that no value can end its own element;
//! - adjacent assistant messages become one turn, where the encoder glues a second reasoning part
//!   into the answer;
//! - a user message merged into the one before it hands on its task.
//!
//! It does not follow the advice of the specification where the encoder's own cases say otherwise:
//! the tool block stands after the system text, system messages are concatenated, `developer` is a
//! user turn (callers map it to `system` for API clients), and only `tools` keeps old reasoning.
//!
//! Not settled by the specification: an assistant turn right after a task gets no reasoning part.
//!
//! The parser differs from the C program on purpose:
//! - arguments have no white space outside strings, in events and in the answer alike;
//! - reasoning without an end is reasoning. A block in it is a quotation, unless it is closed, the last thing
//!   in the text, and no `</think>` comes: then its start was the end of thinking;
//! - without thinking, a leading `<think>` starts reasoning, a leading `</think>` is skipped, any other
//!   `</think>` is text, for what stands before it has been sent as content;
//! - of several tags that open a block the earliest counts, in every spelling: one or two bars on either side
//!   of `DSML`, full-width or ASCII, or none. One without bars or `DSML` is ordinary text unless an invoke follows;
//! - a value opened with the marker does not end at a closing tag without it, unless a tag with the marker or
//!   the end of the invoke follows, so that files with such tags can be written. A literal closing tag of the
//!   value's own spelling does end it;
//! - the raw block keeps all white space before it;
//! - a block without a call is malformed; after a closed invoke the text may end.
//!
//! The [`Style::Ds4`] form honours a final message that is to be continued. It writes arguments and
//! schemas minified from their parsed values; the C program copies the client's bytes. They differ in
//! white space, escapes and duplicate keys.

mod block;
mod ds4;
mod dsml;
mod official;
mod output;
mod prompt;
mod stop;
mod stream;
mod tag;
mod types;

pub use block::ParsedCall;
pub use output::{Answer, BlockStatus, parse_answer};
pub use prompt::{Prompt, Segment};
pub use stop::StopStrings;
pub use stream::{AnswerStream, Event, Place};
pub use types::{EffortTable, Error, MAX_EFFORT_CONTEXT, Message, Options, Role, Style, Task, ThinkingMode, ToolCall};

/// Control markers and other fixed texts of the protocol. The tokenizer has those that it recognises;
/// they stand here too, so that this crate depends on no other of the workspace.
mod markers {
    /// Begins every prompt.
    pub const BOS: &str = "<\u{ff5c}begin\u{2581}of\u{2581}sentence\u{ff5c}>";
    /// Ends an assistant turn.
    pub const EOS: &str = "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>";
    /// Opens a user turn.
    pub const USER: &str = "<\u{ff5c}User\u{ff5c}>";
    /// Opens an assistant turn.
    pub const ASSISTANT: &str = "<\u{ff5c}Assistant\u{ff5c}>";
    /// Opens a reminder.
    pub const LATEST_REMINDER: &str = "<\u{ff5c}latest_reminder\u{ff5c}>";
    /// Opens the reasoning part of an assistant turn.
    pub const THINK: &str = "<think>";
    /// Closes the reasoning part, or says that there is none.
    pub const THINK_END: &str = "</think>";
    /// The marker inside the tags of a block of calls.
    pub const DSML: &str = "\u{ff5c}DSML\u{ff5c}";
    /// Opens a tool result.
    pub const RESULT: &str = "<tool_result>";
    /// Closes a tool result.
    pub const RESULT_END: &str = "</tool_result>";
}

/// Writes `messages` as the prompt for the next answer.
pub fn render(messages: &[Message], options: &Options) -> Result<Prompt, Error> {
    match options.style {
        Style::Official => official::render(messages, options),
        Style::Ds4 => Ok(ds4::render(messages, options)),
    }
}
