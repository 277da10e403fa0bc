//! Where KV rows lie on the device: pages, frontier slots, and the constants that the kernels get.

use ds4_engine::config::{FP4_BLOCK, FP8_BLOCK};
use ds4_engine::kv::{DRAFTS_MAX, KvLayout, PAGE_TOKENS, RowFormat};
use ds4_engine::{Config, Error, LayerKind, Result};
use std::sync::Arc;

/// Values that a lane of the attention kernel loads at once.
pub(crate) const BLOCK: usize = 16;
/// Values that a thread of the preparing kernel holds.
const LANE: usize = 4;
/// Most threads of a workgroup that every device takes.
const THREADS_MAX: usize = 256;

/// Sizes of the model as far as its KV state and attention need them.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The host's layout: what saved states look like.
    pub layout: Arc<KvLayout>,
    /// Query heads.
    pub heads: usize,
    /// Indexer heads.
    pub index_heads: usize,
    /// Compressed rows that the indexer keeps.
    pub top_k: usize,
    /// `eps` of every RMSNorm.
    pub eps: f32,
}

/// Words of one layer's page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageWords {
    /// Rows in a page.
    pub rows: usize,
    /// Words of a KV row.
    pub row: usize,
    /// Where index rows begin; with rounded rows their codes.
    pub index: usize,
    /// Words of an index row, or of its codes.
    pub index_row: usize,
    /// Where the scales of index rows begin.
    pub index_scales: usize,
    /// Words of the scales of an index row.
    pub index_scale: usize,
    /// Words of a page.
    pub all: usize,
}

/// Words of one layer's slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotWords {
    /// Words of a window row; the ring begins the slot. It has [`DRAFTS_MAX`] rows more than the window, as states have more than their
    /// compressors look at: what drafts leave there replaces nothing that is needed once they were taken back.
    pub window_row: usize,
    /// Rows of a compressor's state.
    pub rows: usize,
    /// Width of the KV compressor's rows.
    pub width: usize,
    /// Width of the index compressor's rows; 0 without one.
    pub index_width: usize,
    /// Where `k` of the KV compressor begins; its scores follow.
    pub state: usize,
    /// The same of the index compressor.
    pub index: usize,
    /// Words of a slot.
    pub all: usize,
}

impl Shape {
    /// Sizes of `config` with rows stored as `format`.
    ///
    /// # Errors
    /// Sizes that the kernels cannot work on.
    pub fn new(config: &Config, format: RowFormat) -> Result<Self> {
        let layout = Arc::new(KvLayout::new(config, format));
        let shape = Self {
            layout,
            heads: config.heads,
            index_heads: config.index_heads,
            top_k: config.top_k,
            eps: config.rms_eps,
        };
        let fits = config.rot.is_multiple_of(BLOCK)
            && config.head_dim <= LANE * THREADS_MAX
            && config.index_dim <= LANE * THREADS_MAX;
        if !fits {
            return Err(Error::Device(format!(
                "its kernels need heads of at most {} values, {} at a time rotated, not {} with {}; use --backend cpu",
                LANE * THREADS_MAX,
                BLOCK,
                config.head_dim.max(config.index_dim),
                config.rot
            )));
        }
        Ok(shape)
    }

    fn is_native(&self) -> bool {
        self.layout.format == RowFormat::Native
    }

    /// Threads that hold a row, four values each.
    pub(crate) fn threads(&self) -> usize {
        (self.layout.head_dim / LANE).next_power_of_two().max(self.layout.index_dim / LANE).max(32)
    }

