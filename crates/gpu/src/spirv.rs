//! SPIR-V for kernels that use matrix units, where the library's own translation is not enough.
//!
//! Such a module has the Vulkan memory model, in which accesses that do not say otherwise are private to an invocation, so that a barrier does
//! not order them. The library leaves workgroup memory private, and values written by one subgroup reach another by luck. Here every access to
//! workgroup memory is marked as not private, and barriers make values available and visible.

use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use std::collections::{HashMap, HashSet};

const HEADER_WORDS: usize = 5;
/// Storage class of workgroup memory.
const WORKGROUP: u32 = 4;
/// Memory operand: not private.
const NON_PRIVATE: u32 = 0x20;
/// Memory semantics: of subgroup and of workgroup memory; makes available and visible.
const SUBGROUP_MEMORY: u32 = 0x80;
const WORKGROUP_MEMORY: u32 = 0x100;
const AVAILABLE_AND_VISIBLE: u32 = 0x6000;

/// Operations, by their numbers in the SPIR-V specification.
mod op {
    pub const TYPE_POINTER: u32 = 32;
    pub const CONSTANT: u32 = 43;
    pub const FUNCTION_PARAMETER: u32 = 55;
    pub const VARIABLE: u32 = 59;
    pub const LOAD: u32 = 61;
    pub const STORE: u32 = 62;
    pub const ACCESS_CHAIN: u32 = 65;
    pub const IN_BOUNDS_ACCESS_CHAIN: u32 = 66;
    pub const CONTROL_BARRIER: u32 = 224;
    pub const MEMORY_BARRIER: u32 = 225;
    pub const COOPERATIVE_LOAD: u32 = 4457;
    pub const COOPERATIVE_STORE: u32 = 4458;
}

/// The module of a WGSL text with `bindings` storage bindings in group 0.
///
/// # Errors
/// The text is not valid.
pub fn of_wgsl(source: &str, bindings: u32) -> Result<Vec<u32>, String> {
    let module = naga::front::wgsl::parse_str(source).map_err(|error| error.emit_to_string(source))?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
    let info = validator.validate(&module).map_err(|error| error.emit_to_string(source))?;
    let place = |binding| {
        let resource = naga::ResourceBinding { group: 0, binding };
        (resource, spv::BindingInfo { descriptor_set: 0, binding, binding_array_size: None })
    };
    let unchecked = BoundsCheckPolicy::Unchecked;
    let options = spv::Options {
        lang_version: (1, 6),
        flags: spv::WriterFlags::empty(),
        binding_map: (0..bindings).map(place).collect(),
        bounds_check_policies: BoundsCheckPolicies {
            index: unchecked,
            buffer: unchecked,
            image_load: unchecked,
            binding_array: unchecked,
        },
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..spv::Options::default()
    };
    let words = spv::write_vec(&module, &info, &options, None).map_err(|error| error.to_string())?;
    Ok(share_workgroup_memory(&words))
}

/// Operation number and words of each instruction.
fn instructions(words: &[u32]) -> impl Iterator<Item = (u32, &[u32])> {
    let mut rest = words.get(HEADER_WORDS..).unwrap_or_default();
    std::iter::from_fn(move || {
        let first = *rest.first()?;
        let (one, after) = rest.split_at_checked((first >> 16).max(1) as usize)?;
        rest = after;
        Some((first & 0xffff, one))
    })
}

