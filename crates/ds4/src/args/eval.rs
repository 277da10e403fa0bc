//! `ds4 eval` and `ds4 vectors`

use super::{CONTEXT_MAX, ModelArgs, tokens};
use clap::Args;
use std::path::PathBuf;

const EVAL_EXAMPLES: &str = "\
Asks questions with known answers and grades what comes: arithmetic, logic, code reading, tool
calls, and recall in texts of 1,000 to 100,000 tokens. A suite is JSONL: docs/eval.md has its
form. With --report every answer is kept as it comes; the same command goes on where it ended.
On a terminal all questions are shown: arrows choose one, Enter asks it next, p pauses, q stops.
Exit code 1 if an answer is wrong, or a question was not asked.

Examples:
  ds4 eval --only arithmetic --nothink -n 200
  ds4 eval -m model.gguf --report report.jsonl
  ds4 eval -m model.gguf --suite mine.jsonl --json | jq .passed";

/// `ds4 eval`
#[derive(Args)]
#[command(after_help = EVAL_EXAMPLES)]
pub struct EvalArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Questions to ask instead of those of the program
    #[arg(long, value_name = "FILE")]
    pub suite: Option<PathBuf>,
    /// Only questions whose id or domain begins so; may be repeated
    #[arg(long, value_name = "PREFIX")]
    pub only: Vec<String>,
    /// Ask only the first N
    #[arg(long, value_name = "N", value_parser = tokens(1 << 20))]
    pub questions: Option<usize>,
    /// Keep questions, answers and grades here, and skip what it has already
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Most tokens of an answer, reasoning included
    #[arg(short = 'n', long, value_name = "N", default_value_t = 16000, value_parser = tokens(CONTEXT_MAX))]
    pub tokens: usize,
    /// With so many tokens left, reasoning is closed once `</think>` is among the best candidates
    // The names of the original program alone would leave no room beside them for what they mean.
    #[arg(long = "soft-limit", visible_alias = "soft-limit-reply-budget", value_name = "N", default_value_t = 1024, value_parser = tokens(CONTEXT_MAX))]
    pub soft_limit_reply_budget: usize,
    /// With so many tokens left, reasoning is closed
    #[arg(long = "hard-limit", visible_alias = "hard-limit-reply-budget", value_name = "N", default_value_t = 512, value_parser = tokens(CONTEXT_MAX))]
    pub hard_limit_reply_budget: usize,
    /// How many candidates --soft-limit looks at
    #[arg(long = "close-rank", visible_alias = "soft-limit-think-close-rank", value_name = "N", default_value_t = 3, value_parser = tokens(1 << 20))]
    pub soft_limit_think_close_rank: usize,
    /// Context; longer questions are skipped [default: as the longest question needs, at most 1,000,000]
    #[arg(short, long, value_name = "N", value_parser = tokens(CONTEXT_MAX))]
    pub ctx: Option<usize>,
    /// Most tokens that are evaluated at once [default: 512, on a GPU 2048]
    #[arg(long, value_name = "N", value_parser = tokens(ds4_engine::CHUNK_MAX as u64))]
    pub chunk: Option<usize>,
    /// Exact arithmetic: no rounding of activations to integers. Several times slower
    #[arg(long)]
    pub exact: bool,
    /// Answer without thinking
    #[arg(long)]
    pub nothink: bool,
    /// Temperature, 0 to 100: 0 always takes the most probable token
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = super::run::temperature)]
    pub temp: f32,
    /// Start of the random numbers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Print one JSON object instead: {"passed", "failed", "skipped", "domains", "cases"}
    #[arg(long)]
    pub json: bool,
    /// Write line by line on a terminal too, instead of a screen with all questions
    #[arg(long)]
    pub plain: bool,
    /// List the questions and exit
    #[arg(long)]
    pub list: bool,
}

const VECTORS_EXAMPLES: &str = "\
The file has the compact form of antirez/ds4 (tests/test-vectors/official.vec); prompts are looked
for beside it. A step passes if the most probable token has the recorded bytes, and every recorded
alternative is among the 20 best with a log-probability within 4.0. Exit code 1 if one does not.

Example:
  ds4 vectors -m model.gguf official.vec";

/// `ds4 vectors`
#[derive(Args)]
#[command(after_help = VECTORS_EXAMPLES)]
pub struct VectorsArgs {
    /// Recorded continuations with log-probabilities
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub model: ModelArgs,
    /// Only this case; may be repeated
    #[arg(long, value_name = "ID")]
    pub case: Vec<String>,
    /// Exact arithmetic: no rounding of activations to integers. Several times slower
    #[arg(long)]
    pub exact: bool,
    /// Print one JSON object: {"passed", "failed", "cases"}
    #[arg(long)]
    pub json: bool,
}
