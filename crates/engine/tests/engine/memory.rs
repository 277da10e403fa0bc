//! What a million tokens cost at full shape.

use ds4_engine::config::{Config, LayerKind, RopeConfig};
use ds4_engine::kv::{Cache, KvLayout, RowFormat};
use std::sync::Arc;

/// Bytes allowed for the KV state of 1,048,576 tokens.
const LIMIT: u64 = 4_200_000_000;

fn full_shape() -> Config {
    let kind = |il: usize| match il {
        0 | 1 => LayerKind::Sliding,
        il if il % 2 == 0 => LayerKind::Csa,
        _ => LayerKind::Hca,
    };
    Config {
        name: None,
        layers: (0..43).map(kind).collect(),
        embd: 4096,
        vocab: 129_280,
        heads: 64,
        head_dim: 512,
        rot: 64,
        q_rank: 1024,
        groups: 8,
        o_rank: 1024,
        window: 128,
        index_heads: 64,
        index_dim: 128,
        top_k: 512,
        experts: 256,
        experts_used: 6,
        expert_ff: 2048,
        hash_layers: 3,
        expert_scale: 1.5,
        swiglu_clamp: vec![10.0; 43],
        swiglu_clamp_shared: vec![10.0; 43],
        sinkhorn: 20,
        hc_eps: 1e-6,
        rms_eps: 1e-6,
        rope: RopeConfig {
            base: 1e4,
            compress_base: 1.6e5,
            factor: 16.0,
            original_context: 65536.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
        },
        context: 1 << 20,
    }
}

#[test]
fn rows_have_the_size_of_their_codes() {
    let layout = KvLayout::new(&full_shape(), RowFormat::Native);
    assert_eq!((layout.kv_row_bytes(), layout.index_row_bytes()), (583, 68));
    // Per 128 tokens: 32 rows with index in 21 layers, one row in 20.
    assert_eq!(layout.page_bytes, 21 * 32 * (583 + 68) + 20 * 583);
}

#[test]
fn a_million_tokens_fit_in_the_limit() {
    let layout = Arc::new(KvLayout::new(&full_shape(), RowFormat::Native));
    let tokens = 1 << 20;
    assert!(layout.sequence_bytes(tokens) <= LIMIT, "{} bytes", layout.sequence_bytes(tokens));
    // Really allocated: untouched pages cost address space alone.
    let mut cache = Cache::new(layout.clone());
    cache.reserve(tokens).unwrap();
    assert_eq!(cache.page_count() as u64 * layout.page_bytes as u64, layout.history_bytes(tokens));
    let last = vec![1.0; layout.head_dim];
    cache.write_row(42, ds4_engine::backend::CompressedStream::Attention, tokens / 4 - 1, &last);
    let mut back = vec![0.0; layout.head_dim];
    cache.read_row(42, ds4_engine::backend::CompressedStream::Attention, tokens / 4 - 1, &mut back);
    assert_eq!(back, last);
}
