// The same for Q8_0, whose chunks have 16 weights.
fn sums_$(
    first: u32, last: u32, lane: u32, at: ptr<function, array<u32, R_$>>, acc: ptr<function, array<Sum, RPT * R_$>>) {
    for (var c = lane; c < CHUNKS_$; c += LANES) {
        var w: array<Chunk1, RPT>;
        for (var i = 0u; i < RPT; i++) {
            w[i] = load_$(min(first + i, last), c);
        }
        for (var r = 0u; r < R_$; r++) {
            let b = (*at)[r] + 6u * (c / 4u);
            let q = byte_unit(b + c % 4u);
            let scale = bitcast<f32>(byte_unit(b + 4u)[c % 4u]);
            for (var i = 0u; i < RPT; i++) {
                let sum = f32(dot_bytes(w[i].w[0], q)) * (w[i].s.x * scale);
                (*acc)[i * R_$ + r] = plus((*acc)[i * R_$ + r], sum);
            }
        }
    }
}
