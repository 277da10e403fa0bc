//! Products with f32 activations: F32, F16 and BF16 weights, and quantised weights that were dequantised.
//!
//! A tile of [`ROWS`] weight rows times [`TOKENS`] tokens keeps its sums in registers, so that each
//! loaded vector is used several times.

use super::out::Out;
use super::simd::Simd;

/// Weight rows of a tile.
pub(super) const ROWS: usize = 3;
/// Rows of output (heads) of a weighted-sum tile.
const HEADS: usize = 4;

/// How eight neighbouring weights are read.
pub(super) trait Element<S: Simd>: Copy {
    /// Eight values, widened.
    unsafe fn load8(p: *const Self) -> S::Floats;
    /// One value, widened.
    unsafe fn load1(p: *const Self) -> f32;
}

/// Bits of an IEEE half.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct F16(u16);

/// Bits of a bfloat16.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Bf16(u16);

impl<S: Simd> Element<S> for f32 {
    #[inline(always)]
    unsafe fn load8(p: *const f32) -> S::Floats {
        // SAFETY: the caller's promises are those of the trait.
        unsafe { S::load_f32(p) }
    }
    #[inline(always)]
    unsafe fn load1(p: *const f32) -> f32 {
        // SAFETY: readable by the caller's promise.
        unsafe { p.read_unaligned() }
    }
}

impl<S: Simd> Element<S> for F16 {
    #[inline(always)]
    unsafe fn load8(p: *const F16) -> S::Floats {
        // SAFETY: the caller's promises are those of the trait.
        unsafe { S::load_f16(p.cast()) }
    }
    #[inline(always)]
    unsafe fn load1(p: *const F16) -> f32 {
        // SAFETY: readable by the caller's promise.
        half::f16::from_bits(unsafe { p.cast::<u16>().read_unaligned() }).to_f32()
    }
}

impl<S: Simd> Element<S> for Bf16 {
    #[inline(always)]
    unsafe fn load8(p: *const Bf16) -> S::Floats {
        // SAFETY: the caller's promises are those of the trait.
        unsafe { S::load_bf16(p.cast()) }
    }
    #[inline(always)]
    unsafe fn load1(p: *const Bf16) -> f32 {
        // SAFETY: readable by the caller's promise.
        f32::from_bits(u32::from(unsafe { p.cast::<u16>().read_unaligned() }) << 16)
    }
}

/// The precision in which products are summed. Methods need the features of `S`; what they compute is said at [`Simd`].
pub(super) trait Sums<S: Simd> {
    /// Eight running sums.
    type Lanes: Copy;
    /// Tokens of a tile.
    const TOKENS: usize;
    unsafe fn zero() -> Self::Lanes;
    unsafe fn fma(a: S::Floats, b: S::Floats, c: Self::Lanes) -> Self::Lanes;
    unsafe fn to_singles(v: Self::Lanes) -> S::Floats;
    /// The sum of the lanes, and of `Σ_k a[k]·b[k]` for the `k` values left over.
    unsafe fn total<E: Element<S>>(v: Self::Lanes, a: *const E, b: *const f32, k: usize) -> f32;
}

/// Sums in f32: the fast one.
pub(super) struct Single;

/// Sums in f64, so that a result is off by its own rounding alone: the exact one.
pub(super) struct Double;

impl<S: Simd> Sums<S> for Single {
    type Lanes = S::Floats;
    // 3 × 3 accumulators and their operands fit 16 registers; with 4 × 3 the compiler spills, at half the speed.
    const TOKENS: usize = 3;
    #[inline(always)]
    unsafe fn zero() -> S::Floats {
        // SAFETY: features on.
        unsafe { S::splat_f32(0.0) }
    }
    #[inline(always)]
    unsafe fn fma(a: S::Floats, b: S::Floats, c: S::Floats) -> S::Floats {
        // SAFETY: features on.
        unsafe { S::fma(a, b, c) }
    }
    #[inline(always)]
    unsafe fn to_singles(v: S::Floats) -> S::Floats {
        v
    }
    #[inline(always)]
    unsafe fn total<E: Element<S>>(v: S::Floats, a: *const E, b: *const f32, k: usize) -> f32 {
        // SAFETY: k readable values at both.
        unsafe {
            let mut s = S::sum(v);
            for k in 0..k {
                s += E::load1(a.add(k)) * *b.add(k);
            }
            s
        }
    }
}

