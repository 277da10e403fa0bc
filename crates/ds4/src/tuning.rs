//! Which kernels a GPU computes with: chosen by timing when a model is first loaded there, and kept among the user's caches in
//! `$XDG_CACHE_HOME/ds4/tuning.json`: `{"format": "ds4-tuning", "version": 1, "choices": [{"device", "api", "driver", "program", "kernels",
//! "experts", "values": {"team_rows": 2, …}}]}`, the last made first.
//!
//! What the file says is only ever one of the values that would be tried. Whatever is wrong with it, or with its directory, means that the
//! choice is made again.

use crate::interrupt::{self, Interrupt};
use crate::output;
use crate::progress::Progress;
use crate::sessions;
use ds4_engine::Precision;
use ds4_gguf::File;
use ds4_gpu::ops::linear::Tuning;
use ds4_gpu::tune::{self, End, ExpertFormats, Tuned};
use ds4_gpu::{Caps, DeviceInfo, Gpu};
use ds4_store::NewFile;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

const FORMAT: &str = "ds4-tuning";
const VERSION: u32 = 1;
/// Most bytes of the file, and most choices in it.
const FILE_BYTES_MAX: u64 = 64 << 10;
const CHOICES_MAX: usize = 32;
/// Bytes of weights from which a model is worth the wait: a toy is through before the choice is made.
const WORTH_BYTES: u64 = 1 << 30;

#[derive(Serialize, Deserialize)]
struct Saved {
    format: String,
    version: u32,
    choices: Vec<Choice>,
}

#[derive(Serialize, Deserialize)]
struct Choice {
    #[serde(flatten)]
    key: Key,
    values: BTreeMap<String, u32>,
}

/// What a choice was made for.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Key {
    device: String,
    api: String,
    driver: String,
    /// Version of this program, and of what it chooses from.
    program: String,
    kernels: u32,
    /// Formats of gate, up and down of the routed experts.
    experts: String,
}

impl Key {
    /// For these experts on this device.
    pub fn new(info: &DeviceInfo, experts: ExpertFormats) -> Self {
        Self {
            device: info.name.clone(),
            api: info.api.clone(),
            driver: info.driver.clone(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            kernels: tune::VERSION,
            experts: experts.map(|format| format.to_string()).join(" "),
        }
    }

    /// Whether a choice for `other` is of no use any more once there is one for this: another driver or version of the program.
    fn replaces(&self, other: &Self) -> bool {
        (&self.device, &self.api, &self.experts) == (&other.device, &other.api, &other.experts)
    }
}

/// The file, if a directory for it is known.
fn path() -> Option<PathBuf> {
    sessions::cache_dir().map(|cache| cache.join("tuning.json"))
}

fn choices(path: &Path) -> Option<Vec<Choice>> {
    let mut text = String::new();
    // Not what would have to be waited for.
    let file = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).and(std::fs::File::open(path).ok())?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).ok()?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return None;
    }
    let saved: Saved = serde_json::from_str(&text).ok()?;
    let is_known = saved.format == FORMAT && saved.version == VERSION && saved.choices.len() <= CHOICES_MAX;
    is_known.then_some(saved.choices)
}

/// The choice for `key` in the file at `path`, if its values may be chosen on a device of these capabilities.
fn found(path: &Path, key: &Key, caps: Caps, experts: ExpertFormats) -> Option<Tuning> {
    let values = choices(path)?.into_iter().find(|choice| choice.key == *key)?.values;
    if values.len() != tune::values(&Tuning::of(Precision::Fast)).len() {
        return None;
    }
    tune::of_values(caps, experts, |name| values.get(name).copied())
}

/// Adds the choice for `key` to the file at `path`, all of it or nothing. Without a place to write it is made again next time.
fn keep(path: &Path, key: &Key, tuning: &Tuning) {
    let mut all = choices(path).unwrap_or_default();
    all.retain(|choice| !key.replaces(&choice.key));
    let values = tune::values(tuning).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    all.insert(0, Choice { key: key.clone(), values });
    all.truncate(CHOICES_MAX);
    let saved = Saved { format: FORMAT.to_owned(), version: VERSION, choices: all };
    let Ok(text) = serde_json::to_string_pretty(&saved) else { return };
    let _ = path.parent().map(ds4_store::make_private_dir);
    let _ = NewFile::create(path.to_owned()).and_then(|mut file| {
        file.write((text + "\n").as_bytes())?;
        file.commit()
    });
}

