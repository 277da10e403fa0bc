//! Sizes, and the tensors in file order (`spec/gguf.md` §3).

/// What decides the size of the KV state.
#[derive(Clone, Copy, Debug)]
pub struct KvShape {
    /// `L`: two sliding layers, then ratio 4 and 128 in turn.
    pub layers: usize,
    /// `D`
    pub head_dim: u64,
}

impl KvShape {
    /// Of a small model.
    pub const TINY: Self = Self { layers: 5, head_dim: 192 };
    /// Of the published model.
    pub const FULL: Self = Self { layers: 43, head_dim: 512 };
}

/// `E`
pub const EMBD: u64 = 256;
/// `H`
pub const HEADS: u64 = 4;
/// `R`
pub const ROT: u64 = 64;
/// `Q`
pub const Q_RANK: u64 = 32;
/// `G`
pub const GROUPS: u64 = 2;
/// `O`
pub const O_RANK: u64 = 32;
/// `IH`
pub const INDEX_HEADS: u64 = 16;
/// `ID`
pub const INDEX_DIM: u64 = 128;
/// `K`: small enough that the indexer has to choose after 68 tokens.
pub const TOP_K: u64 = 16;
/// `NE`
pub const EXPERTS: usize = 6;
/// `NU`
pub const EXPERTS_USED: usize = 2;
/// `F`
pub const EXPERT_FF: u64 = 256;
/// Layers routed by the hash table.
pub const HASH_LAYERS: usize = 3;
/// `N`
pub const STREAMS: u64 = 4;

/// Tokens per compressed row of layer `il`; 0 for sliding layers.
pub const fn ratio(il: usize) -> u32 {
    match il {
        0 | 1 => 0,
        il if il.is_multiple_of(2) => 4,
        _ => 128,
    }
}

/// How a tensor's values are drawn.
#[derive(Clone, Copy, Debug)]
pub enum Fill {
    Normal {
        mean: f32,
        spread: f32,
    },
    Uniform {
        low: f32,
        high: f32,
    },
    /// The hash-routing table.
    Experts,
}

/// One tensor.
pub struct Tensor {
    pub name: String,
    /// The contiguous one first.
    pub dims: Vec<u64>,
    pub fill: Fill,
}

/// Collects tensors under a name prefix.
struct Plan {
    kv: KvShape,
    tensors: Vec<Tensor>,
    prefix: String,
}

impl Plan {
    fn add(&mut self, name: &str, dims: &[u64], fill: Fill) {
        self.tensors.push(Tensor { name: format!("{}{name}", self.prefix), dims: dims.to_vec(), fill });
    }

    /// A matrix whose outputs are about `gain` times as large as its inputs.
    fn matrix(&mut self, name: &str, dims: &[u64], gain: f32) {
        let spread = gain / (dims[0] as f32).sqrt();
        self.add(name, dims, Fill::Normal { mean: 0.0, spread });
    }

    fn vector(&mut self, name: &str, n: u64, mean: f32, spread: f32) {
        self.add(name, &[n], Fill::Normal { mean, spread });
    }

    fn norm(&mut self, name: &str, n: u64) {
        self.vector(name, n, 1.0, 0.2);
    }

    fn hyper_connection(&mut self, site: &str, values: u64, scales: u64) {
        self.matrix(&format!("{site}_fn.weight"), &[STREAMS * EMBD, values], 1.0);
        let scale = Fill::Uniform { low: 0.6, high: 1.4 };
        self.add(&format!("{site}_scale.weight"), &[scales], scale);
        self.vector(&format!("{site}_base.weight"), values, 0.0, 0.6);
    }

    fn compressor(&mut self, name: &str, ratio: u64, dim: u64) {
        // Ratio 4 projects two lanes, for windows that overlap.
        let width = if ratio == 4 { 2 * dim } else { dim };
        let ape = Fill::Normal { mean: 0.0, spread: 0.8 };
        self.add(&format!("{name}_ape.weight"), &[width, ratio], ape);
        self.matrix(&format!("{name}_kv.weight"), &[EMBD, width], 1.0);
        self.matrix(&format!("{name}_gate.weight"), &[EMBD, width], 1.6);
        self.norm(&format!("{name}_norm.weight"), dim);
    }

