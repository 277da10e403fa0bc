//! `ds4 inspect`

use crate::support::{directory, ds4, model, open, rewritten, tiny_model, without_keys, write};
use ds4_engine::Config;
use ds4_engine::kv::{KvLayout, RowFormat};
use serde_json::{Value, json};

fn inspect(path: &str, more: &[&str]) -> Value {
    let args: Vec<&str> = ["inspect", path, "--json"].iter().chain(more).copied().collect();
    ds4(&args).json()
}

#[test]
fn json_tells_what_the_file_holds() {
    let (file, report) = (open(model()), inspect(model(), &[]));
    let config = Config::from_file(&file).unwrap();
    assert_eq!(report["name"], json!(config.name));
    assert_eq!(report["file"]["bytes"], file.len());
    assert_eq!(report["file"]["tensors"], file.tensors().len());
    assert_eq!(report["hyper_parameters"]["embedding_length"], 256);
    assert_eq!(report["hyper_parameters"]["attention.layer_norm_rms_epsilon"], 1e-6);
    assert_eq!(report["layers"]["kinds"], json!(["sliding", "sliding", "csa", "hca", "csa"]));
    assert_eq!(report["layers"]["hash_routed"], 3);
    assert_eq!(report["tokenizer"]["tokens"], config.vocab);
    let is_table = |name: &str| name.ends_with("tid2eid.weight");
    let weights: u64 = file.tensors().iter().filter(|t| !is_table(&t.name)).map(|t| t.n_elements()).sum();
    assert_eq!(report["parameters"], weights);
    let bytes: u64 = file.tensors().iter().map(|t| t.n_bytes).sum();
    let by_type = report["tensor_types"].as_array().unwrap();
    assert_eq!(by_type.iter().map(|t| t["bytes"].as_u64().unwrap()).sum::<u64>(), bytes);
    assert_eq!(report["file"]["tensor_bytes"], bytes);
    assert_eq!(report["tensors"], Value::Null, "not asked for");
}

#[test]
fn memory_is_the_layouts() {
    let layout = KvLayout::new(&Config::from_file(&open(model())).unwrap(), RowFormat::Native);
    let expected = |tokens: usize| {
        json!({
            "tokens": tokens,
            "history_bytes": layout.history_bytes(tokens),
            "frontier_bytes": layout.frontier_bytes(),
            "total_bytes": layout.sequence_bytes(tokens),
        })
    };
    let report = inspect(model(), &[]);
    assert_eq!(report["kv"]["contexts"], json!([4096, 32768, 131072, 1048576].map(expected)));
    assert_eq!(report["kv"]["bytes_per_token"], layout.page_bytes as f64 / 128.0);
    let chosen = json!([1, 129, 7].map(expected));
    assert_eq!(inspect(model(), &["--ctx", "1", "129", "7"])["kv"]["contexts"], chosen);
    assert_eq!(inspect(model(), &["--ctx", "1,129", "--ctx", "7"])["kv"]["contexts"], chosen);
}

#[test]
fn tensors_are_listed_on_demand() {
    let file = open(model());
    let listed = inspect(model(), &["--tensors"])["tensors"].clone();
    let expected = |t: &ds4_gguf::TensorInfo| json!({ "name": t.name, "dims": t.dims, "type": t.ty.name(), "bytes": t.n_bytes, "offset": t.offset });
    assert_eq!(listed, json!(file.tensors().iter().map(expected).collect::<Vec<_>>()));
    let short = ds4(&["inspect", model()]).ok();
    let long = ds4(&["inspect", model(), "--tensors"]).ok();
    assert_eq!(long.lines().count(), short.lines().count() + 2 + file.tensors().len());
    assert!(long.contains("256 × 256 × 6"), "{long}");
}