    /// Words of a page of a layer of this kind.
    pub(crate) fn page(&self, kind: LayerKind) -> PageWords {
        let l = &self.layout;
        let Some(ratio) = kind.ratio() else { return PageWords::default() };
        let rows = PAGE_TOKENS / ratio;
        let nope = l.head_dim - l.rot;
        let (row, index_row, index_scale) = if self.is_native() {
            let row = nope / 4 + l.rot / 2 + (nope / FP8_BLOCK).div_ceil(4);
            (row.next_multiple_of(4), l.index_dim / 8, (l.index_dim / FP4_BLOCK).div_ceil(4))
        } else {
            (l.head_dim, l.index_dim, 0)
        };
        let index = rows * row;
        let index_rows = if kind == LayerKind::Csa { rows } else { 0 };
        let index_scales = index + index_rows * index_row;
        let all = (index_scales + index_rows * index_scale).next_multiple_of(4);
        PageWords { rows, row, index, index_row, index_scales, index_scale, all }
    }

    /// Words of a slot of a layer of this kind.
    pub(crate) fn slot(&self, kind: LayerKind) -> SlotWords {
        let l = &self.layout;
        let window_row = if self.is_native() { l.head_dim / 2 } else { l.head_dim };
        let (rows, width, index_width) = match kind {
            LayerKind::Sliding => (0, 0, 0),
            LayerKind::Csa => (8 + DRAFTS_MAX, 2 * l.head_dim, 2 * l.index_dim),
            LayerKind::Hca => (PAGE_TOKENS + DRAFTS_MAX, l.head_dim, 0),
        };
        let state = l.ring() * window_row;
        let index = state + 2 * rows * width;
        SlotWords { window_row, rows, width, index_width, state, index, all: index + 2 * rows * index_width }
    }

    /// Bytes of a page in all layers.
    pub(crate) fn page_bytes(&self) -> u64 {
        self.layout.layers.iter().map(|l| 4 * self.page(l.kind).all as u64).sum()
    }

    /// Bytes of a slot in all layers.
    pub(crate) fn slot_bytes(&self) -> u64 {
        self.layout.layers.iter().map(|l| 4 * self.slot(l.kind).all as u64).sum()
    }

    /// The constants of kernels for layers of this kind.
    pub(crate) fn constants(&self, kind: LayerKind) -> Vec<(&'static str, u32)> {
        let (l, page, slot) = (&self.layout, self.page(kind), self.slot(kind));
        let ratio = kind.ratio().unwrap_or(1);
        let nope = l.head_dim - l.rot;
        let root = |n: usize| (1.0 / (n as f32).sqrt()).to_bits() as usize;
        let all = [
            ("D", l.head_dim),
            ("ROT", l.rot),
            ("NOPE", nope),
            ("HEADS", self.heads),
            ("ID", l.index_dim),
            ("INDEX_HEADS", self.index_heads),
            ("TOP_K", self.top_k),
            ("WINDOW", l.window),
            ("RING", l.ring()),
            ("DRAFTS_MAX", DRAFTS_MAX),
            ("RATIO", ratio),
            ("OVERLAP", usize::from(kind == LayerKind::Csa)),
            ("IS_COMPRESSED", usize::from(kind != LayerKind::Sliding)),
            ("IS_NATIVE", usize::from(self.is_native())),
            ("PAGE_ROWS", page.rows.max(1)),
            ("PAGE_WORDS", page.all),
            ("ROW_WORDS", page.row),
            ("INDEX_AT", page.index),
            ("INDEX_ROW_WORDS", page.index_row),
            ("INDEX_SCALES_AT", page.index_scales),
            ("INDEX_SCALE_WORDS", page.index_scale),
            ("SLOT_WORDS", slot.all),
            ("WINDOW_ROW_WORDS", slot.window_row),
            ("STATE_ROWS", slot.rows.max(1)),
            ("WIDTH", slot.width),
            ("INDEX_WIDTH", slot.index_width),
            ("STATE_AT", slot.state),
            ("INDEX_STATE_AT", slot.index),
            ("EPS_BITS", self.eps.to_bits() as usize),
            ("SCALE_BITS", root(l.head_dim)),
            ("HADAMARD_BITS", root(l.index_dim)),
            ("INDEX_SCALE_BITS", root(self.index_heads * l.index_dim)),
        ];
        all.iter().map(|(name, value)| (*name, *value as u32)).collect()
    }
}
