// BR rows of matrix 0 times BT rows of x in half precision on matrix units, 64 columns at a time through workgroup memory; sums in f32.
// Eight subgroups, SG_R by SG_T, each with FR by FT products of 16×16. Groups and tiles as in `matmul.wgsl`.
// Rows of a tile are 72 apart instead of 64, so that eight of them meet in different banks.
const STRIDE: u32 = 18u;
var<workgroup> tile_w: array<vec4<f16>, BR * STRIDE>;
var<workgroup> tile_x: array<vec4<f16>, BT * STRIDE>;
var<workgroup> tile_here: vec3<u32>;
var<workgroup> staged: array<f32, 256u * (WG / SUBGROUP)>;

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
    let base = (tile.x + group.z) * OUT_0;
    let subgroup = thread / SUBGROUP;
    let r0 = subgroup / SG_T * (16u * FR);
    let t0 = subgroup % SG_T * (16u * FT);
    var acc: array<coop_mat16x16<f32, C>, FR * FT>;
    for (var k = 0u; k < COLS_0; k += 64u) {
        for (var i = thread; i < BR * (16u / VECTORS_0); i += WG) {
            let r = i / (16u / VECTORS_0);
            let c = i % (16u / VECTORS_0);
            let chunk = k / (4u * VECTORS_0) + c;
            var w: array<vec4<f32>, VECTORS_0>;
            if (chunk < CHUNKS_0) {
                w = unpack_0(base + min(first + r, OUT_0 - 1u), chunk);
            }
            for (var j = 0u; j < VECTORS_0; j++) {
                tile_w[r * STRIDE + c * VECTORS_0 + j] = vec4<f16>(w[j]);
            }
        }
        for (var i = thread; i < BT * 16u; i += WG) {
            let t = i / 16u;
            let j = i % 16u;
            var v = vec4<f16>();
            if (k / 4u + j < COLS_0 / 4u) {
                v = x[x_row(tile.y + min(t, tile.z - 1u)) * X_STRIDE_0 + group.z * GROUP_STRIDE_0 + k / 4u + j];
            }
            tile_x[t * STRIDE + j] = v;
        }
        workgroupBarrier();
        for (var j = 0u; j < 16u; j += 4u) {
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
