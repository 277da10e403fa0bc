//! Pages and frontier of one sequence in host memory.

use super::layout::{KvLayout, PAGE_TOKENS, RowFormat};
use super::rounding::{fp4_decode, fp4_encode, fp8_decode, fp8_encode};
use crate::backend::CompressedStream;
use crate::config::{FP4_BLOCK, FP8_BLOCK, LayerKind};
use crate::error::{Error, Result};
use crate::weights::has_overlap;
use half::f16;
use std::collections::HashSet;
use std::sync::Arc;

/// One page: compressed rows of [`PAGE_TOKENS`] tokens in all layers.
#[derive(Clone)]
pub struct Page(pub(super) Box<[u8]>);

impl Page {
    /// A page of these bytes, laid out as [`KvLayout`] says.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The most recent rows of a layer, a ring addressed by position modulo the window.
#[derive(Clone)]
pub(super) enum Window {
    F16(Box<[f16]>),
    F32(Box<[f32]>),
}

/// The open windows of one compressor: the tokens of the current window and, with overlap, of the one before.
///
/// The row of a position is found by [`CompressorState::row`]; scores already carry the positional bias.
#[derive(Clone)]
pub struct CompressorState {
    pub(super) ratio: usize,
    pub(super) width: usize,
    pub(super) kv: Box<[f32]>,
    pub(super) score: Box<[f32]>,
}

impl CompressorState {
    pub(super) fn new(ratio: usize, dim: usize) -> Self {
        let (rows, width) = if has_overlap(ratio) { (2 * ratio, 2 * dim) } else { (ratio, dim) };
        let zeros = || vec![0.0; rows * width].into_boxed_slice();
        Self { ratio, width, kv: zeros(), score: zeros() }
    }

    /// Slot of a position: windows alternate between the two halves, so that nothing has to be moved.
    pub(super) fn slot(&self, position: usize) -> usize {
        position % (self.kv.len() / self.width)
    }

    /// `k` and gate score of `position`, which must be in the current or (with overlap) the previous window.
    pub fn row(&self, position: usize) -> (&[f32], &[f32]) {
        let at = self.slot(position) * self.width;
        (&self.kv[at..at + self.width], &self.score[at..at + self.width])
    }

    /// Stores `k` and gate score of `position`.
    pub fn store(&mut self, position: usize, k: &[f32], score: &[f32]) {
        let at = self.slot(position) * self.width;
        self.kv[at..at + self.width].copy_from_slice(k);
        self.score[at..at + self.width].copy_from_slice(score);
    }

    /// Positions before `end` that a later window can still need.
    pub fn live(&self, end: usize) -> std::ops::Range<usize> {
        let open = end - end % self.ratio;
        let first = if has_overlap(self.ratio) { open.saturating_sub(self.ratio) } else { open };
        first..end
    }
}

#[derive(Clone)]
pub(super) struct LayerFrontier {
    pub(super) window: Window,
    pub(super) compressor: Option<CompressorState>,
    pub(super) index: Option<CompressorState>,
}

/// KV state of one sequence. `clone` forks it: pages are shared until one side appends to the last.
#[derive(Clone)]
pub struct Cache {
    pub(super) layout: Arc<KvLayout>,
    pub(super) pages: Vec<Arc<Page>>,
    pub(super) frontier: Vec<LayerFrontier>,
}

impl Cache {
    /// State of an empty sequence.
    pub fn new(layout: Arc<KvLayout>) -> Self {
        let frontier = layout.layers.iter().map(|l| LayerFrontier {
            window: match layout.format {
                RowFormat::Native => Window::F16(vec![f16::ZERO; layout.window * layout.head_dim].into()),
                RowFormat::Unrounded => Window::F32(vec![0.0; layout.window * layout.head_dim].into()),
            },
            compressor: l.kind.ratio().map(|r| CompressorState::new(r, layout.head_dim)),
            index: (l.kind == LayerKind::Csa).then(|| CompressorState::new(4, layout.index_dim)),
        });
        Self { pages: Vec::new(), frontier: frontier.collect(), layout }
    }

    /// A state of these pages whose frontier is still empty.
    pub fn with_pages(layout: Arc<KvLayout>, pages: Vec<Arc<Page>>) -> Self {
        Self { pages, ..Self::new(layout) }
    }

    /// Its pages.
    pub fn pages(&self) -> &[Arc<Page>] {
        &self.pages
    }

    /// Makes pages for `tokens` tokens in all.
    ///
    /// # Errors
    /// Out of memory.
    pub fn reserve(&mut self, tokens: usize) -> Result<()> {
        while self.pages.len() < self.layout.pages(tokens) {
            let mut bytes = Vec::new();
            let n = self.layout.page_bytes;
            bytes.try_reserve_exact(n).map_err(|_| Error::Memory { bytes: n, what: "a KV page" })?;
            bytes.resize(n, 0);
            self.pages.push(Arc::new(Page(bytes.into())));
        }
        Ok(())
    }

    /// Pages held, whether shared or not.
    pub fn page_count(&self) -> usize {
        self.pages.len()
    }

    /// Bytes of the frontier and of the pages that are not in `counted`, where their addresses are added.
    pub fn bytes(&self, counted: &mut HashSet<usize>) -> u64 {
        let new = self.pages.iter().filter(|page| counted.insert(Arc::as_ptr(page) as usize)).count();
        (new as u64).saturating_mul(self.layout.page_bytes as u64).saturating_add(self.layout.frontier_bytes())
    }