    fn attention(&mut self, ratio: u64) {
        let head_dim = self.kv.head_dim;
        self.norm("attn_norm.weight", EMBD);
        self.matrix("attn_q_a.weight", &[EMBD, Q_RANK], 1.0);
        self.norm("attn_q_a_norm.weight", Q_RANK);
        self.matrix("attn_q_b.weight", &[Q_RANK, HEADS * head_dim], 1.0);
        self.matrix("attn_kv.weight", &[EMBD, head_dim], 1.0);
        self.norm("attn_kv_a_norm.weight", head_dim);
        self.vector("attn_sinks.weight", HEADS, 0.5, 1.5);
        self.matrix("attn_output_a.weight", &[HEADS / GROUPS * head_dim, GROUPS * O_RANK], 1.0);
        self.matrix("attn_output_b.weight", &[GROUPS * O_RANK, EMBD], 1.6);
        if ratio != 0 {
            self.compressor("attn_compressor", ratio, head_dim);
        }
        if ratio == 4 {
            self.matrix("indexer.attn_q_b.weight", &[Q_RANK, INDEX_HEADS * INDEX_DIM], 1.0);
            self.matrix("indexer.proj.weight", &[EMBD, INDEX_HEADS], 1.0);
            self.compressor("indexer_compressor", ratio, INDEX_DIM);
        }
    }

    fn ffn(&mut self, il: usize, vocab: u64) {
        // In one layer of three the gates go beyond the SwiGLU clamp.
        let (up, down) = if il % 3 == 1 { (5.0, 0.12) } else { (1.4, 1.2) };
        let experts = EXPERTS as u64;
        self.norm("ffn_norm.weight", EMBD);
        self.matrix("ffn_gate_inp.weight", &[EMBD, experts], 1.2);
        if il < HASH_LAYERS {
            self.add("ffn_gate_tid2eid.weight", &[EXPERTS_USED as u64, vocab], Fill::Experts);
        } else {
            self.vector("exp_probs_b.bias", experts, 0.0, 0.25);
        }
        self.matrix("ffn_gate_exps.weight", &[EMBD, EXPERT_FF, experts], up);
        self.matrix("ffn_up_exps.weight", &[EMBD, EXPERT_FF, experts], up);
        self.matrix("ffn_down_exps.weight", &[EXPERT_FF, EMBD, experts], down);
        self.matrix("ffn_gate_shexp.weight", &[EMBD, EXPERT_FF], up);
        self.matrix("ffn_up_shexp.weight", &[EMBD, EXPERT_FF], up);
        self.matrix("ffn_down_shexp.weight", &[EXPERT_FF, EMBD], down);
    }
}

/// All tensors of a model with `vocab` tokens.
pub fn tensors(vocab: usize, kv: KvShape) -> Vec<Tensor> {
    let vocab = vocab as u64;
    let mut plan = Plan { kv, tensors: Vec::new(), prefix: String::new() };
    plan.add("token_embd.weight", &[EMBD, vocab], Fill::Normal { mean: 0.0, spread: 1.0 });
    plan.hyper_connection("output_hc", STREAMS, 1);
    plan.norm("output_norm.weight", EMBD);
    plan.matrix("output.weight", &[EMBD, vocab], 2.0);
    let values = 2 * STREAMS + STREAMS * STREAMS;
    for il in 0..kv.layers {
        plan.prefix = format!("blk.{il}.");
        plan.hyper_connection("hc_attn", values, 3);
        plan.attention(ratio(il).into());
        plan.hyper_connection("hc_ffn", values, 3);
        plan.ffn(il, vocab);
    }
    plan.tensors
}
