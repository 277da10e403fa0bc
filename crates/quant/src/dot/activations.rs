//! Rounded activation rows.

use super::dispatch::Isa;
use crate::Format;

/// How rounded activations are represented in front of a quantised matrix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ActivationKind {
    /// 16-bit integers with one f32 scale a row: in front of Q8_0.
    I16,
    /// Q8_K: 8-bit integers, one f32 scale and sixteen partial sums per block of 256.
    Q8K,
}

impl ActivationKind {
    /// The form that goes in front of `format`; `None` for float formats, which take f32.
    pub fn in_front_of(format: Format) -> Option<Self> {
        match format {
            Format::F32 | Format::F16 | Format::Bf16 => None,
            Format::Q8_0 => Some(Self::I16),
            _ => Some(Self::Q8K),
        }
    }
}

/// Largest magnitude of a 16-bit activation. A Q8_0 block sums 32 products of at most 128 · 32767, far
/// inside i32.
pub(super) const I16_MAX: f32 = 32767.0;
/// Values in a Q8_K block.
pub(super) const QK: usize = 256;
/// Pad of a row of words: eight bytes.
const WORD_PAD: usize = 4;
/// Pad of a row of bytes: half a cache line, so that loads of 32 stay within one.
const BYTE_PAD: usize = 32;
/// Values summed in one entry of `sums`.
pub(super) const SUM_GROUP: usize = 16;

/// `rows` activation rows of `cols` values each, in one representation. Reusable: [`Activations::fill`]
/// keeps its allocations.
pub struct Activations {
    pub(super) kind: ActivationKind,
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// Codes from one row to the next: `cols` and a pad, so that equal columns of different rows lie in different banks of
    /// the first-level cache.
    pub(super) stride: usize,
    /// I16: one a row. Q8K: one a block.
    pub(super) scales: Vec<f32>,
    /// I16: the codes.
    pub(super) words: Vec<i16>,
    /// Q8K: the codes.
    pub(super) bytes: Vec<i8>,
    /// Q8K: sums of sixteen consecutive codes.
    pub(super) sums: Vec<i16>,
}

impl Default for Activations {
    fn default() -> Self {
        Self {
            kind: ActivationKind::I16,
            rows: 0,
            cols: 0,
            stride: 0,
            scales: Vec::new(),
            words: Vec::new(),
            bytes: Vec::new(),
            sums: Vec::new(),
        }
    }
}

impl Activations {
    /// Rows held.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values in a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Representation held.
    pub fn kind(&self) -> ActivationKind {
        self.kind
    }

    /// Sets shape and kind, sizing the buffers; the content is unspecified until every row was
    /// written through [`Activations::parts`] or [`Activations::fill`] was used instead.
    ///
    /// # Panics
    /// When `kind` is Q8K and `cols` is no multiple of 256.
    pub fn reset(&mut self, kind: ActivationKind, rows: usize, cols: usize) {
        self.kind = kind;
        self.rows = rows;
        self.cols = cols;
        match kind {
            ActivationKind::I16 => {
                self.stride = cols + WORD_PAD;
                self.words.resize(rows * self.stride, 0);
                self.scales.resize(rows, 0.0);
            }
            ActivationKind::Q8K => {
                assert!(cols.is_multiple_of(QK), "Q8_K needs a multiple of 256 values");
                self.stride = cols + BYTE_PAD;
                self.bytes.resize(rows * self.stride, 0);
                self.scales.resize(rows * cols / QK, 0.0);
                self.sums.resize(rows * cols / SUM_GROUP, 0);
            }
        }
    }

    /// Replaces the content by `rows` rows of `cols` values from `x`, whose rows are `stride` apart.
    ///
    /// # Panics
    /// When `x` is too short, or `kind` is Q8K and `cols` is no multiple of 256.
    pub fn fill(&mut self, isa: Isa, kind: ActivationKind, x: &[f32], rows: usize, cols: usize, stride: usize) {
        assert!(rows == 0 || (rows - 1) * stride + cols <= x.len(), "activation rows outside their buffer");
        self.reset(kind, rows, cols);
        for (r, mut row) in self.parts().into_iter().enumerate() {
            row.write(isa, &x[r * stride..r * stride + cols]);
        }
    }

