// RMSNorm of each row, in place. One workgroup a row.
@group(0) @binding(0) var<storage, read> norm: array<f32>;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
struct Args { width: u32, eps: f32 }
var<immediate> args: Args;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let base = wg.x * args.width;
    var squares = 0.0;
    for (var i = lane; i < args.width; i += WG) {
        squares += x[base + i] * x[base + i];
    }
    let factor = 1.0 / sqrt(wg_sum(squares, lane) / f32(args.width) + args.eps);
    for (var i = lane; i < args.width; i += WG) {
        x[base + i] = x[base + i] * factor * norm[i];
    }
}
