//! AVX-512 with VNNI, on 256-bit registers: [`Avx2`], with multiplications that add to their accumulator.
//!
//! What else the features bring (thirty-two registers, three-operand logic) the compiler takes by itself.

// Each body is a few intrinsics or a call of the narrower set; the reason they may be called is the trait's contract: the
// features, of which AVX2's are a part, are enabled where this runs, and pointers are valid for what is read or written.
#![allow(clippy::undocumented_unsafe_blocks, unsafe_op_in_unsafe_fn)]

use super::avx2::Avx2;
use super::simd::Simd;
use std::arch::x86_64::*;

/// 256-bit registers, 32 of them.
#[derive(Clone, Copy)]
pub(super) struct Avx512;

/// Methods that are AVX2's as they stand.
macro_rules! as_avx2 {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) $(-> $result:ty)?;)*) => {
        $(#[inline(always)]
        unsafe fn $name($($arg: $ty),*) $(-> $result)? {
            Avx2::$name($($arg),*)
        })*
    };
}

impl Simd for Avx512 {
    type Bytes = __m256i;
    type Ints = __m256i;
    type Floats = __m256;
    type Scale = __m256i;
    type Words = __m256i;

    /// Pairs are summed to words first, as on AVX2: scaling the sums of four that VPDPBUSD gives takes a 32-bit multiplication,
    /// which is two operations more on Intel's cores.
    #[inline(always)]
    unsafe fn dot_scaled(acc: __m256i, u: __m256i, s: __m256i, scale: __m256i) -> __m256i {
        _mm256_dpwssd_epi32(acc, _mm256_maddubs_epi16(u, s), scale)
    }
    #[inline(always)]
    unsafe fn multiply_pairs(acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
        _mm256_dpwssd_epi32(acc, a, b)
    }
    #[inline(always)]
    unsafe fn dot_i16(acc: __m256i, a: *const i16, b: *const i16) -> __m256i {
        _mm256_dpwssd_epi32(acc, Self::load_words(a), Self::load_words(b))
    }
    #[inline(always)]
    unsafe fn dot_i8_i16(acc: __m256i, a: *const i8, b: *const i16) -> __m256i {
        let low = _mm256_cvtepi8_epi16(_mm_loadu_si128(a.cast()));
        let high = _mm256_cvtepi8_epi16(_mm_loadu_si128(a.add(16).cast()));
        let acc = _mm256_dpwssd_epi32(acc, low, Self::load_words(b));
        _mm256_dpwssd_epi32(acc, high, Self::load_words(b.add(16)))
    }

    as_avx2! {
        fn load(p: *const u8) -> __m256i;
        fn from_u64(words: [u64; 4]) -> __m256i;
        fn splat(v: u8) -> __m256i;
        fn splat_u32(v: u32) -> __m256i;
        fn and(a: __m256i, b: __m256i) -> __m256i;
        fn or(a: __m256i, b: __m256i) -> __m256i;
        fn xor(a: __m256i, b: __m256i) -> __m256i;
        fn add(a: __m256i, b: __m256i) -> __m256i;
        fn sub(a: __m256i, b: __m256i) -> __m256i;
        fn equal(a: __m256i, b: __m256i) -> __m256i;
        fn shift_right(a: __m256i, n: u32) -> __m256i;
        fn shift_left(a: __m256i, n: u32) -> __m256i;
        fn lookup(table: __m256i, index: __m256i) -> __m256i;
        fn scale_pair(p: *const i16) -> __m256i;
        fn scale_same(p: *const i16) -> __m256i;
        fn odd_u32(p: *const u8) -> [u32; 8];
        fn zero() -> __m256i;
        fn load_words(p: *const i16) -> __m256i;
        fn splat_words(p: *const i16) -> __m256i;
        fn pack8x32(rows: [*const i8; 8], out: *mut i16);
        fn sub_ints(a: __m256i, b: __m256i) -> __m256i;
        fn to_floats(v: __m256i) -> __m256;
        fn splat_f32(v: f32) -> __m256;
        fn load_f32(p: *const f32) -> __m256;
        fn load_f16(p: *const u16) -> __m256;
        fn load_bf16(p: *const u16) -> __m256;
        fn store_f32(p: *mut f32, v: __m256);
        fn fma(a: __m256, b: __m256, c: __m256) -> __m256;
        fn sum(v: __m256) -> f32;
        fn half(bits: u16) -> f32;
        fn splat_half(p: *const u8) -> __m256;
        fn prefetch(p: *const u8);
    }
}
