// BR rows of matrix 0 times BT rows of x in half precision on matrix units, COLS columns at a time through workgroup memory; sums in f32.
// Subgroups, SG_R by SG_T, each with FR by FT products of UNIT × UNIT. Groups and tiles as in `matmul.wgsl`. What a unit is and does is in
// `units16.wgsl` or `units8.wgsl`, how tiles lie in memory in `tile_pairs.wgsl` or `tile_values.wgsl`.
// Rows of a tile are eight values further apart than they have, so that eight of them meet in different banks; strides count elements of PER values.
const STRIDE: u32 = (COLS + 8u) / PER;
// Vectors of four values of a row of x, and products along the columns.
const X_PIECES: u32 = COLS / 4u;
const STEPS: u32 = COLS / UNIT;
// Four words, though three are used: a driver lays variables out one behind the other, and matrix units want multiples of 16 bytes.
var<workgroup> tile_here: vec4<u32>;
var<workgroup> staged: array<f32, UNIT * UNIT * (WG / SUBGROUP)>;

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
        let v = k / 4u + i % X_PIECES;
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
        tile_here = vec4<u32>(tile_of(group.y), 0u);
    }
    // Matrix units want control flow that is known to be uniform.
    let tile = workgroupUniformLoad(&tile_here).xyz;
    if (tile.z == 0u) {
        return;
    }
    let first = group.x * BR;
    let subgroup = thread / SUBGROUP;
    let r0 = subgroup / SG_T * (UNIT * FR);
    let t0 = subgroup % SG_T * (UNIT * FT);
    var acc: array<Sums, FR * FT>;
    for (var n = 0u; n < FETCH_X; n++) {
        let t = min((n * WG + thread) / X_PIECES, tile.z - 1u);
        x_at[n] = x_row(tile.y + t) * X_STRIDE_0 + group.z * GROUP_STRIDE_0;
    }
    fetch(0u, thread, tile, first, group.z);
    for (var k = 0u; k < COLS_0; k += COLS) {
        if (!PREFETCH && k > 0u) {
            fetch(k, thread, tile, first, group.z);
        }
        for (var n = 0u; n < FETCH_W; n++) {
            let i = n * WG + thread;
            for (var j = 0u; j < VECTORS_0; j++) {
                let to = i / PIECES * STRIDE + 4u / PER * (i % PIECES * VECTORS_0 + j);
                put_w(to, fetched_w[n * VECTORS_0 + j]);
            }
        }
        for (var n = 0u; n < FETCH_X; n++) {
            let i = n * WG + thread;
            let to = i / X_PIECES * STRIDE + 4u / PER * (i % X_PIECES);
            put_x(to, fetched_x[n]);
        }
        workgroupBarrier();
        if (PREFETCH && k + COLS < COLS_0) {
            fetch(k + COLS, thread, tile, first, group.z);
        }
        for (var s = 0u; s < STEPS; s++) {
            let j = UNIT / PER * s;
            var b: array<FactorX, FT>;
            for (var t = 0u; t < FT; t++) {
                b[t] = load_x((t0 + UNIT * t) * STRIDE + j);
            }
            for (var r = 0u; r < FR; r++) {
                let a = load_w((r0 + UNIT * r) * STRIDE + j);
                for (var t = 0u; t < FT; t++) {
                    acc[r * FT + t] = multiply(a, b[t], acc[r * FT + t]);
                }
            }
        }
        workgroupBarrier();
    }
    // Through workgroup memory, since rows of the result may lie anywhere and may not be wanted at all.
    let lane = thread % SUBGROUP;
    for (var r = 0u; r < FR; r++) {
        for (var t = 0u; t < FT; t++) {
            store_sums(acc[r * FT + t], UNIT * UNIT * subgroup);
            workgroupBarrier();
            let row = first + r0 + UNIT * r + lane % UNIT;
            for (var i = lane / UNIT; i < UNIT; i += SUBGROUP / UNIT) {
                let place = t0 + UNIT * t + i;
                if (row < OUT_0 && place < tile.z) {
                    out_0[out_row(tile.y + place) * WIDTH_0 + group.z * OUT_0 + row] = staged[UNIT * UNIT * subgroup + UNIT * i + lane % UNIT];
                }
            }
            workgroupBarrier();
        }
    }
}
