//! What a device can do at most: the figures that others are compared with.

use crate::device::SUBGROUP_WIDTHS;
use crate::gpu::{Gpu, floats, to_floats};
use crate::ops::units::UNITS8;
use crate::selftest::linear::check_tiles;
use ds4_engine::{Error, Result};
use std::time::Instant;

const COPY: &str = "
@group(0) @binding(0) var<storage, read> source: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> copied: array<vec4<u32>>;
struct Args { n: u32, stride: u32 }
var<immediate> args: Args;
@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    for (var i = id.x; i < args.n; i += args.stride) { copied[i] = source[i]; }
}";

const CHAIN: &str = "
@group(0) @binding(0) var<storage, read_write> a: array<u32>;
@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3<u32>) { a[id.x] += 1u; }";

const STREAM: &str = "
@group(0) @binding(0) var<storage, read> source: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> seen: array<u32>;
struct Args { first: u32, n: u32, stride: u32 }
var<immediate> args: Args;
@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    var sum = vec4<u32>();
    for (var i = id.x; i < args.n; i += args.stride) { sum += source[args.first + i]; }
    if (sum.x == 1u) { seen[id.x % 64u] = sum.y; }
}";

const WIDTH: &str = "
@group(0) @binding(0) var<storage, read_write> found: array<vec2<u32>>;
@compute @workgroup_size(WG)
fn main(
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_size) width: u32,
    @builtin(subgroup_invocation_id) lane: u32) {
    found[thread] = vec2<u32>(width, lane);
}";

const PRODUCT: &str = "
@group(0) @binding(0) var<storage, read> a: array<f16>;
@group(0) @binding(1) var<storage, read> b: array<f16>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
var<workgroup> tile: array<f16, 2u * EDGE * EDGE>;
@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
    for (var i = lane; i < EDGE * EDGE; i += WG) { tile[i] = a[i]; tile[EDGE * EDGE + i] = b[i]; }
    workgroupBarrier();
    let x = coopLoadT<UNIT<f16, A>>(&tile[0], EDGE);
    let y = coopLoadT<UNIT<f16, B>>(&tile[EDGE * EDGE], EDGE);
    var z = coopLoadT<UNIT<f32, C>>(&c[0], EDGE);
    z = coopMultiplyAdd(x, y, z);
    coopStoreT(z, &c[0], EDGE);
}";

/// Bytes a second of a large copy, read and written bytes counted. `bytes` should exceed every cache.
///
/// # Errors
/// Out of memory, or the device failed.
pub fn copy_bandwidth(gpu: &Gpu, bytes: u64) -> Result<f64> {
    let kernel = gpu.kernel("copy", &[("WG", 256)], &[COPY])?;
    let (from, to) = (gpu.buffer("a copy", bytes)?, gpu.buffer("a copy", bytes)?);
    let (n, groups) = ((bytes / 16) as u32, 4096);
    let run = |times: u32| -> Result<f64> {
        gpu.wait()?;
        let begin = Instant::now();
        for _ in 0..times {
            gpu.dispatch(&kernel, &[&from, &to], &[n, groups * 256], [groups, 1, 1])?;
        }
        gpu.wait()?;
        Ok(begin.elapsed().as_secs_f64())
    };
    // Clocks rise with work.
    run(40)?;
    let (few, many) = (run(4)?, run(44)?);
    Ok(80.0 * bytes as f64 / (many - few).max(1e-9))
}

/// Seconds of GPU and CPU time that a dispatch costs which waits for the one before.
///
/// # Errors
/// The device failed.
pub fn dispatch_seconds(gpu: &Gpu) -> Result<(f64, f64)> {
    let kernel = gpu.kernel("chain", &[("WG", 64)], &[CHAIN])?;
    let buffer = gpu.buffer("a chain", 256)?;
    let run = |times: u32| -> Result<(f64, f64)> {
        gpu.wait()?;
        let begin = Instant::now();
        for _ in 0..times {
            gpu.dispatch(&kernel, &[&buffer], &[], [1, 1, 1])?;
        }
        let recorded = begin.elapsed().as_secs_f64();
        gpu.wait()?;
        Ok((begin.elapsed().as_secs_f64(), recorded))
    };
    run(100)?;
    let (few, many) = (run(1000)?, run(5000)?);
    Ok(((many.0 - few.0) / 4000.0, (many.1 - few.1) / 4000.0))
}

