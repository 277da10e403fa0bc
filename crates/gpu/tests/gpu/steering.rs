//! Steering on the GPU: against the formula, against the processor, and off when it is off. Needs a Vulkan device, which may be software.

use crate::support::{devices, right};
use ds4_engine::backend::Backend;
use ds4_engine::cpu::{CpuBackend, CpuOptions};
use ds4_engine::kv::RowFormat;
use ds4_engine::steering::{Scales, Steering};
use ds4_engine::{Config, Engine, EngineOptions, Logits, Precision, TokenId};
use ds4_gguf::File;
use ds4_gpu::ops::steer::steer;
use ds4_gpu::selftest::Verdict;
use ds4_gpu::selftest::steer::check_steer;
use ds4_gpu::{Gpu, GpuBackend, GpuOptions, Rows, Vector};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

const OPTIONS: EngineOptions = EngineOptions { context: 256, chunk: 64 };

fn file() -> Arc<File> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/ds4-demo-q2.gguf");
    Arc::new(File::open(&path).unwrap())
}

/// Rows are not rounded, lest a difference of the last bit tips one.
fn gpu_engine() -> Engine<GpuBackend> {
    let file = file();
    let config = Config::from_file(&file).unwrap();
    let options = GpuOptions {
        precision: Precision::Exact,
        rows: RowFormat::Unrounded,
        chunk: OPTIONS.chunk,
        context: OPTIONS.context,
        drafter: None,
        tuning: None,
        loaded: Box::new(|_| ()),
    };
    let backend = GpuBackend::new(Gpu::open(None).unwrap(), &file, &config, options).unwrap();
    Engine::new(file, config, backend, OPTIONS).unwrap()
}

fn cpu_engine() -> Engine<CpuBackend> {
    let file = file();
    let config = Config::from_file(&file).unwrap();
    let options = CpuOptions { precision: Precision::Exact, threads: 2, rows: RowFormat::Unrounded };
    let backend = CpuBackend::new(&config, options).unwrap();
    Engine::new(file, config, backend, OPTIONS).unwrap()
}

/// Another unit vector for each layer.
fn directions(config: &Config) -> Vec<u8> {
    let vector = |il: usize| {
        let mut v: Vec<f32> = (0..config.embd).map(|i| ((i * 37 + il * 101) % 97) as f32 - 48.0).collect();
        let length = v.iter().map(|x| x * x).sum::<f32>().sqrt();
        v.iter_mut().for_each(|x| *x /= length);
        v
    };
    (0..config.layers.len()).flat_map(vector).flat_map(f32::to_le_bytes).collect()
}

fn logits<B: Backend>(engine: &mut Engine<B>, scales: Option<Scales>) -> Vec<f32> {
    if let Some(scales) = scales {
        let steering = Steering::new(&directions(engine.config()), engine.config(), scales).unwrap();
        engine.steer(steering).unwrap();
    }
    let mut sequence = engine.sequence().unwrap();
    let tokens: Vec<TokenId> = (0..90).map(|i| i * i * 7 % 3000 + 20).collect();
    engine.prefill(&mut sequence, &tokens, Logits::All, &mut |_| (), &|| false).unwrap()
}

#[test]
fn it_is_off_when_it_is_off_and_as_on_the_processor_when_it_is_not() {
    let (mut gpu, mut cpu) = (gpu_engine(), cpu_engine());
    let (plain, identity) = (logits(&mut gpu, None), gpu.identity());
    let scales = |attention, feed_forward| Scales { attention, feed_forward, layers: None };
    assert!(logits(&mut gpu, Some(scales(0.0, 0.0))) == plain);
    assert_eq!(gpu.identity(), identity);
    let elsewhere = Scales { layers: Some(2..=3), ..scales(0.5, -2.0) };
    for scales in [scales(0.0, 1.0), scales(-1.0, 0.0), elsewhere] {
        let (got, want) = (logits(&mut gpu, Some(scales.clone())), logits(&mut cpu, Some(scales.clone())));
        assert!(gpu.identity() != identity, "states are not shared");
        let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let (worst, effect) = (apart(&got, &want), apart(&got, &plain));
        println!("{scales:?}: {worst:e} from the processor, {effect} from no steering");
        assert!(worst < 1e-3 && effect > 100.0 * worst, "{scales:?}: {worst:e}, {effect}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn rows_lose_a_multiple_of_a_direction(
        width in 1usize..5000, rows in 1usize..20, scale in -100.0f32..100.0, seed in any::<u64>(),
    ) {
        for gpu in devices() {
            let mut verdict = Verdict::default();
            check_steer(&mut verdict, &gpu, width, rows, scale, seed).unwrap();
            right(&format!("{rows} rows of {width}, scale {scale}"), &verdict);
        }
    }
}

#[test]
fn a_scale_of_zero_touches_nothing() {
    let gpu = Gpu::open(None).unwrap();
    // Not even what is no number, or the sign of a zero.
    let values = [0.0, -0.0, f32::INFINITY, f32::MIN_POSITIVE / 2.0, -1.5, 3e38, -7.25, 1.0];
    let y = Rows::of(&gpu, &values, 4).unwrap();
    let v = Vector::new(&gpu, &[0.5, -0.5, 0.5, 0.5]).unwrap();
    for scale in [0.0, -0.0] {
        steer(&gpu, 2, &v, scale, &y).unwrap();
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&y.read(&gpu, 2).unwrap()), bits(&values));
    }
    steer(&gpu, 1, &v, 1.0, &y).unwrap();
    assert!(y.read(&gpu, 1).unwrap().iter().any(|v| v.is_nan()), "and then it does");
}
