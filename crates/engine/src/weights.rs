//! Binds the tensors of a file to their places in the model (`spec/gguf.md` §3).
//!
//! Types may differ from layer to layer and from the published recipes: any matrix may have any format that
//! [`ds4_quant`] knows. Shapes must be those that the metadata imply.

use crate::backend::{Backend, MatrixShape};
use crate::config::{Config, LayerKind, STREAMS};
use crate::error::{Error, Result};
use ds4_gguf::{File, TensorInfo, TensorType};
use ds4_quant::Format;
use std::sync::Arc;

/// Projection, scale and base of one hyper-connection site (§4, §11).
pub struct HcSite<B: Backend> {
    /// `fn`: mix values × `N·E`.
    pub project: B::Matrix,
    /// Scales of the mix values.
    pub scale: B::Vector,
    /// Biases of the mix values.
    pub base: B::Vector,
}

/// One compressor (§7).
pub struct Compressor<B: Backend> {
    /// `W_kv_c`
    pub kv: B::Matrix,
    /// `W_gate_c`
    pub gate: B::Matrix,
    /// Positional bias: ratio × width, row-major.
    pub ape: B::Vector,
    /// Weight of the finishing RMSNorm.
    pub norm: B::Vector,
}

/// The indexer of a ratio-4 layer (§8).
pub struct Indexer<B: Backend> {
    /// `W_iqb`
    pub q_b: B::Matrix,
    /// `W_iproj`
    pub weight: B::Matrix,
    /// Compressor of its keys.
    pub compressor: Compressor<B>,
}

/// Attention of one layer (§5 to §9).
pub struct Attention<B: Backend> {
    /// `attn_norm`
    pub norm: B::Vector,
    /// `W_qa`
    pub q_a: B::Matrix,
    /// `attn_q_a_norm`
    pub q_a_norm: B::Vector,
    /// `W_qb`
    pub q_b: B::Matrix,
    /// `W_kv`
    pub kv: B::Matrix,
    /// `attn_kv_a_norm`
    pub kv_norm: B::Vector,
    /// One sink a head.
    pub sinks: B::Vector,
    /// `W_oa`
    pub out_a: B::Matrix,
    /// `W_ob`
    pub out_b: B::Matrix,
    /// Compressor of layers that have one.
    pub compressor: Option<Compressor<B>>,
    /// Indexer of ratio-4 layers.
    pub indexer: Option<Indexer<B>>,
}

/// How a layer chooses experts (§10).
pub enum Routing<B: Backend> {
    /// By token id.
    Hash(B::Table),
    /// By the largest biased scores.
    Learned {
        /// `exp_probs_b.bias`; absent counts as zero.
        bias: Option<B::Vector>,
    },
}

/// Expert matrices of one layer (§10).
pub struct Experts<B: Backend> {
    /// Routed `W_gate`, all experts.
    pub gate: B::Matrix,
    /// Routed `W_up`, all experts.
    pub up: B::Matrix,
    /// Routed `W_down`, all experts.
    pub down: B::Matrix,
    /// Shared `W_gate`.
    pub shared_gate: B::Matrix,
    /// Shared `W_up`.
    pub shared_up: B::Matrix,
    /// Shared `W_down`.
    pub shared_down: B::Matrix,
}

/// Feed-forward part of one layer.
pub struct Ffn<B: Backend> {
    /// `ffn_norm`
    pub norm: B::Vector,
    /// `W_gate` of the router.
    pub router: B::Matrix,
    /// Choice of experts.
    pub routing: Routing<B>,
    /// Experts.
    pub experts: Experts<B>,
}

/// One layer.
pub struct Layer<B: Backend> {
    /// What attention sees.
    pub kind: LayerKind,
    /// Hyper-connections around attention.
    pub hc_attn: HcSite<B>,
    /// Attention.
    pub attn: Attention<B>,
    /// Hyper-connections around the feed-forward part.
    pub hc_ffn: HcSite<B>,
    /// Feed-forward part.
    pub ffn: Ffn<B>,
}

/// The whole model on a backend.
pub struct Weights<B: Backend> {
    /// `token_embd`
    pub embd: B::Matrix,
    /// Layers in order.
    pub layers: Vec<Layer<B>>,
    /// Hyper-connections of the head.
    pub hc_head: HcSite<B>,
    /// `output_norm`
    pub norm: B::Vector,
    /// `output`
    pub output: B::Matrix,
}

