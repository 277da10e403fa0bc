//! `ds4 chat`, and what surrounds a text in the chat format.

use super::{CONTEXT_MAX, ComputeArgs, KeepArgs, ModelArgs, SamplingArgs, tokens};
use clap::Args;
use ds4_chat::ThinkingMode;

const EXAMPLES: &str = "\
What you type is answered; /help lists the commands. A line that ends with a backslash goes on in the
next one. Ctrl-C ends an answer, Ctrl-D the program. On a terminal reasoning is shown in grey, elsewhere it
goes to standard error, and answers to standard output.

Examples:
  ds4 chat                                            with the demo model
  ds4 chat -m model.gguf --ctx 100000 --nothink
  ds4 chat --session trip                             and the same later: the conversation goes on
  echo \"What is 57 + 85?\" | ds4 chat -m model.gguf";

/// `ds4 chat`
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ChatArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub format: FormatArgs,
    /// Most tokens of an answer, reasoning included [default: as the context has room for]
    #[arg(short = 'n', long = "tokens", value_name = "N", value_parser = tokens(CONTEXT_MAX))]
    pub tokens: Option<usize>,
    #[command(flatten, next_help_heading = "Sampling")]
    pub sampling: SamplingArgs,
    #[command(flatten, next_help_heading = "Computation")]
    pub compute: ComputeArgs,
    /// Go on with the conversation of this name, or begin it. It is kept, with its KV state, and continues at once next time
    #[arg(long, value_name = "NAME", value_parser = session_name)]
    pub session: Option<String>,
    #[command(flatten, next_help_heading = "KV states on disk")]
    pub keep: KeepArgs,
}

/// A name that is a file's.
fn session_name(name: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(is_plain) {
        return Err("expected 1 to 64 letters, digits, dots, dashes or underscores, no dot first".to_owned());
    }
    Ok(name.to_owned())
}

/// What surrounds a text in the chat format.
#[derive(Args)]
pub struct FormatArgs {
    /// System text; an empty one is left out
    #[arg(short, long, value_name = "TEXT", default_value = "You are a helpful assistant")]
    pub system: String,
    /// Think before the answer; this is the default
    #[arg(long, overrides_with_all = ["think_max", "nothink"])]
    pub think: bool,
    /// Think as much as possible; needs a context of 393216 tokens
    #[arg(long, overrides_with_all = ["think", "nothink"])]
    pub think_max: bool,
    /// Answer without thinking
    #[arg(long, overrides_with_all = ["think", "think_max"])]
    pub nothink: bool,
}

impl FormatArgs {
    /// What was asked for.
    pub fn thinking(&self) -> ThinkingMode {
        match (self.nothink, self.think_max) {
            (true, _) => ThinkingMode::None,
            (_, true) => ThinkingMode::Max,
            _ => ThinkingMode::High,
        }
    }
}
