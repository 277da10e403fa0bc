//! 256-weight blocks with Q8_K activations (`spec/quants.md` §2).
//!
//! Every format is brought to one shape: eight groups of 32 *unsigned* codes, sixteen integer scales, and
//! sixteen integer minima, so that with activation codes `x` and their group sums `b`
//!
//! ```text
//! w · x = d_x · ( d · Σ_g scale[g] · Σ code·x  −  d_min · Σ_g min[g] · b[g] )        g over groups of 16
//! ```
//!
//! Loops over lanes and tokens are plain `for`s: a closure is compiled without the features of the function that it
//! stands in, and a call of it is then not inlined.
//!
//! Signed formats shift their codes: IQ2_XXS by 43, Q6_K by 32, with `min = shift · scale` and `d_min = d`; the two sums are
//! then subtracted as integers.

use super::activations::{QK, SUM_GROUP};
use super::out::Out;
use super::simd::Simd;
use super::{Activations, Matrix};
use crate::iq2_grid;
use std::mem::MaybeUninit;

/// Blocks opened ahead of their products: their scales then come from memory, not from a chain of operations just
/// issued, and the processor overlaps the two.
const RUN: usize = 8;
/// Rows walked per pass over the tokens, so that their bytes stay in the first-level cache.
const STRIP: usize = 8;
/// How far ahead of the block in work weights are asked for, in bytes.
const PREFETCH: usize = 3072;

/// One opened block. Aligned, so that no vector of it lies in two cache lines.
pub(super) trait Block<S: Simd>: Sized {
    /// Bytes of a block.
    const BYTES: usize;
    /// Whether scales come in equal pairs, one for 32 weights.
    const PAIRED: bool;
    /// Whether both factors are the same, so that the integer sums may be subtracted.
    const SHIFTED: bool;
    /// # Safety
    /// `p` is readable for `BYTES`; features of `S` on.
    unsafe fn open(p: *const u8) -> Self;
    /// Scale and scale of the minima.
    fn factors(&self) -> (f32, f32);
    /// Scales of groups of sixteen.
    fn scales(&self) -> &[i16; 16];
    /// Minima of groups of sixteen.
    fn mins(&self) -> &[i16; 16];
    /// Codes of weights `32·g … 32·g + 31`.
    ///
    /// # Safety
    /// `g < 8`; the pointer given to `open` is still valid; features of `S` on.
    unsafe fn codes(&self, g: usize) -> S::Bytes;
}

/// Adds the products of weights `32·G … 32·G + 31` of block `b`.
///
/// # Safety
/// As for [`row`].
#[inline(always)]
unsafe fn group<S: Simd, B: Block<S>, const T: usize, const G: usize>(
    block: &B,
    acc: &mut [S::Ints; T],
    q: [*const i8; T],
    b: usize,
) {
    // SAFETY: block b has eight groups, in weights and activations.
    unsafe {
        let codes = block.codes(G);
        let scale = block.scales().as_ptr().add(2 * G);
        let scale = if B::PAIRED { S::scale_same(scale) } else { S::scale_pair(scale) };
        for t in 0..T {
            acc[t] = S::dot_scaled(acc[t], codes, S::load(q[t].add(b * QK + 32 * G).cast()), scale);
        }
    }
}

