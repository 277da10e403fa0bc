//! Values on the device.

use crate::gpu::{Buffer, Gpu, floats, to_floats};
use ds4_engine::Result;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Units of 16 bytes that 64 values take as bytes (`kernels/linear/quantize.wgsl`).
pub(crate) const BYTE_UNITS: usize = 6;
/// Most rows that are ever kept as bytes too.
pub(crate) const BYTE_ROWS_MAX: usize = 16;

/// Rows of f32 activations: row `r` begins at value `r · width`. The first ones may be kept as bytes too, for products with quantised weights.
pub struct Rows {
    /// The values.
    pub buffer: Buffer,
    /// Values of a row.
    pub width: usize,
    rows: usize,
    bytes: OnceLock<Buffer>,
    /// Rows whose bytes are those of the values.
    byte_rows: AtomicUsize,
    /// Rows whose bytes are those of the values times the weights of the norm that follows, and the sum of squares of each sixteen values.
    weighted_rows: AtomicUsize,
    sixteens: OnceLock<Buffer>,
    /// Of streams: dims of each one that a part of the sums for the next collapse is of; 0 where there are none.
    summed: AtomicU32,
}

impl Rows {
    /// `rows` rows of zeros.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(gpu: &Gpu, rows: usize, width: usize) -> Result<Self> {
        Ok(Self::with(gpu.buffer("activations", (4 * rows * width) as u64)?, rows, width))
    }

    /// Rows with these values.
    ///
    /// # Errors
    /// Out of memory.
    pub fn of(gpu: &Gpu, values: &[f32], width: usize) -> Result<Self> {
        Ok(Self::with(gpu.buffer_of("activations", &floats(values))?, values.len() / width.max(1), width))
    }

    fn with(buffer: Buffer, rows: usize, width: usize) -> Self {
        let (byte_rows, weighted_rows) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (bytes, sixteens, summed) = (OnceLock::new(), OnceLock::new(), AtomicU32::new(0));
        Self { buffer, width, rows, bytes, byte_rows, weighted_rows, sixteens, summed }
    }

    /// Where the rows are kept as bytes, 16 rows at most.
    pub(crate) fn bytes(&self, gpu: &Gpu) -> Result<&Buffer> {
        if self.bytes.get().is_none() {
            let units = self.rows.min(BYTE_ROWS_MAX) * self.width.div_ceil(64) * BYTE_UNITS;
            let _ = self.bytes.set(gpu.buffer("quantised activations", 16 * units as u64)?);
        }
        self.bytes.get().ok_or_else(|| ds4_engine::Error::Device("no quantised activations".to_owned()))
    }

    /// To be told by every operation that writes rows: how many of them it wrote as bytes too.
    pub(crate) fn written(&self, byte_rows: usize) {
        self.byte_rows.store(byte_rows, Ordering::Relaxed);
        self.weighted_rows.store(0, Ordering::Relaxed);
        self.summed.store(0, Ordering::Relaxed);
    }

    /// The same where these rows are streams, and what wrote them left the sums that their next collapse needs, in parts of so many dims.
    pub(crate) fn written_and_summed(&self, dims: u32) {
        self.written(0);
        self.summed.store(dims, Ordering::Relaxed);
    }

    /// Those dims, if the sums are there.
    pub(crate) fn summed(&self) -> Option<u32> {
        Some(self.summed.load(Ordering::Relaxed)).filter(|dims| *dims > 0)
    }

    /// The same where these bytes have the weights of the norm that follows.
    pub(crate) fn written_for_norm(&self, rows: usize) {
        self.written(0);
        self.weighted_rows.store(rows, Ordering::Relaxed);
    }

    /// Whether the first `rows` rows are there as bytes that have the weights of the norm that follows.
    pub(crate) fn has_weighted(&self, rows: usize) -> bool {
        self.weighted_rows.load(Ordering::Relaxed) >= rows
    }

    /// Where the sums of squares of each sixteen values are kept, of 16 rows at most.
    pub(crate) fn sixteens(&self, gpu: &Gpu) -> Result<&Buffer> {
        if self.sixteens.get().is_none() {
            let sums = self.rows.min(BYTE_ROWS_MAX) * self.width.div_ceil(16);
            let _ = self.sixteens.set(gpu.buffer("sums of squares", 4 * sums as u64)?);
        }
        self.sixteens.get().ok_or_else(|| ds4_engine::Error::Device("no sums of squares".to_owned()))
    }

    /// Whether the first `rows` rows are there as bytes.
    pub(crate) fn has_bytes(&self, rows: usize) -> bool {
        self.byte_rows.load(Ordering::Relaxed) >= rows
    }

    /// Waits for the first `rows` rows.
    ///
    /// # Errors
    /// The device failed.
    pub fn read(&self, gpu: &Gpu, rows: usize) -> Result<Vec<f32>> {
        self.read_rows(gpu, 0..rows)
    }

    /// Waits for rows `rows`.
    ///
    /// # Errors
    /// The device failed.
    pub fn read_rows(&self, gpu: &Gpu, rows: Range<usize>) -> Result<Vec<f32>> {
        let row = 4 * self.width as u64;
        let (first, bytes) = (rows.start as u64 * row, rows.len() as u64 * row);
        let mut values = Vec::new();
        gpu.download_with(&self.buffer, first, bytes, |bytes| values = to_floats(bytes))?;
        Ok(values)
    }
}

/// A weight vector of f32.
pub struct Vector {
    /// The values.
    pub buffer: Buffer,
    /// How many.
    pub len: usize,
}

impl Vector {
    /// A vector of these values.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(gpu: &Gpu, values: &[f32]) -> Result<Self> {
        Ok(Self { buffer: gpu.buffer_of("a vector", &floats(values))?, len: values.len() })
    }
}
