// BR rows of matrix 0 times BT rows of x, 64 columns at a time through workgroup memory; 256 threads, four by two sums each.
// Group z: rows z · OUT_0 … of the matrix see columns z · COLS_0 … of x.
const STRIDE: u32 = 17u;
var<workgroup> tile_w: array<vec4<f32>, BR * STRIDE>;
var<workgroup> tile_x: array<vec4<f32>, BT * STRIDE>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    PREPARE
    let tile = tile_of(group.y);
    if (tile.z == 0u) {
        return;
    }
    let first = group.x * BR;
    let base = (tile.x + group.z) * OUT_0;
    var acc: array<Sum, 8>;
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
                tile_w[r * STRIDE + c * VECTORS_0 + j] = w[j];
            }
        }
        for (var i = thread; i < BT * 16u; i += WG) {
            let t = i / 16u;
            let j = i % 16u;
            var v = vec4<f32>();
            if (k / 4u + j < COLS_0 / 4u) {
                v = x[x_row(tile.y + min(t, tile.z - 1u)) * X_STRIDE_0 + group.z * GROUP_STRIDE_0 + k / 4u + j];
            }
            tile_x[t * STRIDE + j] = v;
        }
        workgroupBarrier();
        var part: array<f32, 8>;
        let r = thread % 16u;
        let t = thread / 16u;
        for (var j = 0u; j < 16u; j++) {
            let v0 = tile_x[t * STRIDE + j];
            let v1 = tile_x[(t + 16u) * STRIDE + j];
            for (var i = 0u; i < 4u; i++) {
                let w = tile_w[(r + 16u * i) * STRIDE + j];
                part[2u * i] += dot(w, v0);
                part[2u * i + 1u] += dot(w, v1);
            }
        }
        for (var i = 0u; i < 8u; i++) {
            acc[i] = plus(acc[i], part[i]);
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < 8u; i++) {
        let r = first + thread % 16u + 16u * (i / 2u);
        let t = thread / 16u + 16u * (i % 2u);
        if (r < OUT_0 && t < tile.z) {
            out_0[out_row(tile.y + t) * WIDTH_0 + group.z * OUT_0 + r] = total(acc[i]);
        }
    }
}
