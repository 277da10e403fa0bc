//! Every metadata key of `spec/gguf.md` §2.

use super::plan::*;
use super::vocabulary::{BOS_ID, EOS_ID, PAD_ID, Vocabulary};
use ds4_gguf::{StringArray, Writer};

/// Trained context of the published model, tokens.
const CONTEXT: u32 = 1 << 20;
/// Context before YaRN stretched it, tokens.
const ORIGINAL_CONTEXT: u32 = 1 << 16;

/// Adds all keys to `writer`.
pub fn add(writer: &mut Writer<'_>, name: &str, vocabulary: &Vocabulary, kv: KvShape) {
    writer.metadata("general.architecture", "deepseek4").metadata("general.name", name);
    for (key, value) in counts(vocabulary.len(), kv) {
        writer.metadata(format!("deepseek4.{key}"), value);
    }
    for (key, value) in NUMBERS {
        writer.metadata(format!("deepseek4.{key}"), value);
    }
    let ratios: Vec<u32> = (0..kv.layers).map(ratio).collect();
    writer
        .metadata("deepseek4.expert_weights_norm", true)
        .metadata("deepseek4.rope.scaling.type", "yarn")
        .metadata("deepseek4.attention.compress_ratios", ratios)
        .metadata("deepseek4.swiglu_clamp_exp", vec![10.0f32; kv.layers])
        .metadata("tokenizer.ggml.model", "gpt2")
        .metadata("tokenizer.ggml.pre", "joyai-llm")
        .metadata("tokenizer.ggml.tokens", vocabulary.tokens.iter().collect::<StringArray>())
        .metadata("tokenizer.ggml.token_type", vocabulary.kinds.clone())
        .metadata("tokenizer.ggml.merges", vocabulary.merges.iter().collect::<StringArray>())
        .metadata("tokenizer.ggml.bos_token_id", BOS_ID)
        .metadata("tokenizer.ggml.eos_token_id", EOS_ID)
        .metadata("tokenizer.ggml.padding_token_id", PAD_ID);
}

fn counts(vocab: usize, kv: KvShape) -> [(&'static str, u32); 25] {
    [
        ("context_length", CONTEXT),
        ("block_count", kv.layers as u32),
        ("embedding_length", EMBD as u32),
        ("vocab_size", vocab as u32),
        ("attention.head_count", HEADS as u32),
        ("attention.head_count_kv", 1),
        ("attention.key_length", kv.head_dim as u32),
        ("attention.value_length", kv.head_dim as u32),
        ("attention.q_lora_rank", Q_RANK as u32),
        ("attention.output_lora_rank", O_RANK as u32),
        ("attention.output_group_count", GROUPS as u32),
        ("attention.sliding_window", 128),
        ("attention.indexer.head_count", INDEX_HEADS as u32),
        ("attention.indexer.key_length", INDEX_DIM as u32),
        ("attention.indexer.top_k", TOP_K as u32),
        ("rope.dimension_count", ROT as u32),
        ("rope.scaling.original_context_length", ORIGINAL_CONTEXT),
        ("expert_count", EXPERTS as u32),
        ("expert_used_count", EXPERTS_USED as u32),
        ("expert_feed_forward_length", EXPERT_FF as u32),
        ("expert_shared_count", 1),
        // Square root of softplus, for readers that support several.
        ("expert_gating_func", 4),
        ("hash_layer_count", HASH_LAYERS as u32),
        ("hyper_connection.count", STREAMS as u32),
        ("hyper_connection.sinkhorn_iterations", 20),
    ]
}

const NUMBERS: [(&str, f32); 8] = [
    ("rope.freq_base", 10000.0),
    ("rope.scaling.factor", 16.0),
    ("rope.scaling.yarn_beta_fast", 32.0),
    ("rope.scaling.yarn_beta_slow", 1.0),
    ("attention.compress_rope_freq_base", 160_000.0),
    ("expert_weights_scale", 1.5),
    ("attention.layer_norm_rms_epsilon", 1e-6),
    ("hyper_connection.epsilon", 1e-6),
];
