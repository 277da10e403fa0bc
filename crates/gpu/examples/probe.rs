//! What the devices of this machine are, and what they can do at most. `cargo run --release -p ds4-gpu --example probe`

use ds4_gpu::{Gpu, devices, measure};
use std::time::Instant;

fn main() -> ds4_engine::Result<()> {
    for device in devices() {
        println!("{}: {device}, driver {}\n   {:?}", device.index, device.driver, device.caps);
    }
    let gpu = Gpu::open(None)?;
    let bytes = if gpu.caps().is_software { 64 << 20 } else { 1 << 30 };
    println!("copy {:.0} GB/s", measure::copy_bandwidth(&gpu, bytes)? / 1e9);
    let (on_gpu, on_cpu) = measure::dispatch_seconds(&gpu)?;
    println!("dependent dispatch {:.2} us, recording it {:.2} us", on_gpu * 1e6, on_cpu * 1e6);
    if !gpu.caps().is_software {
        for multiply_adds in [64, 512, 1024, 2048] {
            let us = |kernels| measure::code_seconds(&gpu, multiply_adds, kernels, 64 << 20, 1 << 30).map(|s| s * 1e6);
            println!(
                "{multiply_adds} multiply-adds behind a read of 64 MiB: {:.1} us, one of 12 kernels in turns {:.1} us",
                us(1)?,
                us(12)?
            );
        }
    }
    let buffer = gpu.buffer("read back", 1 << 20)?;
    gpu.download(&buffer, 0, 1 << 19)?;
    let begin = Instant::now();
    for _ in 0..100 {
        gpu.download(&buffer, 0, 1 << 19)?;
    }
    println!("reading back 512 KiB {:.1} us", begin.elapsed().as_secs_f64() * 1e4);
    if gpu.caps().matrix16 {
        println!("matrix units: {:?}", measure::check_matrix_units(&gpu));
    }
    if gpu.info().caps.matrix8 {
        println!("matrix units of 8×8: {}", gpu.units_fault().unwrap_or("right"));
    }
    let mut best = f64::MAX;
    for _ in 0..3 {
        let target = gpu.buffer("an upload", bytes)?;
        let data = vec![1u8; 64 << 20];
        let begin = Instant::now();
        for i in 0..bytes / (64 << 20) {
            gpu.upload(&target, i * (64 << 20), &data);
        }
        gpu.wait()?;
        best = best.min(begin.elapsed().as_secs_f64());
    }
    println!("upload {:.1} GB/s", bytes as f64 / best / 1e9);
    Ok(())
}
