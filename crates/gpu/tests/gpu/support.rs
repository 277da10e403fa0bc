//! The references of the self-test, for tests: what fails there panics here.

use ds4_engine::backend::MatrixShape;
use ds4_gguf::File;
use ds4_gpu::Gpu;
use ds4_gpu::selftest::Verdict;
pub use ds4_gpu::selftest::weights::{Random, Weights, random_blocks, shape};
use ds4_quant::Format;
use std::sync::Arc;

pub fn file_of(matrices: &[(Format, MatrixShape, &[u8])]) -> Arc<File> {
    ds4_gpu::selftest::weights::file_of(matrices).unwrap()
}

pub fn random_weights(gpu: &Gpu, random: &mut Random, format: Format, shape: MatrixShape) -> Weights {
    Weights::random(gpu, random, format, shape).unwrap()
}

/// The device as it is, and with only the least that every device has.
pub fn devices() -> Vec<Gpu> {
    let open = || Gpu::open(None).unwrap();
    let caps = open().caps();
    [caps, caps.plain()].into_iter().map(|caps| open().limited(caps)).collect()
}

/// Panics with what was found wrong.
#[track_caller]
pub fn right(what: &str, verdict: &Verdict) {
    assert!(verdict.is_right(), "{what}: {:?}, {} of what is allowed", verdict.finding, verdict.worst);
}
