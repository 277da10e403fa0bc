// Streams of the draft block (§12): a row's projected token, added to each of its projected streams.
@group(0) @binding(0) var<storage, read> token: array<f32>;
@group(0) @binding(1) var<storage, read> streams: array<f32>;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = group.x * WG + lane;
    if (i < STREAMS * E) {
        let at = group.y * STREAMS * E + i;
        x[at] = token[group.y * E + i % E] + streams[at];
    }
}
