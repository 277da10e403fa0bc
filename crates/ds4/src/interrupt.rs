//! Ctrl-C: the first one asks the work under way to end, the second ends the process.

use anyhow::{Context, Result};
use signal_hook::consts::SIGINT;
use signal_hook::flag;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Exit code of a run that Ctrl-C ended: 128 and the signal's number, as shells have it.
pub const EXIT_CODE: u8 = 130;

/// The first one of this process.
static INSTALLED: OnceLock<Interrupt> = OnceLock::new();

/// Whether Ctrl-C was pressed.
#[derive(Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes over Ctrl-C for the rest of the process.
    pub fn install() -> Result<Self> {
        let requested = Arc::new(AtomicBool::new(false));
        // Actions run in this order: the first signal finds the flag unset, the second finds it set.
        flag::register_conditional_default(SIGINT, Arc::clone(&requested)).context("cannot handle Ctrl-C")?;
        flag::register(SIGINT, Arc::clone(&requested)).context("cannot handle Ctrl-C")?;
        let interrupt = Self(requested);
        INSTALLED.get_or_init(|| interrupt.clone());
        Ok(interrupt)
    }

    /// Where Ctrl-C was taken over: whether it was pressed, for work that is asked for from many places.
    pub fn installed() -> Option<Self> {
        INSTALLED.get().cloned()
    }

    /// Whether the work under way should end; after this, Ctrl-C is as if it had not been pressed.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }

    /// As Ctrl-C does, where a terminal sends it as a key.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the work should end.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use signal_hook::low_level::raise;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    /// Set for the process that sends itself the signals.
    const CHILD: &str = "DS4_TEST_INTERRUPTED";

    #[test]
    fn the_first_signal_asks_and_the_second_ends_the_process() {
        if std::env::var_os(CHILD).is_some() {
            let interrupt = Interrupt::install().unwrap();
            assert!(!interrupt.is_requested());
            raise(SIGINT).unwrap();
            assert!(interrupt.is_requested());
            raise(SIGINT).unwrap();
            panic!("still running");
        }
        let name = "interrupt::tests::the_first_signal_asks_and_the_second_ends_the_process";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.args([name, "--exact"]).env(CHILD, "1").output().unwrap();
        assert_eq!(output.status.signal(), Some(SIGINT), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