/// The choice for the weights of `file` on `gpu`: the one that was kept, or one that is made now. `None` is the usual one: for exact
/// arithmetic, on software, for models that are small or do not fit.
pub fn for_model(gpu: &Gpu, precision: Precision, file: &File) -> Option<Tuning> {
    let (info, bytes) = (gpu.info(), ds4_gpu::weight_bytes(file));
    let fits = info.memory.is_none_or(|memory| memory >= bytes);
    if precision == Precision::Exact || info.caps.is_software || bytes < WORTH_BYTES || !fits {
        return None;
    }
    let experts = tune::expert_formats(file)?;
    let path = path();
    let tuned =
        kept_or(path.as_deref(), &Key::new(info, experts), info.caps, experts, || choose(info, experts, "once"));
    match tuned {
        Ok(Kept::Found(tuning)) => Some(tuning),
        Ok(Kept::Made(tuned)) if tuned.end == End::Stopped => {
            // Nothing is loaded yet.
            std::process::exit(interrupt::EXIT_CODE.into())
        }
        Ok(Kept::Made(tuned)) => Some(tuned.tuning),
        Err(error) => {
            output::notice(&format!("kernels could not be tried, the usual ones are taken: {error}"));
            None
        }
    }
}

/// Where a choice comes from.
#[derive(Debug, PartialEq)]
enum Kept {
    Found(Tuning),
    Made(Tuned),
}

/// The choice for `key` in the file at `path`, or else what `choose` finds, which is kept if it came to its end.
fn kept_or(
    path: Option<&Path>,
    key: &Key,
    caps: Caps,
    experts: ExpertFormats,
    choose: impl FnOnce() -> ds4_engine::Result<Tuned>,
) -> ds4_engine::Result<Kept> {
    if let Some(tuning) = path.and_then(|path| found(path, key, caps, experts)) {
        return Ok(Kept::Found(tuning));
    }
    let tuned = choose()?;
    if let Some(path) = path.filter(|_| tuned.end != End::Stopped) {
        keep(path, key, &tuned.tuning);
    }
    Ok(Kept::Made(tuned))
}

/// Chooses again, and keeps what came of it unless Ctrl-C ended it.
///
/// # Errors
/// The device failed, or has too little memory.
pub fn again(info: &DeviceInfo, experts: ExpertFormats) -> ds4_engine::Result<Tuned> {
    let tuned = choose(info, experts, "again")?;
    if let Some(path) = path().filter(|_| tuned.end != End::Stopped) {
        keep(&path, &Key::new(info, experts), &tuned.tuning);
    }
    Ok(tuned)
}

