//! `--steer` and `ds4 direction`: directions that outputs of layers lose or gain.

use crate::args::{DirectionArgs, SteerArgs};
use crate::interrupt::{self, Interrupt};
use crate::model::{Compute, Model};
use crate::output;
use crate::progress::Progress;
use crate::single::Single;
use crate::text;
use anyhow::{Context, Result, ensure};
use ds4_chat::{Message, Options, Role};
use ds4_engine::Precision;
use ds4_engine::kv::RowFormat;
use ds4_engine::steering::{Scales, Site, Steering};
use ds4_engine::{Config, Logits, TokenId};
use ds4_tokenizer::Tokenizer;
use serde_json::json;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

/// What the description says it describes.
const FORMAT: &str = "ds4-directional-steering-v1";

/// The directions to steer by, if any.
pub fn open(args: &SteerArgs, config: &Config) -> Result<Option<Steering>> {
    let Some(path) = &args.steer else { return Ok(None) };
    let place = || path.display().to_string();
    // One byte more than there can be tells a longer file apart.
    let most = (config.layers.len() * config.embd * size_of::<f32>() + 1) as u64;
    let mut bytes = Vec::new();
    let mut file = File::open(path).with_context(place)?.take(most);
    file.read_to_end(&mut bytes).with_context(place)?;
    let scales = Scales {
        attention: args.steer_attn.unwrap_or(0.0),
        feed_forward: args.steer_ffn.unwrap_or(if args.steer_attn.is_some() { 0.0 } else { 1.0 }),
        layers: args.steer_layers.clone(),
    };
    Steering::new(&bytes, config, scales).map(Some).with_context(place)
}

/// Makes a direction of two sets of prompts.
pub fn build(args: &DirectionArgs) -> Result<ExitCode> {
    let output = &args.output;
    ensure!(!output.exists(), "{} exists; remove it or choose another name", output.display());
    let model = Model::open(args.model.model.as_deref())?;
    let tokenizer = model.tokenizer()?;
    let sets = [&args.toward, &args.away].map(|path| prompts(args, &model, &tokenizer, path));
    let [toward, away] = sets;
    let (toward, away) = (toward?, away?);
    let (name, width) = (model.config.name.clone(), model.config.embd);
    let compute = Compute {
        backend: args.model.backend,
        device: args.model.device,
        threads: args.model.threads,
        precision: Precision::Fast,
        rows: RowFormat::Native,
        context: args.ctx,
        chunk: None,
    };
    let mut single = model.load(&compute)?.single()?;
    let interrupt = Interrupt::install()?;
    let progress = Progress::start("reading", "prompts", toward.len() + away.len());
    let mut means = Vec::new();
    for prompts in [&toward, &away] {
        let Some(mean) = mean(&mut *single, prompts, args.site.site(), &interrupt, &progress)? else {
            return Ok(interrupt::EXIT_CODE.into());
        };
        means.push(mean);
    }
    drop(progress);
    let directions: Vec<Vec<f32>> =
        means[0].chunks(width).zip(means[1].chunks(width)).map(|(toward, away)| direction(toward, away)).collect();
    let bytes: Vec<u8> = directions.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
    let writing = || format!("cannot write {}", output.display());
    File::create_new(output).and_then(|mut file| file.write_all(&bytes)).with_context(writing)?;
    let component = match args.site.site() {
        Site::Attention => "attn_out",
        Site::FeedForward => "ffn_out",
    };
    let description = json!({
        "format": FORMAT, "shape": [directions.len(), width], "component": component, "model": name,
        "toward": toward.len(), "away": away.len(), "orthogonal_to_away": true,
    });
    let beside = format!("{}.json", output.display());
    std::fs::write(&beside, format!("{description}\n")).with_context(|| format!("cannot write {beside}"))?;
    output::print(&format!("{}: {} layers of {width}\n", output.display(), directions.len()))?;
    Ok(ExitCode::SUCCESS)
}

