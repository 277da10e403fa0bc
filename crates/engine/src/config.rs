//! Hyper-parameters of the model, from the file's metadata (`spec/model.md` §1, `spec/gguf.md` §2).
//!
//! **Invariant:** nothing about the model's size is a constant of the program; what is fixed here is only what
//! the kernels rely on, and a file that says otherwise is refused by name.

use crate::error::{Error, Result};
use ds4_gguf::{File, Metadata, Value};

/// Streams of the residual (`N`). The mixing kernels are written for four.
pub const STREAMS: usize = 4;
/// Block of the FP8 rule, and so the unit of the non-rotated part of a head.
pub const FP8_BLOCK: usize = 64;
/// Block of the FP4 rule.
pub const FP4_BLOCK: usize = 32;
/// Most layers accepted; the largest published model has 61.
const LAYERS_MAX: u32 = 1024;
/// Largest width accepted for any single dimension, far above the published 32,768.
const WIDTH_MAX: u32 = 1 << 20;
/// Largest vocabulary accepted, as the tokenizer's bound.
const VOCAB_MAX: u32 = 1 << 24;
/// Most Sinkhorn rounds accepted; 20 converge.
const SINKHORN_MAX: u32 = 1000;
/// Widest sliding window accepted (published: 128).
const WINDOW_MAX: u32 = 1 << 16;

/// What a layer's attention sees besides the sliding window (`spec/model.md` §2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum LayerKind {
    /// Ratio 0: the window alone.
    Sliding,
    /// Ratio 4: compressed sparse attention, rows chosen by an indexer.
    Csa,
    /// Ratio 128: heavily compressed attention, all rows.
    Hca,
}

impl LayerKind {
    /// Tokens per compressed row; `None` for sliding layers.
    pub const fn ratio(self) -> Option<usize> {
        match self {
            LayerKind::Sliding => None,
            LayerKind::Csa => Some(4),
            LayerKind::Hca => Some(128),
        }
    }

    /// The name that people know it by.
    pub const fn name(self) -> &'static str {
        match self {
            LayerKind::Sliding => "sliding",
            LayerKind::Csa => "csa",
            LayerKind::Hca => "hca",
        }
    }
}

/// Rotary embedding parameters (`spec/model.md` §5).
#[derive(Clone, Debug, PartialEq)]
pub struct RopeConfig {
    /// Base of sliding layers.
    pub base: f64,
    /// Base of compressed layers.
    pub compress_base: f64,
    /// YaRN factor of compressed layers.
    pub factor: f64,
    /// YaRN original context, tokens.
    pub original_context: f64,
    /// YaRN beta fast.
    pub beta_fast: f64,
    /// YaRN beta slow.
    pub beta_slow: f64,
}

/// The hyper-parameters, named as in `spec/model.md` §1 with its symbol in the comment.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `general.name`, if any.
    pub name: Option<String>,
    /// `L`: one kind a layer.
    pub layers: Vec<LayerKind>,
    /// `E`: hidden width.
    pub embd: usize,
    /// `V`: vocabulary.
    pub vocab: usize,
    /// `H`: query heads.
    pub heads: usize,
    /// `D`: head width, and width of the KV latent.
    pub head_dim: usize,
    /// `R`: rotated dims, the last of each head.
    pub rot: usize,
    /// `Q`: query low rank.
    pub q_rank: usize,
    /// `G`: output groups.
    pub groups: usize,
    /// `O`: output low rank of a group.
    pub o_rank: usize,
    /// `SWA`: sliding window in tokens, the current one included.
    pub window: usize,
    /// `IH`: indexer heads.
    pub index_heads: usize,
    /// `ID`: indexer head width.
    pub index_dim: usize,
    /// `K`: compressed rows that the indexer keeps.
    pub top_k: usize,
    /// `NE`: routed experts.
    pub experts: usize,
    /// `NU`: routed experts used by a token.
    pub experts_used: usize,
    /// `F`: hidden width of an expert, routed or shared.
    pub expert_ff: usize,
    /// Layers routed by the hash table: the first so many.
    pub hash_layers: usize,
    /// `wscale`: factor of routed weights.
    pub expert_scale: f32,
    /// `clamp` of SwiGLU in routed experts, one a layer.
    pub swiglu_clamp: Vec<f32>,
    /// The same in shared experts; the published files have one key for both.
    pub swiglu_clamp_shared: Vec<f32>,
    /// Sinkhorn iterations.
    pub sinkhorn: usize,
    /// `hc_eps`
    pub hc_eps: f32,
    /// `eps` of every RMSNorm.
    pub rms_eps: f32,
    /// Rotary embedding.
    pub rope: RopeConfig,
    /// Trained context, tokens (informative).
    pub context: usize,
}