fn share_workgroup_memory(words: &[u32]) -> Vec<u32> {
    let (mut pointer_types, mut pointers, mut constants) = (HashSet::new(), HashSet::new(), HashMap::new());
    let mut semantics = HashSet::new();
    for (number, one) in instructions(words) {
        match number {
            op::TYPE_POINTER if one[2] == WORKGROUP => {
                pointer_types.insert(one[1]);
            }
            op::CONSTANT if one.len() == 4 => {
                constants.insert(one[2], (one[1], one[3]));
            }
            op::VARIABLE | op::FUNCTION_PARAMETER | op::ACCESS_CHAIN | op::IN_BOUNDS_ACCESS_CHAIN
                if pointer_types.contains(&one[1]) =>
            {
                pointers.insert(one[2]);
            }
            op::CONTROL_BARRIER => {
                semantics.insert(one[3]);
            }
            op::MEMORY_BARRIER => {
                semantics.insert(one[2]);
            }
            _ => {}
        }
    }
    let mut bound = words.get(3).copied().unwrap_or(0);
    let mut stronger = HashMap::new();
    for id in semantics {
        if constants.get(&id).is_some_and(|(_, value)| value & (SUBGROUP_MEMORY | WORKGROUP_MEMORY) != 0) {
            stronger.insert(id, bound);
            bound += 1;
        }
    }
    let mut out = words.get(..HEADER_WORDS).unwrap_or_default().to_vec();
    if let Some(slot) = out.get_mut(3) {
        *slot = bound;
    }
    for (number, one) in instructions(words) {
        let mut new = one.to_vec();
        let at = match number {
            op::LOAD => Some((3, 4)),
            op::STORE => Some((1, 3)),
            op::COOPERATIVE_LOAD => Some((3, 6)),
            op::COOPERATIVE_STORE => Some((1, 5)),
            _ => None,
        };
        if let Some((_, mask)) = at.filter(|(pointer, _)| pointers.contains(&one[*pointer])) {
            match new.get_mut(mask) {
                Some(mask) => *mask |= NON_PRIVATE,
                None => new.push(NON_PRIVATE),
            }
        }
        let place = match number {
            op::CONTROL_BARRIER => Some(3),
            op::MEMORY_BARRIER => Some(2),
            _ => None,
        };
        if let Some(place) = place
            && let Some(id) = stronger.get(&new[place])
        {
            new[place] = *id;
        }
        new[0] = (new.len() as u32) << 16 | number;
        out.extend(new);
        if number == op::CONSTANT
            && let Some(id) = stronger.get(&one[2])
        {
            let (kind, value) = constants[&one[2]];
            out.extend([4 << 16 | op::CONSTANT, kind, *id, value | WORKGROUP_MEMORY | AVAILABLE_AND_VISIBLE]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: &str = "
        @group(0) @binding(0) var<storage, read_write> a: array<f32>;
        var<workgroup> shared_values: array<f32, 64>;
        @compute @workgroup_size(64)
        fn main(@builtin(local_invocation_index) lane: u32) {
            shared_values[lane] = a[lane];
            workgroupBarrier();
            a[lane] = shared_values[63u - lane];
        }";

    #[test]
    fn accesses_to_workgroup_memory_are_not_private_and_others_stay() {
        let words = of_wgsl(KERNEL, 1).unwrap();
        let masks = |wanted: u32, plain: usize| {
            let of =
                move |(number, one): (u32, &[u32])| (number == wanted).then(|| one.get(plain).copied().unwrap_or(0));
            instructions(&words).filter_map(of).collect::<Vec<u32>>()
        };
        assert_eq!(masks(op::LOAD, 4).iter().filter(|mask| **mask == NON_PRIVATE).count(), 1);
        assert_eq!(masks(op::STORE, 3).iter().filter(|mask| **mask == NON_PRIVATE).count(), 1);
        assert!(masks(op::LOAD, 4).contains(&0) && masks(op::STORE, 3).contains(&0));
        let constants: HashMap<u32, u32> = instructions(&words)
            .filter(|(number, _)| *number == op::CONSTANT)
            .map(|(_, one)| (one[2], one[3]))
            .collect();
        let barriers: Vec<u32> = masks(op::CONTROL_BARRIER, 3);
        assert!(!barriers.is_empty());
        for id in barriers {
            assert_eq!(constants[&id] & AVAILABLE_AND_VISIBLE, AVAILABLE_AND_VISIBLE);
        }
        let length: usize = HEADER_WORDS + instructions(&words).map(|(_, one)| one.len()).sum::<usize>();
        assert_eq!(length, words.len());
    }

    #[test]
    fn what_is_no_wgsl_is_told() {
        assert!(of_wgsl("fn main( {", 0).is_err());
    }
}