/// One row times `T` tokens.
///
/// # Safety
/// `w` holds `blocks` blocks; each pointer of a token its codes, scales and sums; features of `S` on.
#[inline(always)]
unsafe fn row<S: Simd, B: Block<S>, const T: usize>(
    w: *const u8,
    blocks: usize,
    q: [*const i8; T],
    d: [*const f32; T],
    sums: [*const i16; T],
) -> [f32; T] {
    // SAFETY: indices stay inside the row; `prefetch` takes any address.
    unsafe {
        let mut total = [S::splat_f32(0.0); T];
        let mut opened: [MaybeUninit<B>; RUN] = [const { MaybeUninit::uninit() }; RUN];
        let mut first = 0;
        while first < blocks {
            let n = (blocks - first).min(RUN);
            for (i, slot) in opened[..n].iter_mut().enumerate() {
                let p = w.add((first + i) * B::BYTES);
                S::prefetch(p.wrapping_add(PREFETCH));
                if B::BYTES > 64 {
                    S::prefetch(p.wrapping_add(PREFETCH + 64));
                }
                slot.write(B::open(p));
            }
            for (i, slot) in opened[..n].iter().enumerate() {
                let (block, b) = (slot.assume_init_ref(), first + i);
                let mut acc = [S::zero(); T];
                // Written out: with a loop the exit is mispredicted once a block.
                group::<S, B, T, 0>(block, &mut acc, q, b);
                group::<S, B, T, 1>(block, &mut acc, q, b);
                group::<S, B, T, 2>(block, &mut acc, q, b);
                group::<S, B, T, 3>(block, &mut acc, q, b);
                group::<S, B, T, 4>(block, &mut acc, q, b);
                group::<S, B, T, 5>(block, &mut acc, q, b);
                group::<S, B, T, 6>(block, &mut acc, q, b);
                group::<S, B, T, 7>(block, &mut acc, q, b);
                let (scale, min) = block.factors();
                for t in 0..T {
                    let dx = *d[t].add(b);
                    let mins = S::dot_i16(S::zero(), block.mins().as_ptr(), sums[t].add(b * (QK / SUM_GROUP)));
                    if B::SHIFTED {
                        acc[t] = S::sub_ints(acc[t], mins);
                    } else {
                        total[t] = S::fma(S::to_floats(mins), S::splat_f32(-min * dx), total[t]);
                    }
                    total[t] = S::fma(S::to_floats(acc[t]), S::splat_f32(scale * dx), total[t]);
                }
            }
            first += n;
        }
        let mut sums = [0.0; T];
        for t in 0..T {
            sums[t] = S::sum(total[t]);
        }
        sums
    }
}

/// A few rows of `w` times `some` tokens of `x`, the first of them being number `at` of the output; unsafe as [`strip`] is.
pub(super) type Strip = unsafe fn(Matrix<'_>, std::ops::Range<usize>, &Activations, &[u32], Out<'_>, usize);

/// Rows `rows` of `w` times the tokens `tokens` of `x`: `out[i][r]` for the i-th of `tokens`. `strips[n]` is for n + 1 tokens, which share
/// one decoding of a weight block.
///
/// # Safety
/// The caller owns those rows of `out`, and has checked shapes: `w.cols == x.cols`, tokens below `x.rows`, rows below
/// `w.rows`; the strips are those of `w.format`, their features on.
pub(super) unsafe fn product(
    w: Matrix<'_>,
    rows: std::ops::Range<usize>,
    x: &Activations,
    tokens: &[u32],
    out: Out<'_>,
    strips: &[Strip],
) {
    // Passes of about the same number of tokens.
    let chunk = tokens.len().div_ceil(tokens.len().div_ceil(strips.len()).max(1)).max(1);
    let mut first = rows.start;
    while first < rows.end {
        let last = (first + STRIP).min(rows.end);
        for (c, some) in tokens.chunks(chunk).enumerate() {
            // SAFETY: forwarded promises.
            unsafe { strips[some.len() - 1](w, first..last, x, some, out, c * chunk) };
        }
        first = last;
    }
}

/// # Safety
/// As for [`product`]; `some` has `T` tokens, the first of them being number `at` of the output; features of `S` on.
#[inline(always)]
pub(super) unsafe fn strip<S: Simd, B: Block<S>, const T: usize>(
    w: Matrix<'_>,
    rows: std::ops::Range<usize>,
    x: &Activations,
    some: &[u32],
    out: Out<'_>,
    at: usize,
) {
    let blocks = w.cols / QK;
    let token = |t: usize| some[t] as usize;
    let (mut q, mut d, mut sums) = ([x.bytes.as_ptr(); T], [x.scales.as_ptr(); T], [x.sums.as_ptr(); T]);
    for t in 0..T {
        q[t] = x.bytes[token(t) * x.stride..].as_ptr();
        d[t] = x.scales[token(t) * blocks..].as_ptr();
        sums[t] = x.sums[token(t) * (x.cols / SUM_GROUP)..].as_ptr();
    }
    for r in rows {
        // SAFETY: a row of `w` holds `blocks` blocks; tokens are below `x.rows` and hold as many.
        let y = unsafe { row::<S, B, T>(w.row(r).as_ptr(), blocks, q, d, sums) };
        for (t, y) in y.into_iter().enumerate() {
            // SAFETY: the caller owns row r.
            unsafe { out.set(at + t, r, y) };
        }
    }
}

