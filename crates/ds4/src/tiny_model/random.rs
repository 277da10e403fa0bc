//! Random numbers that are the same everywhere: integers only, until one exact conversion at the end.

/// SplitMix64.
pub struct Random {
    state: u64,
}

impl Random {
    /// The stream of one tensor.
    pub fn new(seed: u64, name: &str) -> Self {
        // FNV-1a: any hash would do that stays the same.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mut random = Self { state: hash };
        random.state = random.next() ^ seed;
        random
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below 1.
    pub fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32
    }

    /// Mean 0, deviation 1, nearly normal: the sum of twelve uniform numbers has variance 1.
    pub fn normal(&mut self) -> f32 {
        let mut sum = 0;
        for _ in 0..3 {
            let bits = self.next();
            sum += (0..4).map(|i| (bits >> (16 * i)) as i32 & 0xffff).sum::<i32>();
        }
        // At most 20 bits, so every step is exact.
        (sum - 6 * 0xffff) as f32 / 65536.0
    }

    /// Below `n`, nearly evenly for small ones.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_mean_zero_and_deviation_one() {
        let mut random = Random::new(1, "x");
        let n = 100_000;
        let values: Vec<f64> = (0..n).map(|_| f64::from(random.normal())).collect();
        let mean = values.iter().sum::<f64>() / f64::from(n);
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.02, "{mean}");
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
    }

    #[test]
    fn the_first_numbers_never_change() {
        let mut random = Random::new(1, "output.weight");
        let first: Vec<f32> = (0..3).map(|_| random.normal()).collect();
        // From a program of its own, so that files stay the same across versions and machines.
        assert_eq!(first, [-32943.0, 48205.0, 54736.0].map(|sum| sum / 65536.0));
    }

    #[test]
    fn names_and_seeds_have_streams_of_their_own() {
        let first = |seed, name| Random::new(seed, name).uniform();
        assert_ne!(first(1, "a"), first(1, "b"));
        assert_ne!(first(1, "a"), first(2, "a"));
    }
}
