//! What the writer writes, the reader reads; and the rules about what is accepted.

use crate::common::{self, F32, Raw};
use ds4_gguf::limits::{DIRECTORY_BYTES_MAX, HEADER_BYTES, KEY_BYTES_MAX, KEYS_MAX, TENSORS_MAX};
use ds4_gguf::{Array, File, StringArray, TensorType, Value, ValueType, Writer};

fn read(writer: Writer<'_>) -> File {
    File::from_vec(written(writer)).unwrap()
}

fn written(writer: Writer<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    writer.write_to(&mut bytes).unwrap();
    bytes
}

fn one_of_each_type() -> Vec<Value> {
    vec![
        u8::MAX.into(),
        i8::MIN.into(),
        u16::MAX.into(),
        i16::MIN.into(),
        u32::MAX.into(),
        i32::MIN.into(),
        1.5f32.into(),
        true.into(),
        "Größe".into(),
        vec![1u8, 2].into(),
        u64::MAX.into(),
        i64::MIN.into(),
        (-2.5f64).into(),
        vec![-1i8, 2].into(),
        vec![1u16].into(),
        vec![-1i16].into(),
        vec![1u32, u32::MAX].into(),
        vec![i32::MIN, 7].into(),
        vec![0.5f32, f32::INFINITY].into(),
        vec![true, false].into(),
        ["", "a", "日本"].into_iter().collect::<StringArray>().into(),
        vec![u64::MAX].into(),
        vec![i64::MIN].into(),
        vec![f64::MIN_POSITIVE].into(),
        Vec::<u32>::new().into(),
    ]
}

#[test]
fn every_value_type_survives() {
    let values = one_of_each_type();
    let mut writer = Writer::new();
    for (index, value) in values.iter().enumerate() {
        writer.metadata(format!("key.{index}"), value.clone());
    }
    let file = read(writer);
    assert_eq!(file.metadata().len(), values.len());
    for (index, ((key, found), expected)) in file.metadata().iter().zip(&values).enumerate() {
        assert_eq!((key, found), (format!("key.{index}").as_str(), expected));
        assert_eq!(file.metadata().get(key), Some(expected));
    }
    assert_eq!(file.metadata().get("key."), None);
}

#[test]
fn every_tensor_type_survives() {
    let mut writer = Writer::new();
    writer.metadata("general.alignment", 4096u32);
    for &ty in TensorType::ALL {
        let payload = vec![ty.id() as u8; 3 * ty.block_bytes() as usize];
        writer.tensor(format!("{ty}.weight"), &[ty.block_elements(), 3], ty, payload);
    }
    let file = read(writer);
    assert_eq!((file.version(), file.alignment()), (3, 4096));
    assert_eq!(file.data_start() % 4096, 0);
    for (tensor, &ty) in file.tensors().iter().zip(TensorType::ALL) {
        assert_eq!(tensor, file.tensor(&format!("{ty}.weight")).unwrap());
        assert_eq!((tensor.ty, tensor.offset % 4096), (ty, 0));
        assert_eq!((tensor.n_elements(), tensor.n_rows()), (3 * ty.block_elements(), 3));
        assert_eq!(tensor.row_bytes(), ty.block_bytes());
        assert_eq!(file.data(tensor), vec![ty.id() as u8; 3 * ty.block_bytes() as usize]);
    }
    assert_eq!(file.tensor("F32"), None);
}

