//! Expansion of stored blocks to f32 (spec/quants.md §1).
//!
//! The order of the f32 operations is part of the format: it decides the last bit, and golden
//! files compare bits.

use crate::error::{LengthError, check_lengths};
use crate::format::Format;
use crate::iq2_grid::{GRID, sign_mask};
use crate::layout::{Iq2Xxs, Q2K, Q4K, Q5K, Q6K, Q8_0, QK};
use half::f16;

/// Expands `bytes` into as many f32 as they hold.
///
/// Any bytes are valid: a scale that is infinite or NaN gives infinite or NaN weights.
///
/// # Errors
///
/// [`LengthError`] when `out` is not a whole number of blocks or `bytes` has another length than
/// [`Format::row_bytes`] of `out.len()`.
pub fn dequantize(format: Format, bytes: &[u8], out: &mut [f32]) -> Result<(), LengthError> {
    check_lengths(format, bytes.len(), out.len())?;
    expand(format, bytes, out);
    Ok(())
}

/// [`dequantize`] for lengths known to match.
pub(crate) fn expand(format: Format, bytes: &[u8], out: &mut [f32]) {
    match format {
        Format::F32 => each_block(bytes, out, |b: &[u8; 4], [w]| *w = f32::from_le_bytes(*b)),
        Format::F16 => each_block(bytes, out, |b: &[u8; 2], [w]| {
            *w = f16::from_le_bytes(*b).to_f32();
        }),
        Format::Bf16 => each_block(bytes, out, |b: &[u8; 2], [w]| {
            *w = f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
        }),
        Format::Q8_0 => each_block(bytes, out, q8_0),
        Format::Q2K => each_block(bytes, out, q2_k),
        Format::Q4K => each_block(bytes, out, q4_k),
        Format::Q5K => each_block(bytes, out, q5_k),
        Format::Q6K => each_block(bytes, out, q6_k),
        Format::Iq2Xxs => each_block(bytes, out, iq2_xxs),
    }
}

fn each_block<const BYTES: usize, const LEN: usize>(
    bytes: &[u8],
    out: &mut [f32],
    expand: impl Fn(&[u8; BYTES], &mut [f32; LEN]),
) {
    for (block, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0.iter_mut()) {
        expand(block, out);
    }
}

fn q8_0(block: &[u8; Q8_0::BYTES], out: &mut [f32; 32]) {
    let Q8_0 { d, q } = Q8_0::unpack(block);
    let d = d.to_f32();
    for (w, q) in out.iter_mut().zip(q) {
        *w = d * f32::from(q);
    }
}

fn q2_k(block: &[u8; Q2K::BYTES], out: &mut [f32; QK]) {
    let b = Q2K::unpack(block);
    affine(b.d, b.dmin, &b.scales, &b.mins, &b.codes, out);
}

fn q4_k(block: &[u8; Q4K::BYTES], out: &mut [f32; QK]) {
    let b = Q4K::unpack(block);
    affine(b.d, b.dmin, &b.scales, &b.mins, &b.codes, out);
}

fn q5_k(block: &[u8; Q5K::BYTES], out: &mut [f32; QK]) {
    let b = Q5K::unpack(block);
    affine(b.d, b.dmin, &b.scales, &b.mins, &b.codes, out);
}

/// `w = (d·scale)·code − (dmin·min)` for `G` equal groups.
fn affine<const G: usize>(d: f16, dmin: f16, scales: &[u8; G], mins: &[u8; G], codes: &[u8; QK], out: &mut [f32; QK]) {
    let (d, dmin) = (d.to_f32(), dmin.to_f32());
    let groups = codes.chunks_exact(QK / G).zip(out.chunks_exact_mut(QK / G));
    for ((codes, out), (&scale, &min)) in groups.zip(scales.iter().zip(mins)) {
        let scale = d * f32::from(scale);
        let min = dmin * f32::from(min);
        for (w, &code) in out.iter_mut().zip(codes) {
            *w = scale * f32::from(code) - min;
        }
    }
}

fn q6_k(block: &[u8; Q6K::BYTES], out: &mut [f32; QK]) {
    let b = Q6K::unpack(block);
    let d = b.d.to_f32();
    let groups = b.codes.chunks_exact(16).zip(out.chunks_exact_mut(16));
    for ((codes, out), scale) in groups.zip(b.scales) {
        let scale = d * f32::from(scale);
        for (w, &code) in out.iter_mut().zip(codes) {
            *w = scale * (f32::from(code) - 32.0);
        }
    }
}

fn iq2_xxs(block: &[u8; Iq2Xxs::BYTES], out: &mut [f32; QK]) {
    let b = Iq2Xxs::unpack(block);
    let d = b.d.to_f32();
    for (t, tuple) in out.chunks_exact_mut(8).enumerate() {
        let scale = d * (0.5 + f32::from(b.scales[t / 4])) * 0.25;
        let point = GRID[usize::from(b.points[t])].to_le_bytes();
        let signs = sign_mask(b.signs[t]);
        for (j, (w, level)) in tuple.iter_mut().zip(point).enumerate() {
            let sign = if signs >> j & 1 == 1 { -1.0 } else { 1.0 };
            *w = scale * f32::from(level) * sign;
        }
    }
}
