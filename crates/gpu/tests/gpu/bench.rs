//! The self-test's attention beside its reference, for tests: what is wrong there panics here.

use ds4_engine::kv::{Cache, RowFormat};
use ds4_gpu::selftest::Verdict;
use ds4_gpu::selftest::attention as selftest;
pub use ds4_gpu::selftest::attention::{DEMO, EVEN, FULL, KINDS, SMALL, Size, config};
pub use ds4_gpu::selftest::weights::Random;
use ds4_gpu::{Caps, Gpu};
use std::ops::Deref;
use std::sync::Arc;

pub struct Bench(selftest::Bench);

impl Deref for Bench {
    type Target = selftest::Bench;

    fn deref(&self) -> &selftest::Bench {
        &self.0
    }
}

impl Bench {
    pub fn new(size: Size, format: RowFormat, limit: fn(Caps) -> Caps) -> Self {
        let gpu = Gpu::open(None).unwrap();
        let caps = limit(gpu.caps());
        Self(selftest::Bench::new(Arc::new(gpu.limited(caps)), size, format, None).unwrap())
    }

    /// With matrix units that are played by the kernel itself.
    pub fn with_units(size: Size, format: RowFormat) -> Self {
        let units = include_str!("units_software.wgsl");
        Self(selftest::Bench::new(Arc::new(Gpu::open(None).unwrap()), size, format, Some(units)).unwrap())
    }

    pub fn filled(&self, tokens: usize, random: &mut Random) -> Cache {
        self.0.filled(tokens, random).unwrap()
    }

    pub fn to_device(&self, cache: &Cache, tokens: usize) -> ds4_gpu::Cache {
        self.0.to_device(cache, tokens).unwrap()
    }

    /// One step of all layers on both sides. Returns, by layer, what the device's attention made of each row.
    #[track_caller]
    pub fn step(
        &self,
        lengths: &[(usize, usize)],
        host: &mut [Cache],
        device: &mut [ds4_gpu::Cache],
        seed: u64,
    ) -> Vec<Vec<f32>> {
        let mut verdict = Verdict::default();
        let out = self.0.step(&mut verdict, lengths, host, device, seed).unwrap();
        println!("{:?} {lengths:?}: {} of what is allowed", self.format, verdict.worst);
        assert!(verdict.is_right(), "{lengths:?}: {:?}, {} of what is allowed", verdict.finding, verdict.worst);
        out
    }

    /// What the indexer of layer 1 chooses for one more row that closes no window.
    pub fn choice(&self, tokens: usize, host: &Cache, device: &mut [ds4_gpu::Cache; 1]) -> Vec<u32> {
        assert!(!(tokens + 1).is_multiple_of(4));
        self.step(&[(tokens, 1)], &mut [host.clone()], device, 6);
        self.last_choice()
    }
}
