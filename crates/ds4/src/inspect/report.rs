//! The facts about a file, in the shape of the JSON output.

use super::recipe::Recipe;
use crate::model::Model;
use anyhow::{Context, Result};
use ds4_engine::kv::{KvLayout, PAGE_TOKENS, RowFormat};
use ds4_engine::{Config, LayerKind};
use ds4_gguf::{Array, File, Metadata, TensorInfo, Value};
use serde::{Serialize, Serializer};
use serde_json::Value as JsonValue;
use std::collections::BTreeMap;
use std::path::Path;

/// Everything that `ds4 inspect` tells.
#[derive(Serialize)]
pub struct Report {
    pub name: Option<String>,
    pub file: FileFacts,
    /// Weights, without the hash-routing tables.
    pub parameters: u64,
    /// Metadata keys below `deepseek4.`, with the values that the engine uses.
    #[serde(serialize_with = "as_object")]
    pub hyper_parameters: Vec<HyperParameter>,
    pub layers: Layers,
    pub tokenizer: Option<TokenizerFacts>,
    pub recipe: Recipe,
    pub tensor_types: Vec<TypeSum>,
    pub kv: Kv,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensors: Option<Vec<TensorFacts>>,
}

#[derive(Serialize)]
pub struct FileFacts {
    pub path: String,
    pub bytes: u64,
    pub gguf_version: u32,
    pub alignment: u64,
    pub keys: usize,
    pub tensors: usize,
    /// Sum over all tensors. Tensors may share bytes, so it can exceed the size of the file.
    pub tensor_bytes: u64,
}

pub struct HyperParameter {
    pub key: &'static str,
    pub value: JsonValue,
    /// What it is, with its symbol in `spec/model.md` §1.
    pub meaning: &'static str,
}

#[derive(Serialize)]
pub struct Layers {
    pub count: usize,
    pub sliding: usize,
    pub csa: usize,
    pub hca: usize,
    pub hash_routed: usize,
    /// One a layer, in order.
    pub kinds: Vec<&'static str>,
}

#[derive(Serialize)]
pub struct TokenizerFacts {
    pub tokens: usize,
    pub merges: usize,
    pub splitting: Option<String>,
}

#[derive(Serialize)]
pub struct TypeSum {
    #[serde(rename = "type")]
    pub ty: &'static str,
    pub tensors: usize,
    pub elements: u64,
    pub bytes: u64,
}

/// Memory of KV state.
#[derive(Serialize)]
pub struct Kv {
    /// Growth a token, on average over a page.
    pub bytes_per_token: f64,
    pub page_tokens: usize,
    pub page_bytes: usize,
    pub contexts: Vec<ContextMemory>,
}

#[derive(Serialize)]
pub struct ContextMemory {
    pub tokens: usize,
    pub history_bytes: u64,
    pub frontier_bytes: u64,
    pub total_bytes: u64,
}

#[derive(Serialize)]
pub struct TensorFacts {
    pub name: String,
    /// The contiguous one first.
    pub dims: Vec<u64>,
    #[serde(rename = "type")]
    pub ty: &'static str,
    pub bytes: u64,
    /// From the start of the file.
    pub offset: u64,
}

impl Report {
    /// The facts about `model`, with the memory of `contexts`, and with every tensor if `list_tensors`.
    pub fn new(path: &Path, model: &Model, contexts: &[usize], list_tensors: bool) -> Result<Self> {
        let (file, config) = (&model.file, &model.config);
        let tensors = file.tensors();
        let tensor_types = type_sums(tensors);
        let is_weight = |sum: &&TypeSum| !sum.ty.starts_with('I') || sum.ty.starts_with("IQ");
        Ok(Self {
            name: config.name.clone(),
            file: FileFacts::new(path, file),
            parameters: tensor_types.iter().filter(is_weight).map(|sum| sum.elements).sum(),
            hyper_parameters: hyper_parameters(config),
            layers: Layers::new(config),
            tokenizer: TokenizerFacts::new(file.metadata()).with_context(|| path.display().to_string())?,
            recipe: Recipe::new(tensors),
            tensor_types,
            kv: Kv::new(config, contexts),
            tensors: list_tensors.then(|| tensors.iter().map(TensorFacts::new).collect()),
        })
    }
}

impl FileFacts {
    fn new(path: &Path, file: &File) -> Self {
        Self {
            path: path.display().to_string(),
            bytes: file.len(),
            gguf_version: file.version(),
            alignment: file.alignment(),
            keys: file.metadata().len(),
            tensors: file.tensors().len(),
            tensor_bytes: file.tensors().iter().fold(0, |sum: u64, t| sum.saturating_add(t.n_bytes)),
        }
    }
}

impl Layers {
    fn new(config: &Config) -> Self {
        let count = |kind| config.layers.iter().filter(|k| **k == kind).count();
        Self {
            count: config.layers.len(),
            sliding: count(LayerKind::Sliding),
            csa: count(LayerKind::Csa),
            hca: count(LayerKind::Hca),
            hash_routed: config.hash_layers.min(config.layers.len()),
            kinds: config.layers.iter().map(|kind| kind.name()).collect(),
        }
    }
}

impl TokenizerFacts {
    fn new(metadata: &Metadata) -> Result<Option<Self>> {
        let strings = |key| match metadata.get(key) {
            Some(Value::Array(Array::String(strings))) => Some(strings.len()),
            _ => None,
        };
        let Some(tokens) = strings("tokenizer.ggml.tokens") else { return Ok(None) };
        let splitting = metadata.opt_str("tokenizer.ggml.pre")?.map(str::to_owned);
        Ok(Some(Self { tokens, merges: strings("tokenizer.ggml.merges").unwrap_or(0), splitting }))
    }
}

