//! Every lane operation of every instruction set against the portable one, edge values included.

use super::scalar::Scalar;
use super::simd::Simd;
use super::tests::isas;
use proptest::prelude::*;

/// `$check::<S>(…)` for the implementation S of each instruction set that this machine has.
macro_rules! on_every_set {
    ($check:ident($($arg:expr),*)) => {
        for isa in isas() {
            // SAFETY: the machine has the features, and each check passes pointers to what it owns.
            unsafe {
                match isa.name() {
                    "scalar" => $check::<Scalar>($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    "avx2" | "avx-vnni" | "avx512" => $check::<super::avx2::Avx2>($($arg),*),
                    #[cfg(target_arch = "aarch64")]
                    "neon" => $check::<super::neon::Neon<false>>($($arg),*),
                    #[cfg(target_arch = "aarch64")]
                    "neon-dotprod" => $check::<super::neon::Neon<true>>($($arg),*),
                    other => panic!("no implementation is known for {other}"),
                }
            }
        }
    };
}

/// The 32 bytes of a register or pair of registers.
fn bytes<T: Copy, U: Copy>(v: T) -> U {
    assert!(size_of::<T>() == 32 && size_of::<U>() == 32);
    // SAFETY: same size; both are plain bytes, in the order in which a store writes them.
    unsafe { std::mem::transmute_copy(&v) }
}

/// Sum of the lanes, whose order no caller may rely on.
fn total<S: Simd>(v: S::Ints) -> i64 {
    bytes::<_, [i32; 8]>(v).into_iter().map(i64::from).sum()
}

fn floats<S: Simd>(v: S::Floats) -> [f32; 8] {
    let mut out = [0.0; 8];
    // SAFETY: eight floats; the caller has the features.
    unsafe { S::store_f32(out.as_mut_ptr(), v) };
    out
}

fn products<A: Copy + Into<i64>, B: Copy + Into<i64>>(a: &[A], b: &[B]) -> i64 {
    a.iter().zip(b).map(|(a, b)| (*a).into() * (*b).into()).sum()
}

unsafe fn check_bytes<S: Simd>(a: [u8; 32], b: [u8; 32], words: [u64; 4]) {
    // SAFETY: by `on_every_set`.
    unsafe {
        let (x, y) = (S::load(a.as_ptr()), S::load(b.as_ptr()));
        let (p, q) = (a, b);
        let same = |what: &str, got: S::Bytes, want: [u8; 32]| assert_eq!(bytes::<_, [u8; 32]>(got), want, "{what}");
        same("load", x, p);
        same("from_u64", S::from_u64(words), Scalar::from_u64(words));
        same("splat", S::splat(a[0]), [a[0]; 32]);
        same("splat_u32", S::splat_u32(words[0] as u32), Scalar::splat_u32(words[0] as u32));
        same("and", S::and(x, y), Scalar::and(p, q));
        same("or", S::or(x, y), Scalar::or(p, q));
        same("xor", S::xor(x, y), Scalar::xor(p, q));
        same("add", S::add(x, y), Scalar::add(p, q));
        same("sub", S::sub(x, y), Scalar::sub(p, q));
        same("equal", S::equal(x, y), Scalar::equal(p, q));
        let index = q.map(|v| v % 16);
        same("lookup", S::lookup(x, S::load(index.as_ptr())), Scalar::lookup(p, index));
        for n in 0..8 {
            let right = S::and(S::shift_right(x, n), S::splat(0xff >> n));
            same("shift_right", right, Scalar::shift_right(p, n));
            let left = S::and(S::shift_left(x, n), S::splat(0xff << n));
            same("shift_left", left, Scalar::shift_left(p, n));
        }
        let wide: [u8; 64] = std::array::from_fn(|i| if i < 32 { a[i] } else { b[i - 32] });
        assert_eq!(S::odd_u32(wide.as_ptr()), Scalar::odd_u32(wide.as_ptr()));
    }
}

unsafe fn check_scaled<S: Simd>(u: [u8; 32], s: [i8; 32], scale: [i16; 2]) {
    // SAFETY: by `on_every_set`.
    unsafe {
        let (codes, values) = (S::load(u.as_ptr()), S::load(s.as_ptr().cast()));
        let halves = [products(&u[..16], &s[..16]), products(&u[16..], &s[16..])];
        let once = S::dot_scaled(S::zero(), codes, values, S::scale_pair(scale.as_ptr()));
        let want = halves[0] * i64::from(scale[0]) + halves[1] * i64::from(scale[1]);
        assert_eq!(total::<S>(once), want);
        let same = [scale[1]; 2];
        let twice = S::dot_scaled(once, codes, values, S::scale_same(same.as_ptr()));
        let more = (halves[0] + halves[1]) * i64::from(scale[1]);
        assert_eq!(total::<S>(twice), want + more);
        assert_eq!(total::<S>(S::sub_ints(once, twice)), -more);
    }
}

unsafe fn check_words<S: Simd>(a: [i8; 32], b: [i16; 32]) {
    let wide: [i16; 32] = a.map(i16::from);
    // SAFETY: by `on_every_set`.
    unsafe {
        let once = S::dot_i8_i16(S::zero(), a.as_ptr(), b.as_ptr());
        assert_eq!(total::<S>(once), products(&a, &b));
        let twice = S::dot_i16(once, wide.as_ptr(), b.as_ptr());
        assert_eq!(total::<S>(twice), products(&a, &b) + products(&wide[..16], &b));
        let pairs =
            |acc, from: [i16; 16]| S::multiply_pairs(acc, S::load_words(wide.as_ptr()), S::load_words(from.as_ptr()));
        let first: [i16; 16] = std::array::from_fn(|i| b[i]);
        let lanes = floats::<S>(S::to_floats(pairs(S::zero(), first)));
        let want: [i64; 8] = std::array::from_fn(|j| products(&wide[2 * j..2 * j + 2], &first[2 * j..2 * j + 2]));
        assert_eq!(lanes, want.map(|v| v as f32));
        let pair = S::splat_words(b.as_ptr());
        let lanes =
            floats::<S>(S::to_floats(S::multiply_pairs(pairs(S::zero(), first), S::load_words(wide.as_ptr()), pair)));
        let want: [i64; 8] = std::array::from_fn(|j| want[j] + products(&wide[2 * j..2 * j + 2], &b[..2]));
        assert_eq!(lanes, want.map(|v| v as f32));
    }
}

unsafe fn check_pack<S: Simd>(rows: [[i8; 32]; 8]) {
    let (mut got, mut want) = ([0i16; 256], [0i16; 256]);
    // SAFETY: by `on_every_set`.
    unsafe {
        S::pack8x32(rows.each_ref().map(|r| r.as_ptr()), got.as_mut_ptr());
        Scalar::pack8x32(rows.each_ref().map(|r| r.as_ptr()), want.as_mut_ptr());
    }
    assert_eq!(got, want);
}

unsafe fn check_floats<S: Simd>(a: [f32; 8], b: [f32; 8]) {
    // SAFETY: by `on_every_set`.
    unsafe {
        let (x, y) = (S::load_f32(a.as_ptr()), S::load_f32(b.as_ptr()));
        assert_eq!(floats::<S>(x), a);
        let magnitude: f32 = a.iter().map(|v| v.abs()).sum();
        assert!(
            (f64::from(S::sum(x)) - a.iter().map(|v| f64::from(*v)).sum::<f64>()).abs() <= f64::from(1e-6 * magnitude)
        );
        let z = S::fma(x, y, S::splat_f32(b[0]));
        for (j, got) in floats::<S>(z).into_iter().enumerate() {
            let want = f64::from(a[j]) * f64::from(b[j]) + f64::from(b[0]);
            let size = (f64::from(a[j]) * f64::from(b[j])).abs() + f64::from(b[0]).abs();
            assert!((f64::from(got) - want).abs() <= 2e-7 * size, "{got} instead of {want}");
        }
        let once = S::fma_doubles(x, y, S::zero_doubles());
        let twice = S::fma_doubles(x, x, once);
        let want: [f64; 8] =
            std::array::from_fn(|j| f64::from(a[j]) * f64::from(b[j]) + f64::from(a[j]) * f64::from(a[j]));
        assert_eq!(floats::<S>(S::to_singles(twice)), want.map(|v| v as f32));
        let size: f64 = want.iter().map(|v| v.abs()).sum();
        assert!((S::sum_doubles(twice) - want.iter().sum::<f64>()).abs() <= 1e-15 * size);
        S::prefetch(a.as_ptr().cast());
        S::prefetch(std::ptr::null());
    }
}

unsafe fn check_halves<S: Simd>() {
    let same = |what: &str, bits: u16, got: f32, want: f32| {
        assert!(
            got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()),
            "{what} {bits:#x}: {got} for {want}"
        );
    };
    for start in (0..=u16::MAX).step_by(8) {
        let v: [u16; 8] = std::array::from_fn(|i| start + i as u16);
        // SAFETY: by `on_every_set`.
        let (f16, bf16) = unsafe { (floats::<S>(S::load_f16(v.as_ptr())), floats::<S>(S::load_bf16(v.as_ptr()))) };
        for j in 0..8 {
            let want = half::f16::from_bits(v[j]).to_f32();
            same("f16", v[j], f16[j], want);
            // SAFETY: by `on_every_set`.
            let (half, splat) = unsafe { (S::half(v[j]), floats::<S>(S::splat_half(v[j..].as_ptr().cast()))) };
            same("half", v[j], half, want);
            for lane in splat {
                same("splat_half", v[j], lane, want);
            }
            same("bf16", v[j], bf16[j], f32::from_bits(u32::from(v[j]) << 16));
        }
    }
}

