//! Weight matrices in the file map, and their products with activation rows.

use super::{Buffer, CpuBackend};
use crate::Precision;
use crate::backend::{MatrixShape, Projection};
use crate::error::{Error, Result};
use ds4_gguf::{File, TensorInfo};
use ds4_quant::Format;
use ds4_quant::dot::{self, ActivationKind, Activations, Out};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Rows of work below which a task is not split further; a multiple of the packed tile.
const TASK_ROWS_MIN: usize = 16;
/// Tasks a thread gets of one operation, so that a thread that started late does not hold up the others.
const TASKS_PER_THREAD: usize = 4;

/// One matrix or a stack of equal ones: a view into the file.
pub struct Matrix {
    file: Arc<File>,
    tensor: TensorInfo,
    format: Format,
    shape: MatrixShape,
}

impl Matrix {
    pub(super) fn new(file: &Arc<File>, tensor: &TensorInfo, format: Format, shape: MatrixShape) -> Result<Self> {
        let bytes = format.row_bytes(shape.cols).and_then(|b| b.checked_mul(shape.rows)?.checked_mul(shape.count));
        if bytes != Some(file.data(tensor).len()) {
            let expected = vec![shape.cols as u64, shape.rows as u64, shape.count as u64];
            return Err(Error::Shape { name: tensor.name.clone(), found: tensor.dims.clone(), expected });
        }
        Ok(Self { file: file.clone(), tensor: tensor.clone(), format, shape })
    }

    pub(super) fn name(&self) -> &str {
        &self.tensor.name
    }

    /// Outputs.
    pub(super) fn rows(&self) -> usize {
        self.shape.rows
    }

    pub(super) fn cols(&self) -> usize {
        self.shape.cols
    }

    /// Matrices of the stack.
    pub(super) fn count(&self) -> usize {
        self.shape.count
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// The `i`-th matrix of the stack.
    pub(super) fn part(&self, i: usize) -> dot::Matrix<'_> {
        let n = self.file.data(&self.tensor).len() / self.shape.count;
        let data = &self.file.data(&self.tensor)[i * n..(i + 1) * n];
        dot::Matrix { format: self.format, rows: self.shape.rows, cols: self.shape.cols, data }
    }

    /// Row `r` dequantised.
    pub(super) fn read_row(&self, r: usize, out: &mut [f32]) -> Result<()> {
        let bytes = self.part(0).row(r);
        ds4_quant::dequantize(self.format, bytes, out).map_err(|_| Error::Shape {
            name: self.tensor.name.clone(),
            found: self.tensor.dims.clone(),
            expected: vec![out.len() as u64],
        })
    }
}

/// Activation rows as the kernels of one matrix want them.
pub(super) enum Input<'a> {
    Float(&'a [f32]),
    Rounded(&'a Activations),
}

impl Input<'_> {
    /// Rows `rows` of `w` times `tokens`.
    ///
    /// # Safety
    /// No other thread touches columns `rows` of `out` meanwhile.
    pub(super) unsafe fn multiply(
        &self,
        b: &CpuBackend,
        w: dot::Matrix<'_>,
        rows: Range<usize>,
        tokens: &[u32],
        out: Out<'_>,
    ) {
        // SAFETY: exclusivity is the caller's promise.
        unsafe {
            match self {
                Input::Float(x) => b.kernels.matmul_f32(w, rows, x, tokens, out),
                Input::Rounded(x) => b.kernels.matmul(w, rows, x, tokens, out),
            }
        }
    }
}

/// Rounded forms of the same activation rows, made as matrices need them.
#[derive(Default)]
pub(super) struct Rounded {
    words: Option<Activations>,
    blocks: Option<Activations>,
}