impl Kv {
    fn new(config: &Config, contexts: &[usize]) -> Self {
        let layout = KvLayout::new(config, RowFormat::Native);
        let frontier_bytes = layout.frontier_bytes();
        let context = |&tokens: &usize| {
            let (history_bytes, total_bytes) = (layout.history_bytes(tokens), layout.sequence_bytes(tokens));
            ContextMemory { tokens, history_bytes, frontier_bytes, total_bytes }
        };
        Self {
            bytes_per_token: layout.page_bytes as f64 / PAGE_TOKENS as f64,
            page_tokens: PAGE_TOKENS,
            page_bytes: layout.page_bytes,
            contexts: contexts.iter().map(context).collect(),
        }
    }
}

impl TensorFacts {
    fn new(tensor: &TensorInfo) -> Self {
        Self {
            name: tensor.name.clone(),
            dims: tensor.dims.clone(),
            ty: tensor.ty.name(),
            bytes: tensor.n_bytes,
            offset: tensor.offset,
        }
    }
}

/// One sum a type, the largest first.
fn type_sums(tensors: &[TensorInfo]) -> Vec<TypeSum> {
    let mut sums: BTreeMap<u32, TypeSum> = BTreeMap::new();
    for tensor in tensors {
        let fresh = || TypeSum { ty: tensor.ty.name(), tensors: 0, elements: 0, bytes: 0 };
        let sum = sums.entry(tensor.ty.id()).or_insert_with(fresh);
        sum.tensors += 1;
        sum.elements = sum.elements.saturating_add(tensor.n_elements());
        sum.bytes = sum.bytes.saturating_add(tensor.n_bytes);
    }
    let mut sums: Vec<TypeSum> = sums.into_values().collect();
    sums.sort_by_key(|sum| std::cmp::Reverse(sum.bytes));
    sums
}

fn hyper_parameters(c: &Config) -> Vec<HyperParameter> {
    let clamp = c.swiglu_clamp.first().copied().unwrap_or_default();
    let entry = |(key, value, meaning)| HyperParameter { key, value, meaning };
    let count = |n: usize| JsonValue::from(n);
    // The shortest decimal of the f32, without the digits that widening would add.
    let number = |x: f32| JsonValue::from(x.to_string().parse().unwrap_or(f64::from(x)));
    [
        ("block_count", count(c.layers.len()), "L, layers"),
        ("embedding_length", count(c.embd), "E, hidden width"),
        ("vocab_size", count(c.vocab), "V, vocabulary"),
        ("context_length", count(c.context), "trained context, tokens"),
        ("attention.head_count", count(c.heads), "H, query heads"),
        ("attention.key_length", count(c.head_dim), "D, width of a head and of the KV latent"),
        ("rope.dimension_count", count(c.rot), "R, rotated dims of a head"),
        ("attention.q_lora_rank", count(c.q_rank), "Q, query low rank"),
        ("attention.output_group_count", count(c.groups), "G, output groups"),
        ("attention.output_lora_rank", count(c.o_rank), "O, output low rank of a group"),
        ("attention.sliding_window", count(c.window), "SWA, sliding window, tokens"),
        ("attention.indexer.head_count", count(c.index_heads), "IH, indexer heads"),
        ("attention.indexer.key_length", count(c.index_dim), "ID, width of an indexer head"),
        ("attention.indexer.top_k", count(c.top_k), "K, compressed rows that the indexer keeps"),
        ("expert_count", count(c.experts), "NE, routed experts"),
        ("expert_used_count", count(c.experts_used), "NU, routed experts a token uses"),
        ("expert_feed_forward_length", count(c.expert_ff), "F, hidden width of an expert"),
        ("hash_layer_count", count(c.hash_layers), "layers routed by token id"),
        ("expert_weights_scale", number(c.expert_scale), "factor of routed weights"),
        ("swiglu_clamp_exp", number(clamp), "clamp of SwiGLU, first layer"),
        ("hyper_connection.count", count(ds4_engine::config::STREAMS), "N, streams of the residual"),
        ("hyper_connection.sinkhorn_iterations", count(c.sinkhorn), "Sinkhorn iterations"),
        ("hyper_connection.epsilon", number(c.hc_eps), "epsilon of hyper-connections"),
        ("attention.layer_norm_rms_epsilon", number(c.rms_eps), "epsilon of RMSNorm"),
        ("rope.freq_base", c.rope.base.into(), "RoPE base, sliding layers"),
        ("attention.compress_rope_freq_base", c.rope.compress_base.into(), "RoPE base, compressed layers"),
        ("rope.scaling.factor", c.rope.factor.into(), "YaRN factor"),
        (
            "rope.scaling.original_context_length",
            count(c.rope.original_context as usize),
            "YaRN original context, tokens",
        ),
        ("rope.scaling.yarn_beta_fast", c.rope.beta_fast.into(), "YaRN beta fast"),
        ("rope.scaling.yarn_beta_slow", c.rope.beta_slow.into(), "YaRN beta slow"),
    ]
    .map(entry)
    .into()
}

fn as_object<S: Serializer>(parameters: &[HyperParameter], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map(parameters.iter().map(|p| (p.key, &p.value)))
}