/// What the draft block makes its input of (§12).
pub struct Joining<B: Backend> {
    /// `e_proj`
    pub e_proj: B::Matrix,
    /// `h_proj`
    pub h_proj: B::Matrix,
    /// `enorm`
    pub enorm: B::Vector,
    /// `hnorm`
    pub hnorm: B::Vector,
}

/// The draft block (§12). Embedding and output matrix are the main model's.
pub struct MtpWeights<B: Backend> {
    /// Its input.
    pub joining: Joining<B>,
    /// Its layer, a sliding one.
    pub layer: Layer<B>,
    /// Hyper-connections of its head.
    pub hc_head: HcSite<B>,
    /// `norm` of its head.
    pub norm: B::Vector,
}

/// The format of a tensor type, if kernels exist for it.
pub fn format_of(ty: TensorType) -> Option<Format> {
    let same_name = |f: &Format| f.name().eq_ignore_ascii_case(ty.name());
    Format::ALL.into_iter().find(same_name)
}

/// The type of tensors in `format`.
pub const fn tensor_type(format: Format) -> TensorType {
    match format {
        Format::F32 => TensorType::F32,
        Format::F16 => TensorType::F16,
        Format::Bf16 => TensorType::Bf16,
        Format::Q8_0 => TensorType::Q8_0,
        Format::Q2K => TensorType::Q2K,
        Format::Q4K => TensorType::Q4K,
        Format::Q5K => TensorType::Q5K,
        Format::Q6K => TensorType::Q6K,
        Format::Iq2Xxs => TensorType::Iq2Xxs,
    }
}

/// Types that weights may have, for messages. Even vectors may have any: quantisers do not spare the positional biases.
const MATRIX_TYPES: &str = "F32, F16, BF16, Q8_0, Q2_K, Q4_K, Q5_K, Q6_K or IQ2_XXS";

struct Loader<'a, B: Backend> {
    file: &'a Arc<File>,
    backend: &'a B,
    config: &'a Config,
}

