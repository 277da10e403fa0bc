//! The rounding that is part of the model (`spec/model.md` §6), as codes and as values.

use crate::config::{FP4_BLOCK, FP8_BLOCK};
use half::f16;

/// Smallest block maximum of the FP8 rule.
const FP8_FLOOR: f32 = 1e-4;
/// Smallest block maximum of the FP4 rule: 6 · 2^-126.
const FP4_FLOOR: f32 = 6.0 * f32::MIN_POSITIVE;
const E4M3_MAX: f32 = 448.0;
const E2M1_MAX: f32 = 6.0;
/// Magnitudes of the eight E2M1 codes.
const E2M1: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
/// Bias of a stored scale exponent, as in E8M0.
const SCALE_BIAS: i32 = 127;

/// Exponent e of the scale 2^e = 2^ceil(log2(x)) for a positive normal `x`.
#[inline(always)]
fn ceil_log2(x: f32) -> i32 {
    let bits = x.to_bits();
    (bits >> 23) as i32 - 127 + i32::from(bits & 0x7f_ffff != 0)
}

/// 2^e for −126 ≤ e ≤ 127.
#[inline(always)]
fn exp2i(e: i32) -> f32 {
    f32::from_bits(((e + 127) as u32) << 23)
}

/// Largest magnitude of a block, at least `floor`; NaN is passed over.
#[inline(always)]
fn block_max(x: &[f32], floor: f32) -> f32 {
    x.iter().fold(floor, |m, v| if v.abs() > m { v.abs() } else { m }).min(f32::MAX)
}

/// Nearest E4M3 code (sign in bit 7), ties to even, of a value within ±448.
#[inline(always)]
fn e4m3_code(x: f32) -> u8 {
    let sign = (x.to_bits() >> 24) as u8 & 0x80;
    let a = x.abs().min(E4M3_MAX);
    let code = if a < 1.0 / 64.0 {
        // Subnormal: multiples of 2^-9; eight of them are the first normal code. NaN becomes 0.
        (a * 512.0).round_ties_even() as u8
    } else {
        let bits = a.to_bits();
        let rounded = bits + 0x7_ffff + (bits >> 20 & 1);
        ((rounded >> 20) - (120 << 3)) as u8
    };
    sign | code
}

const fn e4m3_value(code: u8) -> f32 {
    let (e, m) = (code >> 3 & 15, code & 7);
    let magnitude = if e == 0 {
        m as f32 / 512.0
    } else {
        // (1 + m/8)·2^(e−7), built from its bits.
        f32::from_bits(((e as u32 + 120) << 23) | (m as u32) << 20)
    };
    if code & 0x80 != 0 { -magnitude } else { magnitude }
}

/// Values of all E4M3 codes. Codes 0x7f and 0xff are never written; they read as ±480.
static E4M3: [f32; 256] = {
    let mut t = [0.0; 256];
    let mut i = 0;
    while i < 256 {
        t[i] = e4m3_value(i as u8);
        i += 1;
    }
    t
};

/// Nearest E2M1 code (sign in bit 3), ties to even, of a value within ±6.
#[inline(always)]
fn e2m1_code(x: f32) -> u8 {
    let a = x.abs();
    let above = |limit: f32, even: bool| u8::from(a > limit || (even && a == limit));
    // Midpoints; a tie goes up where the code above is even.
    let code = above(0.25, false)
        + above(0.75, true)
        + above(1.25, false)
        + above(1.75, true)
        + above(2.5, false)
        + above(3.5, true)
        + above(5.0, false);
    code | ((x.to_bits() >> 28) as u8 & 8)
}

#[inline(always)]
fn e2m1_value(code: u8) -> f32 {
    let v = E2M1[usize::from(code & 7)];
    if code & 8 != 0 { -v } else { v }
}

/// FP8 rule: codes and one scale byte per [`FP8_BLOCK`] values.
///
/// # Panics
/// When lengths do not fit.
pub fn fp8_encode(x: &[f32], codes: &mut [u8], scales: &mut [u8]) {
    assert!(codes.len() == x.len() && scales.len() * FP8_BLOCK == x.len(), "FP8 blocks");
    for ((x, codes), scale) in x.chunks(FP8_BLOCK).zip(codes.chunks_mut(FP8_BLOCK)).zip(scales) {
        let e = ceil_log2(block_max(x, FP8_FLOOR) / E4M3_MAX).clamp(-126, 126);
        *scale = (e + SCALE_BIAS) as u8;
        let inverse = exp2i(-e);
        for (code, v) in codes.iter_mut().zip(x) {
            *code = e4m3_code(v * inverse);
        }
    }
}

/// Values of [`fp8_encode`]'s codes.
///
/// # Panics
/// When lengths do not fit.
#[inline(always)]
pub fn fp8_decode(codes: &[u8], scales: &[u8], out: &mut [f32]) {
    assert!(codes.len() == out.len() && scales.len() * FP8_BLOCK == out.len(), "FP8 blocks");
    for ((codes, scale), out) in codes.chunks(FP8_BLOCK).zip(scales).zip(out.chunks_mut(FP8_BLOCK)) {
        let s = exp2i((i32::from(*scale) - SCALE_BIAS).clamp(-126, 127));
        for (o, code) in out.iter_mut().zip(codes) {
            *o = E4M3[usize::from(*code)] * s;
        }
    }
}

