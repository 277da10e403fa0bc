//! What was measured: rows, CSV, JSON, comparison.

use crate::output;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::io::Read;
use std::path::Path;

/// Most bytes of a result that is compared.
const RESULT_BYTES_MAX: u64 = 16 << 20;
const FORMAT: &str = "ds4-bench-1";

/// What was measured.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The engine of this machine.
    Local,
    /// A server.
    Server,
}

/// One context length and batch size, or one number of clients.
#[derive(Clone, Default, Serialize, Deserialize, Debug)]
pub struct Row {
    /// Tokens of a sequence before the first generated one.
    pub ctx_tokens: usize,
    /// Tokens that were read for it.
    pub prefill_tokens: usize,
    /// Tokens read a second.
    pub prefill_tps: f64,
    /// Steps of generation, or tokens of an answer.
    pub gen_tokens: usize,
    /// Tokens generated a second, all sequences together.
    pub gen_tps: f64,
    /// Memory of the sequence's KV state.
    pub kvcache_bytes: u64,
    /// Sequences together, or clients.
    pub batch: usize,
    /// Median time of a step, or of a token after the first, in milliseconds.
    #[serde(default)]
    pub token_ms: Option<f64>,
    /// The least time by memory bandwidth, as a share of the median time.
    #[serde(default)]
    pub floor_share: Option<f64>,
    /// Time to the first token in milliseconds: median, and 95 of 100.
    #[serde(default)]
    pub ttft_ms: Option<[f64; 2]>,
    /// Time of a token after the first, 95 of 100, in milliseconds.
    #[serde(default)]
    pub token_ms_p95: Option<f64>,
}

/// A whole run.
#[derive(Serialize, Deserialize, Debug)]
pub struct Report {
    format: String,
    pub kind: Kind,
    /// Model or server.
    pub name: String,
    pub version: String,
    pub system: String,
    pub cores: usize,
    pub bandwidth_bytes_per_s: Option<f64>,
    pub rows: Vec<Row>,
    pub note: Option<String>,
}

impl Report {
    pub fn new(kind: Kind, name: String) -> Self {
        Self {
            format: FORMAT.to_owned(),
            kind,
            name,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            bandwidth_bytes_per_s: None,
            rows: Vec::new(),
            note: None,
        }
    }

    /// The table. The first six columns are those of the C program.
    pub fn csv(&self) -> String {
        let mut text = "ctx_tokens,prefill_tokens,prefill_tps,gen_tokens,gen_tps,kvcache_bytes,batch,token_ms,\
                        token_ms_p95,ttft_ms,ttft_ms_p95,floor_share\n"
            .to_owned();
        let number = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.3}"));
        for row in &self.rows {
            let Row { ctx_tokens, prefill_tokens, prefill_tps, gen_tokens, gen_tps, kvcache_bytes, batch, .. } = row;
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "{ctx_tokens},{prefill_tokens},{prefill_tps:.2},{gen_tokens},{gen_tps:.2},{kvcache_bytes},{batch},\
                 {},{},{},{},{}",
                number(row.token_ms),
                number(row.token_ms_p95),
                number(row.ttft_ms.map(|ttft| ttft[0])),
                number(row.ttft_ms.map(|ttft| ttft[1])),
                number(row.floor_share),
            );
        }
        text
    }
}

/// The value below which the share `q` of `values` lies; `None` without values.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[(last as f64 * q).round() as usize])
}

fn read(path: &Path) -> Result<Report> {
    let place = path.display();
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {place}"))?;
    file.take(RESULT_BYTES_MAX).read_to_string(&mut text).with_context(|| format!("cannot read {place}"))?;
    let expected = "expected what `ds4 bench --json FILE` wrote";
    let report: Report = serde_json::from_str(&text).with_context(|| format!("{place}: {expected}"))?;
    if report.format != FORMAT {
        bail!("{place} has the format {:?}; {expected}", report.format);
    }
    Ok(report)
}

/// One context length and batch size of two runs.
#[derive(Serialize)]
struct Compared {
    ctx_tokens: usize,
    batch: usize,
    prefill_tps: [f64; 2],
    prefill_ratio: f64,
    gen_tps: [f64; 2],
    gen_ratio: f64,
}

/// Tells how many times the speed of `a` has `b`.
pub fn compare(a: &Path, b: &Path, as_json: bool) -> Result<()> {
    let (first, second) = (read(a)?, read(b)?);
    if first.kind != second.kind {
        bail!("one result is of the engine, the other of a server; they cannot be compared");
    }
    let ratio = |[a, b]: [f64; 2]| if a > 0.0 { b / a } else { 0.0 };
    let mut rows = Vec::new();
    for row in &first.rows {
        let same = |other: &&Row| (other.ctx_tokens, other.batch) == (row.ctx_tokens, row.batch);
        let Some(other) = second.rows.iter().find(same) else { continue };
        let (prefill_tps, gen_tps) = ([row.prefill_tps, other.prefill_tps], [row.gen_tps, other.gen_tps]);
        let (prefill_ratio, gen_ratio) = (ratio(prefill_tps), ratio(gen_tps));
        let (ctx_tokens, batch) = (row.ctx_tokens, row.batch);
        rows.push(Compared { ctx_tokens, batch, prefill_tps, prefill_ratio, gen_tps, gen_ratio });
    }
    if rows.is_empty() {
        bail!("the two results have no context length and batch size in common");
    }
    let bandwidth = ratio([first.bandwidth_bytes_per_s.unwrap_or(0.0), second.bandwidth_bytes_per_s.unwrap_or(0.0)]);
    if as_json {
        return output::print_json(&serde_json::json!({ "bandwidth_ratio": bandwidth, "rows": rows }));
    }
    let mut text = format!(
        "A  {} on {}\nB  {} on {}\n",
        output::printable(&first.name),
        output::printable(&first.system),
        output::printable(&second.name),
        output::printable(&second.system)
    );
    text += "     ctx  batch   prefill A         B   ratio   generate A         B   ratio\n";
    for row in &rows {
        let ([pa, pb], [ga, gb]) = (row.prefill_tps, row.gen_tps);
        let _ = writeln!(
            text,
            "{:>8} {:>6}  {pa:>10.2}{pb:>10.2}  {:>6.2}  {ga:>11.2}{gb:>10.2}  {:>6.2}",
            row.ctx_tokens, row.batch, row.prefill_ratio, row.gen_ratio
        );
    }
    if bandwidth > 0.0 {
        let _ = writeln!(text, "memory bandwidth of B's run: {bandwidth:.2} times A's");
    }
    output::print(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), Some(2.0));
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.95), Some(3.0));
    }
}
