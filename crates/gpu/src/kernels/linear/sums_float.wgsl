// Adds to `acc` a thread's share of rows first … first + RPT − 1, none beyond `last`, of matrix $ times R_$ rows of x. DEPTH_$ steps are read at once,
// so that enough is under way.
fn sums_$(
    first: u32, last: u32, lane: u32, at: ptr<function, array<u32, R_$>>, acc: ptr<function, array<Sum, RPT * R_$>>) {
    for (var c = lane; c < CHUNKS_$; c += LANES * DEPTH_$) {
        var w: array<array<vec4<f32>, VECTORS_$>, RPT * DEPTH_$>;
        for (var d = 0u; d < DEPTH_$; d++) {
            for (var i = 0u; i < RPT; i++) {
                w[d * RPT + i] = unpack_$(min(first + i, last), c + d * LANES);
            }
        }
        for (var d = 0u; d < DEPTH_$; d++) {
            for (var r = 0u; r < R_$; r++) {
                var v: array<vec4<f32>, VECTORS_$>;
                for (var j = 0u; j < VECTORS_$; j++) {
                    v[j] = x_value(r, (*at)[r], (c + d * LANES) * VECTORS_$ + j);
                }
                for (var i = 0u; i < RPT; i++) {
                    var sum = 0.0;
                    for (var j = 0u; j < VECTORS_$; j++) {
                        sum += dot(w[d * RPT + i][j], v[j]);
                    }
                    (*acc)[i * R_$ + r] = plus((*acc)[i * R_$ + r], sum);
                }
            }
        }
    }
}