/// FP4 rule (without the rotation): two codes a byte, low nibble first, and one scale byte per [`FP4_BLOCK`] values.
///
/// # Panics
/// When lengths do not fit.
pub fn fp4_encode(x: &[f32], codes: &mut [u8], scales: &mut [u8]) {
    assert!(codes.len() * 2 == x.len() && scales.len() * FP4_BLOCK == x.len(), "FP4 blocks");
    for ((x, codes), scale) in x.chunks(FP4_BLOCK).zip(codes.chunks_mut(FP4_BLOCK / 2)).zip(scales) {
        let e = ceil_log2(block_max(x, FP4_FLOOR) / E2M1_MAX).clamp(-126, 126);
        *scale = (e + SCALE_BIAS) as u8;
        let inverse = exp2i(-e);
        for (code, pair) in codes.iter_mut().zip(x.chunks(2)) {
            *code = e2m1_code(pair[0] * inverse) | e2m1_code(pair[1] * inverse) << 4;
        }
    }
}

/// Values of [`fp4_encode`]'s codes.
///
/// # Panics
/// When lengths do not fit.
#[inline(always)]
pub fn fp4_decode(codes: &[u8], scales: &[u8], out: &mut [f32]) {
    assert!(codes.len() * 2 == out.len() && scales.len() * FP4_BLOCK == out.len(), "FP4 blocks");
    for ((codes, scale), out) in codes.chunks(FP4_BLOCK / 2).zip(scales).zip(out.chunks_mut(FP4_BLOCK)) {
        let s = exp2i((i32::from(*scale) - SCALE_BIAS).clamp(-126, 127));
        for (o, code) in out.chunks_mut(2).zip(codes) {
            (o[0], o[1]) = (e2m1_value(code & 15) * s, e2m1_value(code >> 4) * s);
        }
    }
}

/// The FP8 rule in place.
pub fn fp8_round(x: &mut [f32]) {
    let (mut codes, mut scale) = ([0u8; FP8_BLOCK], [0u8; 1]);
    for block in x.chunks_exact_mut(FP8_BLOCK) {
        fp8_encode(block, &mut codes, &mut scale);
        fp8_decode(&codes, &scale, block);
    }
}

/// The FP4 rule in place, without the rotation.
pub fn fp4_round(x: &mut [f32]) {
    let (mut codes, mut scale) = ([0u8; FP4_BLOCK / 2], [0u8; 1]);
    for block in x.chunks_exact_mut(FP4_BLOCK) {
        fp4_encode(block, &mut codes, &mut scale);
        fp4_decode(&codes, &scale, block);
    }
}

/// F16 rounding in place.
pub fn f16_round(x: &mut [f32]) {
    for v in x {
        *v = f16::from_f32(*v).to_f32();
    }
}

/// Natural-order Walsh–Hadamard rotation, scaled to be orthogonal. The length is a power of two.
pub fn hadamard(x: &mut [f32]) {
    let n = x.len();
    let mut half = 1;
    while half < n {
        for pair in x.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
    let scale = 1.0 / (n as f32).sqrt();
    x.iter_mut().for_each(|v| *v *= scale);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: the nearest of all values, ties to the even code.
    fn nearest(x: f32, values: &[(u8, f32)]) -> f32 {
        let mut best = values[0];
        for v in values {
            let (d, b) = ((f64::from(x) - f64::from(v.1)).abs(), (f64::from(x) - f64::from(best.1)).abs());
            if d < b || (d == b && v.0 % 2 == 0) {
                best = *v;
            }
        }
        best.1
    }

    proptest! {
        #[test]
        fn e4m3_is_the_nearest_value(x in -448.0f32..448.0, scale in -12i32..1) {
            let x = x * exp2i(scale);
            let all: Vec<(u8, f32)> = (0..0x7f).map(|c| (c, e4m3_value(c))).collect();
            prop_assert_eq!(e4m3_value(e4m3_code(x)).abs(), nearest(x.abs(), &all));
            prop_assert!(e4m3_value(e4m3_code(x)) * x >= 0.0);
        }

        #[test]
        fn rounding_twice_changes_nothing(seed in prop::collection::vec(-30.0f32..30.0, 128)) {
            let mut once = seed.clone();
            fp8_round(&mut once);
            let mut twice = once.clone();
            fp8_round(&mut twice);
            prop_assert_eq!(&once, &twice);
            let mut once = seed;
            fp4_round(&mut once);
            let mut twice = once.clone();
            fp4_round(&mut twice);
            prop_assert_eq!(once, twice);
        }

        #[test]
        fn hadamard_twice_is_the_identity(seed in prop::collection::vec(-3.0f32..3.0, 128)) {
            let mut x = seed.clone();
            hadamard(&mut x);
            hadamard(&mut x);
            for (a, b) in x.iter().zip(&seed) {
                prop_assert!((a - b).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn e4m3_ties_and_codes() {
        for c in 0..0x7f {
            assert_eq!(e4m3_code(e4m3_value(c)), c);
            assert_eq!(e4m3_code(-e4m3_value(c)), c | 0x80);
            let middle = (e4m3_value(c) + e4m3_value((c + 1).min(0x7e))) / 2.0;
            assert_eq!(e4m3_code(middle), if c % 2 == 0 { c } else { (c + 1).min(0x7e) }, "code {c}");
        }
    }

    #[test]
    fn e2m1_is_the_nearest_value_with_ties_to_even() {
        let all: Vec<(u8, f32)> = (0..8).map(|c| (c, e2m1_value(c))).collect();
        for i in 0..=6000 {
            let x = i as f32 / 1000.0;
            assert_eq!(e2m1_value(e2m1_code(x)), nearest(x, &all), "{x}");
            assert_eq!(e2m1_value(e2m1_code(-x)), -nearest(x, &all));
        }
    }

    #[test]
    fn zero_and_odd_blocks_survive() {
        let mut x = [0.0f32; 64];
        fp8_round(&mut x);
        fp4_round(&mut x);
        assert_eq!(x, [0.0; 64]);
        (x[0], x[1]) = (f32::NAN, f32::INFINITY);
        fp8_round(&mut x);
        fp4_round(&mut x);
    }
}
