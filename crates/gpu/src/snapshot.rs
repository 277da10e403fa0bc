//! States as bytes: pages and frontiers between the device's layout and the host's.

use crate::cache::{Cache, Page, Pool};
use crate::gpu::{Buffer, to_floats};
use crate::shape::{PageWords, SlotWords};
use ds4_engine::backend::CompressedStream;
use ds4_engine::config::FP8_BLOCK;
use ds4_engine::kv::{self, KvLayout, LayerLayout, PAGE_TOKENS, RowFormat};
use ds4_engine::{Error, Result};
use half::f16;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a word.
const WORD: usize = 4;

impl Pool {
    /// The bytes of a page, laid out as [`KvLayout`] says.
    ///
    /// # Errors
    /// The device failed.
    pub fn page_bytes(&self, page: &Page) -> Result<Vec<u8>> {
        let layout = &self.shape().layout;
        let device =
            self.gather(page.number(), |pool, layer| pool.shape().page(layer.kind).all, |memory| &memory.arena)?;
        let mut host = vec![0; layout.page_bytes];
        let mut at = 0;
        for layer in &layout.layers {
            let words = self.shape().page(layer.kind);
            let device = &device[at..at + WORD * words.all];
            convert_page(layout, layer, words, |host_range, device_range| {
                host[host_range].copy_from_slice(&device[device_range]);
            });
            at += device.len();
        }
        Ok(host)
    }

    /// A page of such bytes.
    ///
    /// # Errors
    /// They are too many or too few; out of memory.
    pub fn page(&self, host: &[u8]) -> Result<Page> {
        let layout = &self.shape().layout;
        if host.len() != layout.page_bytes {
            return Err(Error::Snapshot("a page of it has another size than those of this model"));
        }
        let mut device = Vec::with_capacity(self.shape().page_bytes() as usize);
        for layer in &layout.layers {
            let words = self.shape().page(layer.kind);
            let mut part = vec![0; WORD * words.all];
            convert_page(layout, layer, words, |host_range, device_range| {
                part[device_range].copy_from_slice(&host[host_range]);
            });
            device.append(&mut part);
        }
        let page = self.take_page()?;
        self.scatter(&device, page.number(), |pool, layer| pool.shape().page(layer.kind).all, |memory| &memory.arena)?;
        Ok(page)
    }

    /// What the finished pages do not hold of a state of `tokens` tokens: window, open page, compressors.
    ///
    /// # Errors
    /// The device failed.
    pub fn save_frontier(&self, cache: &Cache, tokens: usize) -> Result<Vec<u8>> {
        let layout = &self.shape().layout;
        let finished = tokens / PAGE_TOKENS;
        let mut pages = Vec::new();
        pages.resize(finished, Arc::new(kv::Page::new(Vec::new())));
        if !tokens.is_multiple_of(PAGE_TOKENS) {
            let open = cache.pages.get(finished).ok_or_else(|| Error::Device("a page is missing".to_owned()))?;
            pages.push(Arc::new(kv::Page::new(self.page_bytes(open)?)));
        }
        let mut host = kv::Cache::with_pages(Arc::clone(layout), pages);
        let device =
            self.gather(cache.slot()?, |pool, layer| pool.shape().slot(layer.kind).all, |memory| &memory.frontier)?;
        let mut at = 0;
        for (il, layer) in layout.layers.iter().enumerate() {
            let words = self.shape().slot(layer.kind);
            let slot = &device[at..at + WORD * words.all];
            for position in tokens.saturating_sub(layout.window)..tokens {
                let row = WORD * words.window_row;
                let stored = &slot[position % layout.ring() * row..][..row];
                host.write_window(il, position, &window_values(layout.format, stored));
            }
            for (stream, place) in states(words) {
                let Some(state) = host.state_mut(il, stream) else { continue };
                for position in state.live(tokens) {
                    let (k, score) = place.row(position);
                    state.store(position, &to_floats(&slot[k]), &to_floats(&slot[score]));
                }
            }
            at += slot.len();
        }
        Ok(host.save_frontier(tokens))
    }

    /// The state of `tokens` tokens from its finished pages and its frontier.
    ///
    /// # Errors
    /// The bytes are those of another model or of another number of tokens; out of memory.
    pub fn restore(self: &Arc<Self>, tokens: usize, mut pages: Vec<Arc<Page>>, frontier: &[u8]) -> Result<Cache> {
        let layout = &self.shape().layout;
        let stand_in = Arc::new(kv::Page::new(vec![0; layout.page_bytes]));
        let host = kv::Cache::restore(Arc::clone(layout), tokens, vec![stand_in; pages.len()], frontier)?;
        if let Some(open) = host.pages().get(pages.len()) {
            pages.push(Arc::new(self.page(open.bytes())?));
        }
        let mut device = Vec::with_capacity(self.shape().slot_bytes() as usize);
        for (il, layer) in layout.layers.iter().enumerate() {
            let words = self.shape().slot(layer.kind);
            let mut slot = vec![0; WORD * words.all];
            let mut values = vec![0.0; layout.head_dim];
            for position in tokens.saturating_sub(layout.window)..tokens {
                host.read_window(il, position..position + 1, &mut values);
                let row = WORD * words.window_row;
                let stored = &mut slot[position % layout.ring() * row..][..row];
                store_window(layout.format, &values, stored);
            }
            for (stream, place) in states(words) {
                let Some(state) = host.state(il, stream) else { continue };
                for position in state.live(tokens) {
                    let (k, score) = state.row(position);
                    let (k_range, score_range) = place.row(position);
                    store_floats(k, &mut slot[k_range]);
                    store_floats(score, &mut slot[score_range]);
                }
            }
            device.append(&mut slot);
        }
        let cache = self.adopt(pages)?;
        let words = |pool: &Self, layer: &LayerLayout| pool.shape().slot(layer.kind).all;
        self.scatter(&device, cache.slot()?, words, |memory| &memory.frontier)?;
        Ok(cache)
    }

