/// Why a constraint cannot be built or kept. Messages are meant for the client that sent the schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The vocabulary has no such token, so that the answers asked for cannot be written.
    #[error("the model's vocabulary has no control token {marker:?}, which this kind of answer needs")]
    MissingToken {
        /// Text of the token.
        marker: &'static str,
    },
    /// The grammar library refused the vocabulary.
    #[error("the model's vocabulary cannot be used for constrained decoding: {reason}")]
    Vocabulary {
        /// What it said.
        reason: String,
    },
    /// A limit of this crate on the size of schemas.
    #[error("schema too large: {what} {found}, at most {limit} are accepted; send a smaller schema")]
    TooLarge {
        /// What was counted.
        what: &'static str,
        /// How many there are, at least.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Compiling the schema exceeds the work that one request may cause.
    #[error("schema too complex: {reason}; simplify its patterns, bounds and alternatives")]
    TooComplex {
        /// Which limit was met.
        reason: String,
    },
    /// A schema contains itself.
    #[error("recursive schema: the reference {reference:?} leads back to itself, which is not supported")]
    Recursive {
        /// The `$ref`.
        reference: String,
    },
    /// A `$ref` has no target.
    #[error("the reference {reference:?} points at nothing in its schema; only \"#\" and \"#/…\" are supported")]
    Reference {
        /// The `$ref`.
        reference: String,
    },
    /// Something that JSON Schema allows and this server does not.
    #[error("unsupported in a schema: {keyword}")]
    Unsupported {
        /// Keyword, with details where it is supported in part.
        keyword: String,
    },
    /// The schema breaks the rules of JSON Schema, or nothing satisfies it.
    #[error("invalid schema: {reason}")]
    Schema {
        /// What is wrong.
        reason: String,
    },
    /// An error in the parameters of a tool.
    #[error("tool {name:?}: {source}")]
    Tool {
        /// Name of the tool.
        name: String,
        /// The error.
        source: Box<Self>,
    },
    /// A call is demanded of a tool that is not given.
    #[error("tool_choice names {name:?}, which is not among the tools")]
    UnknownTool {
        /// The name asked for.
        name: String,
    },
    /// A call is demanded and there is no tool.
    #[error("tool_choice demands a call, but there are no tools")]
    NoTools,
    /// Two tools of one name.
    #[error("two tools are called {name:?}")]
    DuplicateTool {
        /// Their name.
        name: String,
    },
    /// A name that a tag of the answer cannot carry.
    #[error("the name {name:?} cannot be written in a tool call: {reason}")]
    Name {
        /// The name, shortened.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The logits belong to another vocabulary.
    #[error("{found} logits, but the vocabulary has {expected} tokens")]
    Logits {
        /// Length of the slice.
        found: usize,
        /// Tokens of the vocabulary.
        expected: usize,
    },
    /// A token that the mask forbids.
    #[error("token {token} is not allowed here")]
    Token {
        /// The token.
        token: u32,
    },
    /// Following the grammar became too expensive, or nothing may follow.
    #[error("the answer cannot be constrained any further: {reason}")]
    Stuck {
        /// What happened.
        reason: String,
    },
}

impl Error {
    /// Sorts an error of the grammar library by its text, which is all that it offers.
    pub(crate) fn of_library(error: &str) -> Self {
        let reason = error.lines().next().unwrap_or_default().chars().take(MESSAGE_CHARS_MAX).collect::<String>();
        let has = |text: &str| error.contains(text);
        if has("too big") || has("too large") || has("limit") || has("exceeded") || has("fuel") {
            Self::TooComplex { reason }
        } else if has("nsatisfiable") {
            Self::Schema { reason: "nothing satisfies it".to_owned() }
        } else if has("oneOf") {
            Self::Unsupported { keyword: "oneOf, unless its alternatives evidently exclude each other".to_owned() }
        } else if has("min/maxProperties") {
            Self::Unsupported { keyword: "minProperties or maxProperties with optional properties".to_owned() }
        } else if has("patternProperty") {
            Self::Unsupported { keyword: "patternProperties that may match the same name".to_owned() }
        } else if has("panic") {
            Self::Unsupported { keyword: "an unusual value of a keyword".to_owned() }
        } else if has("Failed to generate regex") || has("multipleOf") {
            Self::Unsupported { keyword: format!("a bound of a number ({reason})") }
        } else if has("regex") {
            Self::Unsupported { keyword: format!("pattern ({reason})") }
        } else {
            Self::Schema { reason }
        }
    }

    pub(crate) fn in_tool(self, name: &str) -> Self {
        Self::Tool { name: shown(name), source: Box::new(self) }
    }
}

/// Most characters of a foreign message that are passed on.
const MESSAGE_CHARS_MAX: usize = 200;

/// A name as error messages show it.
pub(crate) fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}
