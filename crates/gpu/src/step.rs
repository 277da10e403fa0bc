//! What the kernels of a step have to know of its rows, on the device.

use crate::cache::{Cache, Pool};
use crate::gpu::{Buffer, Gpu, words};
use ds4_engine::Result;
use ds4_engine::backend::Step;
use ds4_engine::kv::DRAFTS_MAX;
use ds4_engine::rope::Rope;

/// Words of a row and of a closing window.
const RECORD: usize = 8;
/// The ratios whose windows close.
const RATIOS: [usize; 2] = [4, 128];
/// Bytes that the buffers have at first.
const BYTES_MIN: u64 = 1 << 14;

/// Rows, page tables and angles of a step, written once before its operations.
///
/// `data` is words: for each row `position, sequence, first row of its segment, start of its segment, rows of its segment, slot,
/// where its page table begins, 0`; for each window that closes, of ratio 4 and then of 128, `window, first row, start, slot,
/// page table, 0, 0, 0`; page tables; `(cos θ, sin θ)` of each row for the two families of layers, then of each closing window.
pub struct StepData {
    /// One token a row.
    pub ids: Buffer,
    /// The words above.
    pub(crate) data: Buffer,
    /// Rows.
    pub(crate) rows: usize,
    /// Whether segments are so short that their rows can enter rings at once: they replace nothing that the step still reads.
    pub(crate) is_short: bool,
    /// Whether the step is one of the draft block.
    pub(crate) is_draft: bool,
    /// Position of each row.
    pub(crate) positions: Vec<usize>,
    /// Where angles of rows begin, by family, in words.
    pub(crate) angles: [u32; 2],
    /// Closing windows of each ratio: how many, where they begin, where their angles begin.
    pub(crate) closing: [Closing; 2],
}

/// Windows of one ratio that close in a step.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Closing {
    /// How many.
    pub count: usize,
    /// Their first word.
    pub at: u32,
    /// First word of their angles.
    pub angles: u32,
}

impl StepData {
    /// Room for a small step; it grows.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self {
            ids: gpu.buffer("tokens of a step", BYTES_MIN)?,
            data: gpu.buffer("rows of a step", BYTES_MIN)?,
            rows: 0,
            is_short: true,
            is_draft: false,
            positions: Vec::new(),
            angles: [0; 2],
            closing: [Closing::default(); 2],
        })
    }

    /// Describes `step`: to be called before its operations. Pages that it writes to are no longer shared afterwards.
    ///
    /// # Errors
    /// Out of memory; a cache without room for the step.
    pub fn begin(&mut self, pool: &Pool, step: &Step<'_>, ropes: [&Rope; 2], caches: &mut [&mut Cache]) -> Result<()> {
        let mut data = Vec::new();
        let tables = self.records(pool, step, caches, &mut data)?;
        // Tables begin behind the records; now it is known where.
        let base = data.len() as u32;
        for record in data.chunks_exact_mut(RECORD).take(self.rows) {
            record[6] += base;
        }
        for record in data.chunks_exact_mut(RECORD).skip(self.rows) {
            record[4] += base;
        }
        data.extend(tables);
        data.resize(data.len().next_multiple_of(4), 0);
        for rope in ropes {
            self.angles[rope.family()] = data.len() as u32;
            step.positions.iter().for_each(|position| push_angles(rope, *position, &mut data));
        }
        let compressed = if ropes[0].family() == 1 { ropes[0] } else { ropes[1] };
        for (closing, ratio) in self.closing.iter_mut().zip(RATIOS) {
            closing.angles = data.len() as u32;
            for index in 0..closing.count {
                let window = data[closing.at as usize + index * RECORD] as usize;
                push_angles(compressed, window * ratio, &mut data);
            }
        }
        let gpu = pool.gpu();
        write(gpu, &mut self.ids, &words(step.tokens))?;
        write(gpu, &mut self.data, &words(&data))
    }

    /// Writes the records to `data` and returns the page tables.
    fn records(
        &mut self,
        pool: &Pool,
        step: &Step<'_>,
        caches: &mut [&mut Cache],
        data: &mut Vec<u32>,
    ) -> Result<Vec<u32>> {
        self.rows = step.rows();
        // Rings have `DRAFTS_MAX` rows more than the first of these rows looks at.
        self.is_short = step.segments.iter().all(|segment| segment.rows.len() <= 1 + DRAFTS_MAX);
        self.positions = step.positions.to_vec();
        let (mut tables, mut places) = (Vec::new(), Vec::new());
        for (sequence, (segment, cache)) in step.segments.iter().zip(caches).enumerate() {
            let (start, count) = (segment.start, segment.rows.len());
            pool.unshare(cache, start..start + count)?;
            let (slot, table, first) = (cache.slot()?, tables.len() as u32, segment.rows.start as u32);
            places.push((slot, table));
            for i in 0..count {
                let position = (start + i) as u32;
                data.extend([position, sequence as u32, first, start as u32, count as u32, slot, table, 0]);
            }
            let pages = pool.shape().layout.pages(start + count);
            tables.extend(cache.pages.iter().take(pages).map(|page| page.number()));
        }
        for (closing, ratio) in self.closing.iter_mut().zip(RATIOS) {
            closing.at = data.len() as u32;
            for (segment, (slot, table)) in step.segments.iter().zip(&places) {
                let (start, end) = (segment.start, segment.start + segment.rows.len());
                for window in start / ratio..end / ratio {
                    data.extend([window as u32, segment.rows.start as u32, start as u32, *slot, *table, 0, 0, 0]);
                }
            }
            closing.count = (data.len() - closing.at as usize) / RECORD;
        }
        Ok(tables)
    }
}

fn push_angles(rope: &Rope, position: usize, data: &mut Vec<u32>) {
    data.extend(rope.table(position).iter().flat_map(|(cos, sin)| [cos.to_bits(), sin.to_bits()]));
}

/// Writes `bytes` to `buffer`, or to a larger one in its place.
fn write(gpu: &Gpu, buffer: &mut Buffer, bytes: &[u8]) -> Result<()> {
    if buffer.bytes() < bytes.len() as u64 {
        *buffer = gpu.buffer("a step", (bytes.len() as u64).next_power_of_two())?;
        gpu.forget_groups();
    }
    gpu.upload(buffer, 0, bytes);
    Ok(())
}
