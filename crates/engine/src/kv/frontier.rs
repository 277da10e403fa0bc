//! A frontier as bytes: of every layer only what a later token can still see, in the model's own precision.
//!
//! | bytes | content |
//! |---|---|
//! | 1 | version, 1 |
//! | 1 | 0 rounded rows, 1 f32 rows |
//! | | for each layer: the window rows, the compressor, the index compressor, the rows of the open page |
//!
//! Window rows, the oldest first: with rounded rows one byte says whether they are 0 codes, as in pages, or 1 F16; rows whose
//! F16 values are no codes exactly stay F16. Of a compressor, `k` and score of each live position, f32, of
//! positions before the open window only the lane that the next window takes. The open page's rows lie as in the page.

use super::cache::{Cache, CompressorState, LayerFrontier, Page, Window, decode_kv, encode_kv};
use super::layout::{KvLayout, LayerLayout, PAGE_TOKENS, RowFormat};
use crate::error::{Error, Result};
use crate::weights::has_overlap;
use half::f16;
use std::sync::Arc;

const VERSION: u8 = 1;
const CODES: u8 = 0;
const F16: u8 = 1;

/// The format byte of a layout.
fn format(layout: &KvLayout) -> u8 {
    match layout.format {
        RowFormat::Native => 0,
        RowFormat::Unrounded => 1,
    }
}

/// Rows of a layer that the open page has.
fn open_rows(layer: &LayerLayout, tokens: usize) -> usize {
    layer.kind.ratio().map_or(0, |ratio| tokens % PAGE_TOKENS / ratio)
}

impl Cache {
    /// The frontier after `tokens` tokens: what [`finished_pages`](Self::finished_pages) do not hold.
    pub fn save_frontier(&self, tokens: usize) -> Vec<u8> {
        let layout = &self.layout;
        let mut out = vec![VERSION, format(layout)];
        let open_page = self.pages.get(tokens / PAGE_TOKENS).filter(|_| !tokens.is_multiple_of(PAGE_TOKENS));
        for (layer, frontier) in layout.layers.iter().zip(&self.frontier) {
            save_window(layout, &frontier.window, tokens, &mut out);
            for state in [&frontier.compressor, &frontier.index].into_iter().flatten() {
                state.save(tokens, &mut out);
            }
            let rows = open_rows(layer, tokens);
            for (start, bytes) in [(layer.kv, layout.kv_row_bytes()), (layer.index, index_row_bytes(layout, layer))] {
                if let Some(page) = open_page {
                    out.extend_from_slice(&page.0[start..start + rows * bytes]);
                }
            }
        }
        out
    }

    /// The pages that the first `tokens` tokens filled. They never change again.
    pub fn finished_pages(&self, tokens: usize) -> &[Arc<Page>] {
        &self.pages[..(tokens / PAGE_TOKENS).min(self.pages.len())]
    }

    /// The state after `tokens` tokens, from its finished pages and its frontier.
    ///
    /// # Errors
    /// The bytes are those of another layout or of another number of tokens; out of memory.
    pub fn restore(layout: Arc<KvLayout>, tokens: usize, pages: Vec<Arc<Page>>, frontier: &[u8]) -> Result<Self> {
        let wrong = || Error::Snapshot("its frontier or its pages are not those of this model");
        if pages.len() != tokens / PAGE_TOKENS || pages.iter().any(|page| page.0.len() != layout.page_bytes) {
            return Err(wrong());
        }
        let mut cache = Self::new(layout);
        cache.pages = pages;
        cache.reserve(tokens)?;
        let layout = Arc::clone(&cache.layout);
        let mut rest = frontier.strip_prefix(&[VERSION, format(&layout)]).ok_or_else(wrong)?;
        let mut open_page = match tokens % PAGE_TOKENS {
            0 => None,
            _ => cache.pages.last_mut().and_then(Arc::get_mut),
        };
        for (layer, frontier) in layout.layers.iter().zip(&mut cache.frontier) {
            let LayerFrontier { window, compressor, index } = frontier;
            load_window(&layout, window, tokens, &mut rest).ok_or_else(wrong)?;
            for state in [compressor, index].into_iter().flatten() {
                state.load(tokens, &mut rest).ok_or_else(wrong)?;
            }
            let rows = open_rows(layer, tokens);
            for (start, bytes) in [(layer.kv, layout.kv_row_bytes()), (layer.index, index_row_bytes(&layout, layer))] {
                if let Some(page) = &mut open_page {
                    page.0[start..start + rows * bytes]
                        .copy_from_slice(take(&mut rest, rows * bytes).ok_or_else(wrong)?);
                }
            }
        }
        if !rest.is_empty() {
            return Err(wrong());
        }
        Ok(cache)
    }
}

