// Latent rows of longer segments enter the window, after attention has read the older ones that they replace.
@group(0) @binding(0) var<storage, read> kv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> frontier: array<vec4<u32>>;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) grid: vec3<u32>
) {
    once = grid.z;
    let row = group.x;
    let r = row_at(row);
    // Of a segment longer than the ring the last rows stay.
    if (lane >= D / 4u || r.position + RING < r.start + r.count) {
        return;
    }
    let v = kv[row * (D / 4u) + lane];
    let place = (r.slot * SLOT_WORDS + r.position % RING * WINDOW_ROW_WORDS) / 4u;
    if (IS_NATIVE == 1u) {
        let pairs = f16_pairs(v);
        let half = lane % 2u * 2u;
        frontier[place + lane / 2u][half] = pairs.x;
        frontier[place + lane / 2u][half + 1u] = pairs.y;
    } else {
        frontier[place + lane] = bitcast<vec4<u32>>(v);
    }
}
