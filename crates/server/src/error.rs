//! Why a request was not served. Each API writes it in its own form.

/// A refusal. The message is for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// 400: the request makes no sense or asks for what is not there.
    #[error("{message}")]
    Invalid {
        /// What was found, what was expected.
        message: String,
        /// The member of the request, as in `messages[2].content`.
        param: Option<String>,
    },
    /// 400: the prompt does not fit.
    #[error("Prompt has {prompt} tokens, but the configured context size is {context} tokens")]
    ContextLength {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens of the context.
        context: usize,
        /// The member that holds the prompt: `messages`, `prompt` or `input`.
        param: &'static str,
    },
    /// 401: no valid key.
    #[error("missing or wrong API key; send it as `Authorization: Bearer KEY` or `x-api-key: KEY`")]
    Unauthorized,
    /// 403: the request came by a name that is not this machine's.
    #[error("{0}")]
    Forbidden(String),
    /// 404: no such route or object.
    #[error("{0}")]
    NotFound(String),
    /// 405: the route has other methods.
    #[error("{0}")]
    Method(String),
    /// 413: the body is too large.
    #[error("{0}")]
    TooLarge(String),
    /// 429: the queue is full.
    #[error("{0}")]
    Busy(String),
    /// 500: a failure inside.
    #[error("{0}")]
    Internal(String),
    /// 503: the server ends, or is not ready.
    #[error("{0}")]
    Unavailable(String),
}

impl ApiError {
    /// A 400 about the whole request.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), param: None }
    }

    /// A 400 about one member.
    pub fn param(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), param: Some(param.into()) }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Invalid { .. } | Self::ContextLength { .. } => 400,
            Self::Unauthorized => 401,
            Self::Forbidden(_) => 403,
            Self::NotFound(_) => 404,
            Self::Method(_) => 405,
            Self::TooLarge(_) => 413,
            Self::Busy(_) => 429,
            Self::Internal(_) => 500,
            Self::Unavailable(_) => 503,
        }
    }
}
