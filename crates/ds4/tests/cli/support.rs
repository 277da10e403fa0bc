//! Running the program, and files to run it on.

use ds4_gguf::{File, TensorInfo, Writer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, OnceLock};

/// What a finished program left.
pub struct Done {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Done {
    pub fn new(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Standard output of a program that succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self.out
    }

    /// The same as JSON.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).expect("one JSON object")
    }
}

/// The program with these arguments and no input.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ds4"));
    // What the machine has is not used: models, settings, tokens.
    command.env("DS4_GGUF_DIR", env!("CARGO_TARGET_TMPDIR")).env("DS4_CONFIG", "");
    command.env("HF_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/no-hf")).env_remove("HF_TOKEN");
    // Vulkan drivers write a line of their own where it is not set.
    command.env("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub fn ds4(args: &[&str]) -> Done {
    Done::new(command(args).output().expect("the program starts"))
}

/// An empty directory for the files of one test.
pub fn directory(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

pub fn str(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Writes `contents` to a file in `directory`; its path.
pub fn write(directory: &Path, name: &str, contents: impl AsRef<[u8]>) -> String {
    let path = directory.join(name);
    std::fs::write(&path, contents).unwrap();
    str(&path).to_owned()
}

/// The tiny model that most tests use.
pub fn model() -> &'static str {
    static MODEL: OnceLock<String> = OnceLock::new();
    MODEL.get_or_init(|| tiny_model("q8"))
}

/// A tiny model of this recipe, made once.
pub fn tiny_model(recipe: &str) -> String {
    static MADE: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
    let make = || {
        let path = directory(&format!("model-{recipe}")).join("tiny.gguf");
        ds4(&["debug", "tiny-model", str(&path), "--recipe", recipe]).ok();
        str(&path).to_owned()
    };
    MADE.lock().unwrap().entry(recipe.to_owned()).or_insert_with(make).clone()
}

pub fn open(path: &str) -> File {
    File::open(Path::new(path)).unwrap()
}

/// The bytes of `base`, without the keys that `drops`, and with the tensors of `donor` where `takes` says so.
pub fn rewritten(base: &File, drops: &dyn Fn(&str) -> bool, donor: &File, takes: &dyn Fn(&str) -> bool) -> Vec<u8> {
    let mut writer = Writer::new();
    for (key, value) in base.metadata().iter().filter(|(key, _)| !drops(key)) {
        writer.metadata(key, value.clone());
    }
    for tensor in base.tensors() {
        let from = if takes(&tensor.name) { donor } else { base };
        let TensorInfo { name, dims, ty, .. } = from.tensor(&tensor.name).unwrap();
        writer.tensor(name, dims, *ty, from.data(from.tensor(name).unwrap()));
    }
    let mut bytes = Vec::new();
    writer.write_to(&mut bytes).unwrap();
    bytes
}

/// `file` without the keys that `drops`.
pub fn without_keys(file: &File, drops: &dyn Fn(&str) -> bool) -> Vec<u8> {
    rewritten(file, drops, file, &|_| false)
}
