// 16 rows of matrix $ times 16 rows of x in half precision on matrix units. Each of the UNITS subgroups takes 64 columns of every 64 · UNITS: it
// puts its part of both into its own part of workgroup memory; in the end their sums are added up. Rows of x from R on are not looked at.
// What a thread will put there next is on its way while the units multiply.
var<private> fetched_$: array<vec4<f16>, TURNS_$ * VECTORS_$>;

fn fetch_$(first: u32, x_first: u32, step: u32, lane: u32) {
    for (var n = 0u; n < TURNS_$; n++) {
        let i = n * LANES + lane;
        let w = unpack_$(min(first + i / PIECES_$, OUT_$ - 1u), step * PIECES_$ + i % PIECES_$);
        for (var j = 0u; j < VECTORS_$; j++) {
            fetched_$[n * VECTORS_$ + j] = vec4<f16>(w[j]);
        }
    }
    for (var n = 0u; n < X_TURNS; n++) {
        let i = n * LANES + lane;
        fetched_x[n] = x[x_first + i / 16u * X_VECTORS + step * 16u + i % 16u];
    }
}

fn product_$(group: u32, thread: u32) {
    let unit = thread / LANES;
    let lane = thread % LANES;
    let first = group * 16u;
    let x_first = first / PER_GROUP_$ * (COLS_$ / 4u);
    let own = unit * (16u * STRIDE);
    var acc: coop_mat16x16<f32, C>;
    fetch_$(first, x_first, unit, lane);
    for (var k = 0u; k < COLS_$ / 64u; k += UNITS) {
        for (var n = 0u; n < TURNS_$; n++) {
            let i = n * LANES + lane;
            let to = own + i / PIECES_$ * STRIDE + i % PIECES_$ * VECTORS_$;
            for (var j = 0u; j < VECTORS_$; j++) {
                tile_w[to + j] = fetched_$[n * VECTORS_$ + j];
            }
        }
        for (var n = 0u; n < X_TURNS; n++) {
            let i = n * LANES + lane;
            tile_x[own + i / 16u * STRIDE + i % 16u] = fetched_x[n];
        }
        workgroupBarrier();
        if (k + UNITS < COLS_$ / 64u) {
            fetch_$(first, x_first, k + unit + UNITS, lane);
        }
        for (var s = 0u; s < 4u; s++) {
            let a = coopLoadT<coop_mat16x16<f16, A>>(&tile_w[own + 4u * s], STRIDE);
            let b = coopLoad<coop_mat16x16<f16, B>>(&tile_x[own + 4u * s], STRIDE);
            acc = coopMultiplyAdd(a, b, acc);
        }
        workgroupBarrier();
    }
    // Columns are rows of x.
    coopStore(acc, &sums[256u * unit], 16u);
    workgroupBarrier();
    let row = first + thread % 16u;
    var sum = 0.0;
    for (var u = 0u; u < UNITS; u++) {
        sum += sums[256u * u + thread];
    }
    if (thread / 16u < R && row < OUT_$) {
        out_$[thread / 16u * WIDTH_$ + row] = sum;
    }
}
