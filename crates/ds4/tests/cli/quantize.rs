//! `ds4 quantize` and `ds4 debug compare`

use crate::support::{directory, ds4, open, str, tiny_model, write};

#[test]
fn a_quantised_file_has_the_bytes_of_one_made_in_that_recipe() {
    let directory = directory("quantize");
    let full = tiny_model("f32");
    for recipe in ["q8", "q2", "q4"] {
        let path = directory.join(format!("{recipe}.gguf"));
        let report = ds4(&["quantize", &full, str(&path), "--recipe", recipe, "--threads", "2", "--json"]).json();
        assert!(report["weights_per_second"].as_f64().unwrap() > 0.0, "{report}");
        #[cfg(target_os = "linux")]
        assert!(report["peak_memory_bytes"].as_u64().unwrap() > 1 << 20, "{report}");
        let (made, expected) = (open(str(&path)), open(&tiny_model(recipe)));
        assert_eq!(made.metadata().len(), expected.metadata().len());
        assert_eq!(made.tensors().len(), expected.tensors().len());
        for tensor in made.tensors() {
            let same = expected.tensor(&tensor.name).unwrap();
            assert_eq!((tensor.ty, &tensor.dims), (same.ty, &same.dims), "{}", tensor.name);
            assert!(made.data(tensor) == expected.data(same), "{}", tensor.name);
        }
        assert!(!directory.join(format!("{recipe}.gguf.partial")).exists());
    }
}

#[test]
fn an_existing_file_is_kept_and_a_failure_leaves_nothing() {
    let directory = directory("quantize_errors");
    let there = write(&directory, "there.gguf", "mine");
    let model = crate::support::model();
    let done = ds4(&["quantize", model, &there, "--recipe", "q2"]);
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("there.gguf exists"), "{}", done.err);
    assert_eq!(std::fs::read(&there).unwrap(), b"mine");
    let nowhere = directory.join("no").join("out.gguf");
    let done = ds4(&["quantize", model, str(&nowhere), "--recipe", "q2"]);
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("out.gguf"), "{}", done.err);
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
}

#[test]
fn a_model_does_not_diverge_from_itself_and_fewer_bits_diverge_more() {
    let directory = directory("compare");
    let text =
        write(&directory, "text.txt", "It was a bright cold day in the north, and the boats lay still.\n".repeat(4));
    let full = tiny_model("f32");
    let compare = |model: &str| {
        let args = ["debug", "compare", "-m", model, "--against", &full, "-f", &text, "--ctx", "100"];
        let result = ds4(&args).json();
        let number = |key: &str| result[key].as_f64().unwrap();
        assert!(number("positions") > 100.0);
        (number("kl_mean"), number("perplexity"), number("reference_perplexity"))
    };
    let (kl, perplexity, reference) = compare(&full);
    assert!(kl.abs() < 1e-9 && perplexity == reference, "{kl} {perplexity} {reference}");
    let (q8, q2) = (compare(&tiny_model("q8")).0, compare(&tiny_model("q2")).0);
    assert!(0.0 < q8 && q8 < q2, "{q8} {q2}");
}

/// A matrix for the tiny model, collected from a few words.
fn importance(folder: &std::path::Path, model: &str) -> String {
    let dataset = write(folder, "prompts.txt", "The boats lay still in the cold of the north.\n".repeat(40));
    let out = folder.join("m.dat");
    ds4(&["imatrix", "-m", model, "--dataset", &dataset, "--out", str(&out)]).ok();
    str(&out).to_owned()
}

#[test]
fn importance_changes_what_it_is_for_and_is_named_in_the_file() {
    let folder = directory("quantize_imatrix");
    let full = tiny_model("f32");
    let matrix = importance(&folder, &full);
    let values = {
        let bytes = std::fs::read(&matrix).unwrap();
        ds4_convert::Importance::read(&bytes[..], bytes.len() as u64).unwrap()
    };
    for recipe in ["q2", "q4"] {
        let path = folder.join(format!("{recipe}.gguf"));
        let args =
            ["quantize", &full, str(&path), "--recipe", recipe, "--imatrix", &matrix, "--imatrix-strict", "--json"];
        let report = ds4(&args).json();
        let (made, plain) = (open(str(&path)), open(&tiny_model(recipe)));
        let metadata = made.metadata();
        assert_eq!(metadata.str("quantize.imatrix.file").unwrap(), matrix);
        assert_eq!(metadata.str("quantize.imatrix.dataset").unwrap(), values.dataset.as_deref().unwrap());
        let number = |key: &str| match metadata.get(&format!("quantize.imatrix.{key}")) {
            Some(ds4_gguf::Value::U64(n)) => *n,
            other => panic!("{key}: {other:?}"),
        };
        assert_eq!(number("entries_count"), values.entries().len() as u64);
        assert_eq!(number("chunks_count"), u64::from(values.chunks.unwrap()));
        let mut weighted = 0;
        for tensor in made.tensors() {
            let same = plain.tensor(&tensor.name).unwrap();
            assert_eq!((tensor.ty, &tensor.dims), (same.ty, &same.dims), "{}", tensor.name);
            let is_expert = tensor.name.contains("_exps");
            assert_eq!(made.data(tensor) != plain.data(same), is_expert, "{}", tensor.name);
            weighted += usize::from(is_expert);
        }
        assert_eq!(
            (&report["weighted_tensors"], &report["tensors_not_in_matrix"]),
            (&weighted.into(), &serde_json::json!([]))
        );
        // Made again from the result, the keys go.
        let again = folder.join("again.gguf");
        ds4(&["quantize", str(&path), str(&again), "--recipe", "f32"]).ok();
        assert!(open(str(&again)).metadata().get("quantize.imatrix.file").is_none());
        std::fs::remove_file(&again).unwrap();
    }
}