impl KvLayout {
    /// Bytes of a saved frontier after `tokens` tokens, if the window rows are codes.
    pub fn saved_frontier_bytes(&self, tokens: usize) -> u64 {
        let window = tokens.min(self.window)
            * match self.format {
                RowFormat::Native => self.kv_row_bytes(),
                RowFormat::Unrounded => 4 * self.head_dim,
            };
        let compressor = |ratio: usize, dim: usize| {
            if dim == 0 {
                return 0;
            }
            let state = CompressorState::new(ratio, dim);
            state.live(tokens).map(|position| 2 * size_of::<f32>() * state.lane(position, tokens).len()).sum::<usize>()
        };
        let layer = |layer: &LayerLayout| {
            let index_dim = if layer.has_index() { self.index_dim } else { 0 };
            let states = layer.kind.ratio().map_or(0, |r| compressor(r, self.head_dim) + compressor(r, index_dim));
            let flag = usize::from(self.format == RowFormat::Native);
            let rows = open_rows(layer, tokens) * (self.kv_row_bytes() + index_row_bytes(self, layer));
            (flag + window + states + rows) as u64
        };
        2 + self.layers.iter().map(layer).sum::<u64>()
    }
}

fn index_row_bytes(layout: &KvLayout, layer: &LayerLayout) -> usize {
    if layer.has_index() { layout.index_row_bytes() } else { 0 }
}

/// The next `n` bytes.
fn take<'a>(rest: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(n)?;
    *rest = after;
    Some(taken)
}

/// Places in the ring of the rows that the window has after `tokens` tokens, the oldest first.
fn window_rows(layout: &KvLayout, tokens: usize) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
    let (window, ring, d) = (layout.window, layout.ring(), layout.head_dim);
    (tokens.saturating_sub(window)..tokens).map(move |position| {
        let at = position % ring * d;
        at..at + d
    })
}

fn save_window(layout: &KvLayout, window: &Window, tokens: usize, out: &mut Vec<u8>) {
    match window {
        Window::F32(rows) => window_rows(layout, tokens).for_each(|at| save_floats(&rows[at], out)),
        Window::F16(rows) => {
            let start = out.len();
            out.push(CODES);
            let (mut row, mut code) = (vec![0.0; layout.head_dim], vec![0; layout.kv_row_bytes()]);
            let mut is_exact = true;
            for at in window_rows(layout, tokens) {
                let values = &rows[at];
                row.iter_mut().zip(values).for_each(|(to, from)| *to = from.to_f32());
                encode_kv(layout, &row, &mut code);
                decode_kv(layout, &code, &mut row);
                is_exact &= row.iter().zip(values).all(|(a, b)| f16::from_f32(*a).to_bits() == b.to_bits());
                out.extend_from_slice(&code);
            }
            if is_exact {
                return;
            }
            out.truncate(start);
            out.push(F16);
            for at in window_rows(layout, tokens) {
                rows[at].iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
            }
        }
    }
}

fn load_window(layout: &KvLayout, window: &mut Window, tokens: usize, rest: &mut &[u8]) -> Option<()> {
    match window {
        Window::F32(rows) => {
            for at in window_rows(layout, tokens) {
                load_floats(&mut rows[at], rest)?;
            }
        }
        Window::F16(rows) => {
            let kind = take(rest, 1)?[0];
            let mut row = vec![0.0; layout.head_dim];
            for at in window_rows(layout, tokens) {
                let values = &mut rows[at];
                match kind {
                    CODES => {
                        decode_kv(layout, take(rest, layout.kv_row_bytes())?, &mut row);
                        values.iter_mut().zip(&row).for_each(|(to, from)| *to = f16::from_f32(*from));
                    }
                    F16 => {
                        let (bytes, _) = take(rest, 2 * values.len())?.as_chunks();
                        values.iter_mut().zip(bytes).for_each(|(to, from)| *to = f16::from_le_bytes(*from));
                    }
                    _ => return None,
                }
            }
        }
    }
    Some(())
}

fn save_floats(values: &[f32], out: &mut Vec<u8>) {
    values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
}

fn load_floats(values: &mut [f32], rest: &mut &[u8]) -> Option<()> {
    let (bytes, _) = take(rest, 4 * values.len())?.as_chunks();
    values.iter_mut().zip(bytes).for_each(|(to, from)| *to = f32::from_le_bytes(*from));
    Some(())
}

impl CompressorState {
    /// The values of a live position that a later window takes: all of the open window's, and the first lane of
    /// those before it.
    fn lane(&self, position: usize, tokens: usize) -> std::ops::Range<usize> {
        let open = tokens - tokens % self.ratio;
        let width = if has_overlap(self.ratio) && position < open { self.width / 2 } else { self.width };
        let at = self.slot(position) * self.width;
        at..at + width
    }

    fn save(&self, tokens: usize, out: &mut Vec<u8>) {
        for position in self.live(tokens) {
            let lane = self.lane(position, tokens);
            save_floats(&self.kv[lane.clone()], out);
            save_floats(&self.score[lane], out);
        }
    }