/// Seconds of a dispatch with that many multiply-adds written one behind the other, of `kernels` such kernels in turns, each of them behind a read of
/// `streamed` bytes of a buffer of `all`: where the kernels are many and the bytes exceed the caches, code comes from memory.
///
/// # Errors
/// A kernel does not compile, or the device failed.
pub fn code_seconds(gpu: &Gpu, multiply_adds: u32, kernels: u32, streamed: u64, all: u64) -> Result<f64> {
    const THREADS: u32 = 256;
    const WORKGROUPS: u32 = 1024;
    let source = gpu.buffer("a stream", all)?;
    let seen = gpu.buffer("what was seen", 4 * 64)?;
    let values = gpu.buffer("values", 4 * u64::from(THREADS))?;
    let stream = gpu.kernel("stream", &[("WG", THREADS)], &[STREAM])?;
    let made: Vec<_> = (0..kernels)
        .map(|kernel| {
            // Four sums, so that no multiply-add waits for the one before; no two kernels are equal.
            let line = |i: u32| format!("v{} = fma(v{}, 1.0000{:05}, 0.5);\n", i % 4, i % 4, (kernel * 7919 + i) % 99_991 + 1);
            let body: String = (0..multiply_adds).map(line).collect();
            let text = format!(
                "@group(0) @binding(0) var<storage, read_write> values: array<f32>;\n\
                 @compute @workgroup_size(WG)\n\
                 fn main(@builtin(local_invocation_index) thread: u32) {{\n\
                 var v0 = values[thread];\nvar v1 = v0;\nvar v2 = v0;\nvar v3 = v0;\n{body}values[thread] = v0 + v1 + v2 + v3;\n}}"
            );
            gpu.kernel_of("code", &[("WG", THREADS)], &text)
        })
        .collect::<Result<_>>()?;
    let units = (streamed / 16) as u32;
    let places = (all / streamed.max(1)).max(1) as usize;
    let run = |times: usize, has_kernel: bool| -> Result<f64> {
        gpu.wait()?;
        let begin = Instant::now();
        for i in 0..times {
            let first = (i % places) as u32 * units;
            gpu.dispatch(&stream, &[&source, &seen], &[first, units, WORKGROUPS * THREADS], [WORKGROUPS, 1, 1])?;
            if has_kernel {
                gpu.dispatch(&made[i % made.len()], &[&values], &[], [1, 1, 1])?;
            }
        }
        gpu.wait()?;
        Ok(begin.elapsed().as_secs_f64())
    };
    run(100, true)?;
    let seconds = |has_kernel| -> Result<f64> { Ok((run(1100, has_kernel)? - run(100, has_kernel)?) / 1000.0) };
    Ok(seconds(true)? - seconds(false)?)
}

/// Threads of a subgroup, as a kernel of 256 threads finds them. `None` where subgroups are not all alike, or are not threads in their order.
///
/// # Errors
/// The kernel does not compile, or the device failed.
pub fn subgroup_width(gpu: &Gpu) -> Result<Option<u32>> {
    const THREADS: u32 = 256;
    let kernel = gpu.kernel("subgroup width", &[("WG", THREADS)], &[WIDTH])?;
    let found = gpu.buffer("widths", 8 * u64::from(THREADS))?;
    gpu.dispatch(&kernel, &[&found], &[], [1, 1, 1])?;
    let bytes = gpu.download(&found, 0, 8 * u64::from(THREADS))?;
    let found: Vec<u32> = bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
    Ok(uniform_width(&found))
}

