// The same with bytes (`quantize.wgsl`) instead of x; `at` counts in their units of 16 bytes.
fn sums_$(
    first: u32, last: u32, lane: u32, at: ptr<function, array<u32, R_$>>, acc: ptr<function, array<Sum, RPT * R_$>>) {
    for (var c = lane; c < CHUNKS_$; c += LANES * DEPTH_$) {
        var w: array<Chunk4, RPT * DEPTH_$>;
        for (var d = 0u; d < DEPTH_$; d++) {
            for (var i = 0u; i < RPT; i++) {
                w[d * RPT + i] = load_$(min(first + i, last), c + d * LANES);
            }
        }
        for (var d = 0u; d < DEPTH_$; d++) {
            for (var r = 0u; r < R_$; r++) {
                let b = (*at)[r] + 6u * (c + d * LANES);
                let q0 = byte_unit(b);
                let q1 = byte_unit(b + 1u);
                let q2 = byte_unit(b + 2u);
                let q3 = byte_unit(b + 3u);
                let scales = bitcast<vec4<f32>>(byte_unit(b + 4u));
                let group_sums = bitcast<vec4<f32>>(byte_unit(b + 5u));
                for (var i = 0u; i < RPT; i++) {
                    let products = vec4<f32>(vec4<i32>(
                        dot_bytes(w[d * RPT + i].w[0], q0), dot_bytes(w[d * RPT + i].w[1], q1),
                        dot_bytes(w[d * RPT + i].w[2], q2), dot_bytes(w[d * RPT + i].w[3], q3)));
                    var sum = dot(products * w[d * RPT + i].s, scales);
                    if (HAS_MIN_$) {
                        sum -= dot(w[d * RPT + i].m, group_sums);
                    }
                    (*acc)[i * R_$ + r] = plus((*acc)[i * R_$ + r], sum);
                }
            }
        }
    }
}
