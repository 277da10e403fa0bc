//! Random files survive a round trip; randomly damaged files never panic.

use std::collections::{BTreeMap, BTreeSet};

use ds4_gguf::{File, StringArray, TensorType, Value, Writer};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

/// Everything that makes a file.
#[derive(Clone, Debug)]
struct Model {
    alignment: Option<u32>,
    entries: Vec<(String, Value)>,
    tensors: Vec<(String, TensorType, Vec<u64>, u8)>,
}

fn value() -> impl Strategy<Value = Value> {
    let strings = vec(".{0,12}", 0..6).prop_map(|s| s.into_iter().collect::<StringArray>().into());
    prop_oneof![
        any::<u8>().prop_map(Value::from),
        any::<i16>().prop_map(Value::from),
        any::<u32>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        vec(any::<u8>(), 0..20).prop_map(Value::from),
        vec(any::<bool>(), 0..20).prop_map(Value::from),
        vec(any::<i32>(), 0..20).prop_map(Value::from),
        vec(any::<f32>(), 0..20).prop_map(Value::from),
        vec(any::<u64>(), 0..20).prop_map(Value::from),
        strings,
    ]
}

fn tensors(names: BTreeSet<String>) -> impl Strategy<Value = Vec<(String, TensorType, Vec<u64>, u8)>> {
    let shape = (0..TensorType::ALL.len(), 1..3u64, vec(1..4u64, 0..4), any::<u8>());
    vec(shape, names.len()).prop_map(move |shapes| {
        let tensor = |(name, (ty, blocks, outer, fill)): (&String, (usize, u64, Vec<u64>, u8))| {
            let ty = TensorType::ALL[ty];
            let dims = [vec![blocks * ty.block_elements()], outer].concat();
            (name.clone(), ty, dims, fill)
        };
        names.iter().zip(shapes).map(tensor).collect()
    })
}

fn model() -> impl Strategy<Value = Model> {
    let alignment = prop::option::of((3..13u32).prop_map(|bits| 1 << bits));
    let entries = btree_map("[a-z]{1,8}\\.[a-zäß_]{1,12}", value(), 0..12)
        .prop_map(|map: BTreeMap<_, _>| map.into_iter().collect::<Vec<_>>())
        .prop_shuffle();
    let tensors = btree_set("[a-z]{1,5}\\.[0-9]{1,3}\\.[a-z_]{1,20}", 0..8).prop_flat_map(tensors);
    (alignment, entries, tensors.prop_shuffle()).prop_map(|(alignment, entries, tensors)| Model {
        alignment,
        entries,
        tensors,
    })
}

impl Model {
    fn payload(&self, index: usize) -> Vec<u8> {
        let (_, ty, dims, fill) = &self.tensors[index];
        let n_bytes = dims.iter().product::<u64>() / ty.block_elements() * ty.block_bytes();
        (0..n_bytes).map(|at| fill.wrapping_add(at as u8)).collect()
    }

    fn write(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        for (key, value) in &self.entries {
            writer.metadata(key.as_str(), value.clone());
        }
        if let Some(alignment) = self.alignment {
            writer.metadata("general.alignment", alignment);
        }
        for (index, (name, ty, dims, _)) in self.tensors.iter().enumerate() {
            writer.tensor(name.as_str(), dims, *ty, self.payload(index));
        }
        let mut bytes = Vec::new();
        writer.write_to(&mut bytes).unwrap();
        bytes
    }
}

/// One act of damage. Positions are scaled to the file at hand.
#[derive(Clone, Debug)]
enum Damage {
    Byte(u16, u8),
    Number(u16, u64),
    Cut(u16),
    Insert(u16, Vec<u8>),
    Remove(u16, u8),
}

fn damage() -> impl Strategy<Value = Damage> {
    let nasty = prop_oneof![
        Just(0),
        Just(u64::MAX),
        Just(1 << 63),
        Just(u64::MAX - 31),
        Just(u64::from(u32::MAX)),
        0..70_000u64,
        any::<u64>(),
    ];
    prop_oneof![
        4 => (any::<u16>(), any::<u8>()).prop_map(|(at, value)| Damage::Byte(at, value)),
        4 => (any::<u16>(), nasty).prop_map(|(at, value)| Damage::Number(at, value)),
        1 => any::<u16>().prop_map(Damage::Cut),
        1 => (any::<u16>(), vec(any::<u8>(), 1..16)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => (any::<u16>(), 1..16u8).prop_map(|(at, count)| Damage::Remove(at, count)),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        // Half of all positions fall on the first 64 bytes, where the counts are.
        let scale = |at: u16| match at % 2 {
            0 => usize::from(at / 2) % bytes.len().clamp(1, 64),
            _ => usize::from(at) * bytes.len() / usize::from(u16::MAX),
        };
        match *self {
            Damage::Byte(at, value) => {
                let at = scale(at);
                bytes.get_mut(at).into_iter().for_each(|byte| *byte = value);
            }
            Damage::Number(at, value) => {
                let at = scale(at);
                bytes.iter_mut().skip(at).zip(value.to_le_bytes()).for_each(|(to, from)| *to = from);
            }
            Damage::Cut(at) => bytes.truncate(scale(at)),
            Damage::Insert(at, ref inserted) => {
                let at = scale(at);
                bytes.splice(at..at, inserted.iter().copied());
            }
            Damage::Remove(at, count) => {
                let at = scale(at);
                bytes.drain(at..bytes.len().min(at + usize::from(count)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_written_file_reads_back_the_same(model in model()) {
        let file = File::from_vec(model.write()).unwrap();
        let keys = model.entries.len() + usize::from(model.alignment.is_some());
        prop_assert_eq!(file.metadata().len(), keys);
        for (key, value) in &model.entries {
            prop_assert_eq!(file.metadata().get(key), Some(value));
        }
        let alignment = u64::from(model.alignment.unwrap_or(32));
        prop_assert_eq!(file.alignment(), alignment);
        prop_assert_eq!(file.tensors().len(), model.tensors.len());
        for (index, (name, ty, dims, _)) in model.tensors.iter().enumerate() {
            let tensor = file.tensor(name).unwrap();
            prop_assert_eq!(tensor, &file.tensors()[index]);
            prop_assert_eq!((tensor.ty, &tensor.dims), (*ty, dims));
            prop_assert_eq!(tensor.offset % alignment, 0);
            prop_assert_eq!(file.data(tensor), model.payload(index));
        }
    }

    #[test]
    fn a_damaged_file_never_panics(model in model(), damage in vec(damage(), 1..5)) {
        let mut bytes = model.write();
        damage.iter().for_each(|damage| damage.apply(&mut bytes));
        match File::from_vec(bytes) {
            Err(error) => prop_assert!(!error.to_string().contains(char::is_control)),
            Ok(file) => {
                for tensor in file.tensors() {
                    prop_assert_eq!(file.data(tensor).len() as u64, tensor.n_bytes);
                }
                for (key, value) in file.metadata().iter() {
                    prop_assert_eq!(file.metadata().get(key).map(Value::to_string), Some(value.to_string()));
                }
            }
        }
    }
}
