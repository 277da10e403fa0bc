// Steering: y ← y − s·v·(v·y) of each row, in place. One workgroup a row.
@group(0) @binding(0) var<storage, read> v: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
struct Args { width: u32, scale: f32 }
var<immediate> args: Args;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x * args.width;
    var along = 0.0;
    for (var i = lane; i < args.width; i += WG) {
        along += v[i] * y[row + i];
    }
    let part = args.scale * wg_sum(along, lane);
    for (var i = lane; i < args.width; i += WG) {
        y[row + i] -= part * v[i];
    }
}
