//! The demo model in the engine against the PyTorch module that it was trained with (`models/demo/export.py --logits`).
//!
//! `demo.json` lists prompts of held-out cases and positions; `demo.f32` holds the float64 logits of those positions, rounded to
//! f32, of the weights in `ds4-demo-f16.gguf` without KV rounding. The longer prompt makes the indexer choose.

use ds4_engine::Precision;
use ds4_engine::cpu::{CpuBackend, CpuOptions};
use ds4_engine::kv::RowFormat;
use ds4_engine::{Config, Engine, EngineOptions, Logits};
use ds4_gguf::File;
use std::path::Path;
use std::sync::Arc;

/// Largest difference of a logit: the strict profile's limit for a row, without allowance for sensitivity.
const DIFFERENCE_MAX: f32 = 3e-4;

#[test]
fn logits_equal_those_of_pytorch() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = Arc::new(File::open(&folder.join("../../models/demo/ds4-demo-f16.gguf")).unwrap());
    let config = Config::from_file(&file).unwrap();
    let vocab = config.vocab;
    let options = CpuOptions { precision: Precision::Exact, threads: 2, rows: RowFormat::Unrounded };
    let backend = CpuBackend::new(&config, options).unwrap();
    let mut engine = Engine::new(file, config, backend, EngineOptions { context: 2048, chunk: 512 }).unwrap();

    let prompts = std::fs::read(folder.join("tests/data/demo.json")).unwrap();
    let prompts: Vec<serde_json::Value> = serde_json::from_slice(&prompts).unwrap();
    let blob = std::fs::read(folder.join("tests/data/demo.f32")).unwrap();
    let mut expected = blob.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    for prompt in &prompts {
        let tokens: Vec<u32> = serde_json::from_value(prompt["tokens"].clone()).unwrap();
        let positions: Vec<usize> = serde_json::from_value(prompt["positions"].clone()).unwrap();
        let mut sequence = engine.sequence().unwrap();
        let logits = engine.prefill(&mut sequence, &tokens, Logits::All, &mut |_| (), &|| false).unwrap();
        for position in positions {
            let worst = logits[position * vocab..][..vocab]
                .iter()
                .map(|got| (got - expected.next().unwrap()).abs())
                .fold(0.0, |worst, e| if e.is_nan() { f32::INFINITY } else { f32::max(worst, e) });
            assert!(worst <= DIFFERENCE_MAX, "{} at {position}: {worst:.1e}", prompt["name"]);
            println!("{} at {position}: {worst:.1e}", prompt["name"]);
        }
    }
    assert_eq!(expected.next(), None, "a logit was not compared");
}