    /// The rows as independent parts, so that several threads can fill them.
    pub fn parts(&mut self) -> Vec<RowMut<'_>> {
        let (n, cols) = (self.rows, self.cols);
        match self.kind {
            ActivationKind::I16 => self.words[..n * self.stride]
                .chunks_mut(self.stride)
                .zip(&mut self.scales[..n])
                .map(|(q, d)| RowMut::I16 { q: &mut q[..cols], d })
                .collect(),
            ActivationKind::Q8K => self.bytes[..n * self.stride]
                .chunks_mut(self.stride)
                .zip(self.scales.chunks_mut(cols / QK))
                .zip(self.sums.chunks_mut(cols / SUM_GROUP))
                .map(|((q, d), sums)| RowMut::Q8K { q: &mut q[..cols], d, sums })
                .collect(),
        }
    }
}

/// One row of an [`Activations`], to be written.
pub enum RowMut<'a> {
    /// 16-bit codes and the row's scale.
    I16 {
        /// Codes.
        q: &'a mut [i16],
        /// Scale.
        d: &'a mut f32,
    },
    /// 8-bit codes, block scales, partial sums.
    Q8K {
        /// Codes.
        q: &'a mut [i8],
        /// One scale per 256 codes.
        d: &'a mut [f32],
        /// Sums of 16 codes.
        sums: &'a mut [i16],
    },
}

impl RowMut<'_> {
    /// Rounds `x` into this row. NaN counts as 0, infinities as the largest code.
    pub fn write(&mut self, isa: Isa, x: &[f32]) {
        match self {
            RowMut::I16 { q, d } => isa.with(WriteI16 { x, q, d }),
            RowMut::Q8K { q, d, sums } => isa.with(WriteQ8K { x, q, d, sums }),
        }
    }
}

struct WriteI16<'a, 'b> {
    x: &'a [f32],
    q: &'a mut [i16],
    d: &'a mut &'b mut f32,
}

impl super::dispatch::Task for WriteI16<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let m = max_magnitude(self.x);
        let inv = if m > 0.0 { I16_MAX / m } else { 0.0 };
        **self.d = if m > 0.0 { m / I16_MAX } else { 0.0 };
        for (q, x) in self.q.iter_mut().zip(self.x) {
            *q = (x * inv).round_ties_even() as i16;
        }
    }
}

struct WriteQ8K<'a> {
    x: &'a [f32],
    q: &'a mut [i8],
    d: &'a mut [f32],
    sums: &'a mut [i16],
}

impl super::dispatch::Task for WriteQ8K<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let blocks = self.x.chunks_exact(QK).zip(self.q.chunks_exact_mut(QK));
        for (((x, q), d), sums) in blocks.zip(self.d).zip(self.sums.chunks_exact_mut(QK / SUM_GROUP)) {
            let m = max_magnitude(x);
            if m == 0.0 {
                (*d, _) = (0.0, q.fill(0));
                sums.fill(0);
                continue;
            }
            // The scale takes the opposite sign of the first element of largest magnitude.
            let negative = x.iter().find(|v| v.abs() == m).is_some_and(|v| *v < 0.0);
            let inv = if negative { 127.0 / m } else { -127.0 / m };
            *d = 1.0 / inv;
            for (q, x) in q.iter_mut().zip(x) {
                *q = (x * inv).round_ties_even() as i8;
            }
            for (s, q) in sums.iter_mut().zip(q.chunks_exact(SUM_GROUP)) {
                *s = q.iter().map(|v| i16::from(*v)).sum();
            }
        }
    }
}

/// Largest finite magnitude, 0 for none.
#[inline(always)]
fn max_magnitude(x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let mut chunks = x.chunks_exact(16);
    for c in &mut chunks {
        for (l, v) in lanes.iter_mut().zip(c) {
            let a = v.abs();
            *l = if a > *l && a < f32::INFINITY { a } else { *l };
        }
    }
    for v in chunks.remainder() {
        let a = v.abs();
        lanes[0] = if a > lanes[0] && a < f32::INFINITY { a } else { lanes[0] };
    }
    lanes.into_iter().fold(0.0, f32::max)
}
