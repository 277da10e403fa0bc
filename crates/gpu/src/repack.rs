//! Blocks of weights as the kernels read them: planes of 16-byte units, as many bytes as in the file.
//!
//! What each plane holds is told in the kernels' own parts (`kernels/linear/*.wgsl`).

use ds4_quant::Format;

/// Bytes of a block in each plane.
pub(crate) fn plane_bytes(format: Format) -> &'static [u64] {
    match format {
        Format::F32 => &[4],
        Format::F16 | Format::Bf16 => &[2],
        Format::Q8_0 => &[32, 2],
        Format::Q2K => &[64, 16, 4],
        Format::Q4K => &[144],
        Format::Q5K => &[176],
        Format::Q6K => &[128, 64, 16, 2],
        Format::Iq2Xxs => &[64, 2],
    }
}

/// Rearranges whole blocks into their planes.
pub(crate) fn repack(format: Format, blocks: &[u8], planes: &mut [&mut [u8]]) {
    match (format, planes) {
        (Format::Q8_0, [q, d]) => q8_0(blocks, q, d),
        (Format::Iq2Xxs, [q, d]) => iq2_xxs(blocks, q, d),
        (Format::Q2K, [q, scales, d]) => q2_k(blocks, q, scales, d),
        (Format::Q6K, [low, high, scales, d]) => q6_k(blocks, low, high, scales, d),
        (_, [all]) => all[..blocks.len()].copy_from_slice(blocks),
        _ => debug_assert!(false, "planes of {format}"),
    }
}

fn q8_0(blocks: &[u8], q: &mut [u8], d: &mut [u8]) {
    let (q, d) = (q.as_chunks_mut::<32>().0, d.as_chunks_mut::<2>().0);
    for ((block, q), d) in blocks.as_chunks::<34>().0.iter().zip(q).zip(d) {
        d.copy_from_slice(&block[..2]);
        q.copy_from_slice(&block[2..]);
    }
}

/// Where the signs of elements 0 to 6 of point 0 go: element e of the first four to bit 8e, of the others to bit 8(e − 4) + 4.
const SIGNS: [u32; 128] = {
    let mut table = [0; 128];
    let mut i = 0;
    while i < 128 {
        let mut e = 0;
        while e < 7 {
            if i >> e & 1 == 1 {
                table[i] |= 1 << (if e < 4 { 8 * e } else { 8 * (e - 4) + 4 });
            }
            e += 1;
        }
        i += 1;
    }
    table
};

fn iq2_xxs(blocks: &[u8], q: &mut [u8], d: &mut [u8]) {
    let (q, d) = (q.as_chunks_mut::<64>().0, d.as_chunks_mut::<2>().0);
    for ((block, q), d) in blocks.as_chunks::<66>().0.iter().zip(q).zip(d) {
        d.copy_from_slice(&block[..2]);
        let groups = block[2..].as_chunks::<8>().0;
        for (from, to) in groups.iter().zip(q.as_chunks_mut::<8>().0) {
            let [a @ .., b0, b1, b2, b3] = *from;
            let b = u32::from_le_bytes([b0, b1, b2, b3]);
            let signs = (0..4).fold(0, |signs, k| signs | SIGNS[(b >> (7 * k)) as usize & 127] << k);
            to[..4].copy_from_slice(&a);
            to[4..].copy_from_slice(&(signs | (b >> 28) << 28).to_le_bytes());
        }
    }
}

fn q2_k(blocks: &[u8], q: &mut [u8], scales: &mut [u8], d: &mut [u8]) {
    let (q, scales) = (q.as_chunks_mut::<64>().0, scales.as_chunks_mut::<16>().0);
    let d = d.as_chunks_mut::<4>().0;
    for (((block, q), scales), d) in blocks.as_chunks::<84>().0.iter().zip(q).zip(scales).zip(d) {
        scales.copy_from_slice(&block[..16]);
        d.copy_from_slice(&block[80..]);
        for (v, to) in q.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            // Runs of 16 weights alternate between the two 16-byte halves.
            let (half, shift) = (16 + 32 * (v / 2), 4 * (v % 2));
            for (l, to) in to.iter_mut().enumerate() {
                let (a, b) = (block[half + l] >> shift, block[half + 16 + l] >> shift);
                *to = (a & 3) | (b & 3) << 2 | (a >> 2 & 3) << 4 | (b >> 2 & 3) << 6;
            }
        }
    }
}

fn q6_k(blocks: &[u8], low: &mut [u8], high: &mut [u8], scales: &mut [u8], d: &mut [u8]) {
    let (low, high) = (low.as_chunks_mut::<128>().0, high.as_chunks_mut::<64>().0);
    let (scales, d) = (scales.as_chunks_mut::<16>().0, d.as_chunks_mut::<2>().0);
    let targets = low.iter_mut().zip(high).zip(scales).zip(d);
    for (block, (((low, high), scales), d)) in blocks.as_chunks::<210>().0.iter().zip(targets) {
        scales.copy_from_slice(&block[192..208]);
        d.copy_from_slice(&block[208..]);
        for (v, (low, high)) in low.as_chunks_mut::<32>().0.iter_mut().zip(high.as_chunks_mut::<16>().0).enumerate() {
            let (nibbles, pairs) = (&block[64 * (v / 2)..][..64], &block[128 + 32 * (v / 2)..][..32]);
            // A half of 128 weights is four runs of 32; these 64 are its first two or its last two.
            let (shift, run) = (4 * (v % 2), 2 * (v % 2));
            for (l, low) in low.iter_mut().enumerate() {
                *low = nibbles[l] >> shift & 15 | (nibbles[32 + l] >> shift & 15) << 4;
            }
            for (l, high) in high.iter_mut().enumerate() {
                let (a, b) = (pairs[l] >> (2 * run), pairs[16 + l] >> (2 * run));
                *high = (a & 3) | (b & 3) << 2 | (a >> 2 & 3) << 4 | (b >> 2 & 3) << 6;
            }
        }
    }
}