/// The width of subgroups of threads in their order, from (width, number in the subgroup) of each thread.
fn uniform_width(found: &[u32]) -> Option<u32> {
    let width = found.first().copied().filter(|width| SUBGROUP_WIDTHS.contains(width) && width.is_power_of_two())?;
    let is_so = |(thread, pair): (u32, &[u32; 2])| *pair == [width, thread % width];
    (0..).zip(found.as_chunks().0).all(is_so).then_some(width)
}

/// Whether the matrix units of 16×16×16 compute what they should: a product of row-major matrices added to a third.
///
/// # Errors
/// The kernel does not compile, the device failed, or the product is wrong.
pub fn check_matrix_units(gpu: &Gpu) -> Result<()> {
    check_product(gpu, 16)
}

/// The same of those of 8×8×8, and whether tiles on them are right.
///
/// # Errors
/// A kernel does not compile, the device failed, or a product is wrong.
pub fn check_small_matrix_units(gpu: &Gpu) -> Result<()> {
    check_product(gpu, UNITS8.edge)?;
    let verdict = check_tiles(gpu, Some(&UNITS8))?;
    let what = || verdict.finding.clone().unwrap_or_else(|| "nothing was compared".to_owned());
    if verdict.is_right() { Ok(()) } else { Err(Error::Device(format!("tiles on matrix units are wrong: {}", what()))) }
}

fn check_product(gpu: &Gpu, edge: usize) -> Result<()> {
    let width = gpu.caps().subgroup.unwrap_or(32);
    let text = PRODUCT.replace("UNIT", &format!("coop_mat{edge}x{edge}"));
    let kernel = gpu.kernel_of("matrix units", &[("WG", width), ("EDGE", edge as u32)], &text)?;
    let value = |i: usize, m: usize| ((i * m) % 7) as f32 - 3.0;
    let all = edge * edge;
    let (a, b): (Vec<f32>, Vec<f32>) = (0..all).map(|i| (value(i, 5), value(i, 3))).unzip();
    let half = |v: &[f32]| v.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect::<Vec<u8>>();
    let (a_on, b_on) = (gpu.buffer_of("a", &half(&a))?, gpu.buffer_of("b", &half(&b))?);
    let c_on = gpu.buffer_of("c", &floats(&(0..all).map(|i| i as f32).collect::<Vec<_>>()))?;
    gpu.dispatch(&kernel, &[&a_on, &b_on, &c_on], &[], [1, 1, 1])?;
    let got = to_floats(&gpu.download(&c_on, 0, 4 * all as u64)?);
    for (i, got) in got.iter().enumerate() {
        let (row, column) = (i / edge, i % edge);
        let want = i as f32 + (0..edge).map(|k| a[row * edge + k] * b[k * edge + column]).sum::<f32>();
        if *got != want {
            return Err(Error::Device(format!("matrix units give {got} at {row}, {column}, not {want}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_width_of_subgroups_is_what_the_driver_says() {
        let gpu = Gpu::open(None).unwrap();
        if let Some(width) = gpu.caps().subgroup {
            assert_eq!(subgroup_width(&gpu).unwrap(), Some(width));
        }
    }

    #[test]
    fn subgroups_of_other_threads_have_no_width() {
        let pairs = |of: &dyn Fn(u32) -> [u32; 2]| (0..64).flat_map(of).collect::<Vec<u32>>();
        assert_eq!(uniform_width(&pairs(&|thread| [32, thread % 32])), Some(32));
        assert_eq!(uniform_width(&pairs(&|thread| [32, thread / 2])), None);
        assert_eq!(uniform_width(&pairs(&|thread| [if thread < 32 { 32 } else { 16 }, thread % 32])), None);
        assert_eq!(uniform_width(&pairs(&|_| [1, 0])), None);
        assert_eq!(uniform_width(&[]), None);
    }
}
