// The same for Q8_0, whose chunks have 16 weights.
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
            let chunk = (c + d * LANES) / 4u;
            let part = (c + d * LANES) % 4u;
            for (var r = 0u; r < R_$; r++) {
                let q = byte_unit((*at)[r] + 6u * chunk + part);
                let scale = bitcast<f32>(byte_word((*at)[r] + 6u * chunk + 4u, part));
                for (var i = 0u; i < RPT; i++) {
                    let sum = f32(dot_bytes(w[d * RPT + i].w[0], q)) * (w[d * RPT + i].s.x * scale);
                    (*acc)[i * R_$ + r] = plus((*acc)[i * R_$ + r], sum);
                }
            }
        }
    }
}
