//! Whether a context fits into memory, before anything is allocated.

use crate::output::Bytes;
use anyhow::{Result, bail};
use ds4_engine::kv::{KvLayout, PAGE_TOKENS};
use ds4_engine::{Config, step_bytes};
use sysinfo::System;

/// Contexts that a message suggests are multiples of this many tokens.
const SUGGESTION_STEP: usize = 1024;

/// What a context takes besides the weights, which stay in the file.
pub struct Demand {
    /// Most tokens.
    pub tokens: usize,
    /// Bytes of KV history and frontier.
    pub kv: u64,
    /// Bytes of the activations of a step.
    pub activations: u64,
}

impl Demand {
    /// The demand of one sequence of `tokens` tokens, evaluated `chunk` tokens at a time.
    pub fn new(config: &Config, layout: &KvLayout, tokens: usize, chunk: usize) -> Self {
        let activations = step_bytes(config, chunk.min(tokens));
        Self { tokens, kv: layout.sequence_bytes(tokens), activations }
    }

    fn total(&self) -> u64 {
        self.kv.saturating_add(self.activations)
    }

    /// Refuses what does not fit into `free` bytes.
    pub fn check(&self, layout: &KvLayout, free: u64) -> Result<()> {
        if self.total() <= free {
            return Ok(());
        }
        let (tokens, kv, activations) = (self.tokens, Bytes(self.kv), Bytes(self.activations));
        let needs = format!("context of {tokens} tokens needs {kv} of KV memory and {activations} for activations");
        match largest_context(layout, free.saturating_sub(self.activations)) {
            0 => bail!("{needs}, {} is free; close other programs or lower --chunk", Bytes(free)),
            most => bail!("{needs}, {} is free; use --ctx {most}", Bytes(free)),
        }
    }
}

/// Most tokens whose KV state fits `free` bytes, rounded down to what one would type.
pub fn largest_context(layout: &KvLayout, free: u64) -> usize {
    let pages = free.saturating_sub(layout.frontier_bytes()) / (layout.page_bytes as u64).max(1);
    let tokens = usize::try_from(pages).unwrap_or(usize::MAX).saturating_mul(PAGE_TOKENS);
    if tokens < SUGGESTION_STEP { tokens } else { tokens - tokens % SUGGESTION_STEP }
}

/// The most memory that this process has had so far, pages of mapped files included. `None` where the system does not tell.
pub fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok().map(|kib: u64| kib << 10)
}

/// Bytes that can be had: free memory and what the system can reclaim, within the limits of a container.
/// `None` where the system does not tell.
pub fn available() -> Option<u64> {
    let mut system = System::new();
    system.refresh_memory();
    let free = Some(system.available_memory()).filter(|free| *free > 0)?;
    // The page cache of the model file counts as used in a container, but gives way.
    let container = system.cgroup_limits().map(|limits| limits.total_memory.saturating_sub(limits.rss));
    Some(container.map_or(free, |limit| free.min(limit)))
}

/// Bytes of the machine, or of the container that we are in. `None` where the system does not tell.
pub fn total() -> Option<u64> {
    let mut system = System::new();
    system.refresh_memory();
    let total = Some(system.total_memory()).filter(|total| *total > 0)?;
    let container = system.cgroup_limits().map(|limits| limits.total_memory).filter(|limit| *limit > 0);
    Some(container.map_or(total, |limit| total.min(limit)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ds4_engine::kv::RowFormat;
    use ds4_engine::{Config, LayerKind};

    /// The published sizes, as far as memory depends on them.
    fn published() -> Config {
        let tiny = crate::tiny_model::gguf(crate::recipe::Recipe::Q8, 1, crate::tiny_model::KvShape::TINY).unwrap();
        let tiny = Config::from_file(&ds4_gguf::File::from_vec(tiny).unwrap()).unwrap();
        let kind = |il: usize| match il {
            0 | 1 => LayerKind::Sliding,
            il if il.is_multiple_of(2) => LayerKind::Csa,
            _ => LayerKind::Hca,
        };
        Config {
            layers: (0..43).map(kind).collect(),
            embd: 4096,
            vocab: 129_280,
            heads: 64,
            head_dim: 512,
            q_rank: 1024,
            groups: 8,
            o_rank: 1024,
            index_heads: 64,
            experts: 256,
            experts_used: 6,
            expert_ff: 2048,
            ..tiny
        }
    }

    #[test]
    fn a_million_tokens_of_the_published_model_take_under_four_gigabytes() {
        let config = published();
        let layout = KvLayout::new(&config, RowFormat::Native);
        let million = layout.sequence_bytes(1 << 20);
        // 21 layers of 651-byte rows every 4 tokens, 20 of 583 bytes every 128, and the frontier.
        let history = (1u64 << 20) / 4 * 21 * 651 + (1u64 << 20) / 128 * 20 * 583;
        assert_eq!(million, history + layout.frontier_bytes());
        assert!(million < 4_000_000_000);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_a_context_that_does() {
        let config = published();
        let layout = KvLayout::new(&config, RowFormat::Native);
        let free = 1_000_000_000;
        let demand = Demand::new(&config, &layout, 1 << 20, 512);
        let message = demand.check(&layout, free).unwrap_err().to_string();
        assert!(message.contains("context of 1048576 tokens needs 3.7"), "{message}");
        assert!(message.contains("1.00 GB is free"), "{message}");
        let suggested: usize = message.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(suggested.is_multiple_of(SUGGESTION_STEP));
        Demand::new(&config, &layout, suggested, 512).check(&layout, free).unwrap();
        assert!(Demand::new(&config, &layout, suggested + SUGGESTION_STEP, 512).check(&layout, free).is_err());
    }

    #[test]
    fn no_context_is_suggested_where_none_fits() {
        let config = published();
        let layout = KvLayout::new(&config, RowFormat::Native);
        let message = Demand::new(&config, &layout, 4096, 512).check(&layout, 1000).unwrap_err().to_string();
        assert!(message.ends_with("close other programs or lower --chunk"), "{message}");
    }

    #[test]
    fn sizes_beyond_counting_do_not_wrap() {
        let config = published();
        let layout = KvLayout::new(&config, RowFormat::Unrounded);
        assert_eq!(layout.sequence_bytes(usize::MAX), u64::MAX);
        assert!(Demand::new(&config, &layout, usize::MAX, 8192).check(&layout, u64::MAX - 1).is_err());
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(available().is_none_or(|free| free > 1 << 20));
    }
}
