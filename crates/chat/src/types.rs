use serde_json::Value;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions of the operator.
    System,
    /// Instructions of the application; a user turn in the official style.
    Developer,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
    /// Circumstances such as the date; the ds4 style skips it.
    LatestReminder,
}

/// A quick task that the official format asks for with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// What to do next.
    Action,
    /// A search query.
    Query,
    /// The authority of a source.
    Authority,
    /// The domain of a question.
    Domain,
    /// A title for the conversation.
    Title,
    /// An extracted address.
    ExtractedUrl,
    /// Whether to read an address.
    ReadUrl,
}

impl Task {
    /// The token of the task.
    pub fn token(self) -> &'static str {
        match self {
            Self::Action => "<\u{ff5c}action\u{ff5c}>",
            Self::Query => "<\u{ff5c}query\u{ff5c}>",
            Self::Authority => "<\u{ff5c}authority\u{ff5c}>",
            Self::Domain => "<\u{ff5c}domain\u{ff5c}>",
            Self::Title => "<\u{ff5c}title\u{ff5c}>",
            Self::ExtractedUrl => "<\u{ff5c}extracted_url\u{ff5c}>",
            Self::ReadUrl => "<\u{ff5c}read_url\u{ff5c}>",
        }
    }
}

/// A call of a tool by the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Joins the call to its result; absent in some histories.
    pub id: Option<String>,
    /// Name of the tool.
    pub name: String,
    /// Arguments as JSON text, an object if well-formed.
    pub arguments: String,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
    /// Reasoning before the content, of an assistant.
    pub reasoning: String,
    /// Calls after the content, of an assistant.
    pub tool_calls: Vec<ToolCall>,
    /// The block of those calls as the model wrote it, with the white space before it ([`crate::Answer::raw_block`]).
    /// It is rendered in place of `tool_calls`, which still say the order of the results. Only text that the model
    /// wrote may stand here: its DSML markers become control tokens.
    pub raw_block: Option<String>,
    /// The call that a tool message answers.
    pub tool_call_id: Option<String>,
    /// Function schemas that this message makes available.
    pub tools: Vec<Value>,
    /// Schema that answers must follow, of a system or developer message (official style only).
    pub response_format: Option<Value>,
    /// Task asked for after this message (official style only).
    pub task: Option<Task>,
    /// The model is to continue this assistant message: it gets no end marker.
    pub prefix: bool,
}

impl Message {
    /// A message with nothing but content.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            reasoning: String::new(),
            tool_calls: Vec::new(),
            raw_block: None,
            tool_call_id: None,
            tools: Vec::new(),
            response_format: None,
            task: None,
            prefix: false,
        }
    }
}

/// Whether and how hard the model thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ThinkingMode {
    /// No reasoning.
    None,
    /// Reasoning without a prefix, with either table.
    Low,
    /// Reasoning, with the prefix that the table has for it.
    #[default]
    High,
    /// Reasoning with the strongest prefix.
    Max,
}

/// Smallest context for which [`ThinkingMode::Max`] is honoured (`spec/chat-format.md` §2).
pub const MAX_EFFORT_CONTEXT: usize = 393_216;

impl ThinkingMode {
    /// The mode for an effort that an API client asks for (`spec/chat-format.md` §3). It is the same for both tables,
    /// since they differ in the prefix of a mode only. Unknown names are `high`, as are `medium` and `xhigh`.
    pub fn from_effort(name: &str) -> Self {
        match name {
            "none" | "off" => Self::None,
            "minimal" | "low" => Self::Low,
            "max" | "ultra" => Self::Max,
            _ => Self::High,
        }
    }

    /// What is honoured of this mode in a context of `tokens` tokens.
    pub fn within(self, tokens: usize) -> Self {
        if self == Self::Max && tokens < MAX_EFFORT_CONTEXT { Self::High } else { self }
    }
}

/// Which effort texts the checkpoint was trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum EffortTable {
    /// April 2026.
    #[default]
    Preview,
    /// 31 July 2026.
    V0731,
}

const ABSOLUTE_MAXIMUM: &str = "Reasoning Effort: Absolute maximum with no shortcuts permitted.
You MUST be very thorough in your thinking and comprehensively decompose the problem to resolve the root cause, rigorously stress-testing your logic against all potential paths, edge cases, and adversarial scenarios.
Explicitly write out your entire deliberation process, documenting every intermediate step, considered alternative, and rejected hypothesis to ensure absolutely no assumption is left unchecked.

";

const BEYOND_MAXIMUM: &str = "Reasoning Effort: Beyond maximum \u{2014} exhaustive, relentless, and uncompromising.
You MUST reason with the utmost depth and rigor, leaving absolutely nothing to chance: exhaustively decompose the problem into its most fundamental components, trace every causal chain to its root, and resolve the underlying cause rather than any surface symptom.
Do not stop reasoning until you have independently verified the solution from multiple angles and are certain that no assumption remains unchecked and no error remains undiscovered.

";

impl EffortTable {
    /// The text between BOS and the first message.
    pub fn prefix(self, mode: ThinkingMode) -> &'static str {
        match (self, mode) {
            (_, ThinkingMode::None | ThinkingMode::Low) | (Self::Preview, ThinkingMode::High) => "",
            (Self::Preview, ThinkingMode::Max) | (Self::V0731, ThinkingMode::High) => ABSOLUTE_MAXIMUM,
            (Self::V0731, ThinkingMode::Max) => BEYOND_MAXIMUM,
        }
    }
}

/// Whose renderer to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Style {
    /// DeepSeek's encoder.
    #[default]
    Official,
    /// The server of the C program ds4.
    Ds4,
}

/// How to render.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whose renderer to follow.
    pub style: Style,
    /// Whether and how hard the model thinks.
    pub thinking: ThinkingMode,
    /// Which effort texts apply.
    pub effort: EffortTable,
    /// Drop the reasoning of earlier turns when no tools are defined (official style only).
    pub drop_reasoning: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            style: Style::default(),
            thinking: ThinkingMode::default(),
            effort: EffortTable::default(),
            drop_reasoning: true,
        }
    }
}

impl Options {
    pub(crate) fn thinks(&self) -> bool {
        self.thinking != ThinkingMode::None
    }
}

/// Why a conversation has no prompt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The official format has no empty developer message.
    #[error("developer message {index} has no content")]
    EmptyDeveloper {
        /// Position in the conversation.
        index: usize,
    },
}