/// Two halves at `p`, widened.
///
/// # Safety
/// Four readable bytes; features of `S` on.
#[inline(always)]
unsafe fn two_halves<S: Simd>(p: *const u8) -> (f32, f32) {
    // SAFETY: by the caller's promise.
    unsafe { (S::half(p.cast::<u16>().read_unaligned()), S::half(p.add(2).cast::<u16>().read_unaligned())) }
}

/// `(bytes >> shift) & mask` of 32 bytes at `p`.
///
/// # Safety
/// 32 readable bytes; features of `S` on.
#[inline(always)]
unsafe fn bits<S: Simd>(p: *const u8, shift: u32, mask: u8) -> S::Bytes {
    // SAFETY: by the caller's promise.
    unsafe { S::and(S::shift_right(S::load(p), shift), S::splat(mask)) }
}

#[repr(C, align(64))]
pub(super) struct Q2K {
    scales: [i16; 16],
    mins: [i16; 16],
    p: *const u8,
    d: f32,
    dmin: f32,
}

impl<S: Simd> Block<S> for Q2K {
    const BYTES: usize = 84;
    const PAIRED: bool = false;
    const SHIFTED: bool = false;
    #[inline(always)]
    unsafe fn open(p: *const u8) -> Self {
        // SAFETY: the caller promises 84 readable bytes.
        let (sc, (d, dmin)) = unsafe { (p.cast::<[u8; 16]>().read_unaligned(), two_halves::<S>(p.add(80))) };
        let (mut scales, mut mins) = ([0; 16], [0; 16]);
        for i in 0..16 {
            (scales[i], mins[i]) = (i16::from(sc[i] & 15), i16::from(sc[i] >> 4));
        }
        Self { p, d, dmin, scales, mins }
    }
    #[inline(always)]
    fn factors(&self) -> (f32, f32) {
        (self.d, self.dmin)
    }
    #[inline(always)]
    fn scales(&self) -> &[i16; 16] {
        &self.scales
    }
    #[inline(always)]
    fn mins(&self) -> &[i16; 16] {
        &self.mins
    }
    #[inline(always)]
    unsafe fn codes(&self, g: usize) -> S::Bytes {
        // SAFETY: 16 + 32·(g/4) + 32 ≤ 80.
        unsafe { bits::<S>(self.p.add(16 + 32 * (g / 4)), 2 * (g as u32 % 4), 3) }
    }
}

/// The 6-bit scales and minima of Q4_K and Q5_K, each twice: once for each sixteen weights.
#[inline(always)]
fn six_bit(s: [u8; 12]) -> ([i16; 16], [i16; 16]) {
    let (mut scales, mut mins) = ([0i16; 16], [0i16; 16]);
    for j in 0..8 {
        let (sc, mn) = if j < 4 {
            (s[j] & 63, s[j + 4] & 63)
        } else {
            ((s[j + 4] & 15) | (s[j - 4] >> 6) << 4, (s[j + 4] >> 4) | (s[j] >> 6) << 4)
        };
        scales[2 * j..2 * j + 2].fill(i16::from(sc));
        mins[2 * j..2 * j + 2].fill(i16::from(mn));
    }
    (scales, mins)
}

#[repr(C, align(64))]
pub(super) struct Q4K {
    scales: [i16; 16],
    mins: [i16; 16],
    p: *const u8,
    d: f32,
    dmin: f32,
}

