//! Random weights, and what their products must be.

use super::Verdict;
use crate::gpu::Gpu;
use crate::weights::{Matrix, SharedTensors};
use ds4_engine::backend::MatrixShape;
use ds4_engine::weights::tensor_type;
use ds4_engine::{Error, Result};
use ds4_gguf::{File, Writer};
use ds4_quant::Format;
use half::{bf16, f16};
use std::sync::Arc;

/// Bytes of a matrix that differ; larger ones repeat them.
const PATTERN_BYTES: usize = 1 << 20;

/// Random numbers that are the same everywhere.
pub struct Random(pub u64);

impl Random {
    /// 32 bits.
    pub fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32 ^ (self.0 >> 17) as u32
    }

    /// From −1 to 1.
    pub fn value(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    /// `n` of them.
    pub fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.value()).collect()
    }
}

/// Any bytes of `weights` weights, but for scales of moderate size.
pub fn random_blocks(random: &mut Random, format: Format, weights: usize) -> Vec<u8> {
    let n = weights / format.block_len();
    let scales: &[usize] = match format {
        Format::Q8_0 | Format::Iq2Xxs => &[0],
        Format::Q4K | Format::Q5K => &[0, 2],
        Format::Q2K => &[80, 82],
        Format::Q6K => &[208],
        Format::F32 => return random.values(n).iter().flat_map(|v| v.to_le_bytes()).collect(),
        Format::F16 => return random.values(n).iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
        Format::Bf16 => return random.values(n).iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
    };
    let mut bytes: Vec<u8> = (0..n * format.block_bytes()).map(|_| random.bits() as u8).collect();
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        for at in scales {
            block[*at..at + 2].copy_from_slice(&f16::from_f32(0.01 * random.value()).to_le_bytes());
        }
    }
    bytes
}

/// A file with these matrices as tensors `m0`, `m1`, ….
///
/// # Errors
/// Bytes that are not those of the shape.
pub fn file_of(matrices: &[(Format, MatrixShape, &[u8])]) -> Result<Arc<File>> {
    let mut writer = Writer::new();
    for (i, (format, shape, bytes)) in matrices.iter().enumerate() {
        let dims = [shape.cols as u64, shape.rows as u64, shape.count as u64];
        writer.tensor(format!("m{i}"), &dims, tensor_type(*format), *bytes);
    }
    let mut out = Vec::new();
    writer.write_to(&mut out)?;
    Ok(Arc::new(File::from_vec(out)?))
}

/// One matrix of `rows` × `cols`, or a stack.
pub fn shape(rows: usize, cols: usize, count: usize) -> MatrixShape {
    MatrixShape { rows, cols, count }
}

/// Bytes of a matrix or stack.
pub fn matrix_bytes(format: Format, shape: MatrixShape) -> usize {
    shape.rows * shape.cols * shape.count / format.block_len() * format.block_bytes()
}

/// Weights of one matrix or a stack, on the device and as a file has them.
pub struct Weights {
    /// On the device.
    pub matrix: Matrix,
    file: Arc<File>,
}

impl Weights {
    /// Random ones: the same megabyte again and again.
    ///
    /// # Errors
    /// Out of memory.
    pub fn random(gpu: &Gpu, random: &mut Random, format: Format, shape: MatrixShape) -> Result<Self> {
        let all = shape.rows * shape.cols * shape.count;
        // Whole rows, an odd number of them, so that experts differ.
        let rows = (PATTERN_BYTES / matrix_bytes(format, MatrixShape { rows: 1, count: 1, ..shape }).max(1)) | 1;
        let some = random_blocks(random, format, all.min(rows * shape.cols));
        let bytes: Vec<u8> = some.iter().copied().cycle().take(matrix_bytes(format, shape)).collect();
        let file = file_of(&[(format, shape, &bytes)])?;
        Self::load(gpu, file, format, shape)
    }

    fn load(gpu: &Gpu, file: Arc<File>, format: Format, shape: MatrixShape) -> Result<Self> {
        let tensor = file.tensor("m0").ok_or_else(|| Error::MissingTensor("m0".to_owned()))?.clone();
        let matrix = Matrix::load(gpu, &SharedTensors::default(), &file, &tensor, format, shape)?;
        Ok(Self { matrix, file })
    }

    /// The same weights once more on the device, so that they are not in its cache.
    ///
    /// # Errors
    /// Out of memory.
    pub fn again(&self, gpu: &Gpu) -> Result<Self> {
        Self::load(gpu, Arc::clone(&self.file), self.matrix.format, self.matrix.shape)
    }

    /// Row `row` of the stack's matrices one after the other, dequantised.
    pub fn row(&self, row: usize) -> Vec<f32> {
        let Matrix { format, shape, .. } = self.matrix;
        let row_bytes = shape.cols / format.block_len() * format.block_bytes();
        let mut values = vec![0.0; shape.cols];
        if let Some(tensor) = self.file.tensor("m0") {
            let bytes = &self.file.data(tensor)[row * row_bytes..][..row_bytes];
            if ds4_quant::dequantize(format, bytes, &mut values).is_err() {
                // Compared as wrong.
                values.fill(f32::NAN);
            }
        }
        values
    }

    /// All rows.
    pub fn values(&self) -> Vec<f32> {
        (0..self.matrix.shape.rows * self.matrix.shape.count).flat_map(|row| self.row(row)).collect()
    }
}

/// Largest magnitude of each block of 32, repeated.
pub fn block_most(x: &[f32]) -> Vec<f64> {
    x.chunks(32)
        .flat_map(|block| {
            let most = block.iter().fold(0.0f32, |most, v| most.max(v.abs()));
            block.iter().map(move |_| f64::from(most))
        })
        .collect()
}

/// w·x, Σ|w·x| and the largest change that rounding x to bytes makes.
pub fn product(w: &[f32], x: &[f32], most: &[f64]) -> (f64, f64, f64) {
    w.iter().zip(x).zip(most).fold((0.0, 0.0, 0.0), |(sum, size, change), ((w, x), most)| {
        let (w, x) = (f64::from(*w), f64::from(*x));
        (sum + w * x, size + (w * x).abs(), change + w.abs() * most / 254.0)
    })
}

/// Compares values one by one: each may err by `tolerance` of 1 or of its own size, whichever is more.
pub fn close(verdict: &mut Verdict, what: &str, got: &[f32], want: &[f64], tolerance: f64) {
    verdict.require(got.len() == want.len(), || format!("{what}: {} values, not {}", got.len(), want.len()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*g) - w).abs();
        verdict.see(error, tolerance * (1.0 + w.abs()), || format!("{what}: value {i} is {g}, not {w}"));
    }
}
