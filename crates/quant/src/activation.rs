//! Activations as int8 blocks, the right-hand side of the integer dot products (spec/quants.md §1,
//! Q8_K). Never stored in files.

pub use crate::layout::QK;

/// 256 activations as int8: `x ≈ d·q`.
#[repr(C)]
#[derive(Clone, Debug, PartialEq)]
pub struct BlockQ8K {
    /// Scale; its sign is opposite to that of the largest element.
    pub d: f32,
    /// Codes.
    pub q: [i8; QK],
    /// Sum of each run of 16 codes, for formats with a minimum per group.
    pub bsum: [i16; QK / 16],
}

impl BlockQ8K {
    /// 256 zeros.
    pub const ZERO: Self = Self { d: 0.0, q: [0; QK], bsum: [0; QK / 16] };
}

/// Quantises activations: `d = −m/127` for the element m of largest magnitude (the first one on
/// ties), `q = round_half_even(x/d)` limited to −128…127.
///
/// A block with an infinite or NaN element becomes `d = NaN` with zero codes, so that whatever is
/// computed from it is NaN too instead of a plausible number. A block whose largest magnitude is
/// below `127/f32::MAX` has no finite `1/d` and becomes zero.
///
/// # Panics
///
/// When `x.len() != out.len() * QK`.
pub fn quantize_q8k(x: &[f32], out: &mut [BlockQ8K]) {
    assert_eq!(x.len(), out.len() * QK, "activations must fill the Q8_K blocks");
    for (x, out) in x.as_chunks::<QK>().0.iter().zip(out) {
        quantize_block(x, out);
    }
}

fn quantize_block(x: &[f32; QK], out: &mut BlockQ8K) {
    *out = BlockQ8K::ZERO;
    if !x.iter().all(|x| x.is_finite()) {
        out.d = f32::NAN;
        return;
    }
    let largest = x.iter().fold(0.0, |m: f32, x| m.max(x.abs()));
    let m = x.iter().copied().find(|x| x.abs() == largest).unwrap_or(0.0);
    let inverse = -127.0 / m;
    if !inverse.is_finite() {
        return;
    }
    for (q, x) in out.q.iter_mut().zip(x) {
        *q = round_half_even(inverse * x).clamp(-128, 127) as i8;
    }
    for (sum, run) in out.bsum.iter_mut().zip(out.q.as_chunks::<16>().0) {
        *sum = run.iter().map(|&q| i16::from(q)).sum();
    }
    out.d = 1.0 / inverse;
}

/// 1.5·2^23. Adding it to `|x| < 2^22` leaves no fraction bits, so the addition itself rounds to
/// the nearest integer, ties to even, which then stands in the low mantissa bits. Unlike
/// `f32::round_ties_even` this needs no instruction beyond SSE2 and vectorises.
pub(crate) const ROUNDING_SHIFT: f32 = 12_582_912.0;

/// Nearest integer, ties to even, for `|x| < 2^22`.
fn round_half_even(x: f32) -> i32 {
    (x + ROUNDING_SHIFT).to_bits() as i32 - ROUNDING_SHIFT.to_bits() as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quantized(x: &[f32]) -> BlockQ8K {
        let mut padded = [0.0; QK];
        padded[..x.len()].copy_from_slice(x);
        let mut blocks = [BlockQ8K::ZERO];
        quantize_q8k(&padded, &mut blocks);
        let [block] = blocks;
        block
    }

    #[test]
    fn scale_opposes_the_largest_element() {
        let block = quantized(&[1.0, -2.0, 0.5]);
        assert_eq!(block.q[..3], [64, -127, 32]);
        assert_eq!(block.d, 1.0 / (127.0 / 2.0));
        let block = quantized(&[1.0, 2.0, 0.5]);
        assert_eq!(block.q[..3], [-64, -127, -32]);
        assert_eq!(block.d, 1.0 / (-127.0 / 2.0));
    }

    #[test]
    fn the_first_of_equal_magnitudes_decides() {
        assert_eq!(quantized(&[3.0, -3.0]).q[..2], [-127, 127]);
        assert_eq!(quantized(&[-3.0, 3.0]).q[..2], [-127, 127]);
        assert!(quantized(&[3.0, -3.0]).d < 0.0 && quantized(&[-3.0, 3.0]).d > 0.0);
    }

    #[test]
    fn ties_go_to_even_codes() {
        assert_eq!(quantized(&[-127.0, 0.5, 1.5, 2.5, -0.5, -1.5]).q[..6], [-127, 0, 2, 2, 0, -2]);
    }

    #[test]
    fn zero_and_vanishing_blocks_become_zero() {
        assert_eq!(quantized(&[]), BlockQ8K::ZERO);
        assert_eq!(quantized(&[-0.0; QK]), BlockQ8K::ZERO);
        assert_eq!(quantized(&[1e-40, -1e-45]), BlockQ8K::ZERO);
    }

    #[test]
    fn non_finite_elements_poison_the_block() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let block = quantized(&[1.0, bad]);
            assert!(block.d.is_nan());
            assert_eq!(block.q, [0; QK]);
        }
    }

    proptest! {
        #[test]
        fn codes_are_within_half_a_step(
            x in prop::collection::vec(-1f32..1.0, QK),
            exponent in -100i32..100,
        ) {
            let x: Vec<f32> = x.iter().map(|x| x * 2f32.powi(exponent)).collect();
            let block = quantized(&x);
            for (x, q) in x.iter().zip(block.q) {
                let error = (f64::from(*x) - f64::from(block.d) * f64::from(q)).abs();
                prop_assert!(error <= 0.50001 * f64::from(block.d.abs()));
            }
            for (sum, run) in block.bsum.iter().zip(block.q.chunks(16)) {
                prop_assert_eq!(i32::from(*sum), run.iter().map(|&q| i32::from(q)).sum::<i32>());
            }
        }

        #[test]
        fn any_input_is_accepted(x in prop::collection::vec(any::<f32>(), QK)) {
            let block = quantized(&x);
            prop_assert_eq!(block.d.is_nan(), x.iter().any(|x| !x.is_finite()));
        }
    }
}
