//! Which tensors a quantisation recipe treats alike, and the format that it gives them (`spec/quants.md` §3).

use clap::ValueEnum;
use ds4_quant::Format;

/// Tensors that a recipe treats alike, in the order in which they are shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Family {
    RoutedGateUp,
    RoutedDown,
    Attention,
    SharedExpert,
    Output,
    Embedding,
    /// Router, hyper-connections, compressors, indexer: F16 in the published files.
    SmallMatrices,
    Vectors,
    /// The two projections that only the MTP block has.
    Drafter,
    HashTable,
    Other,
}

impl Family {
    /// The family of a tensor by its name.
    pub fn of(name: &str) -> Self {
        let (_, suffix) = split_layer(name.strip_prefix(MTP).unwrap_or(name));
        let suffix = suffix.strip_suffix(".weight").unwrap_or(suffix);
        match suffix {
            "ffn_gate_exps" | "ffn_up_exps" => Family::RoutedGateUp,
            "ffn_down_exps" => Family::RoutedDown,
            "attn_q_a" | "attn_q_b" | "attn_kv" | "attn_output_a" | "attn_output_b" => Family::Attention,
            "ffn_gate_shexp" | "ffn_up_shexp" | "ffn_down_shexp" => Family::SharedExpert,
            "output" => Family::Output,
            "token_embd" => Family::Embedding,
            "ffn_gate_inp"
            | "hc_attn_fn"
            | "hc_ffn_fn"
            | "output_hc_fn"
            | "hc_head_fn"
            | "indexer.attn_q_b"
            | "indexer.proj"
            | "attn_compressor_ape"
            | "attn_compressor_kv"
            | "attn_compressor_gate"
            | "indexer_compressor_ape"
            | "indexer_compressor_kv"
            | "indexer_compressor_gate" => Family::SmallMatrices,
            "e_proj" | "h_proj" => Family::Drafter,
            "ffn_gate_tid2eid" => Family::HashTable,
            "attn_sinks" | "exp_probs_b.bias" => Family::Vectors,
            "enorm" | "hnorm" | "norm" => Family::Vectors,
            norm if norm.ends_with("_norm") => Family::Vectors,
            hc if hc.contains("hc_") && (hc.ends_with("_scale") || hc.ends_with("_base")) => Family::Vectors,
            _ => Family::Other,
        }
    }

    /// Its name for people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Family::RoutedGateUp => "routed gate/up",
            Family::RoutedDown => "routed down",
            Family::Attention => "attention projections",
            Family::SharedExpert => "shared expert",
            Family::Output => "output",
            Family::Embedding => "embedding",
            Family::SmallMatrices => "router, HC, compressor, indexer",
            Family::Vectors => "norms, sinks, biases, scales",
            Family::Drafter => "MTP projections",
            Family::HashTable => "hash-routing table",
            Family::Other => "other",
        }
    }
}

/// What names of the MTP block begin with.
const MTP: &str = "mtp.0.";

/// Layer number and the rest of a tensor name: `blk.3.attn_kv.weight` is of layer 3.
pub fn split_layer(name: &str) -> (Option<u32>, &str) {
    let in_layer = || {
        let (layer, suffix) = name.strip_prefix("blk.")?.split_once('.')?;
        Some((layer.parse().ok()?, suffix))
    };
    in_layer().map_or((None, name), |(layer, suffix)| (Some(layer), suffix))
}

/// Types of the tensors, as in the published files of the same name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Recipe {
    /// F32 everywhere
    F32,
    /// Q8_0, small matrices F16
    Q8,
    /// As q8, but experts IQ2_XXS (gate, up) and Q2_K (down)
    Q2,
    /// As q8, but experts Q4_K
    Q4,
}

impl Recipe {
    /// Its name for people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Recipe::F32 => "f32",
            Recipe::Q8 => "q8",
            Recipe::Q2 => "q2",
            Recipe::Q4 => "q4",
        }
    }

    /// The format of a family's tensors; `None` keeps them as they are.
    pub const fn format(self, family: Family) -> Option<Format> {
        match (self, family) {
            (_, Family::HashTable | Family::Other) => None,
            (Recipe::F32, _) | (_, Family::Vectors) => Some(Format::F32),
            (_, Family::SmallMatrices | Family::Embedding) => Some(Format::F16),
            (_, Family::Attention | Family::SharedExpert | Family::Output | Family::Drafter)
            | (Recipe::Q8, Family::RoutedGateUp | Family::RoutedDown) => Some(Format::Q8_0),
            (Recipe::Q2, Family::RoutedGateUp) => Some(Format::Iq2Xxs),
            (Recipe::Q2, Family::RoutedDown) => Some(Format::Q2K),
            (Recipe::Q4, Family::RoutedGateUp | Family::RoutedDown) => Some(Format::Q4K),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tensor_of_the_architecture_is_without_family() {
        let file = ds4_gguf::File::from_vec(
            crate::tiny_model::gguf(Recipe::F32, 1, crate::tiny_model::KvShape::TINY).unwrap(),
        )
        .unwrap();
        for tensor in file.tensors() {
            let family = Family::of(&tensor.name);
            assert_ne!(family, Family::Other, "{}", tensor.name);
            assert_eq!(family == Family::Vectors, tensor.dims.len() == 1, "{}", tensor.name);
        }
        assert_eq!(Family::of("blk.x.attn_kv.weight"), Family::Other);
        assert_eq!(Family::of("mtp.0.e_proj.weight"), Family::Drafter);
        assert_eq!(Family::of("mtp.0.ffn_gate_exps.weight"), Family::RoutedGateUp);
        assert_eq!(Family::of("mtp.0.hc_head_fn.weight"), Family::SmallMatrices);
        assert_eq!(Family::of("mtp.0.enorm.weight"), Family::Vectors);
    }
}
