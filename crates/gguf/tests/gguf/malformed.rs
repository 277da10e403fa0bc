//! Every abuse of the format that the reader knows, each refused with a message that names the cause.
//!
//! A part of the collection lies in `../data/malformed` as files, for trying other programs on it:
//!
//! ```sh
//! cargo test -p ds4-gguf --test gguf malformed -- --ignored     # writes them anew
//! cargo test -p ds4-gguf --test gguf malformed -- --nocapture   # prints what is wrong with each
//! ```

use std::path::{Path, PathBuf};

use crate::common::{self, ARRAY, BOOL, F32, I32, Q8_0, Raw, STRING, U32, U64};
use ds4_gguf::File;

/// A file, named after what is wrong with it.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    /// What the message has to contain.
    says: &'static [&'static str],
}

fn case(name: &'static str, raw: Raw, says: &'static [&'static str]) -> Case {
    Case { name, bytes: raw.0, says }
}

/// Cases that are also files.
const CHECKED_IN: [&str; 17] = [
    "empty",
    "header_cut_short",
    "git_lfs_pointer",
    "version_2",
    "big_endian",
    "tensor_count_implausible",
    "key_twice",
    "string_length_huge",
    "array_count_overflows",
    "array_nested",
    "alignment_zero",
    "tensor_twice",
    "tensor_dimension_zero",
    "tensor_elements_overflow",
    "tensor_type_unknown",
    "tensor_offset_misaligned",
    "tensor_payload_cut_short",
];

fn headers() -> Vec<Case> {
    let counts = |tensors, keys| Raw::header(tensors, keys).room(200);
    vec![
        case("empty", Raw::default(), &["0 bytes", "not a GGUF file"]),
        case("header_cut_short", Raw::default().bytes(b"GGUF").u32(3).u64(1), &["16 bytes", "24"]),
        case(
            "git_lfs_pointer",
            Raw::default().bytes(b"version https://git-lfs.github.com/spec/v1\n"),
            &["not a GGUF file", "\"vers\"", "Git LFS"],
        ),
        case("magic_unprintable", Raw::default().bytes(b"\x00\n\x7f\xff").room(64), &[r"\x00\n\x7f\xff"]),
        case("version_1", Raw::default().bytes(b"GGUF").u32(1).room(64), &["version 1", "version 3"]),
        case("version_2", Raw::default().bytes(b"GGUF").u32(2).room(64), &["version 2", "version 3"]),
        case("version_4", Raw::default().bytes(b"GGUF").u32(4).room(64), &["version 4"]),
        case("big_endian", Raw::default().bytes(b"GGUF\0\0\0\x03").room(64), &["big-endian"]),
        case("big_endian_magic", Raw::default().bytes(b"FUGG\0\0\0\x03").room(64), &["big-endian"]),
        case("tensor_count_huge", counts(u64::MAX, 0), &["tensors", "18446744073709551615", "65536"]),
        case("tensor_count_over_maximum", counts(65_537, 0), &["65537 tensors", "65536"]),
        case("tensor_count_implausible", counts(1_000, 0), &["header", "1000 tensors", "200 bytes"]),
        case("key_count_huge", counts(0, u64::MAX), &["metadata keys", "65536"]),
        case("key_count_implausible", counts(0, 1_000), &["header", "1000 metadata keys", "200 bytes"]),
        case(
            "tensor_count_implausible_after_keys",
            Raw::header(2, 1).key("a.key", STRING).string([b'x'; 60]),
            &["2 tensors", "0 bytes"],
        ),
    ]
}

fn keys() -> Vec<Case> {
    let one = || Raw::header(0, 1);
    vec![
        case("key_empty", one().string("").room(64), &["key number 0", "name of 0 bytes"]),
        case("key_too_long", one().u64(65_536).room(66_000), &["key number 0", "65536", "65535"]),
        case("key_length_past_end", one().u64(900).room(64), &["key number 0", "cut short"]),
        case("key_not_utf8", one().string(b"ab\xff\xfe").u32(U32).room(8), &["key number 0", "not UTF-8", "byte 34"]),
        case(
            "key_twice",
            Raw::header(0, 3).key("a.key", U32).u32(1).key("b", BOOL).bytes(&[1]).key("a.key", BOOL).bytes(&[0]),
            &["\"a.key\"", "twice"],
        ),
        case("key_hides_control_characters", one().key("a\n\x1b[31mkey", 77).room(8), &[r"a\n\u{1b}[31mkey", "77"]),
        case("value_type_unknown", one().key("a.key", 13).room(8), &["\"a.key\"", "value type 13"]),
        case(
            "value_cut_short",
            one().key("a.key", U64).bytes(&[1, 2, 3]),
            &["\"a.key\"", "needs 8 bytes", "cut short"],
        ),
        case("value_missing", one().string("a.much.longer.key"), &["\"a.much.longer.key\"", "needs 4 bytes"]),
        case("bool_two", one().key("a.key", BOOL).bytes(&[2]), &["\"a.key\"", "truth value 2"]),
        case("string_cut_short", one().key("a.key", STRING).u64(9).bytes(b"12345678"), &["\"a.key\"", "cut short"]),
        case(
            "string_length_huge",
            one().key("a.key", STRING).u64(u64::MAX).room(8),
            &["\"a.key\"", "18446744073709551615"],
        ),
        case("string_not_utf8", one().key("a.key", STRING).string(b"x\xc3("), &["\"a.key\"", "not UTF-8"]),
    ]
}

fn arrays() -> Vec<Case> {
    let one = || Raw::header(0, 1);
    vec![
        case("array_item_type_unknown", one().array("a.key", 99, 1).room(8), &["\"a.key\"", "item type 99"]),
        case("array_nested", one().array("a.key", ARRAY, 1).u32(U32).u64(1).u32(5), &["\"a.key\"", "array of arrays"]),
        case("array_header_cut_short", one().key("a.key", ARRAY).u32(U32), &["\"a.key\"", "cut short"]),
        case(
            "array_count_huge",
            one().array("a.key", U32, 1 << 40).room(64),
            &["\"a.key\"", "1099511627776", "64 bytes"],
        ),
        case("array_count_overflows", one().array("a.key", U64, u64::MAX / 4).room(64), &["\"a.key\"", "64 bytes"]),
        case(
            "array_count_one_too_many",
            one().array("a.key", U32, 3).room(11),
            &["\"a.key\"", "3 array items", "11 bytes"],
        ),
        case("array_of_bool_seven", one().array("a.key", BOOL, 3).bytes(&[0, 1, 7]), &["\"a.key\"", "truth value 7"]),
        case("array_of_string_count_huge", one().array("a.key", STRING, 1 << 60).room(64), &["\"a.key\"", "64 bytes"]),
        case(
            "array_of_string_cut_short",
            one().array("a.key", STRING, 2).string("first").u64(100).room(20),
            &["\"a.key\"", "needs 100 bytes"],
        ),
        case(
            "array_of_string_not_utf8",
            one().array("a.key", STRING, 2).string("first").string(b"\xf0\x28\x8c\x28"),
            &["\"a.key\"", "not UTF-8"],
        ),
    ]
}

fn alignments() -> Vec<Case> {
    let aligned = |to: u32| Raw::header(0, 1).key("general.alignment", U32).u32(to);
    vec![
        case("alignment_zero", aligned(0), &["\"general.alignment\"", "is 0"]),
        case("alignment_four", aligned(4), &["\"general.alignment\"", "is 4", "from 8"]),
        case("alignment_no_power_of_two", aligned(48), &["\"general.alignment\"", "is 48", "power of two"]),
        case("alignment_huge", aligned(1 << 31), &["\"general.alignment\"", "2147483648", "to 2097152"]),
        case(
            "alignment_negative",
            Raw::header(0, 1).key("general.alignment", I32).u32(u32::MAX),
            &["\"general.alignment\"", "-1"],
        ),
        case(
            "alignment_mistyped",
            Raw::header(0, 1).key("general.alignment", STRING).string("32"),
            &["\"general.alignment\"", "is string"],
        ),
    ]
}

fn tensors() -> Vec<Case> {
    let one = || Raw::header(1, 0);
    let sized = |dims: &[u64], ty: u32| one().tensor("a.weight", dims, ty, 0).data(64);
    let at = |offset: u64| one().tensor("a.weight", &[16], F32, offset).data(128);
    vec![
        case("tensor_name_empty", one().tensor("", &[4], F32, 0).data(64), &["tensor number 0", "name of 0 bytes"]),
        case("tensor_name_too_long", one().tensor(&"n".repeat(65), &[4], F32, 0).data(64), &["65 bytes", "1 to 64"]),
        case(
            "tensor_name_not_utf8",
            one().string(b"\x80").u32(1).u64(4).u32(F32).u64(0).data(64),
            &["tensor number 0", "not UTF-8"],
        ),
        case(
            "tensor_twice",
            Raw::header(2, 0).tensor("a.weight", &[4], F32, 0).tensor("a.weight", &[8], F32, 32).data(64),
            &["\"a.weight\"", "twice"],
        ),
        case("tensor_without_dimensions", sized(&[], F32), &["\"a.weight\"", "0 dimensions"]),
        case("tensor_of_five_dimensions", sized(&[1; 5], F32), &["\"a.weight\"", "5 dimensions", "1 to 4"]),
        case(
            "tensor_dimension_count_huge",
            one().string("a.weight").u32(u32::MAX).room(64),
            &["\"a.weight\"", "4294967295 dimensions"],
        ),
        case("tensor_dimension_zero", sized(&[4, 0, 2], F32), &["\"a.weight\"", "extent 0", "dimension 1"]),
        case("tensor_elements_overflow", sized(&[1 << 32, 1 << 32], F32), &["\"a.weight\"", "4294967296"]),
        case("tensor_bytes_overflow", sized(&[1 << 31, 1 << 31], F32), &["\"a.weight\"", "2147483648"]),
        case("tensor_type_unknown", sized(&[4], 99), &["\"a.weight\"", "type id 99"]),
        case("tensor_type_withdrawn", sized(&[32], 31), &["\"a.weight\"", "type id 31"]),
        case("tensor_rows_end_inside_a_block", sized(&[48], Q8_0), &["\"a.weight\"", "48", "Q8_0", "32"]),
        case("tensor_offset_misaligned", at(33), &["\"a.weight\"", "33", "alignment 32"]),
        case("tensor_offset_overflows", at(u64::MAX - 31), &["\"a.weight\"", "18446744073709551584"]),
        case("tensor_offset_past_end", at(1 << 20), &["\"a.weight\"", "1048576", "ends at byte"]),
        case("tensor_payload_past_end", at(96), &["\"a.weight\"", "64 bytes", "data offset 96"]),
        case(
            "tensor_payload_cut_short",
            Raw::header(2, 0).tensor("a.weight", &[4], F32, 0).tensor("b.weight", &[8], F32, 32).data(63),
            &["\"b.weight\"", "32 bytes", "data offset 32"],
        ),
        case("tensor_without_data", one().tensor("a.weight", &[4], F32, 0), &["\"a.weight\"", "16 bytes"]),
        case(
            "tensor_table_cut_short",
            one().string("a.rather.long.tensor.name").u32(1).u64(4),
            &["\"a.rather.long.tensor.name\"", "cut short"],
        ),
        case(
            "tensor_misaligned_by_metadata",
            Raw::header(1, 1).key("general.alignment", U32).u32(64).tensor("a.weight", &[4], F32, 32).data(256),
            &["\"a.weight\"", "alignment 64"],
        ),
    ]
}

fn cases() -> Vec<Case> {
    [headers(), keys(), arrays(), alignments(), tensors()].into_iter().flatten().collect()
}

fn check(case: &Case, refused: Result<File, ds4_gguf::Error>) -> String {
    let message = match refused {
        Ok(_) => panic!("{} was accepted", case.name),
        Err(error) => error.to_string(),
    };
    for word in case.says {
        assert!(message.contains(word), "{}: {message:?} does not say {word:?}", case.name);
    }
    assert!(!message.contains(char::is_control), "{}: not one printable line: {message:?}", case.name);
    message
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/malformed")
}

/// The sound file on disk, which also seeds the fuzzer.
fn sound_path() -> PathBuf {
    directory().with_file_name("sound.gguf")
}

#[test]
fn every_abuse_is_refused_by_name() {
    for case in cases() {
        check(&case, File::from_vec(case.bytes.clone()));
    }
}

#[test]
fn every_checked_in_file_is_refused_with_one_line() {
    let mut cases = cases();
    cases.retain(|case| CHECKED_IN.contains(&case.name));
    assert_eq!(cases.len(), CHECKED_IN.len());
    for case in cases {
        let path = directory().join(case.name).with_extension("gguf");
        let message = check(&case, File::open(&path));
        println!("{}.gguf: {message}", case.name);
        assert_eq!(std::fs::read(&path).unwrap(), case.bytes, "{} is out of date", path.display());
    }
    assert_eq!(std::fs::read_dir(directory()).unwrap().count(), CHECKED_IN.len());
}

#[test]
#[ignore = "writes the files that the test above reads"]
fn write_the_checked_in_files() {
    std::fs::create_dir_all(directory()).unwrap();
    for case in cases().iter().filter(|case| CHECKED_IN.contains(&case.name)) {
        std::fs::write(directory().join(case.name).with_extension("gguf"), &case.bytes).unwrap();
    }
    std::fs::write(sound_path(), sound().0).unwrap();
}

/// The sound file that the cuts and mutations below start from: something of everything.
fn sound() -> Raw {
    Raw::header(2, 6)
        .key("general.alignment", U32)
        .u32(32)
        .key("a.bool", BOOL)
        .bytes(&[1])
        .key("a.string", STRING)
        .string("text")
        .array("a.list", U64, 2)
        .u64(1)
        .u64(2)
        .array("a.flags", BOOL, 3)
        .bytes(&[0, 1, 0])
        .array("a.words", STRING, 3)
        .string("one")
        .string("")
        .string("zwölf")
        .tensor("a.weight", &[32, 2], Q8_0, 0)
        .tensor("b.weight", &[3], F32, 96)
        .data(108)
}

#[test]
fn the_sound_file_is_accepted() {
    let file = File::open(&sound_path()).unwrap();
    assert_eq!(std::fs::read(sound_path()).unwrap(), sound().0, "out of date");
    assert_eq!((file.metadata().len(), file.tensors().len()), (6, 2));
    assert_eq!(file.metadata().str_array("a.words").unwrap().get(2), Some("zwölf"));
}

#[test]
fn every_cut_is_noticed() {
    let bytes = sound().0;
    assert!(File::from_vec(bytes.clone()).is_ok());
    for end in 0..bytes.len() {
        let error = File::from_vec(bytes[..end].to_vec()).expect_err("accepted although cut");
        assert!(!error.to_string().contains(char::is_control));
    }
}

#[test]
fn no_change_of_a_byte_panics() {
    let bytes = sound().0;
    for at in 0..bytes.len() {
        for value in [0, 1, 3, 8, 9, 0x7f, 0x80, 0xfe, 0xff, bytes[at] ^ 1, bytes[at] ^ 0x20] {
            let mut changed = bytes.clone();
            changed[at] = value;
            if let Ok(file) = File::from_vec(changed) {
                file.tensors().iter().for_each(|t| assert_eq!(file.data(t).len() as u64, t.n_bytes));
            }
        }
    }
}

#[test]
fn a_directory_without_end_is_refused() {
    let path = common::scratch("directory");
    let head = Raw::header(0, 1).key("a.key", STRING).u64(65 << 20);
    std::fs::write(&path, &head.0).unwrap();
    // Sparse: takes no room on the disk.
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(80 << 20).unwrap();
    let message = File::open(&path).unwrap_err().to_string();
    std::fs::remove_file(&path).unwrap();
    assert!(message.contains("\"a.key\"") && message.contains("67108864"), "{message}");
}

#[test]
fn only_regular_files_are_opened() {
    let missing = File::open(Path::new("/no/such/file.gguf")).unwrap_err().to_string();
    assert!(missing.contains("cannot open /no/such/file.gguf"), "{missing}");
    let directory = File::open(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap_err().to_string();
    assert!(directory.contains("not a regular file"), "{directory}");
}
