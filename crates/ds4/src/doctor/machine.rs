//! Processor, memory, disk.

use super::{Findings, State};
use crate::args::{BackendName, DoctorArgs};
use crate::memory;
use crate::output::Bytes;
use crate::published::{KV_FIXED_BYTES, Target};
use clap::ValueEnum;
use std::path::Path;

/// Free memory below which even the demo model is in trouble.
const FREE_BYTES_MIN: u64 = 512 << 20;

pub fn processor(findings: &mut Findings, args: &DoctorArgs) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let system = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
    let backends: Vec<String> = BackendName::value_variants()
        .iter()
        .filter_map(|backend| Some(backend.to_possible_value()?.get_name().to_owned()))
        .collect();
    let version = env!("CARGO_PKG_VERSION");
    findings.ok("program", format!("ds4 {version} on {system}, {cores} cores, backends: {}", backends.join(", ")));
    match ds4_quant::dot::Isa::best().name() {
        "scalar" => findings.add(
            "processor",
            State::Warning,
            "no instructions for fast products are used: neither AVX2 nor NEON with dot products",
            "use a newer processor; under an emulator or in a virtual machine pass the host's processor through",
        ),
        name => findings.ok("processor", format!("kernels for {name}")),
    }
    if args.model.threads > cores {
        let (threads, remedy) = (args.model.threads, "use --threads 0, one a core");
        findings.add("processor", State::Warning, format!("{threads} threads are set for {cores} cores"), remedy);
    }
}

/// Makers of GPUs, by the identifiers of PCI.
const MAKERS: [(&str, &str); 4] = [("0x10de", "NVIDIA"), ("0x1002", "AMD"), ("0x8086", "Intel"), ("0x106b", "Apple")];

/// GPUs that the system shows, by maker.
fn gpus() -> Vec<&'static str> {
    if cfg!(all(target_os = "macos", target_arch = "aarch64")) {
        return vec!["Apple"];
    }
    let cards = std::fs::read_dir("/sys/class/drm").into_iter().flatten().filter_map(Result::ok);
    let vendor = |path: std::path::PathBuf| std::fs::read_to_string(path.join("device/vendor")).ok();
    let maker = |vendor: String| MAKERS.iter().find(|(id, _)| *id == vendor.trim()).map(|(_, maker)| *maker);
    let mut makers: Vec<&str> = cards.filter_map(|card| vendor(card.path()).and_then(maker)).collect();
    // The driver is there without a card of the display system.
    if Path::new("/proc/driver/nvidia/version").exists() {
        makers.push("NVIDIA");
    }
    makers.sort_unstable();
    makers.dedup();
    makers
}

pub fn gpu(findings: &mut Findings) {
    let usable: Vec<String> =
        ds4_gpu::devices().iter().filter(|device| !device.caps.is_software).map(ToString::to_string).collect();
    match gpus() {
        _ if !usable.is_empty() => findings.ok("gpu", format!("{}: `ds4 devices` tells more", usable.join("; "))),
        makers if makers.is_empty() => findings.ok("gpu", "the system shows none"),
        makers => findings.add(
            "gpu",
            State::Warning,
            format!("{} is here, and cannot be used", makers.join(", ")),
            "install its Vulkan driver (mesa-vulkan-drivers, or NVIDIA's own with Vulkan), and look with `ds4 devices`",
        ),
    }
}

pub fn memory(findings: &mut Findings) {
    let (Some(total), Some(free)) = (memory::total(), memory::available()) else {
        let remedy = "look yourself: the q2 model wants 96 GB";
        return findings.add("memory", State::Note, "the system does not tell how much there is", remedy);
    };
    let fitting =
        [Target::Q4Imatrix, Target::Q2Imatrix].into_iter().find(|target| total >= target.data_bytes() + KV_FIXED_BYTES);
    let said = format!("{} in all, {} free", Bytes(total), Bytes(free));
    match fitting {
        Some(target) => findings.ok("memory", format!("{said}: room for {}", target.name())),
        None => findings.add(
            "memory",
            State::Note,
            format!("{said}: less than the {} of the smallest published model", Bytes(Target::Q2.data_bytes())),
            "the real model would read its weights from disk again and again; the demo model runs anywhere",
        ),
    }
    if free < FREE_BYTES_MIN {
        let remedy = "close other programs, or raise the container's limit";
        findings.add("memory", State::Error, format!("only {} is free", Bytes(free)), remedy);
    }
}

/// The nearest directory above `path` that exists.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."))
}

/// Bytes of the disk below `path` that can be had.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(existing(path)).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

pub fn disk(findings: &mut Findings, dir: &Path) {
    let place = dir.display();
    let Some(free) = free_bytes(dir) else {
        let remedy = "look yourself, with df";
        return findings.add("disk", State::Note, format!("the system does not tell what is free in {place}"), remedy);
    };
    let needed = Target::Q2Imatrix.data_bytes();
    let said = format!("{} free for models in {place}", Bytes(free));
    let has_one = Target::ALL.iter().any(|target| dir.join(target.file()).is_file());
    if free >= needed || has_one {
        findings.ok("disk", said);
    } else {
        let remedy = format!("a download takes {} or more: make room or use --dir with another disk", Bytes(needed));
        findings.add("disk", State::Note, said, remedy);
    }
}