impl Rounded {
    /// Makes the forms that `formats` need of `rows` rows of `cols` values.
    pub(super) fn new(
        b: &CpuBackend,
        formats: impl IntoIterator<Item = Format>,
        x: &[f32],
        rows: usize,
        cols: usize,
    ) -> Self {
        let mut all = Self::default();
        if b.precision == Precision::Exact {
            return all;
        }
        for format in formats {
            let (slot, kind) = match ActivationKind::in_front_of(format) {
                None => continue,
                Some(kind @ ActivationKind::I16) => (&mut all.words, kind),
                Some(kind @ ActivationKind::Q8K) => (&mut all.blocks, kind),
            };
            if slot.is_none() {
                let mut a = Activations::default();
                a.reset(kind, rows, cols);
                let write = |(mut part, x): (dot::RowMut<'_>, &[f32])| part.write(b.isa(), x);
                a.parts().into_par_iter().zip(x.par_chunks(cols)).for_each(write);
                *slot = Some(a);
            }
        }
        all
    }

    /// The input in front of `format`.
    pub(super) fn input<'a>(&'a self, format: Format, x: &'a [f32]) -> Input<'a> {
        let form = match ActivationKind::in_front_of(format) {
            None => None,
            Some(ActivationKind::I16) => self.words.as_ref(),
            Some(ActivationKind::Q8K) => self.blocks.as_ref(),
        };
        form.map_or(Input::Float(x), Input::Rounded)
    }
}

/// Splits `rows` rows into ranges worth a task each.
pub(super) fn split(b: &CpuBackend, rows: usize) -> impl Iterator<Item = Range<usize>> + Clone + use<> {
    let tasks = b.threads() * TASKS_PER_THREAD;
    let size = rows.div_ceil(tasks).next_multiple_of(TASK_ROWS_MIN);
    (0..rows).step_by(size).map(move |first| first..(first + size).min(rows))
}

/// `out = W·x` for several matrices of one input.
pub(super) fn project(b: &CpuBackend, rows: usize, x: &Buffer, out: &mut [Projection<'_, CpuBackend>]) {
    let values = x.rows(rows);
    if let Some(collector) = &b.collector {
        for (w, _) in out.iter() {
            collector.add(&[w.name()], (0, 1), w.cols(), values.chunks_exact(x.width));
        }
    }
    let rounded = Rounded::new(b, out.iter().map(|(w, _)| w.format()), values, rows, x.width);
    let tokens: Vec<u32> = (0..rows as u32).collect();
    let mut tasks = Vec::new();
    for (w, buffer) in out.iter_mut() {
        let stride = buffer.width;
        debug_assert!(w.rows() <= stride);
        let to = Out::new(buffer.rows_mut(rows), stride);
        tasks.extend(split(b, w.rows()).map(|range| (*w, range, to)));
    }
    tasks.into_par_iter().for_each(|(w, range, to)| {
        let input = rounded.input(w.format(), values);
        // SAFETY: tasks of one buffer have disjoint row ranges.
        unsafe { input.multiply(b, w.part(0), range, &tokens, to) };
    });
}

/// Block-diagonal product: rows `g·n/groups …` of `w` see only group `g` of `x`.
pub(super) fn project_grouped(b: &CpuBackend, rows: usize, groups: usize, w: &Matrix, x: &Buffer, out: &mut Buffer) {
    // Seen as rows·groups rows of a group's width: token t's group g is row t·groups + g.
    let (values, width, per_group) = (x.rows(rows), x.width / groups, w.rows() / groups);
    if let Some(collector) = &b.collector {
        collector.add(&[w.name()], (0, 1), width, values.chunks_exact(width));
    }
    let rounded = Rounded::new(b, [w.format()], values, rows * groups, width);
    let stride = out.width;
    let to = Out::new(out.rows_mut(rows), stride);
    let tasks: Vec<(usize, Range<usize>)> = (0..groups)
        .flat_map(|g| split(b, per_group).map(move |r| (g, g * per_group + r.start..g * per_group + r.end)))
        .collect();
    tasks.into_par_iter().for_each(|(g, range)| {
        let tokens: Vec<u32> = (0..rows).map(|t| (t * groups + g) as u32).collect();
        let input = rounded.input(w.format(), values);
        // SAFETY: tasks have disjoint row ranges.
        unsafe { input.multiply(b, w.part(0), range, &tokens, to) };
    });
}
