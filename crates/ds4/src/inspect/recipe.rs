//! Which types a file's tensors have, by family (`spec/quants.md` §3), and the name of that choice.

use crate::recipe::{Family, split_layer};
use ds4_gguf::{TensorInfo, TensorType};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The tensors of one family that have one type.
#[derive(Serialize)]
pub struct TypeUse {
    #[serde(rename = "type")]
    pub ty: &'static str,
    pub tensors: usize,
    pub bytes: u64,
    /// As `0-2,5`; empty for tensors outside the layers.
    pub layers: String,
}

/// The types of one family.
#[derive(Serialize)]
pub struct FamilyUse {
    pub family: &'static str,
    pub types: Vec<TypeUse>,
}

/// The choice of types of a file.
#[derive(Serialize)]
pub struct Recipe {
    /// `None` if the routed experts follow none that has a name.
    pub name: Option<&'static str>,
    pub families: Vec<FamilyUse>,
}

impl Recipe {
    /// The recipe of a file with these tensors.
    pub fn new(tensors: &[TensorInfo]) -> Self {
        let mut uses: BTreeMap<(Family, u32), (TypeUse, BTreeSet<u32>)> = BTreeMap::new();
        for tensor in tensors {
            let fresh =
                || (TypeUse { ty: tensor.ty.name(), tensors: 0, bytes: 0, layers: String::new() }, BTreeSet::new());
            let (used, layers) = uses.entry((Family::of(&tensor.name), tensor.ty.id())).or_insert_with(fresh);
            used.tensors += 1;
            used.bytes = used.bytes.saturating_add(tensor.n_bytes);
            layers.extend(split_layer(&tensor.name).0);
        }
        let mut families: Vec<FamilyUse> = Vec::new();
        for ((family, _), (used, layers)) in uses {
            let used = TypeUse { layers: ranges(&layers), ..used };
            match families.last_mut().filter(|last| last.family == family.name()) {
                Some(last) => last.types.push(used),
                None => families.push(FamilyUse { family: family.name(), types: vec![used] }),
            }
        }
        Self { name: name(tensors), families }
    }
}

/// The recipe of one layer's routed experts: types of gate, up and down.
fn layer_name(gate: TensorType, up: TensorType, down: TensorType) -> Option<&'static str> {
    match (gate, up, down) {
        (TensorType::Iq2Xxs, TensorType::Iq2Xxs, TensorType::Q2K) => Some("q2"),
        (TensorType::Q4K, TensorType::Q4K, TensorType::Q4K) => Some("q4"),
        (TensorType::Q8_0, TensorType::Q8_0, TensorType::Q8_0) => Some("q8"),
        (TensorType::F16, TensorType::F16, TensorType::F16) => Some("f16"),
        (TensorType::Bf16, TensorType::Bf16, TensorType::Bf16) => Some("bf16"),
        (TensorType::F32, TensorType::F32, TensorType::F32) => Some("f32"),
        _ => None,
    }
}

/// What people call the choice of types: it is known by the routed experts, which are nearly the whole file.
fn name(tensors: &[TensorInfo]) -> Option<&'static str> {
    let mut layers: BTreeMap<u32, [Option<TensorType>; 3]> = BTreeMap::new();
    for tensor in tensors {
        let (Some(layer), suffix) = split_layer(&tensor.name) else { continue };
        let part = match suffix {
            "ffn_gate_exps.weight" => 0,
            "ffn_up_exps.weight" => 1,
            "ffn_down_exps.weight" => 2,
            _ => continue,
        };
        layers.entry(layer).or_default()[part] = Some(tensor.ty);
    }
    let names = layers.values().map(|[gate, up, down]| layer_name((*gate)?, (*up)?, (*down)?));
    let names: BTreeSet<&str> = names.collect::<Option<_>>()?;
    if names.len() > 1 { Some("mixed") } else { names.first().copied() }
}

/// `{0, 1, 2, 5}` as `0-2,5`.
fn ranges(layers: &BTreeSet<u32>) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &layer in layers {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(layer) => *last = layer,
            _ => runs.push((layer, layer)),
        }
    }
    let run = |(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    runs.iter().map(run).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use TensorType::{F16, F32, Iq2Xxs, Q2K, Q4K, Q5K};

    fn experts(layers: &[[TensorType; 3]]) -> Vec<TensorInfo> {
        let tensor = |il: usize, part: &str, ty| TensorInfo {
            name: format!("blk.{il}.ffn_{part}_exps.weight"),
            dims: vec![256],
            ty,
            offset: 0,
            n_bytes: 100,
        };
        let layer = |(il, [gate, up, down]): (usize, &[TensorType; 3])| {
            [tensor(il, "gate", *gate), tensor(il, "up", *up), tensor(il, "down", *down)]
        };
        layers.iter().enumerate().flat_map(layer).collect()
    }

    #[test]
    fn recipes_have_their_names() {
        let q2 = [Iq2Xxs, Iq2Xxs, Q2K];
        let q4 = [Q4K; 3];
        assert_eq!(name(&experts(&[q2, q2])), Some("q2"));
        assert_eq!(name(&experts(&[q4])), Some("q4"));
        assert_eq!(name(&experts(&[[F32; 3]])), Some("f32"));
        assert_eq!(name(&experts(&[[F16; 3]])), Some("f16"));
        assert_eq!(name(&experts(&[q2, q4])), Some("mixed"));
        assert_eq!(name(&experts(&[q2, [Q5K, Q5K, Q2K]])), None);
        assert_eq!(name(&experts(&[q2])[..2]), None, "a part is missing");
        assert_eq!(name(&[]), None);
    }

    #[test]
    fn a_mixed_file_tells_which_layers_have_which_type() {
        let q2 = [Iq2Xxs, Iq2Xxs, Q2K];
        let recipe = Recipe::new(&experts(&[q2, q2, [Q4K; 3], q2]));
        let uses: Vec<_> =
            recipe.families.iter().flat_map(|f| f.types.iter().map(|t| (f.family, t.ty, &*t.layers))).collect();
        assert_eq!(
            uses,
            [
                ("routed gate/up", "Q4_K", "2"),
                ("routed gate/up", "IQ2_XXS", "0-1,3"),
                ("routed down", "Q2_K", "0-1,3"),
                ("routed down", "Q4_K", "2"),
            ]
        );
        assert_eq!(recipe.families[0].types[1].tensors, 6);
        assert_eq!(recipe.families[0].types[1].bytes, 600);
    }
}
