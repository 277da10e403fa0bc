//! Ctrl-C: the first one asks the work under way to end, the second ends the process.

use anyhow::{Context, Result};
use signal_hook::consts::SIGINT;
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code of a run that Ctrl-C ended: 128 and the signal's number, as shells have it.
pub const EXIT_CODE: u8 = 130;

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
        Ok(Self(requested))
    }

    /// Whether the work should end.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