#[test]
fn streamed_and_given_payloads_make_the_same_file() {
    let payload: Vec<u8> = (0..136).collect();
    let mut given = Writer::new();
    given.tensor("a", &[32, 4], TensorType::Q8_0, &payload[..]);
    given.tensor("b", &[1], TensorType::F32, vec![1, 2, 3, 4]);
    let mut streamed = Writer::new();
    streamed
        .tensor_with("a", &[32, 4], TensorType::Q8_0, |to| payload.chunks(7).try_for_each(|part| to.write_all(part)));
    streamed.tensor_with("b", &[1], TensorType::F32, |to| to.write_all(&[1, 2, 3, 4]));
    assert_eq!(written(given), written(streamed));
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    type W = Writer<'static>;
    fn refusal(fill: impl FnOnce(&mut W) -> &mut W) -> String {
        let mut writer = Writer::new();
        fill(&mut writer);
        let mut bytes = Vec::new();
        writer.write_to(&mut bytes).unwrap_err().to_string()
    }
    fn tensor(name: &'static str, dims: &'static [u64], ty: TensorType, bytes: usize) -> String {
        refusal(|w| w.tensor(name, dims, ty, vec![0; bytes]))
    }
    let long = "n".repeat(65);
    for (message, says) in [
        (tensor("t", &[4], TensorType::F32, 15), "tensor \"t\" needs 16 bytes of data, 15"),
        (tensor("t", &[48], TensorType::Q8_0, 51), "rows of 48 elements"),
        (tensor("t", &[4, 0], TensorType::F32, 0), "extent 0 in dimension 1"),
        (tensor("t", &[], TensorType::F32, 4), "0 dimensions"),
        (tensor("t", &[1; 5], TensorType::F32, 4), "5 dimensions"),
        (tensor("t", &[u64::MAX, 2], TensorType::F32, 4), "more bytes than can be counted"),
        (tensor("", &[1], TensorType::F32, 4), "tensor number 0"),
        (refusal(|w| w.tensor(long, &[1], TensorType::F32, vec![0; 4])), "65 bytes"),
        (
            refusal(|w| w.tensor_with("t", &[1], TensorType::F32, |to| to.write_all(&[0; 5]))),
            "tensor \"t\" needs 4 bytes of data, 5",
        ),
        (refusal(|w| w.metadata("k", 1u32).metadata("k", 2u32)), "\"k\" occurs twice"),
        (refusal(|w| w.metadata("", 1u32)), "key number 0"),
        (refusal(|w| w.metadata("general.alignment", 7u32)), "is 7, expected a power of two"),
        (refusal(|w| w.metadata("general.alignment", "32")), "is string, expected u32"),
    ] {
        assert!(message.contains(says), "{message:?} does not say {says:?}");
    }
}

#[test]
fn tensors_may_share_bytes() {
    let raw = Raw::header(3, 0)
        .tensor("whole", &[32], F32, 0)
        .tensor("again", &[32], F32, 0)
        .tensor("part", &[4], F32, 64)
        .data(128);
    let file = File::from_vec(raw.0).unwrap();
    let data = |name| file.data(file.tensor(name).unwrap());
    assert_eq!(data("whole").as_ptr_range(), data("again").as_ptr_range());
    assert_eq!(data("part").as_ptr(), data("whole")[64..].as_ptr());
}

#[test]
fn a_file_without_tensors_need_not_be_padded() {
    let mut writer = Writer::new();
    writer.metadata("general.name", "vocabulary only");
    let file = read(writer);
    assert!(file.tensors().is_empty());
    assert!(file.data_start() > file.len());
}

#[test]
fn the_smallest_file_is_a_header() {
    let path = common::scratch("header-only");
    Writer::new().write_to(std::fs::File::create(&path).unwrap()).unwrap();
    let file = File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!((file.len(), file.metadata().is_empty(), file.tensors().len()), (24, true, 0));
}

#[test]
fn embedded_bytes_are_used_in_place() {
    let mut writer = Writer::new();
    writer.tensor("t", &[4], TensorType::F32, vec![7; 16]);
    let bytes: &'static [u8] = written(writer).leak();
    let file = File::from_static(bytes).unwrap();
    assert!(bytes.as_ptr_range().contains(&file.data(&file.tensors()[0]).as_ptr()));
    file.check_intact().unwrap();
}

