//! Values on the device.

use crate::gpu::{Buffer, Gpu, floats, to_floats};
use ds4_engine::Result;

/// Rows of f32 activations: row `r` begins at value `r · width`.
pub struct Rows {
    /// The values.
    pub buffer: Buffer,
    /// Values of a row.
    pub width: usize,
}

impl Rows {
    /// `rows` rows of zeros.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(gpu: &Gpu, rows: usize, width: usize) -> Result<Self> {
        Ok(Self { buffer: gpu.buffer("activations", (4 * rows * width) as u64)?, width })
    }

    /// Rows with these values.
    ///
    /// # Errors
    /// Out of memory.
    pub fn of(gpu: &Gpu, values: &[f32], width: usize) -> Result<Self> {
        Ok(Self { buffer: gpu.buffer_of("activations", &floats(values))?, width })
    }

    /// Waits for the first `rows` rows.
    ///
    /// # Errors
    /// The device failed.
    pub fn read(&self, gpu: &Gpu, rows: usize) -> Result<Vec<f32>> {
        let bytes = gpu.download(&self.buffer, 0, (4 * rows * self.width) as u64)?;
        Ok(to_floats(&bytes))
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