/// Codes below 128, the limits often.
fn code() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0u8), Just(127), 0u8..128]
}

fn byte() -> impl Strategy<Value = i8> {
    prop_oneof![Just(i8::MIN), Just(i8::MAX), any::<i8>()]
}

fn word() -> impl Strategy<Value = i16> {
    prop_oneof![Just(i16::MIN), Just(i16::MAX), any::<i16>()]
}

fn of<S: Strategy, const N: usize>(s: impl Fn() -> S) -> impl Strategy<Value = [S::Value; N]>
where
    S::Value: Copy,
{
    prop::collection::vec(s(), N).prop_map(|v| std::array::from_fn(|i| v[i]))
}

proptest! {
    #[test]
    fn byte_operations_agree(a: [u8; 32], b: [u8; 32], words: [u64; 4]) {
        on_every_set!(check_bytes(a, b, words));
        on_every_set!(check_bytes(a, a, words));
    }

    #[test]
    fn scaled_products_are_exact(u in of::<_, 32>(code), s in of::<_, 32>(byte), scale in of::<_, 2>(|| -4096i16..4096)) {
        on_every_set!(check_scaled(u, s, scale));
    }

    #[test]
    fn products_of_words_are_exact(a in of::<_, 32>(byte), b in of::<_, 32>(word)) {
        on_every_set!(check_words(a, b));
    }

    #[test]
    fn packing_transposes(rows: [[i8; 32]; 8]) {
        on_every_set!(check_pack(rows));
    }

    #[test]
    fn floats_agree(a in of::<_, 8>(|| -1e3f32..1e3), b in of::<_, 8>(|| -1e3f32..1e3)) {
        on_every_set!(check_floats(a, b));
    }
}

#[test]
fn every_half_and_bfloat16_widens() {
    on_every_set!(check_halves());
}