#[test]
fn sizes_agree_with_the_published_totals() {
    // Bytes of one expert matrix of 8,388,608 weights, as the published files store it.
    for (ty, bytes) in [
        (TensorType::Iq2Xxs, 2_162_688),
        (TensorType::Q2K, 2_752_512),
        (TensorType::Q4K, 4_718_592),
        (TensorType::Q8_0, 8_912_896),
    ] {
        assert_eq!(8_388_608 / ty.block_elements() * ty.block_bytes(), bytes, "{ty}");
    }
    for (id, name) in [(0, "F32"), (1, "F16"), (8, "Q8_0"), (10, "Q2_K"), (16, "IQ2_XXS"), (30, "BF16")] {
        assert_eq!(TensorType::from_id(id).unwrap().to_string(), name);
    }
    for id in 0..64 {
        assert!(TensorType::from_id(id).is_none_or(|ty| ty.id() == id));
    }
}

#[test]
fn getters_convert_where_the_value_fits() {
    let mut writer = Writer::new();
    writer
        .metadata("u8", 7u8)
        .metadata("i16", -7i16)
        .metadata("u32", u32::MAX)
        .metadata("u64", u64::MAX)
        .metadata("i64", 7i64)
        .metadata("f32", 0.1f32)
        .metadata("f64", 1e-6f64)
        .metadata("f64.huge", 1e300f64)
        .metadata("bool", true)
        .metadata("str", "text")
        .metadata("u16s", vec![1u16, 2])
        .metadata("i32s", vec![3i32, -4])
        .metadata("f32s", vec![0.5f32])
        .metadata("f64s", vec![0.5f64, 1e300])
        .metadata("strs", ["a", "b"].into_iter().collect::<StringArray>());
    let file = read(writer);
    let m = file.metadata();

    assert_eq!((m.u32("u8").unwrap(), m.u32("i64").unwrap()), (7, 7));
    assert_eq!((m.u32("u32").unwrap(), m.u64("u64").unwrap()), (u32::MAX, u64::MAX));
    assert_eq!((m.f32("f32").unwrap(), m.f32("f64").unwrap(), m.f32("i16").unwrap()), (0.1, 1e-6, -7.0));
    assert_eq!((m.bool("bool").unwrap(), m.str("str").unwrap()), (true, "text"));
    assert_eq!(m.u32_array("u16s").unwrap(), [1, 2]);
    assert_eq!(m.i32_array("i32s").unwrap(), [3, -4]);
    assert_eq!(m.f32_array("i32s").unwrap(), [3.0, -4.0]);
    assert_eq!(m.f32_array("f32s").unwrap(), [0.5]);
    assert_eq!(m.str_array("strs").unwrap().iter().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((m.opt_u32("none").unwrap(), m.opt_str("none").unwrap()), (None, None));
    assert_eq!(m.opt_bool("bool").unwrap(), Some(true));

    for (message, says) in [
        (m.u32("none").unwrap_err().to_string(), "\"none\" is missing, expected u32"),
        (m.u32("i16").unwrap_err().to_string(), "\"i16\" has the value -7, which is not u32"),
        (m.u32("u64").unwrap_err().to_string(), "18446744073709551615, which is not u32"),
        (m.u32("f32").unwrap_err().to_string(), "\"f32\" is f32, expected u32"),
        (m.opt_u32("str").unwrap_err().to_string(), "\"str\" is string, expected u32"),
        (m.bool("u8").unwrap_err().to_string(), "\"u8\" is u8, expected bool"),
        (m.str("strs").unwrap_err().to_string(), "\"strs\" is array of string, expected string"),
        (m.f32("f64.huge").unwrap_err().to_string(), "which is not f32"),
        (m.u32_array("i32s").unwrap_err().to_string(), "-4 at index 1, which is not array of u32"),
        (m.u32_array("u8").unwrap_err().to_string(), "\"u8\" is u8, expected array of u32"),
        (m.i32_array("f32s").unwrap_err().to_string(), "is array of f32, expected array of i32"),
        (m.f32_array("f64s").unwrap_err().to_string(), "which is not array of f32"),
        (m.str_array("u16s").unwrap_err().to_string(), "is array of u16, expected array of string"),
    ] {
        assert!(message.contains(says), "{message:?} does not say {says:?}");
    }
}

#[test]
fn every_integer_array_converts() {
    let arrays: [Value; 8] = [
        vec![1u8, 2].into(),
        vec![1i8, 2].into(),
        vec![1u16, 2].into(),
        vec![1i16, 2].into(),
        vec![1u32, 2].into(),
        vec![1i32, 2].into(),
        vec![1u64, 2].into(),
        vec![1i64, 2].into(),
    ];
    for array in arrays {
        let mut writer = Writer::new();
        writer.metadata("k", array.clone());
        let file = read(writer);
        assert!(!file.metadata().is_empty());
        assert_eq!(file.metadata().u32_array("k").unwrap(), [1, 2], "{array}");
        assert_eq!(file.metadata().i32_array("k").unwrap(), [1, 2], "{array}");
        assert_eq!(file.metadata().f32_array("k").unwrap(), [1.0, 2.0], "{array}");
    }
}

#[test]
fn counts_and_names_may_reach_their_maxima() {
    let mut writer = Writer::new();
    writer.metadata("k".repeat(KEY_BYTES_MAX as usize), true);
    for n in 1..KEYS_MAX {
        writer.metadata(n.to_string(), true);
    }
    for n in 0..TENSORS_MAX {
        writer.tensor(format!("{n:064}"), &[1; 4], TensorType::I8, vec![n as u8]);
    }
    let file = read(writer);
    assert_eq!((file.metadata().len() as u64, file.tensors().len() as u64), (KEYS_MAX, TENSORS_MAX));
    let last = file.tensor(&format!("{:064}", TENSORS_MAX - 1)).unwrap();
    assert_eq!(file.data(last), [(TENSORS_MAX - 1) as u8]);

    let mut keys = Writer::new();
    for n in 0..=KEYS_MAX {
        keys.metadata(n.to_string(), true);
    }
    let mut tensors = Writer::new();
    for n in 0..=TENSORS_MAX {
        tensors.tensor(n.to_string(), &[1], TensorType::I8, vec![0]);
    }
    for (writer, says) in [(keys, "65537 metadata keys"), (tensors, "65537 tensors")] {
        let message = writer.write_to(std::io::sink()).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn a_directory_may_reach_its_maximum() {
    // The header, then the key: its length, one letter, its type, the length of its value.
    let room = (DIRECTORY_BYTES_MAX - HEADER_BYTES) as usize - (8 + 1 + 4 + 8);
    let named = |bytes: usize| {
        let mut writer = Writer::new();
        writer.metadata("k", "x".repeat(bytes));
        writer
    };
    assert_eq!(read(named(room)).len(), DIRECTORY_BYTES_MAX);
    let message = named(room + 1).write_to(std::io::sink()).unwrap_err().to_string();
    assert!(message.contains("67108864"), "{message}");
}

#[test]
fn values_print_on_one_line() {
    let long: StringArray = (0..20).map(|n| format!("w{n}")).collect();
    assert_eq!(long.get(19), Some("w19"));
    assert_eq!(long.get(20), None);
    for (value, text) in [
        (Value::from(1.5f32), "1.5"),
        ("a\nb".into(), r#""a\nb""#),
        (vec![1u8, 2].into(), "[1, 2]"),
        (long.into(), r#"["w0", "w1", "w2", "w3", "w4", "w5", "w6", "w7", … 20 items]"#),
    ] {
        assert_eq!(value.to_string(), text);
    }
    assert_eq!(Value::Array(Array::Bool(vec![])).type_name(), "array of bool");
    assert_eq!(ValueType::from_id(13), None);
}

#[test]
fn files_and_errors_cross_threads() {
    fn crosses<T: Send + Sync + 'static>() {}
    crosses::<File>();
    crosses::<ds4_gguf::Error>();
}