#[test]
fn people_read_the_same_facts() {
    let text = ds4(&["inspect", model(), "--ctx", "4096"]).ok();
    for fact in [
        "Tiny random DeepSeek V4, q8, seed 1\n",
        "5: 2 sliding, 2 csa (ratio 4, indexer), 1 hca (ratio 128); the first 3 hash-routed",
        "370 tokens, 64 merges, splitting joyai-llm",
        "8.87 million, 9.",
        "recipe      q8",
        "attention.indexer.top_k",
        "routed gate/up",
        "        4096    675.90 kB    633.86 kB      1.31 MB",
    ] {
        assert!(text.contains(fact), "{fact:?} is not in\n{text}");
    }
}

#[test]
fn recipes_are_recognised() {
    let family = |report: &Value, name: &str| {
        let families = report["recipe"]["families"].as_array().unwrap();
        families.iter().find(|f| f["family"] == name).unwrap()["types"].clone()
    };
    let (q2, q4) = (tiny_model("q2"), tiny_model("q4"));
    for (path, name) in [(q2.as_str(), "q2"), (&q4, "q4"), (model(), "q8")] {
        assert_eq!(inspect(path, &[])["recipe"]["name"], name);
    }
    let report = inspect(&q2, &[]);
    assert_eq!(family(&report, "routed gate/up")[0]["type"], "IQ2_XXS");
    assert_eq!(family(&report, "routed down")[0]["type"], "Q2_K");
    assert_eq!(family(&report, "attention projections")[0]["type"], "Q8_0");
    assert_eq!(family(&report, "router, HC, compressor, indexer")[0]["type"], "F16");

    let takes = |name: &str| name.starts_with("blk.3.") && name.contains("_exps.");
    let mixed = rewritten(&open(&q2), &|_| false, &open(&q4), &takes);
    let mixed = write(&directory("inspect_mixed"), "mixed.gguf", mixed);
    let report = inspect(&mixed, &[]);
    assert_eq!(report["recipe"]["name"], "mixed");
    let types = family(&report, "routed gate/up");
    let types: Vec<_> = types.as_array().unwrap().iter().map(|t| (t["type"].as_str(), t["layers"].as_str())).collect();
    assert_eq!(types, [(Some("Q4_K"), Some("3")), (Some("IQ2_XXS"), Some("0-2,4"))]);
    let text = ds4(&["inspect", &mixed]).ok();
    assert!(text.contains("layers 0-2,4"), "{text}");
}

#[test]
fn a_file_that_leaves_optional_keys_out_reads_the_same() {
    let omitted = [
        "deepseek4.vocab_size",
        "deepseek4.hyper_connection.count",
        "deepseek4.hyper_connection.sinkhorn_iterations",
        "deepseek4.hyper_connection.epsilon",
        "deepseek4.expert_shared_count",
        "deepseek4.expert_weights_norm",
        "deepseek4.rope.scaling.factor",
        "deepseek4.rope.scaling.original_context_length",
        "deepseek4.rope.scaling.yarn_beta_fast",
        "deepseek4.rope.scaling.yarn_beta_slow",
    ];
    let bytes = without_keys(&open(model()), &|key| omitted.contains(&key));
    let path = write(&directory("inspect_dialect"), "other.gguf", bytes);
    let (full, short) = (inspect(model(), &[]), inspect(&path, &[]));
    assert_eq!(short["file"]["keys"].as_u64().unwrap() + omitted.len() as u64, full["file"]["keys"].as_u64().unwrap());
    for part in ["hyper_parameters", "layers", "parameters", "recipe", "tensor_types", "kv", "tokenizer"] {
        assert_eq!(short[part], full[part], "{part}");
    }
}

#[test]
fn a_file_without_tokenizer_or_name_can_still_be_inspected() {
    let drops = |key: &str| key.starts_with("tokenizer.") || key == "general.name";
    let path = write(&directory("inspect_bare"), "bare.gguf", without_keys(&open(model()), &drops));
    assert_eq!(inspect(&path, &[])["tokenizer"], Value::Null);
    let text = ds4(&["inspect", &path]).ok();
    assert!(text.starts_with("(no name)\n") && text.contains("tokenizer   none"), "{text}");
}
