// Rows of x over the root of their mean square, times the norm's weights. One workgroup a row.
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> normed: array<vec4<f32>>;
struct Args { eps: f32 }
var<immediate> args: Args;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let base = group.x * (X_COLS / 4u);
    var square = 0.0;
    for (var i = thread; i < X_COLS / 4u; i += WG) {
        square += dot(x[base + i], x[base + i]);
    }
    let factor = 1.0 / sqrt(wg_sum(square, thread) / f32(X_COLS) + args.eps);
    for (var i = thread; i < X_COLS / 4u; i += WG) {
        normed[base + i] = x[base + i] * factor * norm[i];
    }
}
