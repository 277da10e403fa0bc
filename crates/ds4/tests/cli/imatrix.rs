//! `ds4 imatrix`

use crate::support::{Done, directory, ds4, open, str, tiny_model, write};
use ds4_convert::Importance;
use std::path::Path;

const PROMPTS: &str = "\
===== DS4_IMATRIX_PROMPT 1 =====
<｜begin▁of▁sentence｜><｜User｜>What do cows eat?<｜Assistant｜></think>Grass.
===== DS4_IMATRIX_PROMPT 2 =====
<｜User｜>Add 7 and 8.<｜Assistant｜></think>15
";

fn read(path: &str) -> Importance {
    let bytes = std::fs::read(path).unwrap();
    Importance::read(&bytes[..], bytes.len() as u64).unwrap()
}

#[test]
fn a_matrix_has_values_for_every_matrix_of_the_model() {
    let folder = directory("imatrix");
    let (dataset, out) = (write(&folder, "prompts.txt", PROMPTS), folder.join("m.dat"));
    let model = tiny_model("q8");
    let collect = ["imatrix", "-m", &model, "--dataset", &dataset, "--out", str(&out), "--json"];
    let report = ds4(&collect).json();
    assert_eq!((&report["prompts"], &report["interrupted"]), (&2.into(), &false.into()));
    let tokens = report["tokens"].as_u64().unwrap();

    let (importance, file) = (read(str(&out)), open(&model));
    assert_eq!(report["entries"], importance.entries().len());
    assert_eq!(importance.dataset.as_deref(), Some(&dataset[..]));
    for part in ["gate", "up", "down"] {
        let tensor = file.tensor(&format!("blk.0.ffn_{part}_exps.weight")).unwrap();
        let values = importance.get(&tensor.name).unwrap();
        assert_eq!(values.len() as u64, tensor.dims[0] * tensor.dims[2]);
        // Columns of experts that no token came to have 1.
        assert!(values.iter().any(|v| *v > 0.0 && *v != 1.0));
    }
    let (gate, up) = (importance.get("blk.0.ffn_gate_exps.weight"), importance.get("blk.0.ffn_up_exps.weight"));
    assert_eq!(gate, up);
    for (name, values) in importance.entries() {
        let tensor = file.tensor(name).unwrap();
        let parts = tensor.dims.get(2).copied().unwrap_or(1);
        assert_eq!(values.len() as u64, tensor.dims[0] * parts, "{name}");
    }
    assert!(ds4(&collect).err.contains("m.dat exists"), "it is not written over");

    // The flags of the C program, and limits.
    let few = folder.join("few.dat");
    let args = ["imatrix", "-m", &model, "--imatrix-dataset", &dataset, "--imatrix-out", str(&few), "--json"];
    let report = ds4(&[&args[..], &["--imatrix-max-prompts", "1"]].concat()).json();
    assert_eq!(report["prompts"], 1);
    assert!(report["tokens"].as_u64().unwrap() < tokens);
    std::fs::remove_file(&few).unwrap();
    let report = ds4(&[&args[..], &["--imatrix-max-tokens", "5"]].concat()).json();
    assert_eq!(report["tokens"], 5);
}

#[test]
fn what_is_no_dataset_is_refused_and_nothing_is_written() {
    let folder = directory("imatrix_errors");
    let (empty, binary) =
        (write(&folder, "empty.txt", "===== DS4_IMATRIX_PROMPT\n \n"), write(&folder, "b", [0xff; 9]));
    let out = folder.join("m.dat");
    for (dataset, reason) in
        [(&empty[..], "holds no prompt"), (&binary, "expected a text file"), ("/nowhere/x", "cannot read /nowhere/x")]
    {
        let done = ds4(&["imatrix", "-m", &tiny_model("q8"), "--dataset", dataset, "--out", str(&out)]);
        assert_eq!((done.code, done.err.lines().count()), (Some(1), 1), "{}", done.err);
        assert!(done.err.contains(reason), "{}", done.err);
        assert!(!out.exists());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_leaves_what_was_collected_or_nothing() {
    use crate::interrupt::{press_ctrl_c, wait_until_ready};
    let folder = directory("imatrix_interrupt");
    let dataset = write(&folder, "long.txt", format!("{PROMPTS}===== DS4_IMATRIX_PROMPT\n").repeat(5000));
    let out = folder.join("m.dat");
    let args = ["imatrix", "-m", &tiny_model("q8"), "--dataset", &dataset, "--out", str(&out), "--exact"];
    let child = crate::support::command(&args).spawn().unwrap();
    wait_until_ready(&child);
    std::thread::sleep(std::time::Duration::from_millis(100));
    press_ctrl_c(&child);
    let done = Done::new(child.wait_with_output().unwrap());
    assert_eq!(done.code, Some(130), "{}", done.err);
    assert!(done.err.contains("interrupted"), "{}", done.err);
    if Path::new(&out).exists() {
        assert!(read(str(&out)).entries().len() > 0);
    } else {
        assert!(done.err.contains("nothing is written"), "{}", done.err);
    }
}
