//! How long an operation takes.

use crate::gpu::{Gpu, Timing};
use ds4_engine::Result;
use std::time::Instant;

/// Most calls of one measurement, and of one whose kernels are timed one by one.
const CALLS_MAX: usize = 2000;
const PROFILED_CALLS_MAX: usize = 20;

/// Seconds of work before a measurement: a device that was idle, while something was uploaded or compiled, raises its clocks only slowly. An
/// H200 that had been idle for some seconds was seen to take four times as long for the first tens of milliseconds.
pub(crate) const WARM_SECONDS: f64 = 0.25;

/// What one call has to do at least.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Bytes that must be read and written once.
    pub bytes: f64,
    /// Multiplications and additions.
    pub operations: f64,
}

/// How fast it was.
#[derive(Clone, Debug)]
pub struct Speed {
    /// What was measured.
    pub name: String,
    /// What a call has to do.
    pub work: Work,
    /// Seconds a call by the clock, one call after the other.
    pub seconds: f64,
    /// Seconds and dispatches of each kernel in a call, the longest first; empty where the device has no time stamps.
    pub kernels: Vec<Timing>,
    /// Calls that `kernels` counts.
    pub profiled_calls: usize,
}

impl Speed {
    /// Seconds that all kernels of a call took by the device's clock; without one, by ours.
    pub fn seconds_inside(&self) -> f64 {
        match self.kernels.iter().map(|kernel| kernel.seconds).sum::<f64>() {
            sum if sum > 0.0 => sum / self.profiled_calls as f64,
            _ => self.seconds,
        }
    }
}

/// Measures `call`, which gets the number of the call, for about `seconds`.
///
/// # Errors
/// The device failed.
pub fn time(
    gpu: &Gpu,
    name: &str,
    work: Work,
    seconds: f64,
    mut call: impl FnMut(usize) -> Result<()>,
) -> Result<Speed> {
    // Compiles.
    call(0)?;
    gpu.wait()?;
    let mut timed = || -> Result<f64> {
        let start = Instant::now();
        call(1)?;
        gpu.wait()?;
        Ok(start.elapsed().as_secs_f64().max(1e-9))
    };
    let mut one = timed()?;
    if !gpu.caps().is_software {
        let start = Instant::now();
        while start.elapsed().as_secs_f64() < WARM_SECONDS {
            one = timed()?;
        }
    }
    let calls = ((seconds / one) as usize).clamp(1, CALLS_MAX);
    let start = Instant::now();
    (0..calls).try_for_each(&mut call)?;
    gpu.wait()?;
    let wall = start.elapsed().as_secs_f64() / calls as f64;
    let profiled_calls = calls.min(PROFILED_CALLS_MAX);
    let mut kernels = Vec::new();
    if gpu.caps().timestamps {
        gpu.start_profile(None);
        (0..profiled_calls).try_for_each(&mut call)?;
        kernels = gpu.end_profile()?;
    }
    Ok(Speed { name: name.to_owned(), work, seconds: wall, kernels, profiled_calls })
}
