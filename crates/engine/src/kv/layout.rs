//! Where compressed rows lie in a page, and what a context costs.

use crate::config::{Config, FP4_BLOCK, FP8_BLOCK, LayerKind};

/// Tokens that a page covers: the larger ratio, so that every window closes inside one page.
pub const PAGE_TOKENS: usize = 128;

/// Tokens that can be taken back from the end of a state, and so the most that are drafted at once. Rings have as many
/// rows more than the model looks at, so that what a rejected draft wrote replaced nothing that is still needed.
pub const DRAFTS_MAX: usize = 8;

/// How rows are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowFormat {
    /// The model's rounding, as codes: FP8 with an F16 tail; FP4 index rows; F16 window.
    Native,
    /// f32, unrounded: what implementations without the rounding compute. For tests (`--kv-rounding off`).
    Unrounded,
}

/// Rows of one layer inside a page.
#[derive(Clone, Copy, Debug)]
pub struct LayerLayout {
    /// Kind of the layer.
    pub kind: LayerKind,
    /// Compressed rows a page holds.
    pub rows: usize,
    /// Byte offset of the KV rows.
    pub kv: usize,
    /// Byte offset of the index rows (ratio 4 only).
    pub index: usize,
}

impl LayerLayout {
    /// Whether it has index rows.
    pub fn has_index(&self) -> bool {
        self.kind == LayerKind::Csa
    }
}

/// Bytes of rows, pages and contexts for one model.
#[derive(Clone, Debug)]
pub struct KvLayout {
    /// Storage format of rows.
    pub format: RowFormat,
    /// Width of a KV row (`D`).
    pub head_dim: usize,
    /// Rotated dims (`R`).
    pub rot: usize,
    /// Width of an index row (`ID`).
    pub index_dim: usize,
    /// Sliding window in tokens.
    pub window: usize,
    /// One entry a layer.
    pub layers: Vec<LayerLayout>,
    /// Bytes of a page: [`PAGE_TOKENS`] tokens in all layers.
    pub page_bytes: usize,
}

impl KvLayout {
    /// Lays out a page for `config`.
    pub fn new(config: &Config, format: RowFormat) -> Self {
        let mut layout = Self {
            format,
            head_dim: config.head_dim,
            rot: config.rot,
            index_dim: config.index_dim,
            window: config.window,
            layers: Vec::with_capacity(config.layers.len()),
            page_bytes: 0,
        };
        config.layers.iter().for_each(|kind| layout.add_layer(*kind));
        layout
    }

    /// Gives a layer its place, behind those that have one.
    pub(super) fn add_layer(&mut self, kind: LayerKind) {
        let rows = kind.ratio().map_or(0, |r| PAGE_TOKENS / r);
        let kv = self.page_bytes;
        let layer = LayerLayout { kind, rows, kv, index: kv + rows * self.kv_row_bytes() };
        let index_rows = if layer.has_index() { rows } else { 0 };
        self.page_bytes = layer.index + index_rows * self.index_row_bytes();
        self.layers.push(layer);
    }

    /// Bytes of a stored KV row: 448 + 7 + 128 = 583 at full shape.
    pub fn kv_row_bytes(&self) -> usize {
        let nope = self.head_dim - self.rot;
        match self.format {
            RowFormat::Native => nope + nope / FP8_BLOCK + 2 * self.rot,
            RowFormat::Unrounded => 4 * self.head_dim,
        }
    }

    /// Bytes of a stored index row: 64 + 4 = 68 at full shape.
    pub fn index_row_bytes(&self) -> usize {
        match self.format {
            RowFormat::Native => self.index_dim / 2 + self.index_dim / FP4_BLOCK,
            RowFormat::Unrounded => 4 * self.index_dim,
        }
    }

    /// Rows of the ring that holds a layer's window.
    pub fn ring(&self) -> usize {
        self.window + DRAFTS_MAX
    }

    /// Pages that `tokens` tokens touch.
    pub fn pages(&self, tokens: usize) -> usize {
        tokens.div_ceil(PAGE_TOKENS)
    }

    /// Bytes of all pages of `tokens` tokens; the largest number where more cannot be counted.
    pub fn history_bytes(&self, tokens: usize) -> u64 {
        (self.pages(tokens) as u64).saturating_mul(self.page_bytes as u64)
    }

    /// Bytes of the frontier: window rows and open compressor windows of all layers.
    pub fn frontier_bytes(&self) -> u64 {
        let window_value = match self.format {
            RowFormat::Native => 2,
            RowFormat::Unrounded => 4,
        };
        let state = |rows: usize, width: usize| 2 * 4 * ((rows + DRAFTS_MAX) * width) as u64;
        let layer = |l: &LayerLayout| {
            let window = (self.ring() * self.head_dim * window_value) as u64;
            window
                + match l.kind {
                    LayerKind::Sliding => 0,
                    LayerKind::Csa => state(8, 2 * self.head_dim) + state(8, 2 * self.index_dim),
                    LayerKind::Hca => state(128, self.head_dim),
                }
        };
        self.layers.iter().map(layer).sum()
    }

    /// Bytes of a sequence of `tokens` tokens: history and frontier, bounded likewise.
    pub fn sequence_bytes(&self, tokens: usize) -> u64 {
        self.history_bytes(tokens).saturating_add(self.frontier_bytes())
    }
}