#[test]
fn a_matrix_that_does_not_fit_is_refused_with_the_reason() {
    let folder = directory("quantize_imatrix_errors");
    let full = tiny_model("f32");
    let matrix = importance(&folder, &full);
    let good = std::fs::read(&matrix).unwrap();
    let made = |entries: &[(&str, usize)]| {
        let mut all = ds4_convert::Importance::new(None, None);
        entries.iter().for_each(|(name, n)| all.push((*name).to_owned(), vec![1.0; *n]));
        let mut bytes = Vec::new();
        all.write(&mut bytes).unwrap();
        bytes
    };
    let out = folder.join("out.gguf");
    let refused = |bytes: &[u8], flags: &[&str], reason: &str| {
        let path = write(&folder, "bad.dat", bytes);
        let args = ["quantize", &full, str(&out), "--imatrix", &path];
        let done = ds4(&[&args[..], flags].concat());
        assert_eq!((done.code, done.err.lines().count()), (Some(1), 1), "{}", done.err);
        assert!(done.err.contains("bad.dat") && done.err.contains(reason), "{}", done.err);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 3, "nothing is left");
    };
    let q2 = ["--recipe", "q2"];
    refused(&good[..good.len() / 2], &q2, "ends inside entry");
    refused(b"no matrix at all", &q2, "the number of entries is");
    refused(b"", &q2, "ends inside the number of entries");
    refused(&made(&[("blk.0.ffn_gate_exps.weight", 7)]), &q2, "has 7 values, but the tensor has");
    refused(&made(&[("model.layers.0.mlp", 8)]), &q2, "made for another model");
    let cols = open(&full).tensor("blk.0.ffn_gate_exps.weight").unwrap().dims[0] as usize;
    let one = made(&[("blk.0.ffn_gate_exps.weight", cols)]);
    refused(&one, &["--recipe", "q2", "--imatrix-strict"], "tensors are not in the matrix");
    refused(&good, &["--recipe", "q8"], "makes use of a matrix");

    // Without --imatrix-strict, one tensor is enough, and one vector does for all experts.
    let path = write(&folder, "one.dat", &one);
    let done = ds4(&["quantize", &full, str(&out), "--recipe", "q4", "--imatrix", &path]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.err.contains("are not in the matrix") && done.out.contains("1 tensors by importance"), "{}", done.out);
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_run_goes_on_and_ends_with_the_same_bytes() {
    use std::time::{Duration, Instant};
    let folder = directory("quantize_killed");
    let demo = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/ds4-demo-f16.gguf");
    let (whole, out) = (folder.join("whole.gguf"), folder.join("out.gguf"));
    let args = |to| ["quantize", str(&demo), to, "--recipe", "q2", "--threads", "1", "--json"];
    ds4(&args(str(&whole))).ok();

    let (partial, state) = (folder.join("out.gguf.partial"), folder.join("out.gguf.partial.json"));
    // On a busy machine a run may be over before it is seen to have saved its state.
    let is_killed = (0..20).any(|_| {
        let _ = std::fs::remove_file(&out);
        let mut child = crate::support::command(&args(str(&out))).spawn().unwrap();
        let begin = Instant::now();
        while !state.exists() && child.try_wait().unwrap().is_none() {
            assert!(begin.elapsed() < Duration::from_secs(120), "no state is saved");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        !out.exists()
    });
    assert!(is_killed && partial.exists(), "every run was over before it was killed");

    let other = ["quantize", str(&demo), str(&out), "--recipe", "q4"];
    assert!(ds4(&other).err.contains("another input, recipe or matrix"));
    let report = ds4(&args(str(&out))).json();
    assert!(report["resumed_bytes"].as_u64().unwrap() > 0);
    assert!(std::fs::read(&out).unwrap() == std::fs::read(&whole).unwrap());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
}

/// A checkpoint with the weights of a GGUF file: F32, whole numbers as I64, in two files with their index.
fn checkpoint(folder: &std::path::Path, model: &str) -> String {
    use safetensors::tensor::{Dtype, TensorView};
    let (file, folder) = (open(model), folder.join("official"));
    std::fs::create_dir_all(&folder).unwrap();
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for tensor in file.tensors() {
        let data = file.data(tensor);
        let shape: Vec<usize> = tensor.dims.iter().rev().map(|n| *n as usize).collect();
        let name = |expert| ds4_convert::names::official(&tensor.name, expert).unwrap();
        if let [experts, rows, cols] = shape[..] {
            for (e, data) in data.chunks_exact(data.len() / experts).enumerate() {
                tensors.push((name(Some(e)), Dtype::F32, vec![rows, cols], data.to_vec()));
            }
        } else if tensor.ty == ds4_gguf::TensorType::I32 {
            let wide = |b: &[u8; 4]| i64::from(i32::from_le_bytes(*b)).to_le_bytes();
            tensors.push((name(None), Dtype::I64, shape, data.as_chunks().0.iter().flat_map(wide).collect()));
        } else {
            tensors.push((name(None), Dtype::F32, shape, data.to_vec()));
        }
    }
    let mut weight_map = serde_json::Map::new();
    for (i, half) in tensors.chunks(tensors.len().div_ceil(2)).enumerate() {
        let shard = format!("model-{i}.safetensors");
        half.iter().for_each(|(name, ..)| drop(weight_map.insert(name.clone(), shard.clone().into())));
        let views =
            half.iter().map(|(name, ty, shape, data)| (name, TensorView::new(*ty, shape.clone(), data).unwrap()));
        std::fs::write(folder.join(&shard), safetensors::serialize(views, None).unwrap()).unwrap();
    }
    let index = serde_json::json!({ "weight_map": weight_map }).to_string();
    write(&folder, "model.safetensors.index.json", index);
    str(&folder).to_owned()
}

#[test]
fn a_checkpoint_gives_the_file_that_its_weights_give() {
    let folder = directory("quantize_checkpoint");
    let full = tiny_model("f32");
    let official = checkpoint(&folder, &full);
    for recipe in ["q2", "f32"] {
        let out = folder.join(format!("{recipe}.gguf"));
        // The types of the template do not matter.
        ds4(&["quantize", &official, str(&out), "--recipe", recipe, "--template", &tiny_model("q4")]).ok();
        let (made, expected) = (open(str(&out)), open(&tiny_model(recipe)));
        assert_eq!(made.tensors().len(), expected.tensors().len());
        for (tensor, same) in made.tensors().iter().zip(expected.tensors()) {
            assert_eq!((&tensor.name, tensor.ty, &tensor.dims), (&same.name, same.ty, &same.dims));
            assert!(made.data(tensor) == expected.data(same), "{}", tensor.name);
        }
    }
    let out = folder.join("out.gguf");
    let refused = |args: &[&str], reason: &str| {
        let done = ds4(&[&["quantize", args[0], str(&out), "--recipe", "q4"], &args[1..]].concat());
        assert_eq!((done.code, done.err.lines().count()), (Some(1), 1), "{}", done.err);
        assert!(done.err.contains(reason), "{}", done.err);
    };
    refused(&[&official], "needs --template");
    refused(&[&full, "--template", &full], "needs no --template");
    let demo = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/ds4-demo-q2.gguf");
    refused(&[&official, "--template", str(&demo)], "the template is of another model");
    let shard = folder.join("official/model-1.safetensors");
    let good = std::fs::read(&shard).unwrap();
    let broken = |bytes: &[u8], reason: &str| {
        std::fs::write(&shard, bytes).unwrap();
        refused(&[&official, "--template", &full], reason);
        assert!(!out.exists() && !folder.join("out.gguf.partial").exists(), "nothing is begun");
    };
    broken(&good[..good.len() - 4], "model-1.safetensors: its tensors have");
    broken(&good[..100], "model-1.safetensors: ");
    broken(b"GGUF", "model-1.safetensors: it ends inside its header");
    broken(&[&[0xff; 8][..], &good[8..]].concat(), "model-1.safetensors: its header has 18446744073709551615 bytes");
    broken(&String::from_utf8_lossy(&good).replacen("F32", "X32", 1).into_bytes(), "model-1.safetensors: ");
    std::fs::remove_file(&shard).unwrap();
    refused(&[&official, "--template", &full], "model-1.safetensors: No such file");
    let index = write(&folder.join("official"), "model.safetensors.index.json", "{\"weight_map\": 7}");
    refused(&[&official, "--template", &full], "model.safetensors.index.json: ");
    std::fs::remove_file(index).unwrap();
    let (short, bytes) = (folder.join("short.gguf"), std::fs::read(&full).unwrap());
    std::fs::write(&short, &bytes[..bytes.len() - 1000]).unwrap();
    refused(&[str(&short)], "the file ends at byte");
}
