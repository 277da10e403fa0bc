//! `ds4 run`

use super::{CONTEXT_MAX, FormatArgs, ModelArgs, SteerArgs, tokens};
use clap::{Args, ValueEnum};
use ds4_engine::CHUNK_MAX;
use ds4_engine::kv::DRAFTS_MAX;
use std::path::PathBuf;

/// Most alternatives a step of `--dump-logprobs`.
const LOGPROBS_TOP_K_MAX: u64 = 128;
/// Highest temperature accepted; the text is noise long before.
const TEMPERATURE_MAX: f32 = 100.0;

const EXAMPLES: &str = "\
The prompt is asked as a question, in the chat format; with --raw it is plain text to be continued, after
the begin-of-sequence token. The answer goes to standard output as it is made, progress and timings to
standard error. Reasoning is shown in grey on a terminal and goes to standard error elsewhere. It ends with the model's end-of-sequence token, after -n tokens, or
when the context is full. Ctrl-C ends it early; a second one at once.

Examples:
  ds4 run -m model.gguf -p \"What is the capital of France?\"
  ds4 run -m model.gguf -f question.txt --temp 0 --nothink   always the most probable token
  ds4 run -m model.gguf -p \"What is 2 + 2?\" --json | jq .text
  ds4 run -m model.gguf --raw -p \"The capital of France is\" -n 16
  ds4 run -m model.gguf --perplexity book.txt --ctx 4096     how well it predicts a text
  ds4 run -m model.gguf -f prompt.txt --dump-logprobs a.json -n 4";

const DIAGNOSTICS: &str = "Diagnostics, instead of a completion";

/// `ds4 run`
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub source: SourceArgs,
    /// Continue the text instead of answering it: no chat format, no system text
    #[arg(long, conflicts_with_all = ["system", "think", "think_max", "nothink"])]
    pub raw: bool,
    #[command(flatten)]
    pub format: FormatArgs,
    /// Most tokens to generate, or to score [default: until end of sequence or context]
    #[arg(short = 'n', long = "tokens", value_name = "N", value_parser = tokens(CONTEXT_MAX))]
    pub tokens: Option<usize>,
    /// Print one JSON object at the end instead of the text as it is made: {"text", "reasoning", "tokens",
    /// "finish_reason", "prompt_tokens", "seed", "timings"}. finish_reason is "stop", "length", "context" or "interrupted"
    #[arg(long, conflicts_with_all = ["dump_logits", "dump_logprobs"])]
    pub json: bool,
    #[command(flatten, next_help_heading = "Sampling")]
    pub sampling: SamplingArgs,
    #[command(flatten, next_help_heading = "Computation")]
    pub compute: ComputeArgs,
    #[command(flatten, next_help_heading = DIAGNOSTICS)]
    pub dump: DumpArgs,
    #[command(flatten, next_help_heading = DIAGNOSTICS)]
    pub logprobs: LogprobsArgs,
}

/// Where the text comes from.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct SourceArgs {
    /// The question, or the text to continue
    #[arg(short = 'p', long = "prompt", value_name = "TEXT")]
    pub prompt: Option<String>,
    /// File with the question or text, in UTF-8, at most 8 MiB; /dev/stdin is standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Score a text file instead: its tokens after the first 32 are predicted one by one from those before. Prints
    /// tokens=T scored=S nll=… avg_nll=… ppl=…, or the same as JSON with --json
    #[arg(long, value_name = "FILE", conflicts_with = "SamplingArgs")]
    pub perplexity: Option<PathBuf>,
}