impl<S: Simd> Sums<S> for Double {
    type Lanes = S::Doubles;
    // Accumulators are twice as large.
    const TOKENS: usize = 1;
    #[inline(always)]
    unsafe fn zero() -> S::Doubles {
        // SAFETY: features on.
        unsafe { S::zero_doubles() }
    }
    #[inline(always)]
    unsafe fn fma(a: S::Floats, b: S::Floats, c: S::Doubles) -> S::Doubles {
        // SAFETY: features on.
        unsafe { S::fma_doubles(a, b, c) }
    }
    #[inline(always)]
    unsafe fn to_singles(v: S::Doubles) -> S::Floats {
        // SAFETY: features on.
        unsafe { S::to_singles(v) }
    }
    #[inline(always)]
    unsafe fn total<E: Element<S>>(v: S::Doubles, a: *const E, b: *const f32, k: usize) -> f32 {
        // SAFETY: k readable values at both.
        unsafe {
            let mut s = S::sum_doubles(v);
            for k in 0..k {
                s += f64::from(E::load1(a.add(k))) * f64::from(*b.add(k));
            }
            s as f32
        }
    }
}

/// `out[j][i] = Σ_k w[i][k]·x[j][k]` for `R` rows and `T` tokens.
///
/// # Safety
/// Every pointer is readable for `k` elements; the features of `S` are enabled.
#[inline(always)]
unsafe fn tile<S: Simd, E: Element<S>, A: Sums<S>, const R: usize, const T: usize>(
    w: [*const E; R],
    x: [*const f32; T],
    k: usize,
) -> [[f32; R]; T] {
    // SAFETY: indices stay below k.
    unsafe {
        let mut acc = [[A::zero(); R]; T];
        let whole = k / 8 * 8;
        let mut at = 0;
        while at < whole {
            let mut xv = [S::splat_f32(0.0); T];
            for j in 0..T {
                xv[j] = S::load_f32(x[j].add(at));
            }
            for i in 0..R {
                let wv = E::load8(w[i].add(at));
                for j in 0..T {
                    acc[j][i] = A::fma(wv, xv[j], acc[j][i]);
                }
            }
            at += 8;
        }
        let mut out = [[0.0; R]; T];
        for j in 0..T {
            for i in 0..R {
                out[j][i] = A::total(acc[j][i], w[i].add(whole), x[j].add(whole), k - whole);
            }
        }
        out
    }
}

/// All tokens against `R` consecutive rows starting at `w`, results to rows `row..row + R` of `out`.
///
/// # Safety
/// `w` holds `R` rows of `k` elements; each of `x` holds `k` floats; the caller owns those rows of `out`; features of `S` on.
#[inline(always)]
unsafe fn strip<S: Simd, E: Element<S>, A: Sums<S>, const R: usize>(
    w: *const E,
    k: usize,
    x: impl Fn(usize) -> *const f32,
    tokens: usize,
    out: Out<'_>,
    row: usize,
) {
    // SAFETY: forwarded promises.
    unsafe {
        let mut rows = [w; R];
        for i in 0..R {
            rows[i] = w.add(i * k);
        }
        let mut t = 0;
        while t < tokens {
            let n = (tokens - t).min(A::TOKENS);
            if const { A::TOKENS == 1 } {
                // Said apart, or the larger tiles are compiled all the same.
                write(tile::<S, E, A, R, 1>(rows, [x(t)], k), out, t, row);
            } else {
                match n {
                    1 => write(tile::<S, E, A, R, 1>(rows, [x(t)], k), out, t, row),
                    2 => write(tile::<S, E, A, R, 2>(rows, [x(t), x(t + 1)], k), out, t, row),
                    _ => write(tile::<S, E, A, R, 3>(rows, [x(t), x(t + 1), x(t + 2)], k), out, t, row),
                }
            }
            t += n;
        }
    }
}