    /// Pages that this state shares with another.
    pub fn shared_pages(&self) -> usize {
        self.pages.iter().filter(|p| Arc::strong_count(p) > 1).count()
    }

    /// The state of a layer's compressor or indexer compressor.
    pub fn state(&self, il: usize, stream: CompressedStream) -> Option<&CompressorState> {
        match stream {
            CompressedStream::Attention => self.frontier[il].compressor.as_ref(),
            CompressedStream::Index => self.frontier[il].index.as_ref(),
        }
    }

    /// The same, to be written.
    pub fn state_mut(&mut self, il: usize, stream: CompressedStream) -> Option<&mut CompressorState> {
        match stream {
            CompressedStream::Attention => self.frontier[il].compressor.as_mut(),
            CompressedStream::Index => self.frontier[il].index.as_mut(),
        }
    }

    /// Rows of the window for positions `range`, decoded one after the other into `out`.
    pub fn read_window(&self, il: usize, range: std::ops::Range<usize>, out: &mut [f32]) {
        let d = self.layout.head_dim;
        for (position, out) in range.zip(out.chunks_exact_mut(d)) {
            let at = position % self.layout.window * d;
            match &self.frontier[il].window {
                Window::F16(rows) => out.iter_mut().zip(&rows[at..at + d]).for_each(|(o, v)| *o = v.to_f32()),
                Window::F32(rows) => out.copy_from_slice(&rows[at..at + d]),
            }
        }
    }

    /// Stores the row of `position`; values are already rounded to what the window holds.
    pub fn write_window(&mut self, il: usize, position: usize, row: &[f32]) {
        let d = self.layout.head_dim;
        let at = position % self.layout.window * d;
        match &mut self.frontier[il].window {
            Window::F16(rows) => rows[at..at + d].iter_mut().zip(row).for_each(|(o, v)| *o = f16::from_f32(*v)),
            Window::F32(rows) => rows[at..at + d].copy_from_slice(row),
        }
    }

    fn place(&self, il: usize, stream: CompressedStream, row: usize) -> (usize, std::ops::Range<usize>) {
        let layer = &self.layout.layers[il];
        let (base, bytes) = match stream {
            CompressedStream::Attention => (layer.kv, self.layout.kv_row_bytes()),
            CompressedStream::Index => (layer.index, self.layout.index_row_bytes()),
        };
        let at = base + row % layer.rows * bytes;
        (row / layer.rows, at..at + bytes)
    }

    /// Stores compressed row `row`, unrounded, in the model's precision. Room was made by [`Cache::reserve`].
    pub fn write_row(&mut self, il: usize, stream: CompressedStream, row: usize, values: &[f32]) {
        let (page, range) = self.place(il, stream, row);
        let layout = self.layout.clone();
        let bytes = &mut Arc::make_mut(&mut self.pages[page]).0[range];
        match (layout.format, stream) {
            (RowFormat::Native, CompressedStream::Attention) => encode_kv(&layout, values, bytes),
            (RowFormat::Native, CompressedStream::Index) => {
                let (codes, scales) = bytes.split_at_mut(layout.index_dim / 2);
                fp4_encode(values, codes, scales);
            }
            (RowFormat::Unrounded, _) => {
                for (b, v) in bytes.chunks_exact_mut(4).zip(values) {
                    b.copy_from_slice(&v.to_le_bytes());
                }
            }
        }
    }

    /// Decodes compressed row `row` into `out`.
    #[inline]
    pub fn read_row(&self, il: usize, stream: CompressedStream, row: usize, out: &mut [f32]) {
        let (page, range) = self.place(il, stream, row);
        let bytes = &self.pages[page].0[range];
        match (self.layout.format, stream) {
            (RowFormat::Native, CompressedStream::Attention) => decode_kv(&self.layout, bytes, out),
            (RowFormat::Native, CompressedStream::Index) => {
                let (codes, scales) = bytes.split_at(out.len() / 2);
                fp4_decode(codes, scales, out);
            }
            (RowFormat::Unrounded, _) => {
                for (b, v) in bytes.chunks_exact(4).zip(out) {
                    *v = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                }
            }
        }
    }
}

/// A KV row as it is stored: FP8 codes, scales, then the rotated tail in F16.
pub(super) fn encode_kv(layout: &KvLayout, row: &[f32], bytes: &mut [u8]) {
    let nope = layout.head_dim - layout.rot;
    let (codes, rest) = bytes.split_at_mut(nope);
    let (scales, tail) = rest.split_at_mut(nope / FP8_BLOCK);
    fp8_encode(&row[..nope], codes, scales);
    for (b, v) in tail.chunks_exact_mut(2).zip(&row[nope..]) {
        b.copy_from_slice(&f16::from_f32(*v).to_le_bytes());
    }
}

pub(super) fn decode_kv(layout: &KvLayout, bytes: &[u8], row: &mut [f32]) {
    let nope = layout.head_dim - layout.rot;
    let (codes, rest) = bytes.split_at(nope);
    let (scales, tail) = rest.split_at(nope / FP8_BLOCK);
    fp8_decode(codes, scales, &mut row[..nope]);
    for (b, v) in tail.chunks_exact(2).zip(&mut row[nope..]) {
        *v = f16::from_le_bytes([b[0], b[1]]).to_f32();
    }
}

// A page holds whole windows of either ratio, and blocks fill rows.
const _: () = assert!(PAGE_TOKENS.is_multiple_of(4) && PAGE_TOKENS.is_multiple_of(128) && FP4_BLOCK.is_multiple_of(2));