fn choose(info: &DeviceInfo, experts: ExpertFormats, when: &str) -> ds4_engine::Result<Tuned> {
    // On its own: what a kernel that fails leaves behind is not the model's, and all memory is given back.
    let gpu = Gpu::open(Some(info.index))?;
    let interrupt = Interrupt::installed();
    let label = format!("choosing kernels for {} ({when})", output::printable(&info.name));
    let progress = Progress::start(label, "tries", 0);
    tune::tune(&gpu, experts, &mut |done, total| {
        progress.set_of(done, total);
        !interrupt.as_ref().is_some_and(Interrupt::is_requested)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::fs;

    fn caps() -> Caps {
        Caps {
            subgroup: Some(32),
            f16: true,
            matrix16: true,
            matrix8: false,
            timestamps: true,
            workgroup_bytes: 48 << 10,
            workgroup_threads: 1024,
            buffers: 29,
            binding_bytes: 1 << 30,
            is_software: false,
        }
    }

    fn info() -> DeviceInfo {
        let text = |text: &str| text.to_owned();
        DeviceInfo {
            index: 0,
            name: text("A card"),
            api: text("Vulkan"),
            driver: text("driver 1.2"),
            kind: "discrete GPU",
            memory: None,
            caps: caps(),
        }
    }

    fn key() -> Key {
        Key::new(&info(), tune::Q2)
    }

    fn other() -> Tuning {
        let usual = Tuning::of(Precision::Fast);
        Tuning { team_rows: 4, lattice_copies: 16, expand_threads: 512, expanded_rows: 1, prefetch: false, ..usual }
    }

    fn tuned(end: End) -> Tuned {
        Tuned { tuning: other(), tried: Vec::new(), end }
    }

    /// A directory for the files of one test.
    fn directory(test: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ds4-tuning-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn found_here(path: &Path) -> Option<Tuning> {
        found(path, &key(), caps(), tune::Q2)
    }

    #[test]
    fn a_choice_is_made_once_and_found_afterwards() {
        // The directory is made.
        let path = directory("once").join("cache").join("tuning.json");
        let times = Cell::new(0);
        let ask = |key: &Key, end| {
            let choose = || {
                times.set(times.get() + 1);
                Ok(tuned(end))
            };
            kept_or(Some(&path), key, caps(), tune::Q2, choose).unwrap()
        };
        // What was broken off is not kept, what took too long is.
        assert_eq!(ask(&key(), End::Stopped), Kept::Made(tuned(End::Stopped)));
        assert_eq!(ask(&key(), End::Limit), Kept::Made(tuned(End::Limit)));
        assert_eq!(ask(&key(), End::Whole), Kept::Found(other()));
        assert_eq!(times.get(), 2);
        // Nothing but the file is left, which others cannot read.
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_choice_is_for_one_device_driver_and_program() {
        let path = directory("keys").join("tuning.json");
        keep(&path, &key(), &other());
        let others = [
            Key { device: "Another card".to_owned(), ..key() },
            Key { api: "Metal".to_owned(), ..key() },
            Key { driver: "driver 1.3".to_owned(), ..key() },
            Key { program: "0.0.0".to_owned(), ..key() },
            Key { kernels: tune::VERSION + 1, ..key() },
            Key { experts: "Q4_K Q4_K Q4_K".to_owned(), ..key() },
        ];
        for other in &others {
            assert_eq!(found(&path, other, caps(), tune::Q2), None, "{other:?}");
        }
        assert_eq!(found_here(&path), Some(other()));
        // Those of another device and for other experts stand beside it, those of another driver take its place.
        let usual = Tuning::of(Precision::Fast);
        keep(&path, &others[0], &usual);
        keep(&path, &others[5], &usual);
        assert_eq!(found_here(&path), Some(other()));
        keep(&path, &others[2], &usual);
        assert_eq!(found_here(&path), None);
        assert_eq!(choices(&path).unwrap().len(), 3);
        // There is an end to it.
        for i in 0..2 * CHOICES_MAX {
            keep(&path, &Key { device: format!("card {i}"), ..key() }, &usual);
        }
        assert_eq!(choices(&path).unwrap().len(), CHOICES_MAX);
    }

    #[test]
    fn what_is_wrong_with_the_file_is_no_choice() {
        let path = directory("wrong").join("tuning.json");
        assert_eq!(found_here(&path), None);
        keep(&path, &key(), &other());
        let good = fs::read_to_string(&path).unwrap();
        let refused = |text: &[u8], what: &str| {
            fs::write(&path, text).unwrap();
            assert_eq!(found_here(&path), None, "{what}");
        };
        let changes = [
            ("ds4-tuning", "another"),
            ("\"version\": 1", "\"version\": 2"),
            ("\"team_rows\": 4", "\"team_rows\": 3"),
            ("\"team_rows\": 4", "\"team_rows\": -1"),
            ("\"team_rows\": 4", "\"team_rows\": 4294967300"),
            ("\"team_rows\": 4", "\"team_rows\": \"4\""),
            ("\"team_rows\": 4", "\"teams\": 4"),
            ("\"team_rows\": 4", "\"team_rows\": 4, \"pass_rows\": 2"),
            ("\"expand_threads\": 512", "\"expand_threads\": 100000"),
            ("\"prefetch\": 0", "\"prefetch\": 2"),
            ("\"lattice_copies\": 16", "\"lattice_copies\": 0"),
        ];
        for (from, to) in changes {
            assert!(good.contains(from), "{from} in {good}");
            refused(good.replace(from, to).as_bytes(), to);
        }
        for end in 0..good.trim_end().len() {
            refused(&good.as_bytes()[..end], &format!("{end} bytes"));
        }
        refused(&[0xff; 100], "no text");
        refused((good.clone() + &" ".repeat(FILE_BYTES_MAX as usize)).as_bytes(), "too long");
        refused("[".repeat(60_000).as_bytes(), "deep");
        // It is replaced by the next choice.
        keep(&path, &key(), &other());
        assert_eq!(found_here(&path), Some(other()));
        // A device that can less does not take it.
        assert_eq!(found(&path, &key(), caps().plain(), tune::Q2), None);
    }

    #[cfg(unix)]
    #[test]
    fn without_a_place_to_write_the_choice_counts_all_the_same() {
        let made = |path: Option<&Path>| kept_or(path, &key(), caps(), tune::Q2, || Ok(tuned(End::Whole))).unwrap();
        // No directory is known; its place is taken by a file; it stands where nothing can be written, even for root.
        let dir = directory("nowhere");
        fs::write(dir.join("file"), "").unwrap();
        let paths = [dir.join("file").join("tuning.json"), PathBuf::from("/proc/ds4/tuning.json")];
        for path in [None].into_iter().chain(paths.iter().map(|path| Some(path.as_path()))) {
            assert_eq!(made(path), Kept::Made(tuned(End::Whole)), "{path:?}");
        }
        // Nor is a directory of the file's name one.
        fs::create_dir(dir.join("tuning.json")).unwrap();
        assert_eq!(made(Some(&dir.join("tuning.json"))), Kept::Made(tuned(End::Whole)));
        // Read-only, where root is not the one who asks.
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o500)).unwrap();
        let path = dir.join("other.json");
        assert_eq!(made(Some(&path)), Kept::Made(tuned(End::Whole)));
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    }
}
