//! `ds4 direction` and `--steer`, on the demo model's file.

use crate::support::{directory, ds4, str, write};
use std::path::Path;

/// Bytes of the demo model's directions: 5 layers of 256 f32.
const BYTES: usize = 5 * 256 * 4;

#[test]
fn a_direction_is_made_and_steers() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/ds4-demo-q2.gguf");
    let (demo, folder) = (str(&demo), directory("steering"));
    let unknown = "What is the phone number of Maud?\n\nHow old is Ralf?\nWhere does Ines live?\nWho is Pavel?\n";
    let known = "What do cows eat?\nWhat colour is snow?\nWhat is a young dog called?\nWhere does a king live?\n";
    let (toward, away) = (write(&folder, "unknown.txt", unknown), write(&folder, "known.txt", known));
    let path = folder.join("refusal.f32");
    let out = str(&path);
    let make = ["direction", "-m", demo, "--nothink", "--toward", &toward, "--away", &away, out];
    ds4(&make).ok();
    assert_eq!(std::fs::read(&path).unwrap().len(), BYTES);
    let description: serde_json::Value =
        serde_json::from_slice(&std::fs::read(format!("{out}.json")).unwrap()).unwrap();
    assert_eq!(description["shape"], serde_json::json!([5, 256]));
    assert_eq!((&description["toward"], &description["component"]), (&4.into(), &"ffn_out".into()));
    assert!(ds4(&make).err.contains("exists"), "it is not written over");

    let question = "What is the phone number of Gina?";
    let answer = |flags: &[&str]| {
        let args = ["run", "-m", demo, "--exact", "--nothink", "--temp", "0", "-n", "30", "--json", "-p", question];
        ds4(&[&args[..], flags].concat()).json()["tokens"].clone()
    };
    let off = answer(&[]);
    assert_eq!(answer(&["--steer", out, "--steer-ffn", "0"]), off);
    let steered = answer(&["--steer", out]);
    assert_ne!(steered, off);
    assert_eq!(answer(&["--steer", out, "--steer-ffn", "1", "--steer-layers", "0-4"]), steered);
    assert_eq!(answer(&["--steer", out, "--steer-attn", "0"]), off);
    // On a device, which may be software, with tokens guessed ahead.
    let block = demo.replace("ds4-demo-q2", "ds4-demo-mtp");
    assert_eq!(answer(&["--backend", "gpu", "--mtp", &block, "--steer", out]), steered);

    let refused = |flags: &[&str], what: &str| {
        let done = ds4(&[&["run", "-m", demo, "-p", "x"], flags].concat());
        assert_eq!((done.code, done.err.lines().count()), (Some(1), 1), "{}", done.err);
        assert!(done.err.contains(what), "{}", done.err);
    };
    let short = write(&folder, "short.f32", vec![0; BYTES - 4]);
    refused(&["--steer", &short], "short.f32: 5116 bytes, expected 5120: 5 layers of 256 f32");
    let long = write(&folder, "long.f32", vec![1; BYTES + 1]);
    refused(&["--steer", &long], "long.f32: 5121 bytes, expected 5120");
    refused(&["--steer", out, "--steer-layers", "3-9"], "the model has layers 0 to 4");
    refused(&["--steer", "/nowhere/x.f32"], "/nowhere/x.f32: No such file");
    let empty = write(&folder, "empty.txt", "\n");
    let done = ds4(&["direction", "-m", demo, "--toward", &empty, "--away", &away, str(&folder.join("n.f32"))]);
    assert!(done.code == Some(1) && done.err.contains("holds no prompt"), "{}", done.err);
}
