//! NEON, and NEON with the dot-product extension: pairs of 128-bit registers, the lower half first.

// Each body is one or a few intrinsics; the reason they may be called is the trait's contract: the
// features are enabled where this runs, and pointers are valid for what is read or written.
#![allow(clippy::undocumented_unsafe_blocks, unsafe_op_in_unsafe_fn)]

use super::simd::Simd;
use std::arch::aarch64::*;
use std::arch::asm;

/// Pairs of 128-bit registers. `DOT`: the feature `dotprod` is there too.
#[derive(Clone, Copy)]
pub(super) struct Neon<const DOT: bool>;

/// Four halves, widened. The intrinsic is younger than the compiler that this crate asks for.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn widen(halves: uint16x4_t) -> float32x4_t {
    let singles;
    // SAFETY: arithmetic on registers, in every ARMv8.
    asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) singles, in(vreg) halves, options(pure, nomem, nostack, preserves_flags));
    singles
}

/// `acc + Σ a·b` over groups of four neighbouring signed bytes. The intrinsic is not stable yet.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn dot(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: arithmetic on registers; the feature is enabled.
    asm!(
        "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
        inout(vreg) acc, in(vreg) a, in(vreg) b,
        options(pure, nomem, nostack, preserves_flags)
    );
    acc
}

/// `acc + Σ a·b` of eight words.
#[inline(always)]
unsafe fn multiply_words(acc: int32x4_t, a: int16x8_t, b: int16x8_t) -> int32x4_t {
    vmlal_high_s16(vmlal_s16(acc, vget_low_s16(a), vget_low_s16(b)), a, b)
}

/// Two vectors of bytes as vectors of wider units: their lower halves interleaved, and their upper halves.
macro_rules! zip {
    ($x:expr, $y:expr, $low:ident, $high:ident, $to:ident, $from:ident) => {{
        let (x, y) = ($to($x), $to($y));
        ($from($low(x, y)), $from($high(x, y)))
    }};
}

impl<const DOT: bool> Simd for Neon<DOT> {
    type Bytes = uint8x16x2_t;
    type Ints = int32x4x2_t;
    type Floats = float32x4x2_t;
    /// The two factors, twice.
    type Scale = int16x4_t;
    /// Even words, odd words: the products of a lane then need no neighbour.
    type Doubles = [float64x2_t; 4];
    type Words = int16x8x2_t;

