// BR rows of matrix 0 times BT rows of x in half precision on matrix units, 64 columns at a time through workgroup memory; sums in f32.
// Eight subgroups, SG_R by SG_T, each with FR by FT products of 16×16. Groups and tiles as in `matmul.wgsl`.
// Rows of a tile are 72 apart instead of 64 (in pairs, as strides count too), so that eight of them meet in different banks.
const STRIDE: u32 = 36u;
var<workgroup> tile_w: array<vec2<f16>, BR * STRIDE>;
var<workgroup> tile_x: array<vec2<f16>, BT * STRIDE>;
var<workgroup> tile_here: vec3<u32>;
var<workgroup> staged: array<f32, 256u * (WG / SUBGROUP)>;

// What a thread will put into the next tile.
var<private> fetched_w: array<vec4<f16>, FETCH_W * VECTORS_0>;
var<private> fetched_x: array<vec4<f16>, FETCH_X>;
// Where the rows of x begin that it reads.
var<private> x_at: array<u32, FETCH_X>;

fn fetch(k: u32, thread: u32, tile: vec3<u32>, first: u32, z: u32) {
    for (var n = 0u; n < FETCH_W; n++) {
        let i = n * WG + thread;
        let piece = k / (4u * VECTORS_0) + i % PIECES;
        var w: array<vec4<f32>, VECTORS_0>;
        if (piece < CHUNKS_0) {
            w = unpack_0((tile.x + z) * OUT_0 + min(first + i / PIECES, OUT_0 - 1u), piece);
        }
        for (var j = 0u; j < VECTORS_0; j++) {
            fetched_w[n * VECTORS_0 + j] = vec4<f16>(w[j]);
        }
    }
    for (var n = 0u; n < FETCH_X; n++) {
        let i = n * WG + thread;
        let v = k / 4u + i % 16u;
        var value = vec4<f16>();
        if (v < COLS_0 / 4u) {
            value = x[x_at[n] + v];
        }
        fetched_x[n] = value;
    }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    PREPARE
    if (thread == 0u) {
        tile_here = tile_of(group.y);
    }
    // Matrix units want control flow that is known to be uniform.
    let tile = workgroupUniformLoad(&tile_here);
    if (tile.z == 0u) {
        return;
    }
    let first = group.x * BR;
    let subgroup = thread / SUBGROUP;
    let r0 = subgroup / SG_T * (16u * FR);
    let t0 = subgroup % SG_T * (16u * FT);
    var acc: array<coop_mat16x16<f32, C>, FR * FT>;
    for (var n = 0u; n < FETCH_X; n++) {
        let t = min((n * WG + thread) / 16u, tile.z - 1u);
        x_at[n] = x_row(tile.y + t) * X_STRIDE_0 + group.z * GROUP_STRIDE_0;
    }
    fetch(0u, thread, tile, first, group.z);
    for (var k = 0u; k < COLS_0; k += 64u) {
        if (!PREFETCH && k > 0u) {
            fetch(k, thread, tile, first, group.z);
        }
        for (var n = 0u; n < FETCH_W; n++) {
            let i = n * WG + thread;
            for (var j = 0u; j < VECTORS_0; j++) {
                let to = i / PIECES * STRIDE + 2u * (i % PIECES * VECTORS_0 + j);
                tile_w[to] = fetched_w[n * VECTORS_0 + j].xy;
                tile_w[to + 1u] = fetched_w[n * VECTORS_0 + j].zw;
            }
        }
        for (var n = 0u; n < FETCH_X; n++) {
            let i = n * WG + thread;
            let to = i / 16u * STRIDE + 2u * (i % 16u);
            tile_x[to] = fetched_x[n].xy;
            tile_x[to + 1u] = fetched_x[n].zw;
        }
        workgroupBarrier();
        if (PREFETCH && k + 64u < COLS_0) {
            fetch(k + 64u, thread, tile, first, group.z);
        }
        for (var s = 0u; s < 4u; s++) {
            let j = 8u * s;
            var b: array<coop_mat16x16<f16, B>, FT>;
            for (var t = 0u; t < FT; t++) {
                b[t] = coopLoad<coop_mat16x16<f16, B>>(&tile_x[(t0 + 16u * t) * STRIDE + j], STRIDE);
            }
            for (var r = 0u; r < FR; r++) {
                let a = coopLoadT<coop_mat16x16<f16, A>>(&tile_w[(r0 + 16u * r) * STRIDE + j], STRIDE);
                for (var t = 0u; t < FT; t++) {
                    acc[r * FT + t] = coopMultiplyAdd(a, b[t], acc[r * FT + t]);
                }
            }
        }
        workgroupBarrier();
    }
    // Through workgroup memory, since rows of the result may lie anywhere and may not be wanted at all.
    let lane = thread % SUBGROUP;
    for (var r = 0u; r < FR; r++) {
        for (var t = 0u; t < FT; t++) {
            coopStore(acc[r * FT + t], &staged[256u * subgroup], 16u);
            workgroupBarrier();
            let row = first + r0 + 16u * r + lane % 16u;
            for (var i = lane / 16u; i < 16u; i += SUBGROUP / 16u) {
                let place = t0 + 16u * t + i;
                if (row < OUT_0 && place < tile.z) {
                    out_0[out_row(tile.y + place) * WIDTH_0 + group.z * OUT_0 + row] = staged[256u * subgroup + 16u * i + lane % 16u];
                }
            }
            workgroupBarrier();
        }
    }
}
