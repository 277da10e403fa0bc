//! Where the fields of each block lie (spec/quants.md §1).
//!
//! One type per format holds the fields of a block in weight order. `unpack` and `pack` are exact
//! inverses for every byte pattern, and nothing else in the portable code knows the bit positions.

use half::f16;

/// Weights in a block of the K formats and of IQ2_XXS, and activations in a Q8_K block.
pub const QK: usize = 256;

fn f16_at(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn set_f16(bytes: &mut [u8], at: usize, value: f16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

/// A Q8_0 block: `w_i = d·q_i`.
pub(crate) struct Q8_0 {
    pub d: f16,
    pub q: [i8; 32],
}

impl Q8_0 {
    pub const BYTES: usize = 34;

    pub fn unpack(block: &[u8; Self::BYTES]) -> Self {
        let mut q = [0; 32];
        for (q, &byte) in q.iter_mut().zip(&block[2..]) {
            *q = byte as i8;
        }
        Self { d: f16_at(block, 0), q }
    }

    pub fn pack(&self, block: &mut [u8; Self::BYTES]) {
        set_f16(block, 0, self.d);
        for (byte, &q) in block[2..].iter_mut().zip(&self.q) {
            *byte = q as u8;
        }
    }
}

/// A Q2_K block: `w_i = d·scales[g]·codes[i] − dmin·mins[g]` with `g = i / 16`.
pub(crate) struct Q2K {
    pub d: f16,
    pub dmin: f16,
    /// 4-bit scales.
    pub scales: [u8; 16],
    /// 4-bit minima.
    pub mins: [u8; 16],
    /// 2-bit codes.
    pub codes: [u8; QK],
}

impl Q2K {
    pub const BYTES: usize = 84;

    pub fn unpack(block: &[u8; Self::BYTES]) -> Self {
        let mut codes = [0; QK];
        unpack_2bit(&block[16..80], &mut codes);
        let packed = &block[..16];
        Self {
            d: f16_at(block, 80),
            dmin: f16_at(block, 82),
            scales: std::array::from_fn(|g| packed[g] & 15),
            mins: std::array::from_fn(|g| packed[g] >> 4),
            codes,
        }
    }

    pub fn pack(&self, block: &mut [u8; Self::BYTES]) {
        for ((byte, scale), min) in block.iter_mut().zip(self.scales).zip(self.mins) {
            *byte = scale | min << 4;
        }
        pack_2bit(&self.codes, &mut block[16..80]);
        set_f16(block, 80, self.d);
        set_f16(block, 82, self.dmin);
    }
}

/// A Q4_K block: `w_i = d·scales[j]·codes[i] − dmin·mins[j]` with `j = i / 32`.
pub(crate) struct Q4K {
    pub d: f16,
    pub dmin: f16,
    /// 6-bit scales.
    pub scales: [u8; 8],
    /// 6-bit minima.
    pub mins: [u8; 8],
    /// 4-bit codes.
    pub codes: [u8; QK],
}

impl Q4K {
    pub const BYTES: usize = 144;

    pub fn unpack(block: &[u8; Self::BYTES]) -> Self {
        let (scales, mins) = unpack_6bit_pairs(&block[4..16]);
        let mut codes = [0; QK];
        unpack_nibbles(&block[16..], &mut codes);
        Self { d: f16_at(block, 0), dmin: f16_at(block, 2), scales, mins, codes }
    }

    pub fn pack(&self, block: &mut [u8; Self::BYTES]) {
        set_f16(block, 0, self.d);
        set_f16(block, 2, self.dmin);
        pack_6bit_pairs(&self.scales, &self.mins, &mut block[4..16]);
        pack_nibbles(&self.codes, &mut block[16..]);
    }
}

/// A Q5_K block: the formula of [`Q4K`] with 5-bit codes, whose top bits lie apart: bit j of
/// high byte l belongs to weight `32·j + l`.
pub(crate) struct Q5K {
    pub d: f16,
    pub dmin: f16,
    /// 6-bit scales.
    pub scales: [u8; 8],
    /// 6-bit minima.
    pub mins: [u8; 8],
    /// 5-bit codes.
    pub codes: [u8; QK],
}

impl Q5K {
    pub const BYTES: usize = 176;

    pub fn unpack(block: &[u8; Self::BYTES]) -> Self {
        let (scales, mins) = unpack_6bit_pairs(&block[4..16]);
        let mut codes = [0; QK];
        unpack_nibbles(&block[48..], &mut codes);
        for (j, group) in codes.chunks_exact_mut(32).enumerate() {
            for (code, high) in group.iter_mut().zip(&block[16..48]) {
                *code |= ((high >> j) & 1) << 4;
            }
        }
        Self { d: f16_at(block, 0), dmin: f16_at(block, 2), scales, mins, codes }
    }

    pub fn pack(&self, block: &mut [u8; Self::BYTES]) {
        set_f16(block, 0, self.d);
        set_f16(block, 2, self.dmin);
        pack_6bit_pairs(&self.scales, &self.mins, &mut block[4..16]);
        let high_bytes = &mut block[16..48];
        high_bytes.fill(0);
        for (j, group) in self.codes.chunks_exact(32).enumerate() {
            for (high, code) in high_bytes.iter_mut().zip(group) {
                *high |= (code >> 4) << j;
            }
        }
        pack_nibbles(&self.codes.map(|code| code & 15), &mut block[48..]);
    }
}

/// A Q6_K block: `w_i = d·scales[g]·(codes[i] − 32)` with `g = i / 16`.
///
/// Each half of 128 weights has 64 bytes of low nibbles and 32 bytes of high bit pairs. Runs
/// k = 0…3 of 32 weights take the low nibbles of the first and second 32 bytes, then the high
/// nibbles of the same bytes, and bit pair k of the high bytes.
pub(crate) struct Q6K {
    pub d: f16,
    /// Signed 8-bit scales.
    pub scales: [i8; 16],
    /// 6-bit codes, offset by 32.
    pub codes: [u8; QK],
}

impl Q6K {
    pub const BYTES: usize = 210;

    pub fn unpack(block: &[u8; Self::BYTES]) -> Self {
        let mut codes = [0; QK];
        unpack_2bit(&block[128..192], &mut codes);
        let low = block[..128].chunks_exact(64);
        for (half, low) in codes.chunks_exact_mut(128).zip(low) {
            for (k, run) in half.chunks_exact_mut(64).enumerate() {
                for (code, low) in run.iter_mut().zip(low) {
                    *code = *code << 4 | ((low >> (4 * k)) & 15);
                }
            }
        }
        let packed = &block[192..208];
        Self { d: f16_at(block, 208), scales: std::array::from_fn(|g| packed[g] as i8), codes }
    }

    pub fn pack(&self, block: &mut [u8; Self::BYTES]) {
        let low = block[..128].chunks_exact_mut(64);
        for (half, low) in self.codes.chunks_exact(128).zip(low) {
            let (first, second) = half.split_at(64);
            for ((low, a), b) in low.iter_mut().zip(first).zip(second) {
                *low = (a & 15) | (b & 15) << 4;
            }
        }
        pack_2bit(&self.codes.map(|code| code >> 4), &mut block[128..192]);
        for (byte, &scale) in block[192..208].iter_mut().zip(&self.scales) {
            *byte = scale as u8;
        }
        set_f16(block, 208, self.d);
    }
}

/// An IQ2_XXS block. Tuple t (of eight weights) is lattice point `points[t]` with the signs of
/// index `signs[t]`, times `d·(2·scales[t / 4] + 1)/8`.
pub(crate) struct Iq2Xxs {
    pub d: f16,
    /// 4-bit scale codes, one per 32 weights.
    pub scales: [u8; 8],
    /// Indices into [`crate::iq2_grid::GRID`], one per 8 weights.
    pub points: [u8; 32],
    /// 7-bit indices for [`crate::iq2_grid::sign_mask`], one per 8 weights.
    pub signs: [u8; 32],
}

impl Iq2Xxs {
    pub const BYTES: usize = 66;

    pub fn unpack(block: &[u8; Self::BYTES]) -> Self {
        let mut fields = Self { d: f16_at(block, 0), scales: [0; 8], points: [0; 32], signs: [0; 32] };
        for (group, bytes) in block[2..].chunks_exact(8).enumerate() {
            let b = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            let tuples = 4 * group..4 * group + 4;
            fields.scales[group] = (b >> 28) as u8;
            fields.points[tuples.clone()].copy_from_slice(&bytes[..4]);
            for (k, signs) in fields.signs[tuples].iter_mut().enumerate() {
                *signs = (b >> (7 * k)) as u8 & 0x7f;
            }
        }
        fields
    }

    pub fn pack(&self, block: &mut [u8; Self::BYTES]) {
        set_f16(block, 0, self.d);
        for (group, bytes) in block[2..].chunks_exact_mut(8).enumerate() {
            let tuples = 4 * group..4 * group + 4;
            let mut b = u32::from(self.scales[group]) << 28;
            for (k, &signs) in self.signs[tuples.clone()].iter().enumerate() {
                b |= u32::from(signs) << (7 * k);
            }
            bytes[..4].copy_from_slice(&self.points[tuples]);
            bytes[4..].copy_from_slice(&b.to_le_bytes());
        }
    }
}

/// Each run of 32 bytes holds 128 codes: bit pair s of byte l is code `32·s + l` of the run.
fn unpack_2bit(bytes: &[u8], codes: &mut [u8; QK]) {
    for (bytes, codes) in bytes.chunks_exact(32).zip(codes.chunks_exact_mut(128)) {
        for (s, run) in codes.chunks_exact_mut(32).enumerate() {
            for (code, byte) in run.iter_mut().zip(bytes) {
                *code = (byte >> (2 * s)) & 3;
            }
        }
    }
}

fn pack_2bit(codes: &[u8; QK], bytes: &mut [u8]) {
    bytes.fill(0);
    for (bytes, codes) in bytes.chunks_exact_mut(32).zip(codes.chunks_exact(128)) {
        for (s, run) in codes.chunks_exact(32).enumerate() {
            for (byte, code) in bytes.iter_mut().zip(run) {
                *byte |= code << (2 * s);
            }
        }
    }
}

/// Each run of 32 bytes holds 64 codes: 32 low nibbles, then 32 high ones.
fn unpack_nibbles(bytes: &[u8], codes: &mut [u8; QK]) {
    for (bytes, codes) in bytes.chunks_exact(32).zip(codes.chunks_exact_mut(64)) {
        let (low, high) = codes.split_at_mut(32);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
            *low = byte & 15;
            *high = byte >> 4;
        }
    }
}

fn pack_nibbles(codes: &[u8; QK], bytes: &mut [u8]) {
    for (bytes, codes) in bytes.chunks_exact_mut(32).zip(codes.chunks_exact(64)) {
        let (low, high) = codes.split_at(32);
        for ((byte, low), high) in bytes.iter_mut().zip(low).zip(high) {
            *byte = low | high << 4;
        }
    }
}

/// The twelve bytes with eight 6-bit scales and eight 6-bit minima: pairs 0…3 whole in bytes 0…3
/// and 4…7, pairs 4…7 as nibbles in bytes 8…11 with their top two bits above the former.
pub(crate) fn unpack_6bit_pairs(s: &[u8]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut mins) = ([0; 8], [0; 8]);
    for j in 0..4 {
        scales[j] = s[j] & 63;
        mins[j] = s[j + 4] & 63;
        scales[j + 4] = (s[j + 8] & 15) | (s[j] >> 6) << 4;
        mins[j + 4] = (s[j + 8] >> 4) | (s[j + 4] >> 6) << 4;
    }
    (scales, mins)
}