impl<S: Simd> Block<S> for Q4K {
    const BYTES: usize = 144;
    const PAIRED: bool = true;
    const SHIFTED: bool = false;
    #[inline(always)]
    unsafe fn open(p: *const u8) -> Self {
        // SAFETY: the caller promises 144 readable bytes.
        let ((d, dmin), s) = unsafe { (two_halves::<S>(p), p.add(4).cast::<[u8; 12]>().read_unaligned()) };
        let (scales, mins) = six_bit(s);
        Self { p, d, dmin, scales, mins }
    }
    #[inline(always)]
    fn factors(&self) -> (f32, f32) {
        (self.d, self.dmin)
    }
    #[inline(always)]
    fn scales(&self) -> &[i16; 16] {
        &self.scales
    }
    #[inline(always)]
    fn mins(&self) -> &[i16; 16] {
        &self.mins
    }
    #[inline(always)]
    unsafe fn codes(&self, g: usize) -> S::Bytes {
        // SAFETY: 16 + 32·(g/2) + 32 ≤ 144.
        unsafe { bits::<S>(self.p.add(16 + 32 * (g / 2)), 4 * (g as u32 % 2), 15) }
    }
}

#[repr(C, align(64))]
pub(super) struct Q5K {
    scales: [i16; 16],
    mins: [i16; 16],
    p: *const u8,
    d: f32,
    dmin: f32,
}

impl<S: Simd> Block<S> for Q5K {
    const BYTES: usize = 176;
    const PAIRED: bool = true;
    const SHIFTED: bool = false;
    #[inline(always)]
    unsafe fn open(p: *const u8) -> Self {
        // SAFETY: the caller promises 176 readable bytes.
        let ((d, dmin), s) = unsafe { (two_halves::<S>(p), p.add(4).cast::<[u8; 12]>().read_unaligned()) };
        let (scales, mins) = six_bit(s);
        Self { p, d, dmin, scales, mins }
    }
    #[inline(always)]
    fn factors(&self) -> (f32, f32) {
        (self.d, self.dmin)
    }
    #[inline(always)]
    fn scales(&self) -> &[i16; 16] {
        &self.scales
    }
    #[inline(always)]
    fn mins(&self) -> &[i16; 16] {
        &self.mins
    }
    #[inline(always)]
    unsafe fn codes(&self, g: usize) -> S::Bytes {
        // SAFETY: high bits at 16 … 47, nibbles at 48 + 32·(g/2) … ≤ 176.
        unsafe {
            let low = bits::<S>(self.p.add(48 + 32 * (g / 2)), 4 * (g as u32 % 2), 15);
            let high = bits::<S>(self.p.add(16), g as u32, 1);
            S::or(low, S::shift_left(high, 4))
        }
    }
}

/// Added to signed Q6_K values (−32 … 31) to make them unsigned.
const Q6_SHIFT: i16 = 32;

#[repr(C, align(64))]
pub(super) struct Q6K {
    scales: [i16; 16],
    mins: [i16; 16],
    p: *const u8,
    d: f32,
}

impl<S: Simd> Block<S> for Q6K {
    const BYTES: usize = 210;
    const PAIRED: bool = false;
    const SHIFTED: bool = true;
    #[inline(always)]
    unsafe fn open(p: *const u8) -> Self {
        // SAFETY: the caller promises 210 readable bytes.
        let (sc, d) = unsafe {
            (p.add(192).cast::<[i8; 16]>().read_unaligned(), S::half(p.add(208).cast::<u16>().read_unaligned()))
        };
        let (mut scales, mut mins) = ([0; 16], [0; 16]);
        for i in 0..16 {
            scales[i] = i16::from(sc[i]);
            mins[i] = Q6_SHIFT * scales[i];
        }
        Self { p, d, scales, mins }
    }
    #[inline(always)]
    fn factors(&self) -> (f32, f32) {
        (self.d, self.d)
    }
    #[inline(always)]
    fn scales(&self) -> &[i16; 16] {
        &self.scales
    }
    #[inline(always)]
    fn mins(&self) -> &[i16; 16] {
        &self.mins
    }
    #[inline(always)]
    unsafe fn codes(&self, g: usize) -> S::Bytes {
        let (half, s) = (g / 4, g % 4);
        // SAFETY: nibbles at 64·half + 32·(s%2) … ≤ 128, pairs of bits at 128 + 32·half … ≤ 192.
        unsafe {
            let low = bits::<S>(self.p.add(64 * half + 32 * (s % 2)), 4 * (s as u32 / 2), 15);
            let high = bits::<S>(self.p.add(128 + 32 * half), 2 * s as u32, 3);
            S::or(low, S::shift_left(high, 4))
        }
    }
}