/// Reads keys below `deepseek4.` and remembers how to complain.
struct Keys<'a>(&'a Metadata);

impl Keys<'_> {
    fn bad(&self, key: &str, found: impl ToString, expected: impl ToString) -> Error {
        Error::Config { key: full(key), found: found.to_string(), expected: expected.to_string() }
    }

    fn count(&self, key: &str, max: u32) -> Result<usize> {
        self.check(key, self.0.u32(&full(key))?, max)
    }

    fn count_or(&self, key: &str, max: u32, default: u32) -> Result<usize> {
        self.check(key, self.0.opt_u32(&full(key))?.unwrap_or(default), max)
    }

    fn check(&self, key: &str, value: u32, max: u32) -> Result<usize> {
        if value == 0 || value > max {
            return Err(self.bad(key, value, format_args!("1 to {max}")));
        }
        Ok(value as usize)
    }

    fn exactly(&self, key: &str, value: usize, want: usize) -> Result<()> {
        if value != want {
            return Err(self.bad(key, value, want));
        }
        Ok(())
    }

    fn positive(&self, key: &str, default: Option<f32>) -> Result<f32> {
        let value = match default {
            None => self.0.f32(&full(key))?,
            Some(d) => self.0.opt_f32(&full(key))?.unwrap_or(d),
        };
        if !(value.is_finite() && value > 0.0) {
            return Err(self.bad(key, value, "a positive number"));
        }
        Ok(value)
    }
}

fn full(key: &str) -> String {
    format!("deepseek4.{key}")
}

impl Config {
    /// Reads and checks the metadata of `file`. Keys that llama.cpp's converter omits are taken from tensor
    /// shapes or get the family's value.
    ///
    /// # Errors
    /// A key that is missing, of the wrong type, or outside what the architecture allows.
    pub fn from_file(file: &File) -> Result<Self> {
        let meta = file.metadata();
        let architecture = meta.str("general.architecture")?;
        if architecture != "deepseek4" {
            return Err(Error::Architecture(architecture.to_owned()));
        }
        if let Some(parts) = meta.opt_u32("split.count")?.filter(|n| *n > 1) {
            return Err(Error::Split(parts));
        }
        let keys = Keys(meta);
        let config = Self {
            name: meta.opt_str("general.name")?.map(str::to_owned),
            layers: layer_kinds(file, &keys)?,
            embd: keys.count("embedding_length", WIDTH_MAX)?,
            vocab: vocab(file, &keys)?,
            heads: keys.count("attention.head_count", WIDTH_MAX)?,
            head_dim: keys.count("attention.key_length", WIDTH_MAX)?,
            rot: keys.count("rope.dimension_count", WIDTH_MAX)?,
            q_rank: keys.count("attention.q_lora_rank", WIDTH_MAX)?,
            groups: keys.count("attention.output_group_count", WIDTH_MAX)?,
            o_rank: keys.count("attention.output_lora_rank", WIDTH_MAX)?,
            window: keys.count("attention.sliding_window", WINDOW_MAX)?,
            index_heads: keys.count("attention.indexer.head_count", WIDTH_MAX)?,
            index_dim: keys.count("attention.indexer.key_length", WIDTH_MAX)?,
            top_k: keys.count("attention.indexer.top_k", WIDTH_MAX)?,
            experts: keys.count("expert_count", WIDTH_MAX)?,
            experts_used: keys.count("expert_used_count", WIDTH_MAX)?,
            expert_ff: keys.count("expert_feed_forward_length", WIDTH_MAX)?,
            hash_layers: meta.opt_u32(&full("hash_layer_count"))?.unwrap_or(0) as usize,
            expert_scale: keys.positive("expert_weights_scale", None)?,
            swiglu_clamp: Vec::new(),
            swiglu_clamp_shared: Vec::new(),
            sinkhorn: keys.count_or("hyper_connection.sinkhorn_iterations", SINKHORN_MAX, 20)?,
            hc_eps: keys.positive("hyper_connection.epsilon", Some(1e-6))?,
            rms_eps: keys.positive("attention.layer_norm_rms_epsilon", None)?,
            rope: rope(&keys)?,
            context: meta.opt_u64(&full("context_length"))?.unwrap_or(0) as usize,
        };
        config.with_clamps(&keys)?.checked(&keys)
    }

