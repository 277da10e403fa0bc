//! Every failure: its exit code, and one line that says what was found, what was expected, what to do.

use crate::support::{directory, ds4, model, open, rewritten, str, without_keys, write};
use ds4_gguf::{TensorType, Writer};

/// The command fails with one line that holds `parts`.
#[track_caller]
fn fails(args: &[&str], parts: &[&str]) {
    let done = ds4(args);
    assert_eq!(done.code, Some(1), "{args:?}: {}{}", done.out, done.err);
    assert_eq!(done.out, "", "{args:?}");
    assert!(done.err.starts_with("ds4: ") && done.err.ends_with('\n'), "{args:?}: {:?}", done.err);
    assert_eq!(done.err.lines().count(), 1, "{args:?}: {}", done.err);
    for part in parts {
        assert!(done.err.contains(part), "{args:?}: {part:?} is not in {:?}", done.err);
    }
}

/// All commands that open a model refuse `path`.
#[track_caller]
fn refused(path: &str, parts: &[&str]) {
    fails(&["inspect", path], parts);
    fails(&["run", "--raw", "-m", path, "-p", "x", "-n", "1"], parts);
}

/// Where the value after the string `name` begins.
fn after(bytes: &[u8], name: &str) -> usize {
    bytes.windows(name.len()).position(|w| w == name.as_bytes()).unwrap() + name.len()
}

#[test]
fn a_missing_model() {
    let path = directory("errors_missing").join("none.gguf");
    refused(str(&path), &["none.gguf: No such file", "expected a GGUF file", "check the path"]);
    fails(&["tokenize", "-m", str(&path), "-p", "x"], &["none.gguf: No such file"]);
    fails(&["debug", "greedy", "-m", str(&path), "--ids", "/dev/null", "-n", "1"], &["none.gguf: No such file"]);
}

#[test]
fn a_directory_and_a_text_file() {
    let directory = directory("errors_kind");
    refused(str(&directory), &["is not a regular file", "expected a GGUF file"]);
    let page = write(&directory, "page.gguf", "<html>this is not the file that you are looking for</html>");
    refused(&page, &["page.gguf: not a GGUF file", "starts with \"<htm\""]);
}

#[test]
fn another_architecture() {
    let mut bytes = std::fs::read(model()).unwrap();
    let at = after(&bytes, "general.architecture") + 4 + 8;
    bytes[at..at + 9].copy_from_slice(b"mixtral8x");
    let path = write(&directory("errors_architecture"), "other.gguf", bytes);
    refused(&path, &["other.gguf: ", "\"mixtral8x\"", "only \"deepseek4\""]);
}

#[test]
fn a_truncated_file() {
    let directory = directory("errors_truncated");
    let bytes = std::fs::read(model()).unwrap();
    let data = write(&directory, "data.gguf", &bytes[..bytes.len() - 1000]);
    refused(&data, &["data.gguf: tensor \"", "the file ends at byte", "fetch the file again"]);
    let head = write(&directory, "head.gguf", &bytes[..2000]);
    refused(&head, &["head.gguf: ", "fetch the file again"]);
    let none = write(&directory, "none.gguf", "");
    refused(&none, &["none.gguf: the file has 0 bytes", "fetch the file again"]);
}

#[test]
fn an_unknown_tensor_type() {
    let mut bytes = std::fs::read(model()).unwrap();
    // Two dimensions of 8 bytes stand between the name and the type.
    let at = after(&bytes, "output.weight") + 4 + 16;
    bytes[at..at + 4].copy_from_slice(&99u32.to_le_bytes());
    let path = write(&directory("errors_type"), "type.gguf", bytes);
    refused(&path, &["\"output.weight\" has unknown type id 99", "use a published file or a newer ds4"]);
}

#[test]
fn a_known_type_that_cannot_be_computed_with() {
    let (tiny, name) = (open(model()), "blk.1.attn_kv.weight");
    let dims = &tiny.tensor(name).unwrap().dims;
    let mut writer = Writer::new();
    let bytes = dims.iter().product::<u64>() / 256 * TensorType::Q3K.block_bytes();
    writer.tensor(name, dims, TensorType::Q3K, vec![0; bytes as usize]);
    let mut donor = Vec::new();
    writer.write_to(&mut donor).unwrap();
    let donor = ds4_gguf::File::from_vec(donor).unwrap();
    let bytes = rewritten(&tiny, &|_| false, &donor, &|tensor| tensor == name);
    let path = write(&directory("errors_kernel"), "q3.gguf", bytes);
    fails(&["run", "--raw", "-m", &path, "-p", "x"], &[name, "has type Q3_K, expected F32"]);
    ds4(&["inspect", &path]).ok();
}

#[test]
fn a_model_without_tokenizer() {
    let bytes = without_keys(&open(model()), &|key| key.starts_with("tokenizer."));
    let path = write(&directory("errors_tokenizer"), "mute.gguf", bytes);
    let parts = ["mute.gguf: the file carries no usable tokenizer", "use a model file that carries its tokenizer"];
    fails(&["run", "--raw", "-m", &path, "-p", "x"], &parts);
    fails(&["tokenize", "-m", &path, "-p", "x"], &parts);
}

#[test]
fn a_context_larger_than_memory() {
    let args = ["run", "--raw", "-m", model(), "-p", "x", "--ctx", "4294967296", "--kv-rounding", "off"];
    let parts = ["context of 4294967296 tokens needs 2.", " TB of KV memory", " is free; use --ctx "];
    fails(&args, &parts);
}

#[test]
fn a_prompt_longer_than_the_context() {
    let args = ["run", "--raw", "-m", model(), "-p", "aaaaaaa", "--ctx", "8"];
    fails(&args, &["the prompt has 8 tokens", "fewer than the context of 8", "use --ctx 9 or more"]);
    ds4(&["run", "--raw", "-m", model(), "-p", "aaaaaaa", "--ctx", "9"]).ok();
}

