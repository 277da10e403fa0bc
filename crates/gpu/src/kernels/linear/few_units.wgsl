// 16 rows of matrix $ times 16 rows of x in half precision on matrix units are a tile. A workgroup has TILES_$ of them, and SPLIT_$ subgroups share the
// columns of each: one takes 64 columns of every 64 · SPLIT_$, puts its part of both into its own part of workgroup memory, and in the end their sums
// are added up. Rows of x from R on are not looked at.
// What a thread will put there in the next AHEAD steps is on its way while the units multiply: weights as they lie in memory, since whatever
// looked at them would wait for them.
fn fetch_$(
    first: u32, x_first: u32, step: u32, lane: u32,
    w: ptr<function, array<Piece_$, AHEAD * TURNS_$>>, v: ptr<function, array<vec4<f16>, AHEAD * X_TURNS>>) {
    for (var n = 0u; n < TURNS_$; n++) {
        let i = n * LANES + lane;
        (*w)[(AHEAD - 1u) * TURNS_$ + n] = piece_$(min(first + i / PIECES_$, OUT_$ - 1u), step * PIECES_$ + i % PIECES_$);
    }
    for (var n = 0u; n < X_TURNS; n++) {
        let i = n * LANES + lane;
        (*v)[(AHEAD - 1u) * X_TURNS + n] = x[x_first + i / 16u * X_VECTORS + step * 16u + i % 16u];
    }
}

fn product_$(group: u32, thread: u32) {
    let unit = thread / LANES;
    let lane = thread % LANES;
    let first = (group * TILES_$ + unit / SPLIT_$) * 16u;
    let slice = unit % SPLIT_$;
    let x_first = min(first, OUT_$ - 1u) / PER_GROUP_$ * (COLS_$ / 4u);
    let own = unit * TILE;
    var acc: coop_mat16x16<f32, C>;
    var w: array<Piece_$, AHEAD * TURNS_$>;
    var v: array<vec4<f16>, AHEAD * X_TURNS>;
    for (var k = 0u; k < AHEAD; k++) {
        for (var n = 0u; n < MOVED_$; n++) {
            w[n] = w[n + TURNS_$];
        }
        for (var n = 0u; n < MOVED_X; n++) {
            v[n] = v[n + X_TURNS];
        }
        fetch_$(first, x_first, min(k * SPLIT_$ + slice, COLS_$ / 64u - 1u), lane, &w, &v);
    }
    for (var k = 0u; k < COLS_$ / 64u; k += SPLIT_$) {
        for (var n = 0u; n < TURNS_$; n++) {
            let i = n * LANES + lane;
            let to = own + i / PIECES_$ * STRIDE + i % PIECES_$ * VECTORS_$;
            let values = values_$(w[n], (k + slice) * PIECES_$ + i % PIECES_$);
            for (var j = 0u; j < VECTORS_$; j++) {
                tiles_w[to + j] = vec4<f16>(values[j]);
            }
        }
        for (var n = 0u; n < X_TURNS; n++) {
            let i = n * LANES + lane;
            tiles_x[own + i / 16u * STRIDE + i % 16u] = v[n];
        }
        subgroupBarrier();
        for (var n = 0u; n < MOVED_$; n++) {
            w[n] = w[n + TURNS_$];
        }
        for (var n = 0u; n < MOVED_X; n++) {
            v[n] = v[n + X_TURNS];
        }
        if (k + AHEAD * SPLIT_$ < COLS_$ / 64u) {
            fetch_$(first, x_first, k + slice + AHEAD * SPLIT_$, lane, &w, &v);
        }
        for (var s = 0u; s < 4u; s++) {
            let a = coopLoadT<coop_mat16x16<f16, A>>(&tiles_w[own + 4u * s], STRIDE);
            let b = coopLoad<coop_mat16x16<f16, B>>(&tiles_x[own + 4u * s], STRIDE);
            acc = coopMultiplyAdd(a, b, acc);
        }
        subgroupBarrier();
    }
    // Columns are rows of x.
    coopStore(acc, &sums[256u * unit], 16u);
    workgroupBarrier();
    for (var i = thread; i < TILES_$ * 256u; i += WG) {
        let tile = i / 256u;
        let row = (group * TILES_$ + tile) * 16u + i % 16u;
        var sum = 0.0;
        for (var u = 0u; u < SPLIT_$; u++) {
            sum += sums[256u * (tile * SPLIT_$ + u) + i % 256u];
        }
        if (i % 256u / 16u < R && row < OUT_$) {
            out_$[i % 256u / 16u * WIDTH_$ + row] = sum;
        }
    }
}
