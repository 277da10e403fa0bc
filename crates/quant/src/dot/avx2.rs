//! AVX2 with FMA and F16C.

// Each body is one or a few intrinsics; the reason they may be called is the trait's contract: the
// features are enabled where this runs, and pointers are valid for what is read or written.
#![allow(clippy::undocumented_unsafe_blocks, unsafe_op_in_unsafe_fn)]

use super::simd::Simd;
use std::arch::x86_64::*;

/// Byte indices that spread word 0 over the lower half and word 1 over the upper.
static SPREAD_PAIR: __m256i = {
    let mut bytes = [0u8; 32];
    let mut i = 0;
    while i < 32 {
        bytes[i] = (2 * (i / 16) + i % 2) as u8;
        i += 1;
    }
    // SAFETY: any 32 bytes are a vector.
    unsafe { std::mem::transmute(bytes) }
};

/// 256-bit registers.
#[derive(Clone, Copy)]
pub(super) struct Avx2;

impl Simd for Avx2 {
    type Bytes = __m256i;
    type Ints = __m256i;
    type Floats = __m256;
    type Doubles = [__m256d; 2];
    type Scale = __m256i;
    type Words = __m256i;

    #[inline(always)]
    unsafe fn load(p: *const u8) -> __m256i {
        _mm256_loadu_si256(p.cast())
    }
    #[inline(always)]
    unsafe fn from_u64(w: [u64; 4]) -> __m256i {
        _mm256_set_epi64x(w[3] as i64, w[2] as i64, w[1] as i64, w[0] as i64)
    }
    #[inline(always)]
    unsafe fn look_up_u64(table: *const u64, index: [usize; 4]) -> __m256i {
        // The compiler's own choice is a load and a shuffle where one instruction does both.
        let (low, high): (__m128i, __m128i);
        std::arch::asm!(
            "vmovq {low}, qword ptr [{t} + 8*{a}]",
            "vmovq {high}, qword ptr [{t} + 8*{c}]",
            "vmovhps {low}, {low}, qword ptr [{t} + 8*{b}]",
            "vmovhps {high}, {high}, qword ptr [{t} + 8*{d}]",
            t = in(reg) table,
            a = in(reg) index[0],
            b = in(reg) index[1],
            c = in(reg) index[2],
            d = in(reg) index[3],
            low = out(xmm_reg) low,
            high = out(xmm_reg) high,
            options(pure, readonly, nostack, preserves_flags),
        );
        _mm256_set_m128i(high, low)
    }
    #[inline(always)]
    unsafe fn splat(v: u8) -> __m256i {
        _mm256_set1_epi8(v as i8)
    }
    #[inline(always)]
    unsafe fn splat_u32(v: u32) -> __m256i {
        _mm256_set1_epi32(v as i32)
    }
    #[inline(always)]
    unsafe fn and(a: __m256i, b: __m256i) -> __m256i {
        _mm256_and_si256(a, b)
    }
    #[inline(always)]
    unsafe fn or(a: __m256i, b: __m256i) -> __m256i {
        _mm256_or_si256(a, b)
    }
    #[inline(always)]
    unsafe fn xor(a: __m256i, b: __m256i) -> __m256i {
        _mm256_xor_si256(a, b)
    }
    #[inline(always)]
    unsafe fn add(a: __m256i, b: __m256i) -> __m256i {
        _mm256_add_epi8(a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: __m256i, b: __m256i) -> __m256i {
        _mm256_sub_epi8(a, b)
    }
    #[inline(always)]
    unsafe fn equal(a: __m256i, b: __m256i) -> __m256i {
        _mm256_cmpeq_epi8(a, b)
    }
    #[inline(always)]
    unsafe fn shift_right(a: __m256i, n: u32) -> __m256i {
        _mm256_srl_epi16(a, _mm_cvtsi32_si128(n as i32))
    }
    #[inline(always)]
    unsafe fn shift_left(a: __m256i, n: u32) -> __m256i {
        _mm256_sll_epi16(a, _mm_cvtsi32_si128(n as i32))
    }
    #[inline(always)]
    unsafe fn lookup(table: __m256i, index: __m256i) -> __m256i {
        _mm256_shuffle_epi8(table, index)
    }
    #[inline(always)]
    unsafe fn scale_pair(p: *const i16) -> __m256i {
        let pair = _mm256_set1_epi32(p.cast::<i32>().read_unaligned());
        // Read at run time: a constant is taken apart into three slower shuffles.
        let spread = std::ptr::read_volatile(&SPREAD_PAIR);
        _mm256_shuffle_epi8(pair, spread)
    }
    #[inline(always)]
    unsafe fn scale_same(p: *const i16) -> __m256i {
        _mm256_set1_epi32(p.cast::<i32>().read_unaligned())
    }
    #[inline(always)]
    unsafe fn odd_u32(p: *const u8) -> [u32; 8] {
        let (a, b) = (_mm256_loadu_ps(p.cast()), _mm256_loadu_ps(p.add(32).cast()));
        let odd = _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(a, b));
        std::mem::transmute(_mm256_permute4x64_epi64::<0b11_01_10_00>(odd))
    }
    #[inline(always)]
    unsafe fn zero() -> __m256i {
        _mm256_setzero_si256()
    }
    #[inline(always)]
    unsafe fn dot_scaled(acc: __m256i, u: __m256i, s: __m256i, scale: __m256i) -> __m256i {
        _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(u, s), scale))
    }
    #[inline(always)]
    unsafe fn dot_i16(acc: __m256i, a: *const i16, b: *const i16) -> __m256i {
        Self::multiply_pairs(acc, Self::load_words(a), Self::load_words(b))
    }
    #[inline(always)]
    unsafe fn dot_i8_i16(acc: __m256i, a: *const i8, b: *const i16) -> __m256i {
        let low = _mm256_cvtepi8_epi16(_mm_loadu_si128(a.cast()));
        let high = _mm256_cvtepi8_epi16(_mm_loadu_si128(a.add(16).cast()));
        let p = _mm256_madd_epi16(low, Self::load_words(b));
        let q = _mm256_madd_epi16(high, Self::load_words(b.add(16)));
        _mm256_add_epi32(acc, _mm256_add_epi32(p, q))
    }
    #[inline(always)]
    unsafe fn load_words(p: *const i16) -> __m256i {
        _mm256_loadu_si256(p.cast())
    }
    #[inline(always)]
    unsafe fn splat_words(p: *const i16) -> __m256i {
        _mm256_set1_epi32(p.cast::<i32>().read_unaligned())
    }
    #[inline(always)]
    unsafe fn multiply_pairs(acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
        _mm256_add_epi32(acc, _mm256_madd_epi16(a, b))
    }
    #[inline(always)]
    unsafe fn pack8x32(rows: [*const i8; 8], out: *mut i16) {
        for half in 0..2 {
            // Eight rows of eight byte pairs, transposed as an 8×8 matrix of 16-bit units.
            let (mut a, mut b) = ([_mm_setzero_si128(); 8], [_mm_setzero_si128(); 8]);
            for p in 0..4 {
                let x = _mm_loadu_si128(rows[2 * p].add(16 * half).cast());
                let y = _mm_loadu_si128(rows[2 * p + 1].add(16 * half).cast());
                (a[2 * p], a[2 * p + 1]) = (_mm_unpacklo_epi16(x, y), _mm_unpackhi_epi16(x, y));
            }
            // a[2p], a[2p+1]: pairs 0-3 and 4-7 of rows 2p, 2p+1.
            for quad in [0, 4] {
                for h in 0..2 {
                    let (x, y) = (a[quad + h], a[quad + 2 + h]);
                    (b[quad + 2 * h], b[quad + 2 * h + 1]) = (_mm_unpacklo_epi32(x, y), _mm_unpackhi_epi32(x, y));
                }
            }
            // b[4q + i]: pairs 2i, 2i+1 of rows 4q … 4q+3.
            for i in 0..4 {
                let low = _mm_unpacklo_epi64(b[i], b[4 + i]);
                let high = _mm_unpackhi_epi64(b[i], b[4 + i]);
                let at = out.add(128 * half + 32 * i);
                _mm256_storeu_si256(at.cast(), _mm256_cvtepi8_epi16(low));
                _mm256_storeu_si256(at.add(16).cast(), _mm256_cvtepi8_epi16(high));
            }
        }
    }
    #[inline(always)]
    unsafe fn sub_ints(a: __m256i, b: __m256i) -> __m256i {
        _mm256_sub_epi32(a, b)
    }
    #[inline(always)]
    unsafe fn to_floats(v: __m256i) -> __m256 {
        _mm256_cvtepi32_ps(v)
    }
    #[inline(always)]
    unsafe fn splat_f32(v: f32) -> __m256 {
        _mm256_set1_ps(v)
    }
    #[inline(always)]
    unsafe fn load_f32(p: *const f32) -> __m256 {
        _mm256_loadu_ps(p)
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> __m256 {
        _mm256_cvtph_ps(_mm_loadu_si128(p.cast()))
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> __m256 {
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()))))
    }
    #[inline(always)]
    unsafe fn store_f32(p: *mut f32, v: __m256) {
        _mm256_storeu_ps(p, v)
    }
    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn sum(v: __m256) -> f32 {
        let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
        let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
        _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
    }
    #[inline(always)]
    unsafe fn zero_doubles() -> [__m256d; 2] {
        [_mm256_setzero_pd(); 2]
    }
    #[inline(always)]
    unsafe fn fma_doubles(a: __m256, b: __m256, c: [__m256d; 2]) -> [__m256d; 2] {
        let (a, b) = (widen(a), widen(b));
        [_mm256_fmadd_pd(a[0], b[0], c[0]), _mm256_fmadd_pd(a[1], b[1], c[1])]
    }
    #[inline(always)]
    unsafe fn to_singles(v: [__m256d; 2]) -> __m256 {
        _mm256_set_m128(_mm256_cvtpd_ps(v[1]), _mm256_cvtpd_ps(v[0]))
    }
    #[inline(always)]
    unsafe fn sum_doubles(v: [__m256d; 2]) -> f64 {
        let v = _mm256_add_pd(v[0], v[1]);
        let v = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd::<1>(v));
        _mm_cvtsd_f64(_mm_add_sd(v, _mm_unpackhi_pd(v, v)))
    }
    #[inline(always)]
    unsafe fn half(bits: u16) -> f32 {
        // A broadcast, since an insertion into one lane would wait for whatever used the register before.
        _mm_cvtss_f32(_mm_cvtph_ps(_mm_set1_epi16(bits as i16)))
    }
    #[inline(always)]
    unsafe fn splat_half(p: *const u8) -> __m256 {
        _mm256_cvtph_ps(_mm_set1_epi16(p.cast::<i16>().read_unaligned()))
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        _mm_prefetch::<_MM_HINT_T0>(p.cast());
    }
}

/// Lower and upper four lanes as doubles.
#[inline(always)]
unsafe fn widen(v: __m256) -> [__m256d; 2] {
    [_mm256_cvtps_pd(_mm256_castps256_ps128(v)), _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(v))]
}