    fn with_clamps(mut self, keys: &Keys<'_>) -> Result<Self> {
        const SHARED: &str = "swiglu_clamp_shexp";
        self.swiglu_clamp = clamps(keys, "swiglu_clamp_exp", self.layers.len())?;
        self.swiglu_clamp_shared = match keys.0.get(&full(SHARED)) {
            Some(_) => clamps(keys, SHARED, self.layers.len())?,
            None => self.swiglu_clamp.clone(),
        };
        Ok(self)
    }

    /// Relations between keys that the kernels rely on.
    fn checked(self, keys: &Keys<'_>) -> Result<Self> {
        keys.exactly("hyper_connection.count", keys.count_or("hyper_connection.count", 64, 4)?, STREAMS)?;
        keys.exactly("attention.head_count_kv", keys.count("attention.head_count_kv", WIDTH_MAX)?, 1)?;
        keys.exactly("attention.value_length", keys.count("attention.value_length", WIDTH_MAX)?, self.head_dim)?;
        keys.exactly("expert_shared_count", keys.count_or("expert_shared_count", 64, 1)?, 1)?;
        if keys.0.opt_bool(&full("expert_weights_norm"))? == Some(false) {
            return Err(keys.bad("expert_weights_norm", false, true));
        }
        for key in ["expert_group_count", "expert_group_used_count"] {
            if let Some(n) = keys.0.opt_u32(&full(key))?.filter(|n| *n > 1) {
                return Err(keys.bad(key, n, "0, grouped routing is not part of V4 Flash"));
            }
        }
        let even = |key, value: usize, unit: usize, less: usize| {
            if value < less || !(value - less).is_multiple_of(unit) || value <= less {
                return Err(keys.bad(key, value, format_args!("{less} plus a multiple of {unit}")));
            }
            Ok(())
        };
        even("rope.dimension_count", self.rot, 2, 0)?;
        even("attention.key_length", self.head_dim, FP8_BLOCK, self.rot)?;
        even("attention.head_count", self.heads, self.groups, 0)?;
        even("attention.indexer.key_length", self.index_dim, FP4_BLOCK, 0)?;
        if !self.index_dim.is_power_of_two() || self.index_dim < self.rot {
            return Err(keys.bad(
                "attention.indexer.key_length",
                self.index_dim,
                "a power of two not below the rotated width",
            ));
        }
        if self.experts_used > self.experts {
            return Err(keys.bad("expert_used_count", self.experts_used, format_args!("at most {}", self.experts)));
        }
        Ok(self)
    }

    /// `Dn`: the part of a head that is not rotated.
    pub fn nope(&self) -> usize {
        self.head_dim - self.rot
    }

    /// The hyper-parameters of the draft block (`spec/model.md` §12), a model of one sliding layer with learned routing.
    pub fn of_draft_block(&self) -> Self {
        let last = |clamps: &[f32]| clamps.last().copied().into_iter().collect();
        Self {
            layers: vec![LayerKind::Sliding],
            hash_layers: 0,
            swiglu_clamp: last(&self.swiglu_clamp),
            swiglu_clamp_shared: last(&self.swiglu_clamp_shared),
            ..self.clone()
        }
    }