/// Added to signed IQ2_XXS values (±8, ±25, ±43) to make them unsigned.
const IQ2_SHIFT: i16 = 43;

#[repr(C, align(64))]
pub(super) struct Iq2Xxs {
    scales: [i16; 16],
    mins: [i16; 16],
    /// Per group of 32: bit 8k + j is set when weight 8k + j is negative.
    signs: [u32; 8],
    p: *const u8,
    d: f32,
}

/// Spreads byte k of a 32-bit word over eight bytes.
const SPREAD: [u8; 32] = {
    let mut t = [0; 32];
    let mut i = 0;
    while i < 32 {
        t[i] = (i / 8) as u8;
        i += 1;
    }
    t
};
/// Bit j in byte j of each eight.
const BIT: u64 = 0x8040_2010_0804_0201;

impl<S: Simd> Block<S> for Iq2Xxs {
    const BYTES: usize = 66;
    const PAIRED: bool = true;
    const SHIFTED: bool = true;
    #[inline(always)]
    unsafe fn open(p: *const u8) -> Self {
        // SAFETY: 2 + 64 bytes.
        let words = unsafe { S::odd_u32(p.add(2)) };
        let (mut scales, mut mins) = ([0i16; 16], [0i16; 16]);
        for i in 0..16 {
            scales[i] = 2 * (words[i / 2] >> 28) as i16 + 1;
            mins[i] = IQ2_SHIFT * scales[i];
        }
        // Seven bits to the bottom of each byte, their parity on top: an even number of minus signs.
        let mut signs = [0; 8];
        for g in 0..8 {
            let w = words[g];
            let t = (w & 0x7f) | ((w << 1) & 0x7f00) | ((w << 2) & 0x7f_0000) | ((w << 3) & 0x7f00_0000);
            let x = t ^ ((t >> 4) & 0x0f0f_0f0f);
            let x = x ^ ((x >> 2) & 0x3f3f_3f3f);
            let x = (x ^ (x >> 1)) & 0x0101_0101;
            signs[g] = t | (x << 7);
        }
        // SAFETY: two readable bytes.
        let d = 0.125 * unsafe { S::half(p.cast::<u16>().read_unaligned()) };
        Self { p, d, scales, mins, signs }
    }
    #[inline(always)]
    fn factors(&self) -> (f32, f32) {
        (self.d, self.d)
    }
    #[inline(always)]
    fn scales(&self) -> &[i16; 16] {
        &self.scales
    }
    #[inline(always)]
    fn mins(&self) -> &[i16; 16] {
        &self.mins
    }
    #[inline(always)]
    unsafe fn codes(&self, g: usize) -> S::Bytes {
        // SAFETY: four index bytes at 2 + 8·g; the grid has 256 entries.
        unsafe {
            let at = self.p.add(2 + 8 * g);
            let index = [*at as usize, *at.add(1) as usize, *at.add(2) as usize, *at.add(3) as usize];
            let magnitude = S::look_up_u64(iq2_grid::GRID.as_ptr(), index);
            let bit = S::from_u64([BIT; 4]);
            let spread = S::lookup(S::splat_u32(self.signs[g]), S::load(SPREAD.as_ptr()));
            let minus = S::equal(S::and(spread, bit), bit);
            S::add(S::sub(S::xor(magnitude, minus), minus), S::splat(IQ2_SHIFT as u8))
        }
    }
}