fn pack_6bit_pairs(scales: &[u8; 8], mins: &[u8; 8], s: &mut [u8]) {
    for j in 0..4 {
        s[j] = scales[j] | (scales[j + 4] >> 4) << 6;
        s[j + 4] = mins[j] | (mins[j + 4] >> 4) << 6;
        s[j + 8] = (scales[j + 4] & 15) | (mins[j + 4] & 15) << 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Packing what was unpacked must give back the same bytes, whatever they are.
    macro_rules! pack_inverts_unpack {
        ($($name:ident: $block:ty,)*) => {
            proptest! {$(
                #[test]
                fn $name(bytes in prop::collection::vec(any::<u8>(), <$block>::BYTES)) {
                    let bytes: [u8; <$block>::BYTES] = bytes.try_into().unwrap();
                    // Stale bytes in the target must not survive.
                    let mut packed = [0xa5; <$block>::BYTES];
                    <$block>::unpack(&bytes).pack(&mut packed);
                    prop_assert_eq!(packed, bytes);
                }
            )*}
        };
    }

    pack_inverts_unpack! {
        q8_0_pack_inverts_unpack: Q8_0,
        q2_k_pack_inverts_unpack: Q2K,
        q4_k_pack_inverts_unpack: Q4K,
        q5_k_pack_inverts_unpack: Q5K,
        q6_k_pack_inverts_unpack: Q6K,
        iq2_xxs_pack_inverts_unpack: Iq2Xxs,
    }
}
