//! Constrained decoding: answers whose tool calls and JSON cannot be malformed.
//!
//! An answer begins after the prompt's `<think>` or `</think>` and is
//! `[reasoning </think>] content [block of tool calls] end` (`spec/chat-format.md` §6, §7).
//! [`Grammars::compile`] turns a request's tools and format into a [`Constraint`], which before each
//! token masks the logits and after it moves on.
//!
//! | Part | What may be sampled |
//! |---|---|
//! | reasoning | text, `｜DSML｜` (a quoted block is text), `</think>`; the end only if nothing must follow |
//! | free content | text, the end; with tools, `｜DSML｜` after a `<` that begins a line |
//! | block of calls | the canonical form; arguments in the order of the schema; all required ones |
//! | JSON content | one value of the schema, white space bounded, then the end |
//!
//! Free text costs a few writes per token: no grammar is consulted there. Blocks and JSON follow a
//! grammar of the `llguidance` library.
//!
//! Schemas come from strangers. They are bounded before the library sees them ([`SCHEMA_BYTES_MAX`]
//! and the other limits), references are resolved here and may not be recursive, the library gets
//! limits of work, a thread with a stack of its own and no way to panic through.
//!
//! [`Format::JsonSchema`] is strict: a keyword that cannot be enforced is an error. So are the parameters of
//! [`Tool::strict`] tools. Those of others are not: such keywords and recursive references are dropped, because an
//! error would take the tool away from clients that never asked for a guarantee.

mod block;
mod closing;
mod constraint;
mod error;
mod grammars;
mod schema;
mod text;
mod vocabulary;

pub use constraint::Constraint;
pub use error::Error;
pub use grammars::Grammars;

use serde_json::Value;

/// Most bytes of text in all schemas of a request, references resolved. Agents with a hundred tools send 200 KB.
pub const SCHEMA_BYTES_MAX: usize = 512 << 10;

/// Most keywords, property names and listed values in all schemas of a request, references resolved.
pub const NODES_MAX: usize = 40_000;

/// Most levels of schemas in schemas, references resolved.
pub const NESTING_MAX: usize = 48;

/// Most properties of one object; the grammar of an object recurses over them.
pub const OBJECT_PROPERTIES_MAX: usize = 1_000;

/// Most tools of a request.
pub const TOOLS_MAX: usize = 1_000;

/// Most different schemas among the parameters that are no plain strings; each is a grammar with a lexer of its
/// own, and 500 take about 0.2 s.
pub const VALUE_SCHEMAS_MAX: usize = 500;

/// Most bytes in one regular expression.
pub const PATTERN_BYTES_MAX: usize = 2_048;

/// Most bytes in the name of a tool or parameter; a tag may have 4096.
pub const NAME_BYTES_MAX: usize = 512;

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Schema of its arguments, an object; `null` for none.
    pub parameters: Value,
    /// Whether the client wants a guarantee: what cannot be enforced is then an error.
    pub strict: bool,
}

/// Whether calls are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// As the model likes.
    #[default]
    Auto,
    /// No calls.
    None,
    /// At least one call.
    Required,
    /// A call of this tool.
    Named(String),
}

/// What the content is.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Format {
    /// Any text.
    #[default]
    Text,
    /// One JSON object.
    JsonObject,
    /// One JSON value that satisfies the schema.
    JsonSchema(Value),
}

/// What an answer must look like.
#[derive(Clone, Debug)]
pub struct Spec<'a> {
    /// Whether it begins with reasoning.
    pub thinking: bool,
    /// Functions on offer.
    pub tools: &'a [Tool],
    /// Whether calls are wanted.
    pub choice: ToolChoice,
    /// Whether there may be several calls.
    pub parallel: bool,
    /// What the content is; a demanded call leaves no room for content.
    pub format: Format,
}
