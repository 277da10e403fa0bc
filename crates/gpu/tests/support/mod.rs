//! Random weights and what their products must be.
#![allow(dead_code)]

use ds4_engine::backend::MatrixShape;
use ds4_gguf::{File, TensorType, Writer};
use ds4_gpu::Gpu;
use ds4_gpu::weights::{Matrix, SharedTensors};
use ds4_quant::Format;
use half::{bf16, f16};
use std::sync::Arc;

/// Random numbers that are the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32 ^ (self.0 >> 17) as u32
    }

    /// From −1 to 1.
    pub fn value(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    pub fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.value()).collect()
    }
}

/// Any bytes, but for scales of moderate size.
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

fn tensor_type(format: Format) -> TensorType {
    match format {
        Format::F32 => TensorType::F32,
        Format::F16 => TensorType::F16,
        Format::Bf16 => TensorType::Bf16,
        Format::Q8_0 => TensorType::Q8_0,
        Format::Q2K => TensorType::Q2K,
        Format::Q4K => TensorType::Q4K,
        Format::Q5K => TensorType::Q5K,
        Format::Q6K => TensorType::Q6K,
        Format::Iq2Xxs => TensorType::Iq2Xxs,
    }
}

/// A file with these matrices as tensors `m0`, `m1`, ….
pub fn file_of(matrices: &[(Format, MatrixShape, &[u8])]) -> Arc<File> {
    let mut writer = Writer::new();
    for (i, (format, shape, bytes)) in matrices.iter().enumerate() {
        let dims = [shape.cols as u64, shape.rows as u64, shape.count as u64];
        writer.tensor(format!("m{i}"), &dims, tensor_type(*format), *bytes);
    }
    let mut out = Vec::new();
    writer.write_to(&mut out).unwrap();
    Arc::new(File::from_vec(out).unwrap())
}

/// Weights of one matrix or a stack, on the device and dequantised.
pub struct Weights {
    pub matrix: Matrix,
    pub values: Vec<f32>,
}

pub fn shape(rows: usize, cols: usize, count: usize) -> MatrixShape {
    MatrixShape { rows, cols, count }
}

pub fn random_weights(gpu: &Gpu, random: &mut Random, format: Format, shape: MatrixShape) -> Weights {
    let n = shape.rows * shape.cols * shape.count;
    let bytes = random_blocks(random, format, n);
    let file = file_of(&[(format, shape, &bytes)]);
    let tensor = file.tensor("m0").unwrap().clone();
    let matrix = Matrix::load(gpu, &SharedTensors::default(), &file, &tensor, format, shape).unwrap();
    let mut values = vec![0.0; n];
    ds4_quant::dequantize(format, &bytes, &mut values).unwrap();
    Weights { matrix, values }
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

/// The device as it is, and with only the least that every device has.
pub fn devices() -> Vec<Gpu> {
    let open = || Gpu::open(None).unwrap();
    let caps = open().caps();
    [caps, caps.plain()].into_iter().map(|caps| open().limited(caps)).collect()
}