    /// Width of the flattened residual streams.
    pub fn stream_width(&self) -> usize {
        STREAMS * self.embd
    }

    /// Whether layer `il` routes by the hash table.
    pub fn is_hashed(&self, il: usize) -> bool {
        il < self.hash_layers
    }
}

/// One clamp a layer, from an array or from a single number for all.
fn clamps(keys: &Keys<'_>, key: &str, layers: usize) -> Result<Vec<f32>> {
    let found = match keys.0.get(&full(key)) {
        Some(Value::Array(_)) => keys.0.f32_array(&full(key))?,
        _ => vec![keys.0.f32(&full(key))?; layers],
    };
    if found.len() < layers {
        return Err(keys.bad(
            key,
            format_args!("an array of {}", found.len()),
            format_args!("{layers} entries or more"),
        ));
    }
    if let Some(v) = found[..layers].iter().find(|v| !(v.is_finite() && **v > 0.0)) {
        return Err(keys.bad(key, v, "positive numbers"));
    }
    Ok(found[..layers].to_vec())
}

fn layer_kinds(file: &File, keys: &Keys<'_>) -> Result<Vec<LayerKind>> {
    const KEY: &str = "attention.compress_ratios";
    let blocks = keys.count("block_count", LAYERS_MAX)?;
    // llama.cpp counts a draft block as a layer. The key alone proves nothing: some files have it without the tensors.
    let drafts = keys.0.opt_u32(&full("nextn_predict_layers"))?.unwrap_or(0) as usize;
    let has = |name: &str| file.tensor(&format!("blk.{}.nextn.{name}.weight", blocks - 1)).is_some();
    let has_drafts = drafts > 0 && drafts < blocks && (has("h_proj") || has("eh_proj"));
    let layers = if has_drafts { blocks - drafts } else { blocks };
    let ratios = keys.0.i32_array(&full(KEY))?;
    if ratios.len() < layers {
        return Err(keys.bad(
            KEY,
            format_args!("an array of {}", ratios.len()),
            format_args!("{layers} entries or more"),
        ));
    }
    let kind = |(il, ratio): (usize, &i32)| match ratio {
        0 => Ok(LayerKind::Sliding),
        4 => Ok(LayerKind::Csa),
        128 => Ok(LayerKind::Hca),
        other => Err(keys.bad(KEY, format_args!("{other} at layer {il}"), "0, 4 or 128")),
    };
    ratios[..layers].iter().enumerate().map(kind).collect()
}

fn vocab(file: &File, keys: &Keys<'_>) -> Result<usize> {
    if let Some(n) = keys.0.opt_u32(&full("vocab_size"))? {
        return keys.check("vocab_size", n, VOCAB_MAX);
    }
    let name = "token_embd.weight";
    let embd = file.tensor(name).ok_or_else(|| Error::MissingTensor(name.to_owned()))?;
    let rows = embd.dims.get(1).and_then(|n| u32::try_from(*n).ok()).unwrap_or(0);
    keys.check("vocab_size", rows, VOCAB_MAX)
}

fn rope(keys: &Keys<'_>) -> Result<RopeConfig> {
    let number = |key, default| keys.positive(key, default).map(f64::from);
    let original = keys.0.opt_u64(&full("rope.scaling.original_context_length"))?.unwrap_or(65536);
    if original == 0 {
        return Err(keys.bad("rope.scaling.original_context_length", 0, "a positive number"));
    }
    Ok(RopeConfig {
        base: number("rope.freq_base", None)?,
        compress_base: match keys.0.get(&full("attention.compress_rope_freq_base")) {
            Some(_) => number("attention.compress_rope_freq_base", None)?,
            // The key of an early converter.
            None => number("rope.freq_base_swa", None)?,
        },
        factor: number("rope.scaling.factor", Some(16.0))?,
        original_context: original as f64,
        beta_fast: number("rope.scaling.yarn_beta_fast", Some(32.0))?,
        beta_slow: number("rope.scaling.yarn_beta_slow", Some(1.0))?,
    })
}
