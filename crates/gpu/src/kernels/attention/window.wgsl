// Latent rows of longer segments enter the window, after attention has read the older ones that they replace.
@group(0) @binding(0) var<storage, read> kv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> frontier: array<u32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x;
    let r = row_at(row);
    // Of a segment longer than the ring the last rows stay.
    if (lane >= D / 4u || r.position + RING < r.start + r.count) {
        return;
    }
    let v = kv[row * (D / 4u) + lane];
    let place = r.slot * SLOT_WORDS + r.position % RING * WINDOW_ROW_WORDS;
    if (IS_NATIVE == 1u) {
        frontier[place + 2u * lane] = f16_pair(v.x, v.y);
        frontier[place + 2u * lane + 1u] = f16_pair(v.z, v.w);
    } else {
        let bits = bitcast<vec4<u32>>(v);
        for (var i = 0u; i < 4u; i++) {
            frontier[place + 4u * lane + i] = bits[i];
        }
    }
}
