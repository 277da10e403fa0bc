//! Portable implementation of the lane operations: plain arrays, no `unsafe` needed beyond the signatures.

use super::simd::Simd;

/// Arrays in place of registers.
#[derive(Clone, Copy)]
pub(super) struct Scalar;

fn map2(a: [u8; 32], b: [u8; 32], f: impl Fn(u8, u8) -> u8) -> [u8; 32] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Scalar {
    type Bytes = [u8; 32];
    type Ints = [i32; 8];
    type Floats = [f32; 8];
    type Doubles = [f64; 8];
    type Scale = [i32; 2];
    type Words = [i16; 16];

    unsafe fn load(p: *const u8) -> Self::Bytes {
        // SAFETY: the caller promises 32 readable bytes.
        unsafe { p.cast::<[u8; 32]>().read_unaligned() }
    }
    unsafe fn from_u64(words: [u64; 4]) -> Self::Bytes {
        std::array::from_fn(|i| words[i / 8].to_le_bytes()[i % 8])
    }
    unsafe fn splat(v: u8) -> Self::Bytes {
        [v; 32]
    }
    unsafe fn splat_u32(v: u32) -> Self::Bytes {
        std::array::from_fn(|i| v.to_le_bytes()[i % 4])
    }
    unsafe fn and(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        map2(a, b, |a, b| a & b)
    }
    unsafe fn or(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        map2(a, b, |a, b| a | b)
    }
    unsafe fn xor(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        map2(a, b, |a, b| a ^ b)
    }
    unsafe fn add(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        map2(a, b, u8::wrapping_add)
    }
    unsafe fn sub(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        map2(a, b, u8::wrapping_sub)
    }
    unsafe fn equal(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        map2(a, b, |a, b| if a == b { 0xff } else { 0 })
    }
    unsafe fn shift_right(a: Self::Bytes, n: u32) -> Self::Bytes {
        a.map(|v| v >> n)
    }
    unsafe fn shift_left(a: Self::Bytes, n: u32) -> Self::Bytes {
        a.map(|v| v << n)
    }
    unsafe fn lookup(table: Self::Bytes, index: Self::Bytes) -> Self::Bytes {
        std::array::from_fn(|i| table[i / 16 * 16 + usize::from(index[i] % 16)])
    }
    unsafe fn scale_pair(p: *const i16) -> Self::Scale {
        // SAFETY: the caller promises two readable words.
        unsafe { [i32::from(*p), i32::from(*p.add(1))] }
    }
    unsafe fn scale_same(p: *const i16) -> Self::Scale {
        // SAFETY: the caller promises two readable words.
        unsafe { Self::scale_pair(p) }
    }
    unsafe fn odd_u32(p: *const u8) -> [u32; 8] {
        // SAFETY: the caller promises 64 readable bytes.
        let bytes = unsafe { p.cast::<[[u8; 8]; 8]>().read_unaligned() };
        bytes.map(|b| u32::from_le_bytes([b[4], b[5], b[6], b[7]]))
    }
    unsafe fn zero() -> Self::Ints {
        [0; 8]
    }
    unsafe fn dot_scaled(acc: Self::Ints, u: Self::Bytes, s: Self::Bytes, scale: Self::Scale) -> Self::Ints {
        std::array::from_fn(|j| {
            let sum: i32 = (4 * j..4 * j + 4).map(|i| i32::from(u[i]) * i32::from(s[i] as i8)).sum();
            acc[j] + sum * scale[j / 4]
        })
    }
    unsafe fn dot_i16(acc: Self::Ints, a: *const i16, b: *const i16) -> Self::Ints {
        // SAFETY: the caller promises 16 readable words at both.
        unsafe { Self::multiply_pairs(acc, Self::load_words(a), Self::load_words(b)) }
    }
    unsafe fn dot_i8_i16(acc: Self::Ints, a: *const i8, b: *const i16) -> Self::Ints {
        std::array::from_fn(|j| {
            // SAFETY: the caller promises 32 readable values at both.
            let sum: i32 = (4 * j..4 * j + 4).map(|i| unsafe { i32::from(*a.add(i)) * i32::from(*b.add(i)) }).sum();
            acc[j] + sum
        })
    }
    unsafe fn load_words(p: *const i16) -> Self::Words {
        // SAFETY: the caller promises 16 readable words.
        unsafe { p.cast::<[i16; 16]>().read_unaligned() }
    }
    unsafe fn splat_words(p: *const i16) -> Self::Words {
        // SAFETY: the caller promises two readable words.
        std::array::from_fn(|i| unsafe { *p.add(i % 2) })
    }
    unsafe fn multiply_pairs(acc: Self::Ints, a: Self::Words, b: Self::Words) -> Self::Ints {
        let p = |i: usize| i32::from(a[i]) * i32::from(b[i]);
        std::array::from_fn(|j| acc[j] + p(2 * j) + p(2 * j + 1))
    }
    unsafe fn pack8x32(rows: [*const i8; 8], out: *mut i16) {
        for i in 0..16 {
            for (j, row) in rows.iter().enumerate() {
                for half in 0..2 {
                    // SAFETY: the caller promises 32 readable bytes a row and 256 writable words.
                    unsafe { *out.add(16 * i + 2 * j + half) = i16::from(*row.add(2 * i + half)) };
                }
            }
        }
    }
    unsafe fn sub_ints(a: Self::Ints, b: Self::Ints) -> Self::Ints {
        std::array::from_fn(|i| a[i] - b[i])
    }
    unsafe fn to_floats(v: Self::Ints) -> Self::Floats {
        v.map(|v| v as f32)
    }
    unsafe fn splat_f32(v: f32) -> Self::Floats {
        [v; 8]
    }
    unsafe fn load_f32(p: *const f32) -> Self::Floats {
        // SAFETY: the caller promises 8 readable floats.
        unsafe { p.cast::<[f32; 8]>().read_unaligned() }
    }
    unsafe fn load_f16(p: *const u16) -> Self::Floats {
        // SAFETY: the caller promises 8 readable halves.
        let h = unsafe { p.cast::<[u16; 8]>().read_unaligned() };
        h.map(|b| half::f16::from_bits(b).to_f32())
    }
    unsafe fn load_bf16(p: *const u16) -> Self::Floats {
        // SAFETY: the caller promises 8 readable values.
        let h = unsafe { p.cast::<[u16; 8]>().read_unaligned() };
        h.map(|b| f32::from_bits(u32::from(b) << 16))
    }
    unsafe fn store_f32(p: *mut f32, v: Self::Floats) {
        // SAFETY: the caller promises 8 writable floats.
        unsafe { p.cast::<[f32; 8]>().write_unaligned(v) }
    }
    unsafe fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    unsafe fn sum(v: Self::Floats) -> f32 {
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }
    unsafe fn zero_doubles() -> Self::Doubles {
        [0.0; 8]
    }
    unsafe fn fma_doubles(a: Self::Floats, b: Self::Floats, c: Self::Doubles) -> Self::Doubles {
        std::array::from_fn(|i| f64::from(a[i]) * f64::from(b[i]) + c[i])
    }
    unsafe fn to_singles(v: Self::Doubles) -> Self::Floats {
        v.map(|v| v as f32)
    }
    unsafe fn sum_doubles(v: Self::Doubles) -> f64 {
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }
    unsafe fn half(bits: u16) -> f32 {
        half::f16::from_bits(bits).to_f32()
    }
    unsafe fn prefetch(_: *const u8) {}
}
