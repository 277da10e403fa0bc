//! Steering on the demo model: what it does to outputs, and that it is off when it is off.

use ds4_engine::Precision;
use ds4_engine::backend::Backend;
use ds4_engine::cpu::{CpuBackend, CpuOptions};
use ds4_engine::kv::RowFormat;
use ds4_engine::steering::{Scales, Site, Steering, SteeringError};
use ds4_engine::{Config, Engine, EngineOptions, Logits};
use ds4_gguf::File;
use std::path::Path;
use std::sync::Arc;

fn engine() -> Engine<CpuBackend> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/ds4-demo-q2.gguf");
    let file = Arc::new(File::open(&path).unwrap());
    let config = Config::from_file(&file).unwrap();
    let options = CpuOptions { precision: Precision::Exact, threads: 2, rows: RowFormat::Native };
    let backend = CpuBackend::new(&config, options).unwrap();
    Engine::new(file, config, backend, EngineOptions { context: 256, chunk: 64 }).unwrap()
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

fn scales(attention: f32, feed_forward: f32) -> Scales {
    Scales { attention, feed_forward, layers: None }
}

const TOKENS: [u32; 90] = {
    let mut tokens = [0; 90];
    let mut i = 1;
    while i < 90 {
        tokens[i] = (i as u32 * i as u32 * 7) % 3000 + 20;
        i += 1;
    }
    tokens
};

fn logits(engine: &mut Engine<CpuBackend>) -> Vec<f32> {
    let mut sequence = engine.sequence().unwrap();
    engine.prefill(&mut sequence, &TOKENS, Logits::All, &mut |_| (), &|| false).unwrap()
}

#[test]
fn zero_is_off_and_anything_else_is_not() {
    let mut engine = engine();
    let (plain, identity) = (logits(&mut engine), engine.identity());
    let bytes = directions(engine.config());
    let elsewhere = Scales { layers: Some(2..=3), ..scales(0.5, -2.0) };
    for (scales, is_off) in
        [(scales(0.0, 0.0), true), (scales(0.0, 1.0), false), (scales(-1.0, 0.0), false), (elsewhere, false)]
    {
        let steering = Steering::new(&bytes, engine.config(), scales.clone()).unwrap();
        engine.steer(steering).unwrap();
        assert_eq!(logits(&mut engine) == plain, is_off, "{scales:?}");
        assert_eq!(engine.identity() == identity, is_off, "states are not shared: {scales:?}");
    }
}

#[test]
fn a_scale_of_one_removes_the_direction() {
    let engine = engine();
    let (width, bytes) = (engine.config().embd, directions(engine.config()));
    let along = |outputs: &[f32], il: usize| -> f32 {
        let v = bytes[il * width * 4..][..width * 4].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        outputs[il * width..][..width].iter().zip(v).map(|(y, v)| y * v).sum()
    };
    // A layer's output before steering; the second time the token comes, layer 0 is as without steering, later ones are not.
    for (site, scales) in [(Site::Attention, scales(1.0, 0.0)), (Site::FeedForward, scales(0.0, 1.0))] {
        let outputs = |engine: &mut Engine<CpuBackend>| {
            let mut sequence = engine.sequence().unwrap();
            engine.prefill(&mut sequence, &TOKENS, Logits::None, &mut |_| (), &|| false).unwrap();
            engine.outputs(&mut sequence, 77, site).unwrap()
        };
        let mut engine = self::engine();
        let plain = outputs(&mut engine);
        assert_eq!(plain.len(), width * engine.config().layers.len());
        engine.steer(Steering::new(&bytes, engine.config(), scales).unwrap()).unwrap();
        let steered = outputs(&mut engine);
        if site == Site::FeedForward {
            assert_eq!(plain[..width], steered[..width]);
        }
        assert_ne!(plain[width..], steered[width..]);
        assert!(along(&plain, 1) != along(&steered, 1));
    }
    // The edit itself, by the backend.
    let backend = engine.backend();
    let mut buffer = backend.buffer(2, 4).unwrap();
    backend.write(&mut buffer, &[1.0, 2.0, 3.0, 4.0, 0.0, 1.0, 0.0, 1.0]).unwrap();
    backend.steer(2, &vec![0.6, 0.8, 0.0, 0.0], 1.0, &mut buffer).unwrap();
    let expected = [1.0 - 2.2 * 0.6, 2.0 - 2.2 * 0.8, 3.0, 4.0, -0.8 * 0.6, 1.0 - 0.8 * 0.8, 0.0, 1.0];
    let got = backend.read(&buffer, 2).unwrap();
    assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?}");
}

#[test]
fn bad_directions_are_refused() {
    let engine = engine();
    let (config, bytes) = (engine.config(), directions(engine.config()));
    let refused = |bytes: &[u8], scales| Steering::new(bytes, config, scales).unwrap_err();
    for wrong in [&bytes[..bytes.len() - 1], &[], &[&bytes[..], &[0]].concat()] {
        assert!(matches!(refused(wrong, scales(0.0, 1.0)), SteeringError::Size { .. }));
    }
    for (at, value) in [(5, f32::NAN), (5, f32::INFINITY), (300, 3.0)] {
        let mut bytes = bytes.clone();
        bytes[4 * at..4 * at + 4].copy_from_slice(&value.to_le_bytes());
        let layer = at / config.embd;
        assert!(matches!(refused(&bytes, scales(0.0, 1.0)), SteeringError::Length { layer: l, .. } if l == layer));
    }
    for wrong in [f32::NAN, 101.0, f32::NEG_INFINITY] {
        assert!(matches!(refused(&bytes, scales(wrong, 0.0)), SteeringError::Scale(_)));
    }
    let layers = Scales { layers: Some(3..=5), ..scales(0.0, 1.0) };
    assert!(matches!(refused(&bytes, layers), SteeringError::Layers { most: 4, .. }));
    // A layer without a direction is fine.
    let mut some = bytes.clone();
    some[..4 * config.embd].fill(0);
    assert!(Steering::new(&some, config, scales(0.0, 1.0)).is_ok());
}