    #[inline(always)]
    unsafe fn load(p: *const u8) -> Self::Bytes {
        // Two loads, where the intrinsic for both allows no offset in its address.
        uint8x16x2_t(vld1q_u8(p), vld1q_u8(p.add(16)))
    }
    #[inline(always)]
    unsafe fn from_u64(w: [u64; 4]) -> Self::Bytes {
        uint8x16x2_t(vcombine_u8(vcreate_u8(w[0]), vcreate_u8(w[1])), vcombine_u8(vcreate_u8(w[2]), vcreate_u8(w[3])))
    }
    #[inline(always)]
    unsafe fn splat(v: u8) -> Self::Bytes {
        uint8x16x2_t(vdupq_n_u8(v), vdupq_n_u8(v))
    }
    #[inline(always)]
    unsafe fn splat_u32(v: u32) -> Self::Bytes {
        let v = vreinterpretq_u8_u32(vdupq_n_u32(v));
        uint8x16x2_t(v, v)
    }
    #[inline(always)]
    unsafe fn and(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        uint8x16x2_t(vandq_u8(a.0, b.0), vandq_u8(a.1, b.1))
    }
    #[inline(always)]
    unsafe fn or(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        uint8x16x2_t(vorrq_u8(a.0, b.0), vorrq_u8(a.1, b.1))
    }
    #[inline(always)]
    unsafe fn xor(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        uint8x16x2_t(veorq_u8(a.0, b.0), veorq_u8(a.1, b.1))
    }
    #[inline(always)]
    unsafe fn add(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        uint8x16x2_t(vaddq_u8(a.0, b.0), vaddq_u8(a.1, b.1))
    }
    #[inline(always)]
    unsafe fn sub(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        uint8x16x2_t(vsubq_u8(a.0, b.0), vsubq_u8(a.1, b.1))
    }
    #[inline(always)]
    unsafe fn equal(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        uint8x16x2_t(vceqq_u8(a.0, b.0), vceqq_u8(a.1, b.1))
    }
    #[inline(always)]
    unsafe fn shift_right(a: Self::Bytes, n: u32) -> Self::Bytes {
        // A shift by a variable goes left; by a negative number, right.
        let n = vdupq_n_s8(-(n as i8));
        uint8x16x2_t(vshlq_u8(a.0, n), vshlq_u8(a.1, n))
    }
    #[inline(always)]
    unsafe fn shift_left(a: Self::Bytes, n: u32) -> Self::Bytes {
        let n = vdupq_n_s8(n as i8);
        uint8x16x2_t(vshlq_u8(a.0, n), vshlq_u8(a.1, n))
    }
    #[inline(always)]
    unsafe fn lookup(table: Self::Bytes, index: Self::Bytes) -> Self::Bytes {
        uint8x16x2_t(vqtbl1q_u8(table.0, index.0), vqtbl1q_u8(table.1, index.1))
    }
    #[inline(always)]
    unsafe fn scale_pair(p: *const i16) -> int16x4_t {
        vreinterpret_s16_u32(vdup_n_u32(p.cast::<u32>().read_unaligned()))
    }
    #[inline(always)]
    unsafe fn scale_same(p: *const i16) -> int16x4_t {
        Self::scale_pair(p)
    }
    #[inline(always)]
    unsafe fn odd_u32(p: *const u8) -> [u32; 8] {
        let (mut odd, p) = ([0; 8], p.cast::<u32>());
        vst1q_u32(odd.as_mut_ptr(), vuzp2q_u32(vld1q_u32(p), vld1q_u32(p.add(4))));
        vst1q_u32(odd.as_mut_ptr().add(4), vuzp2q_u32(vld1q_u32(p.add(8)), vld1q_u32(p.add(12))));
        odd
    }
    #[inline(always)]
    unsafe fn zero() -> Self::Ints {
        int32x4x2_t(vdupq_n_s32(0), vdupq_n_s32(0))
    }
    #[inline(always)]
    unsafe fn dot_scaled(acc: Self::Ints, u: Self::Bytes, s: Self::Bytes, scale: int16x4_t) -> Self::Ints {
        // `u` is below 128 and so is the same as a signed byte.
        let u = (vreinterpretq_s8_u8(u.0), vreinterpretq_s8_u8(u.1));
        let s = (vreinterpretq_s8_u8(s.0), vreinterpretq_s8_u8(s.1));
        if DOT {
            let scale = vmovl_s16(scale);
            let sums = (dot(vdupq_n_s32(0), u.0, s.0), dot(vdupq_n_s32(0), u.1, s.1));
            int32x4x2_t(vmlaq_laneq_s32::<0>(acc.0, sums.0, scale), vmlaq_laneq_s32::<1>(acc.1, sums.1, scale))
        } else {
            // Two products of at most 127 · 128 fit a word.
            let sums0 = vmlal_high_s8(vmull_s8(vget_low_s8(u.0), vget_low_s8(s.0)), u.0, s.0);
            let sums1 = vmlal_high_s8(vmull_s8(vget_low_s8(u.1), vget_low_s8(s.1)), u.1, s.1);
            let acc0 = vmlal_lane_s16::<0>(acc.0, vget_low_s16(sums0), scale);
            let acc1 = vmlal_lane_s16::<1>(acc.1, vget_low_s16(sums1), scale);
            int32x4x2_t(vmlal_high_lane_s16::<0>(acc0, sums0, scale), vmlal_high_lane_s16::<1>(acc1, sums1, scale))
        }
    }
    #[inline(always)]
    unsafe fn dot_i16(acc: Self::Ints, a: *const i16, b: *const i16) -> Self::Ints {
        let acc0 = multiply_words(acc.0, vld1q_s16(a), vld1q_s16(b));
        let acc1 = multiply_words(acc.1, vld1q_s16(a.add(8)), vld1q_s16(b.add(8)));
        int32x4x2_t(acc0, acc1)
    }
    #[inline(always)]
    unsafe fn dot_i8_i16(mut acc: Self::Ints, a: *const i8, b: *const i16) -> Self::Ints {
        for half in 0..2 {
            let (bytes, words) = (vld1q_s8(a.add(16 * half)), b.add(16 * half));
            acc.0 = multiply_words(acc.0, vmovl_s8(vget_low_s8(bytes)), vld1q_s16(words));
            acc.1 = multiply_words(acc.1, vmovl_high_s8(bytes), vld1q_s16(words.add(8)));
        }
        acc
    }
    #[inline(always)]
    unsafe fn load_words(p: *const i16) -> Self::Words {
        vld2q_s16(p)
    }
    #[inline(always)]
    unsafe fn splat_words(p: *const i16) -> Self::Words {
        int16x8x2_t(vdupq_n_s16(*p), vdupq_n_s16(*p.add(1)))
    }
    #[inline(always)]
    unsafe fn multiply_pairs(acc: Self::Ints, a: Self::Words, b: Self::Words) -> Self::Ints {
        let low = vmlal_s16(acc.0, vget_low_s16(a.0), vget_low_s16(b.0));
        let high = vmlal_high_s16(acc.1, a.0, b.0);
        int32x4x2_t(vmlal_s16(low, vget_low_s16(a.1), vget_low_s16(b.1)), vmlal_high_s16(high, a.1, b.1))
    }
    #[inline(always)]
    unsafe fn pack8x32(rows: [*const i8; 8], out: *mut i16) {
        for half in 0..2 {
            // Eight rows of eight byte pairs, transposed as an 8×8 matrix of 16-bit units.
            let mut a = [vdupq_n_s8(0); 8];
            let mut b = a;
            for p in 0..4 {
                let (x, y) = (vld1q_s8(rows[2 * p].add(16 * half)), vld1q_s8(rows[2 * p + 1].add(16 * half)));
                (a[2 * p], a[2 * p + 1]) =
                    zip!(x, y, vzip1q_s16, vzip2q_s16, vreinterpretq_s16_s8, vreinterpretq_s8_s16);
            }
            // a[2p], a[2p+1]: pairs 0-3 and 4-7 of rows 2p, 2p+1.
            for quad in [0, 4] {
                for h in 0..2 {
                    let (x, y) = (a[quad + h], a[quad + 2 + h]);
                    (b[quad + 2 * h], b[quad + 2 * h + 1]) =
                        zip!(x, y, vzip1q_s32, vzip2q_s32, vreinterpretq_s32_s8, vreinterpretq_s8_s32);
                }
            }
            // b[4q + i]: pairs 2i, 2i+1 of rows 4q … 4q+3.
            for i in 0..4 {
                let (low, high) =
                    zip!(b[i], b[4 + i], vzip1q_s64, vzip2q_s64, vreinterpretq_s64_s8, vreinterpretq_s8_s64);
                let at = out.add(128 * half + 32 * i);
                vst1q_s16(at, vmovl_s8(vget_low_s8(low)));
                vst1q_s16(at.add(8), vmovl_high_s8(low));
                vst1q_s16(at.add(16), vmovl_s8(vget_low_s8(high)));
                vst1q_s16(at.add(24), vmovl_high_s8(high));
            }
        }
    }
    #[inline(always)]
    unsafe fn sub_ints(a: Self::Ints, b: Self::Ints) -> Self::Ints {
        int32x4x2_t(vsubq_s32(a.0, b.0), vsubq_s32(a.1, b.1))
    }
    #[inline(always)]
    unsafe fn to_floats(v: Self::Ints) -> Self::Floats {
        float32x4x2_t(vcvtq_f32_s32(v.0), vcvtq_f32_s32(v.1))
    }
    #[inline(always)]
    unsafe fn splat_f32(v: f32) -> Self::Floats {
        float32x4x2_t(vdupq_n_f32(v), vdupq_n_f32(v))
    }
    #[inline(always)]
    unsafe fn load_f32(p: *const f32) -> Self::Floats {
        float32x4x2_t(vld1q_f32(p), vld1q_f32(p.add(4)))
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self::Floats {
        float32x4x2_t(widen(vld1_u16(p)), widen(vld1_u16(p.add(4))))
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self::Floats {
        let v = vld1q_u16(p);
        let low = vshll_n_u16::<16>(vget_low_u16(v));
        float32x4x2_t(vreinterpretq_f32_u32(low), vreinterpretq_f32_u32(vshll_high_n_u16::<16>(v)))
    }
    #[inline(always)]
    unsafe fn store_f32(p: *mut f32, v: Self::Floats) {
        vst1q_f32(p, v.0);
        vst1q_f32(p.add(4), v.1);
    }
    #[inline(always)]
    unsafe fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        float32x4x2_t(vfmaq_f32(c.0, a.0, b.0), vfmaq_f32(c.1, a.1, b.1))
    }
    #[inline(always)]
    unsafe fn sum(v: Self::Floats) -> f32 {
        // The order of AVX2, so that products of floats are the same on both.
        let v = vaddq_f32(v.0, v.1);
        vaddv_f32(vadd_f32(vget_low_f32(v), vget_high_f32(v)))
    }
    #[inline(always)]
    unsafe fn zero_doubles() -> [float64x2_t; 4] {
        [vdupq_n_f64(0.0); 4]
    }
    #[inline(always)]
    unsafe fn fma_doubles(a: Self::Floats, b: Self::Floats, c: [float64x2_t; 4]) -> [float64x2_t; 4] {
        let (a, b) = (doubles(a), doubles(b));
        [
            vfmaq_f64(c[0], a[0], b[0]),
            vfmaq_f64(c[1], a[1], b[1]),
            vfmaq_f64(c[2], a[2], b[2]),
            vfmaq_f64(c[3], a[3], b[3]),
        ]
    }
    #[inline(always)]
    unsafe fn to_singles(v: [float64x2_t; 4]) -> Self::Floats {
        float32x4x2_t(vcvt_high_f32_f64(vcvt_f32_f64(v[0]), v[1]), vcvt_high_f32_f64(vcvt_f32_f64(v[2]), v[3]))
    }
    #[inline(always)]
    unsafe fn sum_doubles(v: [float64x2_t; 4]) -> f64 {
        // The order of AVX2.
        vaddvq_f64(vaddq_f64(vaddq_f64(v[0], v[2]), vaddq_f64(v[1], v[3])))
    }
    #[inline(always)]
    unsafe fn half(bits: u16) -> f32 {
        vgetq_lane_f32::<0>(widen(vdup_n_u16(bits)))
    }
    #[inline(always)]
    unsafe fn splat_half(p: *const u8) -> Self::Floats {
        let v = widen(vdup_n_u16(p.cast::<u16>().read_unaligned()));
        float32x4x2_t(v, v)
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        asm!("prfm pldl1keep, [{}]", in(reg) p, options(nostack, preserves_flags, readonly));
    }
}

/// Eight lanes as doubles.
#[inline(always)]
unsafe fn doubles(v: float32x4x2_t) -> [float64x2_t; 4] {
    [vcvt_f64_f32(vget_low_f32(v.0)), vcvt_high_f64_f32(v.0), vcvt_f64_f32(vget_low_f32(v.1)), vcvt_high_f64_f32(v.1)]
}
