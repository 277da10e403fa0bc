//! The device itself: recording, ordering, reading back. Needs a Vulkan device, which may be software.

use ds4_gpu::{Gpu, floats, measure, to_floats, words};

const ADD: &str = "
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> b: array<f32>;
struct Args { n: u32, more: u32 }
var<immediate> args: Args;
@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < args.n) { b[id.x] += a[id.x] + f32(args.more); }
}";

#[test]
fn dispatches_run_in_order_and_see_each_other() {
    let gpu = Gpu::open(None).unwrap();
    println!("{}: {:?}", gpu.info(), gpu.caps());
    let kernel = gpu.kernel("add", &[("WG", 64)], &[ADD]).unwrap();
    let a = gpu.buffer_of("a", &floats(&[1.0; 100])).unwrap();
    let b = gpu.buffer("b", 400).unwrap();
    for more in 0..200 {
        gpu.dispatch(&kernel, &[&a, &b], &[100, more], [2, 1, 1]).unwrap();
    }
    let sum = to_floats(&gpu.download(&b, 0, 400).unwrap());
    assert_eq!(sum, [200.0 + 199.0 * 100.0; 100]);
    gpu.upload(&b, 0, &words(&[0; 100]));
    gpu.dispatch(&kernel, &[&a, &b], &[100, 1], [2, 1, 1]).unwrap();
    assert_eq!(to_floats(&gpu.download(&b, 4, 8).unwrap()), [2.0; 2]);
    assert!(gpu.dispatch(&kernel, &[&a], &[1], [1, 1, 1]).is_err());
}

#[test]
fn what_does_not_compile_is_told() {
    let gpu = Gpu::open(None).unwrap();
    let error = gpu.kernel("broken", &[], &["fn main( {"]).err().unwrap().to_string();
    assert!(error.contains("broken"), "{error}");
}

#[test]
fn kernels_of_more_buffers_than_are_told_apart_are_refused() {
    let gpu = Gpu::open(None).unwrap();
    let many = 29;
    let bindings: String =
        (0..many).map(|i| format!("@group(0) @binding({i}) var<storage, read_write> b{i}: array<u32>;\n")).collect();
    let used: String = (0..many).map(|i| format!("b{i}[0] += 1u;\n")).collect();
    let text = format!("{bindings}@compute @workgroup_size(WG) fn main() {{ {used} }}");
    let kernel = gpu.kernel_of("many", &[("WG", 1)], &text).unwrap();
    let buffers: Vec<_> = (0..many).map(|_| gpu.buffer("b", 16).unwrap()).collect();
    let error = gpu.dispatch(&kernel, &buffers.iter().collect::<Vec<_>>(), &[], [1, 1, 1]).unwrap_err();
    assert!(error.to_string().contains("at most 28"), "{error}");
}

#[test]
fn the_time_of_cold_code_can_be_taken() {
    let gpu = Gpu::open(None).unwrap();
    assert!(measure::code_seconds(&gpu, 9, 2, 1 << 10, 1 << 12).unwrap().is_finite());
}

#[test]
fn one_kernel_can_be_timed_by_itself() {
    let gpu = Gpu::open(None).unwrap();
    if !gpu.caps().timestamps {
        return;
    }
    let [add, other] = ["add", "other"].map(|name| gpu.kernel_of(name, &[("WG", 64)], ADD).unwrap());
    let (a, b) = (gpu.buffer("a", 256).unwrap(), gpu.buffer("b", 256).unwrap());
    let names = |only| {
        gpu.start_profile(only);
        for kernel in [&add, &other, &add] {
            gpu.dispatch(kernel, &[&a, &b], &[64, 1], [1, 1, 1]).unwrap();
        }
        let mut found: Vec<_> = gpu.end_profile().unwrap().into_iter().map(|t| (t.name, t.count)).collect();
        found.sort();
        found
    };
    let of = |name: &str, count| (name.to_owned(), count);
    assert_eq!(names(None), [of("add", 2), of("other", 1)]);
    assert_eq!(names(Some("add")), [of("add", 2)]);
}