/// How tokens are chosen.
#[derive(Args, Clone)]
pub struct SamplingArgs {
    /// Temperature, 0 to 100: 0 always takes the most probable token
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = temperature)]
    pub temp: f32,
    /// Choose from the K most probable tokens, at most 1024; 0 is off
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: u32,
    /// Choose from the most probable tokens that together reach this probability; 1 is off
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = fraction)]
    pub top_p: f32,
    /// Choose from tokens with at least this fraction of the best one's probability; 0 is off
    #[arg(long, value_name = "P", default_value_t = 0.05, value_parser = fraction)]
    pub min_p: f32,
    /// Subtracted from the logit of every token generated before; 0 is off
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = finite, allow_negative_numbers = true)]
    pub presence_penalty: f32,
    /// Subtracted from a token's logit once for each time it was generated; 0 is off
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = finite, allow_negative_numbers = true)]
    pub frequency_penalty: f32,
    /// Makes tokens of prompt and completion less probable when above 1; 1 is off
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = positive)]
    pub repetition_penalty: f32,
    /// Added to the logit of a token; may be repeated. `ds4 tokenize` tells ids
    #[arg(long, value_name = "ID=BIAS", value_parser = bias)]
    pub logit_bias: Vec<(u32, f32)>,
    /// Start of the random numbers: the same seed gives the same text [default: a new one each time]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// Whether something is done.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum OnOff {
    /// As the model prescribes
    On,
    /// For comparison with programs that leave it out
    Off,
}

/// How the model is evaluated.
#[derive(Args, Clone)]
pub struct ComputeArgs {
    /// Most tokens of a sequence, prompt and completion together
    #[arg(short, long, value_name = "N", default_value_t = 32768, value_parser = tokens(CONTEXT_MAX))]
    pub ctx: usize,
    /// Most tokens that are evaluated at once [default: 512, on a GPU 2048]
    #[arg(long, value_name = "N", value_parser = tokens(CHUNK_MAX as u64))]
    pub chunk: Option<usize>,
    /// Exact arithmetic: no rounding of activations. Several times slower
    #[arg(long)]
    pub exact: bool,
    /// The model's own rounding of KV rows to FP8, FP4 and F16
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = OnOff::On)]
    pub kv_rounding: OnOff,
    #[command(flatten)]
    pub drafts: DraftArgs,
    #[command(flatten)]
    pub steer: SteerArgs,
}

impl ComputeArgs {
    /// Neither drafts nor steering, rows rounded as the model prescribes.
    pub fn plain(ctx: usize, chunk: Option<usize>, exact: bool) -> Self {
        let drafts = DraftArgs { mtp: None, draft: DRAFTS_MAX };
        Self { ctx, chunk, exact, kv_rounding: OnOff::On, drafts, steer: SteerArgs::default() }
    }
}

/// Whether tokens are guessed ahead.
#[derive(Args, Clone)]
pub struct DraftArgs {
    /// GGUF file of the model's multi-token block. It guesses tokens ahead, which the model then checks together: that may be
    /// faster, and what is generated stays the same
    #[arg(long, value_name = "FILE")]
    pub mtp: Option<PathBuf>,
    /// Most tokens to guess at a time, 1 to 8; fewer or none while that does not pay
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = tokens(DRAFTS_MAX as u64), requires = "mtp")]
    pub draft: usize,
}

/// What to print or write instead of a completion.
#[derive(Args)]
#[group(multiple = false)]
pub struct DumpArgs {
    /// Print the prompt's tokens as `ds4 tokenize --rendered` does, markers recognised and nothing added, and exit
    #[arg(long, conflicts_with_all = ["SamplingArgs", "tokens", "perplexity"])]
    pub dump_tokens: bool,
    /// Write the logits that follow the prompt: {"source", "prompt_tokens", "ctx", "logits": […]}
    #[arg(long, value_name = "FILE", conflicts_with_all = ["SamplingArgs", "tokens", "perplexity"])]
    pub dump_logits: Option<PathBuf>,
    /// Write a greedy completion with the most probable alternatives of every step, end of sequence included
    #[arg(long, value_name = "FILE", conflicts_with_all = ["SamplingArgs", "perplexity"])]
    pub dump_logprobs: Option<PathBuf>,
}

