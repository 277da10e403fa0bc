//! `ds4 debug tiny-model`

use crate::support::{directory, ds4, open, str};

#[test]
fn seed_and_recipe_decide_the_file() {
    let directory = directory("tiny_model");
    let make = |name: &str, more: &[&str]| {
        let path = directory.join(name);
        let args = ["debug", "tiny-model", str(&path)].iter().chain(more).copied().collect::<Vec<_>>();
        let out = ds4(&args).ok();
        assert!(out.contains(name), "{out}");
        std::fs::read(path).unwrap()
    };
    let first = make("a.gguf", &["--recipe", "q8"]);
    assert!(first == make("b.gguf", &["--recipe", "q8", "--seed", "1"]), "the default seed is 1");
    assert!(first != make("c.gguf", &["--recipe", "q8", "--seed", "2"]));
    assert!(first != make("d.gguf", &["--recipe", "f32"]));
}

#[test]
fn it_has_every_key_of_the_published_files() {
    let file = open(crate::support::model());
    let counts = "block_count embedding_length vocab_size attention.head_count attention.head_count_kv \
         attention.key_length attention.value_length rope.dimension_count attention.q_lora_rank \
         attention.output_lora_rank attention.output_group_count expert_count expert_used_count \
         expert_feed_forward_length expert_shared_count hash_layer_count attention.sliding_window \
         attention.indexer.head_count attention.indexer.key_length attention.indexer.top_k hyper_connection.count \
         hyper_connection.sinkhorn_iterations rope.scaling.original_context_length context_length";
    let numbers = "rope.freq_base rope.scaling.factor rope.scaling.yarn_beta_fast rope.scaling.yarn_beta_slow \
         attention.compress_rope_freq_base expert_weights_scale attention.layer_norm_rms_epsilon \
         hyper_connection.epsilon";
    let metadata = file.metadata();
    for key in counts.split_whitespace() {
        assert!(metadata.u32(&format!("deepseek4.{key}")).unwrap() > 0, "{key}");
    }
    for key in numbers.split_whitespace() {
        assert!(metadata.f32(&format!("deepseek4.{key}")).unwrap() > 0.0, "{key}");
    }
    assert!(metadata.bool("deepseek4.expert_weights_norm").unwrap());
    assert_eq!(metadata.u32_array("deepseek4.attention.compress_ratios").unwrap(), [0, 0, 4, 128, 4]);
    assert_eq!(metadata.f32_array("deepseek4.swiglu_clamp_exp").unwrap(), [10.0; 5]);
    assert_eq!(metadata.str("tokenizer.ggml.pre").unwrap(), "joyai-llm");
}
