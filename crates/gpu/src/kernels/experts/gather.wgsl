// y = shared expert's row + routed slots' rows, in order. y is the row.
@group(0) @binding(0) var<storage, read> slots: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> shared_rows: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = group.x * WG + thread;
    if (i < OUT / 4u) {
        var sum = shared_rows[group.y * (OUT / 4u) + i];
        for (var s = 0u; s < USED; s++) {
            sum += slots[(group.y * USED + s) * (OUT / 4u) + i];
        }
        y[group.y * (OUT / 4u) + i] = sum;
    }
}