/// A detail of `--dump-logprobs`.
#[derive(Args)]
pub struct LogprobsArgs {
    /// Alternatives a step of --dump-logprobs
    #[arg(long, value_name = "K", default_value_t = 20, value_parser = tokens(LOGPROBS_TOP_K_MAX), requires = "dump_logprobs")]
    pub logprobs_top_k: usize,
}

fn number(text: &str, holds: impl Fn(f32) -> bool, expected: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| format!("expected {expected}"))?;
    if value.is_finite() && holds(value) { Ok(value) } else { Err(format!("expected {expected}")) }
}

pub fn temperature(text: &str) -> Result<f32, String> {
    number(text, |t| (0.0..=TEMPERATURE_MAX).contains(&t), "a number from 0 to 100")
}

fn fraction(text: &str) -> Result<f32, String> {
    number(text, |p| (0.0..=1.0).contains(&p), "a number from 0 to 1")
}

fn finite(text: &str) -> Result<f32, String> {
    number(text, |_| true, "a number")
}

fn positive(text: &str) -> Result<f32, String> {
    number(text, |x| x > 0.0, "a number above 0")
}

fn bias(text: &str) -> Result<(u32, f32), String> {
    let (id, bias) = text.split_once('=').ok_or("expected ID=BIAS, for example 1=-100")?;
    let id = id.trim().parse().map_err(|_| "expected a token id before the =")?;
    Ok((id, finite(bias.trim())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::{CommandFactory, Parser};

    #[test]
    fn flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_bias_is_an_id_and_a_number() {
        assert_eq!(bias("12=-3.5"), Ok((12, -3.5)));
        for wrong in ["12", "=1", "-1=1", "a=1", "1=", "1=x", "1=inf", "1=1=1", "4294967296=1"] {
            assert!(bias(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_outside_their_range_are_refused() {
        let parse = |flag: &str, value: &str| {
            Cli::try_parse_from(["ds4", "run", "-m", "m", "--mtp", "d", "-p", "x", flag, value]).is_ok()
        };
        for (flag, good, bad) in [
            ("--temp", "0", "-0.1"),
            ("--temp", "100", "100.1"),
            ("--top-p", "1", "1.01"),
            ("--min-p", "0", "nan"),
            ("--presence-penalty", "-2", "inf"),
            ("--frequency-penalty", "-2", "x"),
            ("--repetition-penalty", "0.5", "0"),
            ("--ctx", "4294967296", "4294967297"),
            ("--chunk", "8192", "0"),
            ("--draft", "8", "9"),
            ("-n", "1", "0"),
            ("--seed", "0", "-1"),
        ] {
            assert!(parse(flag, good), "{flag} {good}");
            assert!(!parse(flag, bad), "{flag} {bad}");
        }
    }

    #[test]
    fn one_source_and_one_purpose() {
        let parse = |more: &[&str]| {
            let args = ["ds4", "run", "-m", "m"].iter().chain(more).copied();
            Cli::try_parse_from(args).is_ok()
        };
        assert!(parse(&["-p", "x"]));
        assert!(parse(&["-p", "x", "--dump-logprobs", "o", "--logprobs-top-k", "5", "-n", "2"]));
        assert!(parse(&["--perplexity", "f", "--json", "-n", "9"]));
        for wrong in [
            &[][..],
            &["-p", "x", "-f", "y"],
            &["-p", "x", "--perplexity", "y"],
            &["-p", "x", "--logprobs-top-k", "5"],
            &["-p", "x", "--dump-logprobs", "o", "--logprobs-top-k", "129"],
            &["-p", "x", "--dump-logprobs", "o", "--temp", "0.5"],
            &["-p", "x", "--dump-logits", "o", "--dump-tokens"],
            &["-p", "x", "--dump-logits", "o", "--json"],
            &["-p", "x", "--dump-tokens", "--seed", "1"],
            &["--perplexity", "f", "--dump-tokens"],
            &["--perplexity", "f", "--seed", "3"],
            &["-p", "x", "--draft", "2"],
        ] {
            assert!(!parse(wrong), "{wrong:?}");
        }
    }
}
