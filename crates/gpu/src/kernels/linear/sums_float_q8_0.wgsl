// The same for Q8_0, where the scale of a piece follows its sum.
fn sums_$(
    first: u32, last: u32, lane: u32, at: ptr<function, array<u32, R_$>>, acc: ptr<function, array<Sum, RPT * R_$>>) {
    for (var c = lane; c < CHUNKS_$; c += LANES * DEPTH_$) {
        var w: array<Chunk1, RPT * DEPTH_$>;
        for (var d = 0u; d < DEPTH_$; d++) {
            for (var i = 0u; i < RPT; i++) {
                w[d * RPT + i] = load_$(min(first + i, last), c + d * LANES);
            }
        }
        for (var d = 0u; d < DEPTH_$; d++) {
            for (var r = 0u; r < R_$; r++) {
                let v0 = x_value(r, (*at)[r], 4u * (c + d * LANES));
                let v1 = x_value(r, (*at)[r], 4u * (c + d * LANES) + 1u);
                let v2 = x_value(r, (*at)[r], 4u * (c + d * LANES) + 2u);
                let v3 = x_value(r, (*at)[r], 4u * (c + d * LANES) + 3u);
                for (var i = 0u; i < RPT; i++) {
                    let q = w[d * RPT + i].w[0];
                    let sum = (dot(bytes_of(q.x), v0) + dot(bytes_of(q.y), v1)) + (dot(bytes_of(q.z), v2) + dot(bytes_of(q.w), v3));
                    (*acc)[i * R_$ + r] = plus((*acc)[i * R_$ + r], w[d * RPT + i].s.x * sum);
                }
            }
        }
    }
}