/// The prompts in a file, one a line, as tokens.
fn prompts(args: &DirectionArgs, model: &Model, tokenizer: &Tokenizer, path: &Path) -> Result<Vec<Vec<TokenId>>> {
    let text = text::read_file(path)?;
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    ensure!(!lines.is_empty(), "{} holds no prompt; write one a line", path.display());
    let tokens = lines.into_iter().map(|line| {
        let tokens = if args.raw { raw(tokenizer, line)? } else { question(args, model, tokenizer, line)? };
        let (found, most) = (tokens.len(), args.ctx);
        ensure!(found <= most, "{}: a prompt has {found} tokens; use --ctx {found} or more", path.display());
        Ok(tokens)
    });
    tokens.collect()
}

fn raw(tokenizer: &Tokenizer, text: &str) -> Result<Vec<TokenId>> {
    let bos = std::iter::once(tokenizer.specials().bos);
    Ok(bos.chain(tokenizer.encode_text(text)?).map(|id| id.0).collect())
}

fn question(args: &DirectionArgs, model: &Model, tokenizer: &Tokenizer, text: &str) -> Result<Vec<TokenId>> {
    ensure!(tokenizer.has_chat_markers(), "the model's vocabulary lacks control tokens of the chat format; use --raw");
    let options = Options { thinking: args.format.thinking(), effort: model.effort_table(), ..Options::default() };
    let system = Some(&args.format.system).filter(|text| !text.is_empty());
    let mut messages: Vec<Message> = system.map(|text| Message::new(Role::System, text)).into_iter().collect();
    messages.push(Message::new(Role::User, text));
    let prompt = ds4_chat::render(&messages, &options)?;
    let segments = prompt.segments().iter().map(|segment| (segment.text.as_str(), segment.trusted));
    Ok(tokenizer.encode_segments(segments)?.into_iter().map(|id| id.0).collect())
}

/// The mean of what each layer yields for the last token of the prompts; `None` if that was interrupted.
fn mean(
    single: &mut dyn Single,
    prompts: &[Vec<TokenId>],
    site: Site,
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<Option<Vec<f64>>> {
    let mut sum: Vec<f64> = Vec::new();
    for prompt in prompts {
        let Some((last, before)) = prompt.split_last() else { continue };
        if interrupt.is_requested() {
            return Ok(None);
        }
        single.restart()?;
        if !before.is_empty() {
            single.prefill(before, Logits::None, &mut |_| (), &|| false)?;
        }
        let outputs = single.outputs(*last, site)?;
        sum.resize(outputs.len(), 0.0);
        sum.iter_mut().zip(outputs).for_each(|(sum, value)| *sum += f64::from(value));
        progress.add(1);
    }
    sum.iter_mut().for_each(|value| *value /= prompts.len() as f64);
    Ok(Some(sum))
}

/// The unit vector from `away` to `toward`, without what lies along `away`; zero if nothing is left.
fn direction(toward: &[f64], away: &[f64]) -> Vec<f32> {
    let mut difference: Vec<f64> = toward.iter().zip(away).map(|(toward, away)| toward - away).collect();
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let square = product(away, away);
    if square > 0.0 {
        let share = product(&difference, away) / square;
        difference.iter_mut().zip(away).for_each(|(d, away)| *d -= share * away);
    }
    let length = product(&difference, &difference).sqrt();
    difference.iter().map(|d| if length > 0.0 { (d / length) as f32 } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::direction;

    #[test]
    fn a_direction_has_length_one_and_nothing_of_the_contrast() {
        let v = direction(&[3.0, 4.0, 1.0], &[0.0, 0.0, 2.0]);
        assert_eq!(v, [0.6, 0.8, 0.0]);
        assert_eq!(direction(&[1.0, 2.0], &[1.0, 2.0]), [0.0, 0.0]);
    }
}
