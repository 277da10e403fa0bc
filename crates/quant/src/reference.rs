//! Dot products in their plainest form, the standard every faster kernel is tested against
//! (spec/quants.md §2).

use crate::activation::BlockQ8K;
use crate::dequantize::expand;
use crate::format::Format;
use crate::iq2_grid::{GRID, sign_mask};
use crate::layout::{Iq2Xxs, Q2K, Q4K, Q5K, Q6K, QK};

/// The true product of one stored row with f32 activations: weights expanded exactly, every
/// product and the sum in f64.
///
/// # Panics
///
/// When `w_row` is not the [`Format::row_bytes`] of `x.len()` columns.
pub fn dot_f32(format: Format, w_row: &[u8], x: &[f32]) -> f64 {
    assert_eq!(format.row_bytes(x.len()), Some(w_row.len()), "{format}: bytes of a row of {} weights", x.len());
    // Every block length divides QK, so a run of QK weights is a whole number of blocks.
    let run_bytes = QK / format.block_len() * format.block_bytes();
    let mut weights = [0.0; QK];
    let mut sum = 0.0;
    for (bytes, x) in w_row.chunks(run_bytes).zip(x.chunks(QK)) {
        let weights = &mut weights[..x.len()];
        expand(format, bytes, weights);
        for (w, x) in weights.iter().zip(x) {
            sum += f64::from(*w) * f64::from(*x);
        }
    }
    sum
}

/// The integer product of one stored row with int8 activations: i32 sums inside a block, f32
/// across blocks.
///
/// # Panics
///
/// When `format` has no 256-weight blocks, or `w_row` and `x` differ in their number of blocks.
pub fn dot_q8k(format: Format, w_row: &[u8], x: &[BlockQ8K]) -> f32 {
    assert_eq!(format.row_bytes(x.len() * QK), Some(w_row.len()), "{format}: bytes of a row of {} blocks", x.len());
    match format {
        Format::Q2K => each_block(w_row, x, q2_k),
        Format::Q4K => each_block(w_row, x, q4_k),
        Format::Q5K => each_block(w_row, x, q5_k),
        Format::Q6K => each_block(w_row, x, q6_k),
        Format::Iq2Xxs => each_block(w_row, x, iq2_xxs),
        Format::F32 | Format::F16 | Format::Bf16 | Format::Q8_0 => {
            panic!("{format} has no product with Q8_K activations")
        }
    }
}

fn each_block<const BYTES: usize>(w_row: &[u8], x: &[BlockQ8K], dot: impl Fn(&[u8; BYTES], &BlockQ8K) -> f32) -> f32 {
    let blocks = w_row.as_chunks().0.iter();
    blocks.zip(x).map(|(w, x)| dot(w, x)).sum()
}

/// `d_x·d·Σ_g scale_g·Σ q·q_x − d_x·dmin·Σ_g min_g·bsum_g`
fn q2_k(w: &[u8; Q2K::BYTES], x: &BlockQ8K) -> f32 {
    let w = Q2K::unpack(w);
    let codes = weighted_sum(&w.scales, &w.codes, &x.q);
    let mins: i32 = (0..16).map(|g| i32::from(w.mins[g]) * i32::from(x.bsum[g])).sum();
    x.d * w.d.to_f32() * codes as f32 - x.d * w.dmin.to_f32() * mins as f32
}

/// `d_x·d·Σ_j scale_j·Σ q·q_x − d_x·dmin·Σ_j min_j·(bsum_2j + bsum_2j+1)`
fn q4_k(w: &[u8; Q4K::BYTES], x: &BlockQ8K) -> f32 {
    let w = Q4K::unpack(w);
    let codes = weighted_sum(&w.scales, &w.codes, &x.q);
    x.d * w.d.to_f32() * codes as f32 - x.d * w.dmin.to_f32() * min_sum(&w.mins, x) as f32
}

/// The formula of Q4_K with 5-bit codes.
fn q5_k(w: &[u8; Q5K::BYTES], x: &BlockQ8K) -> f32 {
    let w = Q5K::unpack(w);
    let codes = weighted_sum(&w.scales, &w.codes, &x.q);
    x.d * w.d.to_f32() * codes as f32 - x.d * w.dmin.to_f32() * min_sum(&w.mins, x) as f32
}

/// `d_x·d·Σ_g scale_g·Σ (q − 32)·q_x`
fn q6_k(w: &[u8; Q6K::BYTES], x: &BlockQ8K) -> f32 {
    let w = Q6K::unpack(w);
    let mut sum = 0;
    for (i, (&code, &q)) in w.codes.iter().zip(&x.q).enumerate() {
        sum += i32::from(w.scales[i / 16]) * (i32::from(code) - 32) * i32::from(q);
    }
    x.d * w.d.to_f32() * sum as f32
}

