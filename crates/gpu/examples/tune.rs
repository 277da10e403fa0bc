//! Chooses kernels as the first load of a model does, and says what each value took. Nothing is kept.
//!
//! `tune [N]`: the device, as `ds4 devices` counts.

use ds4_gpu::{Gpu, tune};
use std::error::Error;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let device = std::env::args().nth(1).map(|n| n.parse()).transpose()?;
    for experts in [tune::Q2, tune::Q4] {
        let start = Instant::now();
        let gpu = Gpu::open(device)?;
        println!("{}, experts of {experts:?}", gpu.info());
        let tuned = tune::tune(&gpu, experts, &mut |_, _| true)?;
        for tried in &tuned.tried {
            let ratio =
                tried.ratio.map_or_else(|| "not measured".to_owned(), |ratio| format!("{ratio:.3} of the time"));
            let better = if tried.is_better { ", better" } else { "" };
            println!("  {:16} {:5}  {ratio}{better}", tried.parameter.name(), tried.value);
        }
        println!("{:?} after {:.1} s: {:?}", tuned.end, start.elapsed().as_secs_f64(), tuned.tuning);
    }
    Ok(())
}
