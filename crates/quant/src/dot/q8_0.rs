//! Q8_0 weights with 16-bit activations.
//!
//! `w · x = d_x · Σ_blocks d_b · Σ q·x`: the inner sums are exact integers, so one token and many tokens
//! differ only by the order in which f32 block terms are added.
//!
//! Few tokens: rows are read as they lie, widened on the fly. Many tokens: [`TILE_ROWS`] rows are widened
//! and transposed once into a packed slab that stays in the first-level cache, then multiplied with all tokens.

use super::out::Out;
use super::simd::Simd;
use super::{Activations, Matrix};

/// Weights in a block.
const QK8: usize = 32;
/// Bytes of a block: f16 scale, 32 codes.
const BYTES: usize = 34;
/// Tokens from which packing pays.
const PACK_FROM: usize = 6;
/// Tokens of the unpacked kernel.
const FEW: usize = 4;
/// Rows of a packed tile: two vectors of eight.
const TILE_ROWS: usize = 16;
/// Tokens of a packed tile: 2 × 6 integer accumulators.
const TILE_TOKENS: usize = 6;
/// Blocks of a packed slab: 16 × 512 words = 16 KiB.
const SLAB: usize = 16;
/// How far ahead weights are asked for, in bytes.
const PREFETCH: usize = 4096;

/// Rows `rows` of `w` times the tokens `tokens` of `x`.
///
/// # Safety
/// As for `kquants::product`.
#[inline(always)]
pub(super) unsafe fn product<S: Simd>(
    w: Matrix<'_>,
    rows: std::ops::Range<usize>,
    x: &Activations,
    tokens: &[u32],
    out: Out<'_>,
) {
    let mut first = rows.start;
    // SAFETY: forwarded promises.
    unsafe {
        if tokens.len() >= PACK_FROM {
            let mut slab = Slab::new();
            let mut sums = vec![[0.0f32; TILE_ROWS]; tokens.len()];
            while first + TILE_ROWS <= rows.end {
                tile::<S>(w, first, x, tokens, &mut slab, &mut sums, out);
                first += TILE_ROWS;
            }
        }
        for r in first..rows.end {
            for (c, some) in tokens.chunks(FEW).enumerate() {
                match some.len() {
                    1 => one_row::<S, 1>(w, r, x, some, out, c * FEW),
                    2 => one_row::<S, 2>(w, r, x, some, out, c * FEW),
                    3 => one_row::<S, 3>(w, r, x, some, out, c * FEW),
                    _ => one_row::<S, FEW>(w, r, x, some, out, c * FEW),
                }
            }
        }
    }
}

/// # Safety
/// As for [`product`]; `some` has `T` tokens.
#[inline(always)]
unsafe fn one_row<S: Simd, const T: usize>(
    w: Matrix<'_>,
    r: usize,
    x: &Activations,
    some: &[u32],
    out: Out<'_>,
    at: usize,
) {
    let mut q = [x.words.as_ptr(); T];
    for t in 0..T {
        q[t] = x.words[some[t] as usize * x.stride..].as_ptr();
    }
    let p = w.row(r).as_ptr();
    // SAFETY: `cols / 32` blocks in the row and as many activations; the caller owns row r of `out`.
    unsafe {
        let mut total = [S::splat_f32(0.0); T];
        for b in 0..w.cols / QK8 {
            let block = p.add(b * BYTES);
            S::prefetch(block.wrapping_add(PREFETCH));
            let d = S::splat_half(block);
            for t in 0..T {
                let sum = S::dot_i8_i16(S::zero(), block.add(2).cast(), q[t].add(b * QK8));
                total[t] = S::fma(S::to_floats(sum), d, total[t]);
            }
        }
        for t in 0..T {
            out.set(at + t, r, S::sum(total[t]) * x.scales[some[t] as usize]);
        }
    }
}

/// Packed weights of sixteen rows and up to [`SLAB`] blocks.
struct Slab {
    /// Per block and vector of eight rows: sixteen vectors of (word 2i, word 2i+1) pairs.
    words: Vec<i16>,
    /// Per block: sixteen scales.
    scales: [[f32; TILE_ROWS]; SLAB],
}

impl Slab {
    fn new() -> Self {
        Self { words: vec![0; SLAB * QK8 * TILE_ROWS], scales: [[0.0; TILE_ROWS]; SLAB] }
    }

