//! The IQ2_XXS lattice: 256 points of eight magnitudes, and the rule for their signs.

/// Each point as eight 2-bit codes, element j in bits 2j and 2j+1.
///
/// A constant of the file format: the values are those that `gguf.quants.IQ2_XXS.grid_hex` of the
/// `gguf` Python package decodes to, read as little-endian u16.
#[rustfmt::skip]
pub(crate) const WORDS: [u16; 256] = [
    0, 2, 5, 8, 10, 17, 20, 32, 34, 40, 42, 65, 68, 80, 88, 97,
    100, 128, 130, 138, 162, 257, 260, 272, 277, 320, 388, 408, 512, 514, 546, 642,
    1025, 1028, 1040, 1057, 1060, 1088, 1090, 1096, 1120, 1153, 1156, 1168, 1188, 1280, 1282, 1288,
    1312, 1350, 1385, 1408, 1425, 1545, 1552, 1600, 1668, 1700, 2048, 2053, 2056, 2068, 2088, 2113,
    2116, 2128, 2130, 2184, 2308, 2368, 2562, 2580, 4097, 4100, 4112, 4129, 4160, 4192, 4228, 4240,
    4245, 4352, 4360, 4384, 4432, 4442, 4480, 4644, 4677, 5120, 5128, 5152, 5157, 5193, 5248, 5400,
    5474, 5632, 5654, 6145, 6148, 6160, 6208, 6273, 6400, 6405, 6560, 6737, 8192, 8194, 8202, 8260,
    8289, 8320, 8322, 8489, 8520, 8704, 8706, 9217, 9220, 9232, 9280, 9302, 9472, 9537, 9572, 9872,
    10248, 10272, 10388, 10820, 16385, 16388, 16400, 16408, 16417, 16420, 16448, 16456, 16470, 16480, 16513, 16516,
    16528, 16640, 16672, 16737, 16768, 16773, 16897, 16912, 16968, 16982, 17000, 17408, 17416, 17440, 17536, 17561,
    17682, 17700, 17920, 18433, 18436, 18448, 18496, 18501, 18688, 18776, 18785, 18818, 19013, 19088, 20480, 20488,
    20497, 20505, 20512, 20608, 20616, 20740, 20802, 20900, 21137, 21648, 21650, 21770, 22017, 22100, 22528, 22545,
    22553, 22628, 22848, 23048, 24580, 24592, 24640, 24680, 24832, 24917, 25112, 25184, 25600, 25605, 25872, 25874,
    25988, 26690, 32768, 32770, 32778, 32833, 32898, 33028, 33048, 33088, 33297, 33793, 33796, 33808, 33813, 33856,
    33888, 34048, 34118, 34196, 34313, 34368, 34400, 34818, 35076, 35345, 36868, 36880, 36900, 36928, 37025, 37142,
    37248, 37445, 37888, 37922, 37956, 38225, 39041, 39200, 40962, 41040, 41093, 41225, 41472, 42008, 43088, 43268,
];

/// The magnitudes that codes 0, 1 and 2 stand for, in units of one eighth of the group scale.
const LEVELS: [u8; 3] = [8, 25, 43];

/// The lattice, eight bytes per point: element j of point n is byte j (least significant first)
/// of `GRID[n]`, one of 8, 25 and 43.
pub static GRID: [u64; 256] = expand(&WORDS);

/// The eight sign bits of a 7-bit sign index: bit j set means that element j is negative.
///
/// Bit 7 is the parity of the others, so every point has an even number of minus signs. Bit 7 of
/// `i` is ignored.
pub const fn sign_mask(i: u8) -> u8 {
    let low = i & 0x7f;
    low | (((low.count_ones() & 1) as u8) << 7)
}

const fn expand(words: &[u16; 256]) -> [u64; 256] {
    let mut grid = [0u64; 256];
    let mut n = 0;
    while n < grid.len() {
        let mut j = 0;
        while j < 8 {
            let code = (words[n] >> (2 * j)) & 3;
            grid[n] |= (LEVELS[code as usize] as u64) << (8 * j);
            j += 1;
        }
        n += 1;
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spot_values_of_the_specification() {
        assert_eq!(WORDS[255], 43268);
        assert_eq!(GRID[0].to_le_bytes(), [8; 8]);
        assert_eq!(GRID[1].to_le_bytes(), [0x2b, 8, 8, 8, 8, 8, 8, 8]);
    }

    #[test]
    fn words_are_ascending_and_free_of_code_three() {
        assert!(WORDS.is_sorted_by(|a, b| a < b));
        assert!(WORDS.iter().all(|w| w & (w >> 1) & 0x5555 == 0));
    }

    #[test]
    fn sign_masks_have_even_parity_and_differ() {
        let masks: std::collections::HashSet<u8> = (0..128).map(sign_mask).collect();
        assert_eq!(masks.len(), 128);
        assert!(masks.iter().all(|m| m.count_ones() % 2 == 0));
        assert!((0..128).all(|i| sign_mask(i) & 0x7f == i && sign_mask(i | 0x80) == sign_mask(i)));
    }
}