    fn load(&mut self, tokens: usize, rest: &mut &[u8]) -> Option<()> {
        for position in self.live(tokens) {
            let lane = self.lane(position, tokens);
            load_floats(&mut self.kv[lane.clone()], rest)?;
            load_floats(&mut self.score[lane], rest)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::CompressedStream::{Attention, Index};
    use crate::config::LayerKind;
    use crate::kv::layout::KvLayout;
    use proptest::prelude::*;

    fn layout(format: RowFormat) -> Arc<KvLayout> {
        let (head_dim, rot, index_dim, window) = (192, 64, 64, 128);
        let mut layout = KvLayout { format, head_dim, rot, index_dim, window, layers: Vec::new(), page_bytes: 0 };
        [LayerKind::Sliding, LayerKind::Csa, LayerKind::Hca].into_iter().for_each(|kind| layout.add_layer(kind));
        Arc::new(layout)
    }

    /// A number that looks like one of a model.
    fn value(seed: usize) -> f32 {
        let bits = (seed as u32).wrapping_mul(0x9e37_79b9) >> 8;
        (bits as f32 / (1 << 24) as f32 - 0.5) * 8.0
    }

    /// A state as the forward pass leaves it after `tokens` tokens.
    fn filled(layout: &Arc<KvLayout>, tokens: usize, is_rounded: bool) -> Cache {
        let mut cache = Cache::new(Arc::clone(layout));
        cache.reserve(tokens).unwrap();
        for position in 0..tokens {
            for (il, layer) in layout.layers.iter().enumerate() {
                let mut row: Vec<f32> = (0..layout.head_dim).map(|i| value(position * 977 + il * 31 + i)).collect();
                if is_rounded && layout.format == RowFormat::Native {
                    crate::kv::rounding::fp8_round(&mut row[..layout.head_dim - layout.rot]);
                    crate::kv::rounding::f16_round(&mut row);
                }
                cache.write_window(il, position, &row);
                for (stream, d) in [(Attention, layout.head_dim), (Index, layout.index_dim)] {
                    let Some(state) = cache.state_mut(il, stream) else { continue };
                    let width = state.width;
                    let of = |salt: usize| (0..width).map(|i| value(position * 13 + i * 7 + salt)).collect::<Vec<_>>();
                    state.store(position, &of(1), &of(2));
                    let ratio = layer.kind.ratio().unwrap();
                    if (position + 1) % ratio == 0 {
                        let row: Vec<f32> = (0..d).map(|i| value(position + i)).collect();
                        cache.write_row(il, stream, position / ratio, &row);
                    }
                }
            }
        }
        cache
    }

    fn is_same(layout: &KvLayout, a: &Cache, b: &Cache, tokens: usize) -> bool {
        let mut all = true;
        for (il, layer) in layout.layers.iter().enumerate() {
            let range = tokens.saturating_sub(layout.window)..tokens;
            let (mut x, mut y) = (vec![0.0; range.len() * layout.head_dim], vec![0.0; range.len() * layout.head_dim]);
            a.read_window(il, range.clone(), &mut x);
            b.read_window(il, range, &mut y);
            all &= x.iter().zip(&y).all(|(x, y)| x.to_bits() == y.to_bits());
            for (stream, d) in [(Attention, layout.head_dim), (Index, layout.index_dim)] {
                let (Some(one), Some(other)) = (a.state(il, stream), b.state(il, stream)) else { continue };
                let ratio = layer.kind.ratio().unwrap();
                for position in one.live(tokens) {
                    // Of an earlier window only the first lane counts.
                    let n = if position < tokens - tokens % ratio { d } else { one.width };
                    all &= one.row(position).0[..n] == other.row(position).0[..n];
                    all &= one.row(position).1[..n] == other.row(position).1[..n];
                }
                for row in 0..tokens / ratio {
                    let (mut x, mut y) = (vec![0.0; d], vec![0.0; d]);
                    a.read_row(il, stream, row, &mut x);
                    b.read_row(il, stream, row, &mut y);
                    all &= x == y;
                }
            }
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_state_comes_back(tokens in 1usize..400, native in any::<bool>(), is_rounded in any::<bool>()) {
            let layout = layout(if native { RowFormat::Native } else { RowFormat::Unrounded });
            let cache = filled(&layout, tokens, is_rounded);
            let bytes = cache.save_frontier(tokens);
            if is_rounded || !native {
                prop_assert_eq!(bytes.len() as u64, layout.saved_frontier_bytes(tokens));
            }
            let pages = cache.finished_pages(tokens).to_vec();
            let back = Cache::restore(Arc::clone(&layout), tokens, pages.clone(), &bytes).unwrap();
            prop_assert!(is_same(&layout, &cache, &back, tokens));
            prop_assert_eq!(back.save_frontier(tokens), bytes.clone());
            for wrong in [tokens + 1, tokens + 128, tokens - 1] {
                prop_assert!(Cache::restore(Arc::clone(&layout), wrong, pages.clone(), &bytes).is_err());
            }
            for cut in [0, 1, 2, bytes.len() / 2, bytes.len() - 1] {
                prop_assert!(Cache::restore(Arc::clone(&layout), tokens, pages.clone(), &bytes[..cut]).is_err());
            }
        }
    }
}
