//! Names of tensors in the official checkpoint (`spec/gguf.md` §6).

/// What the official checkpoint calls a tensor of a GGUF file; for the experts of a layer, which are one tensor there, that of expert
/// `expert`. `None` for names that the architecture does not have.
pub fn official(gguf: &str, expert: Option<usize>) -> Option<String> {
    let global = match gguf {
        "token_embd.weight" => Some("embed.weight"),
        "output_norm.weight" => Some("norm.weight"),
        "output.weight" => Some("head.weight"),
        "output_hc_base.weight" => Some("hc_head_base"),
        "output_hc_fn.weight" => Some("hc_head_fn"),
        "output_hc_scale.weight" => Some("hc_head_scale"),
        _ => None,
    };
    if let Some(name) = global {
        return Some(name.to_owned());
    }
    let (layer, suffix) = gguf.strip_prefix("blk.")?.split_once('.')?;
    let layer: u32 = layer.parse().ok()?;
    let in_layer = match suffix {
        // No `.weight`: parameters of their own, not of a module.
        "hc_attn_base.weight" => "hc_attn_base",
        "hc_attn_fn.weight" => "hc_attn_fn",
        "hc_attn_scale.weight" => "hc_attn_scale",
        "hc_ffn_base.weight" => "hc_ffn_base",
        "hc_ffn_fn.weight" => "hc_ffn_fn",
        "hc_ffn_scale.weight" => "hc_ffn_scale",
        "attn_sinks.weight" => "attn.attn_sink",
        "attn_compressor_ape.weight" => "attn.compressor.ape",
        "indexer_compressor_ape.weight" => "attn.indexer.compressor.ape",
        "exp_probs_b.bias" => "ffn.gate.bias",
        "ffn_gate_tid2eid.weight" => "ffn.gate.tid2eid",
        "attn_norm.weight" => "attn_norm.weight",
        "ffn_norm.weight" => "ffn_norm.weight",
        "attn_q_a.weight" => "attn.wq_a.weight",
        "attn_q_b.weight" => "attn.wq_b.weight",
        "attn_q_a_norm.weight" => "attn.q_norm.weight",
        "attn_kv.weight" => "attn.wkv.weight",
        "attn_kv_a_norm.weight" => "attn.kv_norm.weight",
        "attn_output_a.weight" => "attn.wo_a.weight",
        "attn_output_b.weight" => "attn.wo_b.weight",
        "attn_compressor_kv.weight" => "attn.compressor.wkv.weight",
        "attn_compressor_gate.weight" => "attn.compressor.wgate.weight",
        "attn_compressor_norm.weight" => "attn.compressor.norm.weight",
        "indexer.attn_q_b.weight" => "attn.indexer.wq_b.weight",
        "indexer.proj.weight" => "attn.indexer.weights_proj.weight",
        "indexer_compressor_kv.weight" => "attn.indexer.compressor.wkv.weight",
        "indexer_compressor_gate.weight" => "attn.indexer.compressor.wgate.weight",
        "indexer_compressor_norm.weight" => "attn.indexer.compressor.norm.weight",
        "ffn_gate_shexp.weight" => "ffn.shared_experts.w1.weight",
        "ffn_up_shexp.weight" => "ffn.shared_experts.w3.weight",
        "ffn_down_shexp.weight" => "ffn.shared_experts.w2.weight",
        "ffn_gate_inp.weight" => "ffn.gate.weight",
        _ => {
            let part = match suffix {
                "ffn_gate_exps.weight" => "w1",
                "ffn_up_exps.weight" => "w3",
                "ffn_down_exps.weight" => "w2",
                _ => return None,
            };
            return Some(format!("layers.{layer}.ffn.experts.{}.{part}.weight", expert?));
        }
    };
    Some(format!("layers.{layer}.{in_layer}"))
}

#[cfg(test)]
mod tests {
    use super::official;

    #[test]
    fn names_of_all_kinds() {
        for (gguf, expert, name) in [
            ("token_embd.weight", None, Some("embed.weight")),
            ("output_hc_fn.weight", None, Some("hc_head_fn")),
            ("blk.0.attn_sinks.weight", None, Some("layers.0.attn.attn_sink")),
            ("blk.42.attn_kv_a_norm.weight", None, Some("layers.42.attn.kv_norm.weight")),
            ("blk.3.ffn_up_exps.weight", Some(255), Some("layers.3.ffn.experts.255.w3.weight")),
            ("blk.3.ffn_down_exps.weight", Some(0), Some("layers.3.ffn.experts.0.w2.weight")),
            ("blk.3.ffn_down_exps.weight", None, None),
            ("blk.3.attn_unknown.weight", None, None),
            ("blk.x.attn_kv.weight", None, None),
            ("mtp.0.e_proj.weight", None, None),
        ] {
            assert_eq!(official(gguf, expert).as_deref(), name, "{gguf}");
        }
    }
}