    /// Packs blocks `blocks` of rows `first..first + 16`.
    ///
    /// # Safety
    /// The rows and blocks exist; features of `S` on.
    #[inline(always)]
    unsafe fn pack<S: Simd>(&mut self, w: Matrix<'_>, first: usize, blocks: std::ops::Range<usize>) {
        // What is packed next: the following slab of these rows, or the first one of the next rows.
        let more = blocks.end * QK8 < w.cols;
        let next = if more { blocks.len() * BYTES } else { TILE_ROWS * w.row_bytes() - blocks.start * BYTES };
        let mut rows = [w.data.as_ptr(); TILE_ROWS];
        for (j, row) in rows.iter_mut().enumerate() {
            *row = w.row(first + j).as_ptr();
        }
        for (i, b) in blocks.enumerate() {
            // SAFETY: block b exists in each row; `i < SLAB`, so the packed words are in bounds.
            unsafe {
                for v in 0..2 {
                    let mut codes = [rows[0].cast(); 8];
                    for j in 0..8 {
                        codes[j] = rows[8 * v + j].add(b * BYTES + 2).cast();
                    }
                    S::pack8x32(codes, self.words.as_mut_ptr().add((2 * i + v) * 8 * QK8));
                }
                for (j, row) in rows.iter().enumerate() {
                    self.scales[i][j] = S::half(row.add(b * BYTES).cast::<u16>().read_unaligned());
                    S::prefetch(row.wrapping_add(b * BYTES + next));
                }
            }
        }
    }
}

/// Rows `first..first + 16` times all tokens.
///
/// # Safety
/// As for [`product`]; `sums` has one entry a token.
#[inline(always)]
unsafe fn tile<S: Simd>(
    w: Matrix<'_>,
    first: usize,
    x: &Activations,
    tokens: &[u32],
    slab: &mut Slab,
    sums: &mut [[f32; TILE_ROWS]],
    out: Out<'_>,
) {
    sums.fill([0.0; TILE_ROWS]);
    let blocks = w.cols / QK8;
    let mut start = 0;
    while start < blocks {
        let n = (blocks - start).min(SLAB);
        // SAFETY: forwarded promises.
        unsafe {
            slab.pack::<S>(w, first, start..start + n);
            for (some, sums) in tokens.chunks(TILE_TOKENS).zip(sums.chunks_mut(TILE_TOKENS)) {
                let at = start * QK8;
                match some.len() {
                    1 => multiply::<S, 1>(slab, n, x, some, at, sums),
                    2 => multiply::<S, 2>(slab, n, x, some, at, sums),
                    3 => multiply::<S, 3>(slab, n, x, some, at, sums),
                    4 => multiply::<S, 4>(slab, n, x, some, at, sums),
                    5 => multiply::<S, 5>(slab, n, x, some, at, sums),
                    _ => multiply::<S, TILE_TOKENS>(slab, n, x, some, at, sums),
                }
            }
        }
        start += n;
    }
    for (t, (sums, token)) in sums.iter().zip(tokens).enumerate() {
        let d = x.scales[*token as usize];
        // SAFETY: the caller owns these rows.
        let to = unsafe { out.slice(t, first..first + TILE_ROWS) };
        for (o, s) in to.iter_mut().zip(sums) {
            *o = s * d;
        }
    }
}

/// `sums[t] += slab · x[t]` over `n` blocks, activations starting at column `at`.
///
/// # Safety
/// `some` and `sums` have `T` entries, `n ≤ SLAB`, columns `at .. at + 32·n` exist; features of `S` on.
#[inline(always)]
unsafe fn multiply<S: Simd, const T: usize>(
    slab: &Slab,
    n: usize,
    x: &Activations,
    some: &[u32],
    at: usize,
    sums: &mut [[f32; TILE_ROWS]],
) {
    let mut q = [x.words.as_ptr(); T];
    for t in 0..T {
        q[t] = x.words[some[t] as usize * x.stride + at..].as_ptr();
    }
    // SAFETY: by the caller's promises.
    unsafe {
        let mut total = [[S::splat_f32(0.0); 2]; T];
        for t in 0..T {
            total[t] = [S::load_f32(sums[t].as_ptr()), S::load_f32(sums[t].as_ptr().add(8))];
        }
        for b in 0..n {
            let w = slab.words.as_ptr().add(2 * b * 8 * QK8);
            let mut acc = [[S::zero(); 2]; T];
            for i in 0..QK8 / 2 {
                let w0 = S::load_words(w.add(16 * i));
                let w1 = S::load_words(w.add(8 * QK8 + 16 * i));
                for t in 0..T {
                    let xs = S::splat_words(q[t].add(b * QK8 + 2 * i));
                    acc[t] = [S::multiply_pairs(acc[t][0], w0, xs), S::multiply_pairs(acc[t][1], w1, xs)];
                }
            }
            let d0 = S::load_f32(slab.scales[b].as_ptr());
            let d1 = S::load_f32(slab.scales[b].as_ptr().add(8));
            for t in 0..T {
                total[t] = [
                    S::fma(S::to_floats(acc[t][0]), d0, total[t][0]),
                    S::fma(S::to_floats(acc[t][1]), d1, total[t][1]),
                ];
            }
        }
        for t in 0..T {
            S::store_f32(sums[t].as_mut_ptr(), total[t][0]);
            S::store_f32(sums[t].as_mut_ptr().add(8), total[t][1]);
        }
    }
}
