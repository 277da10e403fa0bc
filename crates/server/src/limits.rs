//! Limits of what a request may ask, checked where it enters.

/// Most bytes of a request body. The longest context, a million tokens, is 4 to 8 MB of text; JSON escapes may double it.
pub const BODY_BYTES_MAX: usize = 64 << 20;
/// Most messages (or input items) of a conversation. Agents reach a few thousand in a context of a million tokens.
pub const MESSAGES_MAX: usize = 100_000;
/// Most tools of a request. Agents with many MCP servers come to a few hundred.
pub const TOOLS_MAX: usize = ds4_grammar::TOOLS_MAX;
/// Most bytes of a tool's name.
pub const TOOL_NAME_BYTES_MAX: usize = 256;
/// Most stop strings of a request. OpenAI allows 4, Anthropic more.
pub const STOP_STRINGS_MAX: usize = 64;
/// Most bytes of one stop string: this much text is held back while streaming.
pub const STOP_STRING_BYTES_MAX: usize = 1024;
/// Most answers to one prompt (`n`).
pub const CHOICES_MAX: u32 = 16;
/// Most alternatives of a token (`top_logprobs`), as OpenAI has it.
pub const TOP_LOGPROBS_MAX: u32 = 20;
/// Most bytes of a model name, which is echoed.
pub const MODEL_NAME_BYTES_MAX: usize = 256;
