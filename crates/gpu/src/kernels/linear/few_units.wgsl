// OWN rows of matrix $ times 16 rows of x in half precision on matrix units. Each of the UNITS subgroups takes 64 columns of every 64 · UNITS, and
// unpacks its rows of these into its own part of workgroup memory; in the end their sums are added up. Rows of x from R on are not looked at.
// What a thread will unpack next is on its way while the units multiply.
var<private> fetched_$: array<vec4<f16>, TURNS_$ * VECTORS_$>;

fn fetch_$(first: u32, step: u32, lane: u32) {
    for (var n = 0u; n < TURNS_$; n++) {
        let i = n * LANES + lane;
        let w = unpack_$(min(first + i / PIECES_$, OUT_$ - 1u), step * PIECES_$ + i % PIECES_$);
        for (var j = 0u; j < VECTORS_$; j++) {
            fetched_$[n * VECTORS_$ + j] = vec4<f16>(w[j]);
        }
    }
}

fn product_$(group: u32, thread: u32) {
    let unit = thread / LANES;
    let lane = thread % LANES;
    let first = group * OWN;
    let x_first = first / PER_GROUP_$ * (COLS_$ / 4u);
    var acc: array<coop_mat16x16<f32, C>, FR>;
    fetch_$(first, unit, lane);
    for (var k = 0u; k < COLS_$ / 64u; k += UNITS) {
        let step = k + unit;
        var b: array<coop_mat16x16<f16, B>, 4>;
        for (var s = 0u; s < 4u; s++) {
            b[s] = coopLoad<coop_mat16x16<f16, B>>(&x[x_first + step * 16u + 4u * s], X_VECTORS);
        }
        for (var n = 0u; n < TURNS_$; n++) {
            let i = n * LANES + lane;
            let to = (unit * OWN + i / PIECES_$) * STRIDE + i % PIECES_$ * VECTORS_$;
            for (var j = 0u; j < VECTORS_$; j++) {
                tile[to + j] = fetched_$[n * VECTORS_$ + j];
            }
        }
        workgroupBarrier();
        if (k + UNITS < COLS_$ / 64u) {
            fetch_$(first, step + UNITS, lane);
        }
        for (var s = 0u; s < 4u; s++) {
            for (var r = 0u; r < FR; r++) {
                let a = coopLoadT<coop_mat16x16<f16, A>>(&tile[(unit * OWN + 16u * r) * STRIDE + 4u * s], STRIDE);
                acc[r] = coopMultiplyAdd(a, b[s], acc[r]);
            }
        }
        workgroupBarrier();
    }
    for (var r = 0u; r < FR; r++) {
        // Columns are rows of x.
        coopStore(acc[r], &sums[256u * unit], 16u);
        workgroupBarrier();
        let row = first + 16u * r + thread % 16u;
        let x_row = thread / 16u;
        var sum = 0.0;
        for (var u = 0u; u < UNITS; u++) {
            sum += sums[256u * u + thread];
        }
        if (x_row < R && row < OUT_$) {
            out_$[x_row * WIDTH_$ + row] = sum;
        }
        workgroupBarrier();
    }
}
