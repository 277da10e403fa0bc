//! A small random model with the true architecture: all layer kinds, both routings, real tensor names and
//! types, a byte-level tokenizer. For trying things, and for tests that need a file of their own.
//!
//! The same recipe and seed give the same bytes on every machine: random numbers come from integer
//! arithmetic, one stream a tensor.

mod metadata;
mod plan;
mod random;
mod vocabulary;

use crate::recipe::{Family, Recipe};
use anyhow::Result;
use ds4_engine::weights::tensor_type;
use ds4_gguf::{TensorType, Writer};
use ds4_quant::{Format, quantize};
use plan::{Fill, Tensor};
use random::Random;
use vocabulary::Vocabulary;

pub use plan::KvShape;

/// The file, 6 to 36 MB, more with a large KV shape.
pub fn gguf(recipe: Recipe, seed: u64, kv: KvShape) -> Result<Vec<u8>> {
    let vocabulary = Vocabulary::new();
    let name = format!("Tiny random DeepSeek V4, {}, seed {seed}", recipe.name());
    let mut writer = Writer::new();
    metadata::add(&mut writer, &name, &vocabulary, kv);
    for tensor in plan::tensors(vocabulary.len(), kv) {
        let mut random = Random::new(seed, &tensor.name);
        let (ty, bytes) = match tensor.fill {
            Fill::Experts => (TensorType::I32, hash_table(&mut random, vocabulary.len())),
            Fill::Normal { mean, spread } => weights(recipe, &tensor, || mean + spread * random.normal())?,
            Fill::Uniform { low, high } => weights(recipe, &tensor, || low + (high - low) * random.uniform())?,
        };
        writer.tensor(tensor.name, &tensor.dims, ty, bytes);
    }
    let mut file = Vec::new();
    writer.write_to(&mut file)?;
    Ok(file)
}

fn weights(recipe: Recipe, tensor: &Tensor, next: impl FnMut() -> f32) -> Result<(TensorType, Vec<u8>)> {
    let format = recipe.format(Family::of(&tensor.name)).unwrap_or(Format::F32);
    let n: u64 = tensor.dims.iter().product();
    let values: Vec<f32> = std::iter::repeat_with(next).take(n as usize).collect();
    let mut bytes = vec![0; values.len() / format.block_len() * format.block_bytes()];
    quantize(format, &values, None, &mut bytes)?;
    Ok((tensor_type(format), bytes))
}

/// For every token, different experts.
fn hash_table(random: &mut Random, vocab: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..vocab {
        let mut experts: Vec<i32> = (0..plan::EXPERTS as i32).collect();
        for _ in 0..plan::EXPERTS_USED {
            let chosen = experts.swap_remove(random.below(experts.len()));
            bytes.extend(chosen.to_le_bytes());
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;
    use ds4_engine::Precision;
    use ds4_engine::cpu::{CpuBackend, CpuOptions};
    use ds4_engine::kv::RowFormat;
    use ds4_engine::{Config, Engine, EngineOptions, LayerKind, Logits};
    use ds4_gguf::File;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    #[test]
    fn every_recipe_loads_and_computes() {
        for recipe in Recipe::value_variants() {
            let file = Arc::new(File::from_vec(gguf(*recipe, 3, KvShape::TINY).unwrap()).unwrap());
            let config = Config::from_file(&file).unwrap();
            let kinds: BTreeSet<_> = config.layers.iter().map(|kind| kind.name()).collect();
            assert_eq!(kinds.len(), 3, "all layer kinds");
            assert!(config.hash_layers > 0 && config.hash_layers < config.layers.len(), "both routings");
            assert_eq!(config.layers[0], LayerKind::Sliding);
            let cpu = CpuOptions { precision: Precision::Exact, threads: 1, rows: RowFormat::Native };
            let backend = CpuBackend::new(&config, cpu).unwrap();
            let options = EngineOptions { context: 256, chunk: 140 };
            let mut engine = Engine::new(file, config, backend, options).unwrap();
            let mut sequence = engine.sequence().unwrap();
            // Long enough for a row of every ratio.
            let tokens: Vec<u32> = (0..140).map(|i| i * 7 % 256).collect();
            let logits = engine.prefill(&mut sequence, &tokens, Logits::Last, &mut |_| (), &|| false).unwrap();
            let mean = logits.iter().sum::<f32>() / logits.len() as f32;
            let variance = logits.iter().map(|l| (l - mean).powi(2)).sum::<f32>() / logits.len() as f32;
            assert!((0.5..20.0).contains(&variance), "{recipe:?}: logits of variance {variance}");
        }
    }

    #[test]
    fn seed_and_recipe_decide_every_byte() {
        assert!(gguf(Recipe::Q8, 1, KvShape::TINY).unwrap() == gguf(Recipe::Q8, 1, KvShape::TINY).unwrap());
        assert!(gguf(Recipe::Q8, 1, KvShape::TINY).unwrap() != gguf(Recipe::Q8, 2, KvShape::TINY).unwrap());
    }

    #[test]
    fn the_hash_table_names_different_experts() {
        let table = hash_table(&mut Random::new(1, "t"), 50);
        let entries: Vec<i32> = table.chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(entries.len(), 50 * plan::EXPERTS_USED);
        for row in entries.chunks_exact(plan::EXPERTS_USED) {
            assert!(row.iter().all(|e| (0..plan::EXPERTS as i32).contains(e)));
            assert_eq!(row.iter().collect::<BTreeSet<_>>().len(), plan::EXPERTS_USED, "{row:?}");
        }
        assert_eq!(entries.iter().collect::<BTreeSet<_>>().len(), plan::EXPERTS, "all are used");
    }
}