/// `0.125·d·d_x·Σ_groups (2c + 1)·Σ grid·sign·q_x`
fn iq2_xxs(w: &[u8; Iq2Xxs::BYTES], x: &BlockQ8K) -> f32 {
    let w = Iq2Xxs::unpack(w);
    let mut sum = 0;
    for (t, q) in x.q.as_chunks::<8>().0.iter().enumerate() {
        let point = GRID[usize::from(w.points[t])].to_le_bytes();
        let signs = sign_mask(w.signs[t]);
        let mut tuple = 0;
        for j in 0..8 {
            let sign = if signs >> j & 1 == 1 { -1 } else { 1 };
            tuple += i32::from(point[j]) * sign * i32::from(q[j]);
        }
        sum += (2 * i32::from(w.scales[t / 4]) + 1) * tuple;
    }
    0.125 * w.d.to_f32() * x.d * sum as f32
}

/// `Σ_g scale_g·Σ q·q_x` over `G` equal groups.
fn weighted_sum<const G: usize>(scales: &[u8; G], codes: &[u8; QK], q: &[i8; QK]) -> i32 {
    let mut sum = 0;
    for (i, (&code, &q)) in codes.iter().zip(q).enumerate() {
        sum += i32::from(scales[i / (QK / G)]) * i32::from(code) * i32::from(q);
    }
    sum
}

/// `Σ_j min_j·(bsum_2j + bsum_2j+1)`
fn min_sum(mins: &[u8; 8], x: &BlockQ8K) -> i32 {
    (0..8).map(|j| i32::from(mins[j]) * (i32::from(x.bsum[2 * j]) + i32::from(x.bsum[2 * j + 1]))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::quantize_q8k;
    use half::f16;
    use proptest::prelude::*;

    /// Byte offsets of the f16 scales, and the largest magnitude that scales and codes reach with
    /// d = dmin = 1.
    const CASES: [(Format, &[usize], f32); 5] = [
        (Format::Q2K, &[80, 82], 15.0 * 3.0 + 15.0),
        (Format::Q4K, &[0, 2], 63.0 * 15.0 + 63.0),
        (Format::Q5K, &[0, 2], 63.0 * 31.0 + 63.0),
        (Format::Q6K, &[208], 128.0 * 32.0),
        (Format::Iq2Xxs, &[0], 15.5 / 4.0 * 43.0),
    ];
    const BLOCKS: usize = 3;

    proptest! {
        /// Random bytes with scales of ±0.25 to ±0.5, against the expanded weights in f64.
        #[test]
        fn integer_formula_equals_expanded_product(
            mut bytes in prop::collection::vec(any::<u8>(), BLOCKS * 210),
            scales in prop::collection::vec((0.25f32..0.5, any::<bool>()), BLOCKS * 2),
            x in prop::collection::vec(-1f32..1.0, BLOCKS * QK),
        ) {
            let mut q = vec![BlockQ8K::ZERO; BLOCKS];
            quantize_q8k(&x, &mut q);
            let x: Vec<f32> = q.iter().flat_map(|b| b.q.map(|q| b.d * f32::from(q))).collect();
            for (format, offsets, reach) in CASES {
                let row = &mut bytes[..BLOCKS * format.block_bytes()];
                for (b, block) in row.chunks_exact_mut(format.block_bytes()).enumerate() {
                    for (&at, (scale, negative)) in offsets.iter().zip(&scales[2 * b..]) {
                        let scale = f16::from_f32(if *negative { -scale } else { *scale });
                        block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
                    }
                }
                let truth = dot_f32(format, row, &x);
                let integer = dot_q8k(format, row, &q);
                // Eight roundings of terms that reach at most |d|·reach·Σ|x|.
                let sum_x: f32 = x.iter().map(|x| x.abs()).sum();
                let bound = 8.0 * f32::EPSILON * 0.5 * reach * sum_x;
                prop_assert!(
                    (f64::from(integer) - truth).abs() <= f64::from(bound),
                    "{format}: {integer} instead of {truth}, bound {bound}"
                );
            }
        }

        #[test]
        fn plain_rows_are_multiplied_as_they_are(x in prop::collection::vec(-1f32..1.0, 1..600)) {
            let row: Vec<u8> = x.iter().rev().flat_map(|w| w.to_le_bytes()).collect();
            let expected: f64 = x.iter().zip(x.iter().rev()).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
            prop_assert_eq!(dot_f32(Format::F32, &row, &x), expected);
        }
    }

    #[test]
    #[should_panic(expected = "Q4_K: bytes of a row of 2 blocks")]
    fn rows_and_activations_must_agree() {
        dot_q8k(Format::Q4K, &[0; 144], &[BlockQ8K::ZERO, BlockQ8K::ZERO]);
    }
}