    /// Entry `number` of a buffer of each layer, one after the other.
    fn gather(
        &self,
        number: u32,
        words: impl Fn(&Self, &LayerLayout) -> usize,
        buffer: impl Fn(&crate::cache::LayerMemory) -> &Buffer,
    ) -> Result<Vec<u8>> {
        let sizes: Vec<u64> =
            self.shape().layout.layers.iter().map(|layer| (WORD * words(self, layer)) as u64).collect();
        let all = sizes.iter().sum();
        let joined = self.gpu().buffer("a saved state", all)?;
        let mut at = 0;
        for (memory, bytes) in self.layers().iter().zip(&sizes).filter(|(_, bytes)| **bytes > 0) {
            self.gpu().copy(buffer(memory), u64::from(number) * bytes, &joined, at, *bytes);
            at += bytes;
        }
        if all == 0 { Ok(Vec::new()) } else { self.gpu().download(&joined, 0, all) }
    }

    /// The other way round.
    fn scatter(
        &self,
        bytes: &[u8],
        number: u32,
        words: impl Fn(&Self, &LayerLayout) -> usize,
        buffer: impl Fn(&crate::cache::LayerMemory) -> &Buffer,
    ) -> Result<()> {
        let joined = self.gpu().buffer_of("a restored state", bytes)?;
        let mut at = 0;
        for (memory, layer) in self.layers().iter().zip(&self.shape().layout.layers) {
            let bytes = (WORD * words(self, layer)) as u64;
            if bytes > 0 {
                self.gpu().copy(&joined, at, buffer(memory), u64::from(number) * bytes, bytes);
            }
            at += bytes;
        }
        self.gpu().flush();
        Ok(())
    }
}

/// Calls `copy` with each pair of places that hold the same bytes of a layer's part of a page: the host's and the device's.
fn convert_page(
    layout: &KvLayout,
    layer: &LayerLayout,
    words: PageWords,
    mut copy: impl FnMut(Range<usize>, Range<usize>),
) {
    let mut pair = |host: usize, device: usize, bytes: usize| copy(host..host + bytes, device..device + bytes);
    let (kv_row, index_row) = (layout.kv_row_bytes(), layout.index_row_bytes());
    for row in 0..words.rows {
        let (host, device) = (layer.kv + row * kv_row, WORD * row * words.row);
        match layout.format {
            RowFormat::Unrounded => pair(host, device, kv_row),
            RowFormat::Native => {
                let nope = layout.head_dim - layout.rot;
                let (scales, tail) = (nope / FP8_BLOCK, 2 * layout.rot);
                pair(host, device, nope);
                pair(host + nope + scales, device + nope, tail);
                pair(host + nope, device + nope + tail, scales);
            }
        }
        if !layer.has_index() {
            continue;
        }
        let host = layer.index + row * index_row;
        let device = WORD * (words.index + row * words.index_row);
        match layout.format {
            RowFormat::Unrounded => pair(host, device, index_row),
            RowFormat::Native => {
                let codes = layout.index_dim / 2;
                pair(host, device, codes);
                let scales = WORD * (words.index_scales + row * words.index_scale);
                pair(host + codes, scales, index_row - codes);
            }
        }
    }
}

/// Where a compressor's state lies in a slot.
struct StatePlace {
    at: usize,
    rows: usize,
    width: usize,
}

impl StatePlace {
    /// Bytes of `k` and score of a position.
    fn row(&self, position: usize) -> (Range<usize>, Range<usize>) {
        let bytes = WORD * self.width;
        let k = WORD * self.at + position % self.rows * bytes;
        let score = k + self.rows * bytes;
        (k..k + bytes, score..score + bytes)
    }
}

fn states(words: SlotWords) -> impl Iterator<Item = (CompressedStream, StatePlace)> {
    let kv = StatePlace { at: words.state, rows: words.rows, width: words.width };
    let index = StatePlace { at: words.index, rows: words.rows, width: words.index_width };
    [(CompressedStream::Attention, kv), (CompressedStream::Index, index)].into_iter()
}

fn window_values(format: RowFormat, stored: &[u8]) -> Vec<f32> {
    match format {
        RowFormat::Native => stored.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect(),
        RowFormat::Unrounded => to_floats(stored),
    }
}

fn store_window(format: RowFormat, values: &[f32], stored: &mut [u8]) {
    match format {
        RowFormat::Native => {
            let places = stored.as_chunks_mut().0.iter_mut();
            places.zip(values).for_each(|(to, value)| *to = f16::from_f32(*value).to_le_bytes());
        }
        RowFormat::Unrounded => store_floats(values, stored),
    }
}

fn store_floats(values: &[f32], stored: &mut [u8]) {
    stored.as_chunks_mut().0.iter_mut().zip(values).for_each(|(to, value)| *to = value.to_le_bytes());
}
