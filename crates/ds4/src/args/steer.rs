//! Steering: its flags, and `ds4 direction`.

use super::{CONTEXT_MAX, FormatArgs, ModelArgs, tokens};
use clap::{Args, ValueEnum};
use ds4_engine::steering::{SCALE_MAX, Site};
use std::ops::RangeInclusive;
use std::path::PathBuf;

const EXAMPLES: &str = "\
A direction is what the outputs of each layer for the last token of the prompts in one file have more of than those in the
other, on average. --steer then takes it away (scale 1), or adds to it (scales below 0).

Example:
  ds4 direction --toward polite.txt --away rude.txt polite.f32
  ds4 run --steer polite.f32 --steer-ffn -1 -p \"Where is the station?\"";

/// What outputs of layers lose or gain.
#[derive(Args, Clone, Default)]
pub struct SteerArgs {
    /// File of directions, one a layer, that `ds4 direction` made for this model
    #[arg(long, value_name = "FILE")]
    pub steer: Option<PathBuf>,
    /// Scale on the outputs of attention, -100 to 100: 1 removes the direction, numbers below 0 add to it [default: 0]
    #[arg(long, value_name = "S", value_parser = scale, allow_negative_numbers = true, requires = "steer")]
    pub steer_attn: Option<f32>,
    /// Scale on the outputs of the feed-forward parts [default: 1, or 0 beside --steer-attn]
    #[arg(long, value_name = "S", value_parser = scale, allow_negative_numbers = true, requires = "steer")]
    pub steer_ffn: Option<f32>,
    /// Layers to steer, counted from 0 [default: all]
    #[arg(long, value_name = "FIRST-LAST", value_parser = layers, requires = "steer")]
    pub steer_layers: Option<RangeInclusive<usize>>,
}

/// Outputs of a layer.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum SiteName {
    /// Of attention
    Attn,
    /// Of the feed-forward part
    Ffn,
}

impl SiteName {
    /// The engine's name for it.
    pub fn site(self) -> Site {
        match self {
            SiteName::Attn => Site::Attention,
            SiteName::Ffn => Site::FeedForward,
        }
    }
}

/// `ds4 direction`
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct DirectionArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// File of prompts that have what the direction is for, one a line
    #[arg(long, value_name = "FILE")]
    pub toward: PathBuf,
    /// File of prompts that lack it and are like the others in everything else
    #[arg(long, value_name = "FILE")]
    pub away: PathBuf,
    /// File to write; it must not exist. A description goes beside it, with .json at the end of the name
    #[arg(value_name = "OUT.f32")]
    pub output: PathBuf,
    /// Where the direction is measured
    #[arg(long, value_enum, value_name = "SITE", default_value_t = SiteName::Ffn)]
    pub site: SiteName,
    /// Take the prompts as plain texts, not as questions in the chat format
    #[arg(long, conflicts_with_all = ["system", "think", "think_max", "nothink"])]
    pub raw: bool,
    #[command(flatten)]
    pub format: FormatArgs,
    /// Most tokens of a prompt
    #[arg(short, long, value_name = "N", default_value_t = 32768, value_parser = tokens(CONTEXT_MAX))]
    pub ctx: usize,
}

fn scale(text: &str) -> Result<f32, String> {
    let expected = || format!("expected a number from -{SCALE_MAX} to {SCALE_MAX}");
    let value: f32 = text.parse().map_err(|_| expected())?;
    if (-SCALE_MAX..=SCALE_MAX).contains(&value) { Ok(value) } else { Err(expected()) }
}

fn layers(text: &str) -> Result<RangeInclusive<usize>, String> {
    let expected = || "expected two numbers, FIRST-LAST, or one".to_owned();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse::<usize>().map_err(|_| expected());
    let range = number(first)?..=number(last)?;
    if range.is_empty() { Err(expected()) } else { Ok(range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_and_layers() {
        for (text, value) in [("1", Some(1.0)), ("-2.5", Some(-2.5)), ("101", None), ("nan", None), ("", None)] {
            assert_eq!(scale(text).ok(), value, "{text}");
        }
        for (text, range) in [("3-5", Some(3..=5)), ("4", Some(4..=4)), ("5-3", None), ("a-b", None), ("-1", None)] {
            assert_eq!(layers(text).ok(), range, "{text}");
        }
    }
}