#[test]
fn an_empty_prompt() {
    fails(&["run", "--raw", "-m", model(), "-p", ""], &["the prompt is empty", "expected", "give text with -p or -f"]);
    fails(&["run", "--raw", "-m", model(), "-f", "/dev/null"], &["the prompt is empty"]);
}

#[test]
fn bad_text_files() {
    let directory = directory("errors_text");
    let broken = write(&directory, "broken.txt", b"good \xe5\xa4\xa7 \xff bad");
    let missing = str(&directory.join("none.txt")).to_owned();
    let large = write(&directory, "large.txt", vec![b'a'; (8 << 20) + 1]);
    for (path, parts) in [
        (&broken, &["broken.txt is not UTF-8 text: byte 9 is 0xff", "convert the file to UTF-8"][..]),
        (&missing, &["cannot read ", "none.txt, expected a text file", "No such file"]),
        (&large, &["large.txt has more than the 8388608 bytes", "shorten it"]),
    ] {
        fails(&["run", "--raw", "-m", model(), "-f", path], parts);
        fails(&["tokenize", "-m", model(), "-f", path], parts);
        fails(&["run", "--raw", "-m", model(), "--perplexity", path], parts);
    }
}

#[test]
fn a_text_too_short_to_score() {
    let short = write(&directory("errors_score"), "short.txt", "a".repeat(32));
    fails(&["run", "--raw", "-m", model(), "--perplexity", &short], &["32 tokens", "after 32", "use a longer text"]);
    let longer = write(&directory("errors_score"), "longer.txt", "a".repeat(33));
    fails(&["run", "--raw", "-m", model(), "--perplexity", &longer, "--ctx", "32"], &["context of 32", "larger --ctx"]);
    assert!(ds4(&["run", "--raw", "-m", model(), "--perplexity", &longer]).ok().starts_with("tokens=33 scored=1 "));
}

#[test]
fn a_bias_for_no_token() {
    let args = ["run", "--raw", "-m", model(), "-p", "x", "--logit-bias", "370=1"];
    fails(&args, &["token 370", "the vocabulary has 370 tokens", "ds4 tokenize"]);
}

#[test]
fn a_dump_that_cannot_be_written() {
    let path = directory("errors_dump").join("no/such/place.json");
    fails(&["run", "--raw", "-m", model(), "-p", "x", "--dump-logits", str(&path)], &["cannot write", "place.json"]);
    fails(&["run", "--raw", "-m", model(), "-p", "x", "--dump-logprobs", str(&path)], &["cannot write", "place.json"]);
    fails(&["debug", "tiny-model", str(&path)], &["cannot write", "place.json"]);
}

#[test]
fn wrong_usage_has_exit_code_2() {
    for args in [
        &[][..],
        &["nonsense"],
        &["run", "--raw", "-m", model()],
        &["run", "--raw", "-m", model(), "-p", "x", "-f", "y"],
        &["run", "--raw", "-m", model(), "-p", "x", "--temp", "-1"],
        &["run", "--raw", "-m", model(), "-p", "x", "-n", "0"],
        &["inspect", model(), "--ctx", "0"],
        &["tokenize", "-m", model()],
        &["debug", "tiny-model", "x.gguf", "--recipe", "q3"],
        &["quantize", model(), "out.gguf"],
    ] {
        let done = ds4(args);
        assert_eq!((done.code, done.out.as_str()), (Some(2), ""), "{args:?}");
        assert!(!done.err.is_empty(), "{args:?}");
    }
}

#[test]
fn help_goes_to_standard_output() {
    for args in [&["--help"][..], &["run", "--help"], &["inspect", "--help"], &["tokenize", "--help"]] {
        let help = ds4(args).ok();
        assert!(help.contains("Usage: ds4") && help.contains("Example"), "{help}");
    }
}

#[test]
fn a_draft_block_that_does_not_fit() {
    let demo = |name: &str| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo").join(name);
    let (demo, whole) = (demo("ds4-demo-mtp.gguf"), demo("ds4-demo-q2.gguf"));
    let run = |path: &str, parts: &[&str]| {
        for backend in ["cpu", "gpu"] {
            fails(&["run", "--backend", backend, "-m", model(), "--mtp", path, "-p", "x"], parts);
        }
    };
    run(str(&demo), &["ds4-demo-mtp.gguf: tensor mtp.0.", " has dimensions [", "expected ["]);
    run(model(), &["tiny.gguf: tensor mtp.0.h_proj.weight is missing", "not the file of a draft block"]);
    let directory = directory("errors_drafts");
    let bytes = std::fs::read(&demo).unwrap();
    let short = write(&directory, "short.gguf", &bytes[..bytes.len() - 1000]);
    run(&short, &["short.gguf: tensor \"mtp.0.", "the file ends at byte", "fetch the file again"]);
    let file = open(str(&demo));
    let mut writer = Writer::new();
    for (key, value) in file.metadata().iter() {
        writer.metadata(key, value.clone());
    }
    for tensor in file.tensors().iter().filter(|tensor| tensor.name != "mtp.0.exp_probs_b.bias") {
        writer.tensor(tensor.name.clone(), &tensor.dims, tensor.ty, file.data(tensor).to_vec());
    }
    let mut bytes = Vec::new();
    writer.write_to(&mut bytes).unwrap();
    let without = write(&directory, "without.gguf", bytes);
    let args = ["run", "--backend", "cpu", "-m", str(&whole), "--mtp", &without, "-p", "x"];
    fails(&args, &["without.gguf: tensor mtp.0.exp_probs_b.bias is missing"]);
}
