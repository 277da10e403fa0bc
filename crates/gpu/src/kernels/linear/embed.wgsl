// Row ids[r] of table 0 to each of the STREAMS streams of row r of x.
@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    PREPARE
    let c = group.x * WG + thread;
    if (c >= CHUNKS_0) {
        return;
    }
    let v = unpack_0(min(ids[group.y], OUT_0 - 1u), c);
    for (var stream = 0u; stream < STREAMS; stream++) {
        for (var j = 0u; j < VECTORS_0; j++) {
            out_0[(group.y * STREAMS + stream) * (COLS_0 / 4u) + c * VECTORS_0 + j] = v[j];
        }
    }
}