/// # Safety
/// The caller owns rows `row..row + R` of `out`.
#[inline(always)]
unsafe fn write<const R: usize, const T: usize>(values: [[f32; R]; T], out: Out<'_>, token: usize, row: usize) {
    for (j, column) in values.iter().enumerate() {
        // SAFETY: the caller owns these rows.
        unsafe { out.slice(token + j, row..row + R) }.copy_from_slice(column);
    }
}

/// Rows `0..rows` of `w` (each `k` elements) times all tokens, to rows `first..first + rows` of `out`.
///
/// # Safety
/// As for [`strip`].
#[inline(always)]
pub(super) unsafe fn product<S: Simd, E: Element<S>, A: Sums<S>>(
    w: *const E,
    rows: usize,
    k: usize,
    x: impl Fn(usize) -> *const f32 + Copy,
    tokens: usize,
    out: Out<'_>,
    first: usize,
) {
    // SAFETY: forwarded promises.
    unsafe {
        let mut r = 0;
        while r + ROWS <= rows {
            strip::<S, E, A, ROWS>(w.add(r * k), k, x, tokens, out, first + r);
            r += ROWS;
        }
        while r < rows {
            strip::<S, E, A, 1>(w.add(r * k), k, x, tokens, out, first + r);
            r += 1;
        }
    }
}

/// `out[h][d] += Σ_j p[h][j]·rows[j][d]`: `heads × d` outputs, `p` with stride `n`.
///
/// # Safety
/// `p` holds `heads·n` floats, each of `rows` `d` floats, `out` `heads·d` floats; features of `S` on.
#[inline(always)]
pub(super) unsafe fn weighted_sum<S: Simd, A: Sums<S>>(
    p: *const f32,
    heads: usize,
    rows: &[*const f32],
    d: usize,
    out: *mut f32,
) {
    // SAFETY: forwarded promises; indices stay inside the stated shapes.
    unsafe {
        let mut h = 0;
        while h < heads {
            let n = (heads - h).min(HEADS);
            let (p, out) = (p.add(h * rows.len()), out.add(h * d));
            match n {
                HEADS => weighted_strip::<S, A, HEADS>(p, rows, d, out),
                3 => weighted_strip::<S, A, 3>(p, rows, d, out),
                2 => weighted_strip::<S, A, 2>(p, rows, d, out),
                _ => weighted_strip::<S, A, 1>(p, rows, d, out),
            }
            h += n;
        }
    }
}

/// # Safety
/// As for [`weighted_sum`] with `H` heads.
#[inline(always)]
unsafe fn weighted_strip<S: Simd, A: Sums<S>, const H: usize>(
    p: *const f32,
    rows: &[*const f32],
    d: usize,
    out: *mut f32,
) {
    // SAFETY: indices stay inside the stated shapes.
    unsafe {
        let n = rows.len();
        let mut at = 0;
        while at + 16 <= d {
            let mut acc = [[A::zero(); 2]; H];
            for (j, row) in rows.iter().enumerate() {
                let v = [S::load_f32(row.add(at)), S::load_f32(row.add(at + 8))];
                for h in 0..H {
                    let w = S::splat_f32(*p.add(h * n + j));
                    acc[h] = [A::fma(w, v[0], acc[h][0]), A::fma(w, v[1], acc[h][1])];
                }
            }
            let one = S::splat_f32(1.0);
            for h in 0..H {
                for half in 0..2 {
                    let o = out.add(h * d + at + 8 * half);
                    S::store_f32(o, S::fma(one, A::to_singles(acc[h][half]), S::load_f32(o)));
                }
            }
            at += 16;
        }
        for at in at..d {
            for h in 0..H {
                let mut sum = 0.0;
                for (j, row) in rows.iter().enumerate() {
                    sum += f64::from(*p.add(h * n + j)) * f64::from(*row.add(at));
                }
                *out.add(h * d + at) += sum as f32;
            }
        }
    }
}