impl<B: Backend> Loader<'_, B> {
    fn find(&self, name: &str, dims: &[usize]) -> Result<&TensorInfo> {
        let tensor = self.file.tensor(name).ok_or_else(|| Error::MissingTensor(name.to_owned()))?;
        let expected: Vec<u64> = dims.iter().map(|d| *d as u64).collect();
        // Writers drop or add trailing dimensions of one.
        let trim = |d: &[u64]| d.iter().rposition(|n| *n != 1).map_or(0, |last| last + 1);
        if tensor.dims[..trim(&tensor.dims)] != expected[..trim(&expected)] {
            return Err(Error::Shape { name: name.to_owned(), found: tensor.dims.clone(), expected });
        }
        Ok(tensor)
    }

    fn matrices(&self, name: &str, rows: usize, cols: usize, count: usize) -> Result<B::Matrix> {
        let tensor = self.find(name, &[cols, rows, count])?;
        let wrong =
            || Error::Type { name: name.to_owned(), found: tensor.ty.name().to_owned(), expected: MATRIX_TYPES };
        let format = format_of(tensor.ty).ok_or_else(wrong)?;
        self.backend.matrix(self.file, tensor, format, MatrixShape { rows, cols, count })
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<B::Matrix> {
        self.matrices(name, rows, cols, 1)
    }

    fn values(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>> {
        let tensor = self.find(name, dims)?;
        let wrong =
            || Error::Type { name: name.to_owned(), found: tensor.ty.name().to_owned(), expected: MATRIX_TYPES };
        let format = format_of(tensor.ty).ok_or_else(wrong)?;
        let mut values = vec![0.0; dims.iter().product()];
        ds4_quant::dequantize(format, self.file.data(tensor), &mut values).map_err(|_| wrong())?;
        Ok(values)
    }

    fn vector(&self, name: &str, n: usize) -> Result<B::Vector> {
        self.backend.vector(self.values(name, &[n])?)
    }

    fn hc(&self, prefix: &str, values: usize, scales: usize) -> Result<HcSite<B>> {
        Ok(HcSite {
            project: self.matrix(&format!("{prefix}_fn.weight"), values, self.config.stream_width())?,
            scale: self.vector(&format!("{prefix}_scale.weight"), scales)?,
            base: self.vector(&format!("{prefix}_base.weight"), values)?,
        })
    }

    fn compressor(&self, prefix: &str, ratio: usize, dim: usize) -> Result<Compressor<B>> {
        let width = if has_overlap(ratio) { 2 * dim } else { dim };
        Ok(Compressor {
            kv: self.matrix(&format!("{prefix}_kv.weight"), width, self.config.embd)?,
            gate: self.matrix(&format!("{prefix}_gate.weight"), width, self.config.embd)?,
            ape: self.backend.vector(self.values(&format!("{prefix}_ape.weight"), &[width, ratio])?)?,
            norm: self.vector(&format!("{prefix}_norm.weight"), dim)?,
        })
    }

    fn attention(&self, prefix: &str, kind: LayerKind) -> Result<Attention<B>> {
        let (c, blk) = (self.config, |suffix: &str| format!("{prefix}{suffix}"));
        let compressor = match kind.ratio() {
            Some(ratio) => Some(self.compressor(&blk("attn_compressor"), ratio, c.head_dim)?),
            None => None,
        };
        let indexer = match kind {
            LayerKind::Csa => Some(Indexer {
                q_b: self.matrix(&blk("indexer.attn_q_b.weight"), c.index_heads * c.index_dim, c.q_rank)?,
                weight: self.matrix(&blk("indexer.proj.weight"), c.index_heads, c.embd)?,
                compressor: self.compressor(&blk("indexer_compressor"), 4, c.index_dim)?,
            }),
            LayerKind::Sliding | LayerKind::Hca => None,
        };
        Ok(Attention {
            norm: self.vector(&blk("attn_norm.weight"), c.embd)?,
            q_a: self.matrix(&blk("attn_q_a.weight"), c.q_rank, c.embd)?,
            q_a_norm: self.vector(&blk("attn_q_a_norm.weight"), c.q_rank)?,
            q_b: self.matrix(&blk("attn_q_b.weight"), c.heads * c.head_dim, c.q_rank)?,
            kv: self.matrix(&blk("attn_kv.weight"), c.head_dim, c.embd)?,
            kv_norm: self.vector(&blk("attn_kv_a_norm.weight"), c.head_dim)?,
            sinks: self.vector(&blk("attn_sinks.weight"), c.heads)?,
            out_a: self.matrix(&blk("attn_output_a.weight"), c.groups * c.o_rank, c.heads / c.groups * c.head_dim)?,
            out_b: self.matrix(&blk("attn_output_b.weight"), c.embd, c.groups * c.o_rank)?,
            compressor,
            indexer,
        })
    }

    fn ffn(&self, prefix: &str, is_hashed: bool) -> Result<Ffn<B>> {
        let (c, blk) = (self.config, |suffix: &str| format!("{prefix}{suffix}"));
        let routing = if is_hashed {
            Routing::Hash(self.hash_table(&blk("ffn_gate_tid2eid.weight"))?)
        } else {
            let name = blk("exp_probs_b.bias");
            let bias = if self.file.tensor(&name).is_some() { Some(self.vector(&name, c.experts)?) } else { None };
            Routing::Learned { bias }
        };
        let routed =
            |what: &str, rows, cols| self.matrices(&blk(&format!("ffn_{what}_exps.weight")), rows, cols, c.experts);
        let shared = |what: &str, rows, cols| self.matrix(&blk(&format!("ffn_{what}_shexp.weight")), rows, cols);
        Ok(Ffn {
            norm: self.vector(&blk("ffn_norm.weight"), c.embd)?,
            router: self.matrix(&blk("ffn_gate_inp.weight"), c.experts, c.embd)?,
            routing,
            experts: Experts {
                gate: routed("gate", c.expert_ff, c.embd)?,
                up: routed("up", c.expert_ff, c.embd)?,
                down: routed("down", c.embd, c.expert_ff)?,
                shared_gate: shared("gate", c.expert_ff, c.embd)?,
                shared_up: shared("up", c.expert_ff, c.embd)?,
                shared_down: shared("down", c.embd, c.expert_ff)?,
            },
        })
    }

    fn hash_table(&self, name: &str) -> Result<B::Table> {
        let (c, width) = (self.config, self.config.experts_used);
        let tensor = self.find(name, &[width, c.vocab])?;
        if tensor.ty != TensorType::I32 {
            return Err(Error::Type { name: name.to_owned(), found: tensor.ty.name().to_owned(), expected: "I32" });
        }
        let entry = |b: &[u8]| i32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        let entries: Vec<i32> = self.file.data(tensor).chunks_exact(4).map(entry).collect();
        if let Some(at) = entries.iter().position(|e| usize::try_from(*e).map_or(true, |e| e >= c.experts)) {
            let (token, expert) = (at / width, entries[at]);
            return Err(Error::Expert { name: name.to_owned(), token, expert, experts: c.experts });
        }
        self.backend.table(entries, width)
    }

    fn layer(&self, prefix: &str, kind: LayerKind, is_hashed: bool) -> Result<Layer<B>> {
        let values = 2 * STREAMS + STREAMS * STREAMS;
        Ok(Layer {
            kind,
            hc_attn: self.hc(&format!("{prefix}hc_attn"), values, 3)?,
            attn: self.attention(prefix, kind)?,
            hc_ffn: self.hc(&format!("{prefix}hc_ffn"), values, 3)?,
            ffn: self.ffn(prefix, is_hashed)?,
        })
    }
}

/// How the tensors of a draft block are called.
struct MtpNames {
    /// Before the names of the layer.
    layer: String,
    /// Before those of what only the block has.
    own: String,
    /// The norm of its head.
    norm: &'static str,
}

impl MtpNames {
    /// Those in `file`: a file of the block alone has `mtp.0.`, llama.cpp counts the block as one more layer.
    fn find(file: &File) -> Result<Self> {
        const PROJECTION: &str = "h_proj.weight";
        let first = format!("mtp.0.{PROJECTION}");
        if file.tensor(&first).is_some() {
            return Ok(Self { layer: "mtp.0.".to_owned(), own: "mtp.0.".to_owned(), norm: "norm.weight" });
        }
        let suffix = format!("nextn.{PROJECTION}");
        let layer = file.tensors().iter().find_map(|tensor| tensor.name.strip_suffix(&suffix));
        let layer = layer.ok_or(Error::NotADraftBlock(first))?;
        Ok(Self { layer: layer.to_owned(), own: format!("{layer}nextn."), norm: "shared_head_norm.weight" })
    }
}

/// The tensors of the draft block in `file`.
///
/// # Errors
/// There is no such block.
pub fn draft_tensors(file: &File) -> Result<Vec<&TensorInfo>> {
    let MtpNames { layer, .. } = MtpNames::find(file)?;
    Ok(file.tensors().iter().filter(|tensor| tensor.name.starts_with(&layer)).collect())
}

impl<B: Backend> MtpWeights<B> {
    /// Binds the draft block in `file`. `config` is that of its one layer.
    ///
    /// # Errors
    /// There is no such block, or it does not fit the model; a type without kernels.
    pub fn load(file: &Arc<File>, backend: &B, config: &Config) -> Result<Self> {
        let load = Loader { file, backend, config };
        let MtpNames { layer, own, norm } = MtpNames::find(file)?;
        let square = |name: &str| load.matrix(&format!("{own}{name}.weight"), config.embd, config.embd);
        let vector = |name: &str| load.vector(&format!("{own}{name}"), config.embd);
        let joining = Joining {
            e_proj: square("e_proj")?,
            h_proj: square("h_proj")?,
            enorm: vector("enorm.weight")?,
            hnorm: vector("hnorm.weight")?,
        };
        // Optional in the main model, but a block without it was cut out wrongly.
        load.find(&format!("{layer}exp_probs_b.bias"), &[config.experts])?;
        Ok(Self {
            joining,
            hc_head: load.hc(&format!("{own}hc_head"), STREAMS, 1)?,
            norm: vector(norm)?,
            layer: load.layer(&layer, LayerKind::Sliding, false)?,
        })
    }
}

/// Whether windows of this ratio also look at the window before (§7).
pub const fn has_overlap(ratio: usize) -> bool {
    ratio == 4
}

impl<B: Backend> Weights<B> {
    /// Binds every tensor of the main model.
    ///
    /// # Errors
    /// A tensor that is missing, has another shape or a type without kernels; a hash table with an unknown expert.
    pub fn load(file: &Arc<File>, backend: &B, config: &Config) -> Result<Self> {
        let load = Loader { file, backend, config };
        let layer = |(il, kind): (usize, &LayerKind)| load.layer(&format!("blk.{il}."), *kind, config.is_hashed(il));
        let layers = config.layers.iter().enumerate().map(layer);
        Ok(Self {
            embd: load.matrix("token_embd.weight", config.vocab, config.embd)?,
            layers: layers.collect::<Result<_>>()?,
            hc_head: load.hc("output_hc", STREAMS, 1)?,
            norm: load.vector("output_norm.weight", config.embd)?,
            output: load.matrix("output.weight", config.vocab, config.embd)?,
        })
    }
}
