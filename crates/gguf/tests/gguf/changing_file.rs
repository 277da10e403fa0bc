//! Files that change while they are mapped.

use crate::common;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ds4_gguf::{Access, Error, File, TensorType, Writer};

/// Elements of the only tensor: several pages, so that a cut takes whole pages away.
const ELEMENTS: u64 = 1 << 16;

fn bytes() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.tensor("t", &[ELEMENTS], TensorType::F32, vec![1; 4 * ELEMENTS as usize]);
    let mut bytes = Vec::new();
    writer.write_to(&mut bytes).unwrap();
    bytes
}

/// A file that is removed again.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        let path = common::scratch(name);
        fs::write(&path, bytes()).unwrap();
        Self(path)
    }

    fn writable(&self) -> fs::File {
        fs::OpenOptions::new().write(true).open(&self.0).unwrap()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn an_untouched_file_is_intact_whatever_is_advised() {
    let temporary = Temporary::new("untouched");
    let file = File::open(&temporary.0).unwrap();
    assert_eq!(file.len(), bytes().len() as u64);
    for access in [Access::Sequential, Access::Random, Access::WillNeed, Access::Normal] {
        file.advise(access);
        file.advise_tensor(&file.tensors()[0], access);
    }
    assert_eq!(file.data(&file.tensors()[0]), vec![1; 4 * ELEMENTS as usize]);
    assert_eq!(file.data(&file.tensors()[0]).as_ptr().addr() % file.alignment() as usize, 0);
    file.check_intact().unwrap();
}

/// The kernel keeps the advice as a flag of the mapping: `sr` sequential, `rr` random.
#[cfg(target_os = "linux")]
#[test]
fn advice_reaches_the_mapping() {
    let temporary = Temporary::new("advice");
    let flags = || {
        let name = temporary.0.file_name().unwrap().to_str().unwrap();
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = maps.lines().skip_while(|line| !line.ends_with(name));
        let line = lines.find(|line| line.starts_with("VmFlags")).unwrap();
        ["sr", "rr"].map(|flag| line.split(' ').any(|found| found == flag))
    };
    let file = File::open(&temporary.0).unwrap();
    assert_eq!(flags(), [false, false]);
    file.advise(Access::Sequential);
    assert_eq!(flags(), [true, false]);
    file.advise(Access::Normal);
    assert_eq!(flags(), [false, false]);
    // The tensor starts on the first page, so the advice covers the whole file again.
    file.advise_tensor(&file.tensors()[0], Access::Random);
    assert_eq!(flags(), [false, true]);
}

#[cfg(unix)]
#[test]
fn a_shortened_file_is_noticed() {
    let temporary = Temporary::new("shortened");
    let file = File::open(&temporary.0).unwrap();
    temporary.writable().set_len(file.len() - 1).unwrap();
    let error = file.check_intact().unwrap_err();
    assert!(matches!(&error, Error::Shortened { mapped, found, .. } if *mapped == found + 1));
    assert!(error.to_string().contains("shortened") && error.to_string().contains("shrank"));
}

#[test]
fn a_rewritten_file_is_noticed() {
    let temporary = Temporary::new("rewritten");
    let file = File::open(&temporary.0).unwrap();
    let later = SystemTime::now() + Duration::from_secs(10);
    temporary.writable().set_modified(later).unwrap();
    assert!(matches!(file.check_intact(), Err(Error::Modified { .. })));
}

#[test]
fn a_grown_file_is_noticed_even_with_its_old_date() {
    let temporary = Temporary::new("grown");
    let file = File::open(&temporary.0).unwrap();
    let date = fs::metadata(&temporary.0).unwrap().modified().unwrap();
    temporary.writable().set_len(file.len() + 1).unwrap();
    temporary.writable().set_modified(date).unwrap();
    assert!(matches!(file.check_intact(), Err(Error::Modified { .. })));
}

#[cfg(unix)]
#[test]
fn a_file_replaced_by_renaming_stays_mapped() {
    let temporary = Temporary::new("renamed");
    let file = File::open(&temporary.0).unwrap();
    let other = Temporary::new("renamed-other");
    fs::rename(&other.0, &temporary.0).unwrap();
    file.check_intact().unwrap();
    assert_eq!(file.data(&file.tensors()[0])[0], 1);
}

/// The children of the tests below: this binary again, doing one thing that ends it.
#[cfg(unix)]
mod fault {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Output};

    /// Names the file that a child has to work on. Without it a child test does nothing.
    const VARIABLE: &str = "DS4_GGUF_TEST_FILE";

    /// SIGBUS on Linux and on the BSDs including macOS.
    const SIGBUS: i32 = if cfg!(target_os = "linux") { 7 } else { 10 };

    fn run(child: &str, path: &Path) -> Output {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", child, "--ignored", "--nocapture", "--test-threads=1"])
            .env(VARIABLE, path)
            .output()
            .unwrap()
    }

    fn given() -> Option<PathBuf> {
        std::env::var_os(VARIABLE).map(PathBuf::from)
    }

    fn cut(path: &Path) {
        fs::OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap();
    }

    fn touch_last_byte(file: &File) -> u8 {
        std::hint::black_box(*file.data(&file.tensors()[0]).last().unwrap())
    }

    #[test]
    fn a_fault_in_a_model_ends_the_process_with_one_line() {
        let temporary = Temporary::new("fault\nhandled");
        let output = run("changing_file::fault::child_with_handler", &temporary.0);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let name = temporary.0.file_name().unwrap().to_str().unwrap().replace('\n', "?");
        let line = said.lines().last().unwrap();
        assert!(line.starts_with(&format!("ds4: model file '{name}' was shortened")), "{said}");
    }

    #[test]
    fn without_the_handler_the_signal_kills() {
        let temporary = Temporary::new("fault-default");
        let output = run("changing_file::fault::child_without_handler", &temporary.0);
        assert_eq!(output.status.signal(), Some(SIGBUS));
    }

    #[test]
    fn a_fault_elsewhere_kills_as_before() {
        let temporary = Temporary::new("fault-foreign");
        let output = run("changing_file::fault::child_with_foreign_map", &temporary.0);
        assert_eq!(output.status.signal(), Some(SIGBUS));
        assert!(!String::from_utf8_lossy(&output.stderr).contains("ds4:"));
    }

    #[test]
    #[ignore = "started by a_fault_in_a_model_ends_the_process_with_one_line"]
    fn child_with_handler() {
        let Some(path) = given() else { return };
        // A few maps come and go first: their places are used again.
        (0..200).for_each(|_| drop(File::open(&path).unwrap()));
        let others: Vec<_> = (0..5).map(|_| File::open(&path).unwrap()).collect();
        let file = File::open(&path).unwrap();
        drop(others);
        ds4_gguf::install_truncation_handler().unwrap();
        ds4_gguf::install_truncation_handler().unwrap();
        cut(&path);
        touch_last_byte(&file);
    }

    #[test]
    #[ignore = "started by without_the_handler_the_signal_kills"]
    fn child_without_handler() {
        let Some(path) = given() else { return };
        let file = File::open(&path).unwrap();
        cut(&path);
        touch_last_byte(&file);
    }

    #[test]
    #[ignore = "started by a_fault_elsewhere_kills_as_before"]
    fn child_with_foreign_map() {
        let Some(path) = given() else { return };
        let model = Temporary::new("fault-foreign-model");
        let file = File::open(&model.0).unwrap();
        ds4_gguf::install_truncation_handler().unwrap();
        // SAFETY: that the file shrinks is the point; the read after it must not return.
        let foreign = unsafe { memmap2::Mmap::map(&fs::File::open(&path).unwrap()) }.unwrap();
        cut(&path);
        let _ = fs::remove_file(&model.0);
        std::hint::black_box(foreign[foreign.len() - 1]);
        touch_last_byte(&file);
    }
}
