//! `ds4 quantize` and `ds4 debug compare`

use crate::support::{directory, ds4, open, str, tiny_model, write};

#[test]
fn a_quantised_file_has_the_bytes_of_one_made_in_that_recipe() {
    let directory = directory("quantize");
    let full = tiny_model("f32");
    for recipe in ["q8", "q2", "q4"] {
        let path = directory.join(format!("{recipe}.gguf"));
        let out = ds4(&["quantize", &full, str(&path), "--recipe", recipe, "--threads", "2"]).ok();
        assert!(out.contains("MB"), "{out}");
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
