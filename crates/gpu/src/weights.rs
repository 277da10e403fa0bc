//! Weight matrices on the device.

use crate::gpu::{Buffer, Gpu};
use crate::repack::{plane_bytes, repack};
use crate::upload::{Plane, Staging};
use ds4_engine::backend::MatrixShape;
use ds4_engine::{Error, Result};
use ds4_gguf::{File, TensorInfo};
use ds4_quant::Format;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Planes of a format.
pub const PLANES_MAX: usize = 4;
/// Source bytes that one task rearranges: within a core's own cache.
const PART_BYTES: usize = 256 << 10;
/// Columns of floats come in such groups: 16 bytes of half-precision numbers.
const FLOAT_COLS: usize = 8;

/// One matrix or a stack of equal ones, rearranged into planes (`repack.rs`), all in one buffer.
pub struct Matrix {
    /// The planes.
    pub buffer: Arc<Buffer>,
    /// How weights are stored.
    pub format: Format,
    /// Rows, columns and how many.
    pub shape: MatrixShape,
    /// Where each plane begins, in units of 16 bytes; all rows of all matrices of the stack lie in it one after the other.
    pub planes: [u32; PLANES_MAX],
}

/// Which bytes of which file, as what.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    file: usize,
    offset: u64,
    bytes: u64,
    format: Format,
    rows: usize,
    cols: usize,
    count: usize,
}

/// What is known of it; the file stays open as long as its address is part of a key.
type Known = (Weak<Buffer>, Arc<File>);

/// What was uploaded: tensors that share bytes in a file share them on the device.
#[derive(Default)]
pub struct SharedTensors {
    known: Mutex<HashMap<Key, Known>>,
    staging: Mutex<Staging>,
}

impl SharedTensors {
    /// Frees staging memory.
    pub fn finish(&self) {
        *self.staging.lock().unwrap_or_else(PoisonError::into_inner) = Staging::default();
    }
}

/// Where the planes begin and how many bytes they have in all.
fn layout(format: Format, blocks: u64) -> ([u64; PLANES_MAX], u64) {
    let mut at = [0; PLANES_MAX];
    let mut bytes = 0;
    for (at, of_block) in at.iter_mut().zip(plane_bytes(format)) {
        *at = bytes;
        bytes += (of_block * blocks).next_multiple_of(16);
    }
    (at, bytes)
}

/// Bytes on the device of a matrix of `blocks` blocks.
pub fn device_bytes(format: Format, blocks: u64) -> u64 {
    layout(format, blocks).1
}

impl Matrix {
    /// Uploads `tensor`, or finds it there already.
    ///
    /// # Errors
    /// The tensor has another size, a row does not fill 16-byte units, it exceeds what the device binds at once, or the device failed.
    pub fn load(
        gpu: &Gpu,
        shared: &SharedTensors,
        file: &Arc<File>,
        tensor: &TensorInfo,
        format: Format,
        shape: MatrixShape,
    ) -> Result<Self> {
        let data = file.data(tensor);
        let bytes = format.row_bytes(shape.cols).and_then(|b| b.checked_mul(shape.rows)?.checked_mul(shape.count));
        if bytes != Some(data.len()) {
            let expected = vec![shape.cols as u64, shape.rows as u64, shape.count as u64];
            return Err(Error::Shape { name: tensor.name.clone(), found: tensor.dims.clone(), expected });
        }
        if format.block_len() == 1 && !shape.cols.is_multiple_of(FLOAT_COLS) {
            let (name, cols) = (&tensor.name, shape.cols);
            return Err(Error::Device(format!(
                "tensor {name} has rows of {cols} {format} values, which is no multiple of {FLOAT_COLS}; use --backend cpu"
            )));
        }
        let blocks = (data.len() / format.block_bytes()) as u64;
        let (at, bytes) = layout(format, blocks);
        let mut planes = [0; PLANES_MAX];
        for (plane, at) in planes.iter_mut().zip(at) {
            *plane = u32::try_from(at / 16).map_err(|_| {
                Error::Device(format!("tensor {} is too large for the GPU; use --backend cpu", tensor.name))
            })?;
        }
        let key = Key {
            file: Arc::as_ptr(file) as usize,
            offset: tensor.offset,
            bytes: tensor.n_bytes,
            format,
            rows: shape.rows,
            cols: shape.cols,
            count: shape.count,
        };
        let mut known = shared.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buffer) = known.get(&key).and_then(|(buffer, _)| buffer.upgrade()) {
            return Ok(Self { buffer, format, shape, planes });
        }
        let buffer = Arc::new(gpu.buffer("weights", bytes)?);
        upload(gpu, shared, &buffer, format, data, at)?;
        known.insert(key, (Arc::downgrade(&buffer), Arc::clone(file)));
        Ok(Self { buffer, format, shape, planes })
    }
}

fn upload(
    gpu: &Gpu,
    shared: &SharedTensors,
    buffer: &Buffer,
    format: Format,
    data: &[u8],
    at: [u64; PLANES_MAX],
) -> Result<()> {
    // Whole blocks, eight at a time, so that every part of every plane fills 16-byte units.
    let part_blocks = (PART_BYTES / format.block_bytes()).next_multiple_of(8);
    let part_bytes = part_blocks * format.block_bytes();
    let blocks = (data.len() / format.block_bytes()) as u64;
    let planes: Vec<Plane> = plane_bytes(format)
        .iter()
        .zip(at)
        .map(|(bytes, at)| Plane { at, bytes: (bytes * blocks).next_multiple_of(16), part: bytes * part_blocks as u64 })
        .collect();
    let parts = data.len().div_ceil(part_bytes) as u64;
    let fill = |i: u64, pieces: &mut [&mut [u8]]| {
        let first = i as usize * part_bytes;
        repack(format, &data[first..(first + part_bytes).min(data.len())], pieces);
    };
    shared.staging.lock().unwrap_or_else(PoisonError::into_inner).upload(gpu, buffer, &planes, parts, fill)
}
