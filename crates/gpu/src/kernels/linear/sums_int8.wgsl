// The same with bytes (`quantize.wgsl`) instead of x; `at` counts in their units of 16 bytes.
fn sums_$(
    first: u32, last: u32, lane: u32, at: ptr<function, array<u32, R_$>>, acc: ptr<function, array<Sum, RPT * R_$>>) {
    for (var c = lane; c < CHUNKS_$; c += LANES) {
        var w: array<Chunk4, RPT>;
        for (var i = 0u; i < RPT; i++) {
            w[i] = load_$(min(first + i, last), c);
        }
        for (var r = 0u; r < R_$; r++) {
            let b = (*at)[r] + 6u * c;
            let q = array<vec4<u32>, 4>(byte_unit(b), byte_unit(b + 1u), byte_unit(b + 2u), byte_unit(b + 3u));
            let scales = bitcast<vec4<f32>>(byte_unit(b + 4u));
            let group_sums = bitcast<vec4<f32>>(byte_unit(b + 5u));
            for (var i = 0u; i < RPT; i++) {
                let products = vec4<f32>(vec4<i32>(
                    dot_bytes(w[i].w[0], q[0]), dot_bytes(w[i].w[1], q[1]), dot_bytes(w[i].w[2], q[2]), dot_bytes(w[i].w[3], q[3])));
                var sum = dot(products * w[i].s, scales);
                if (HAS_MIN_$) {
                    sum -= dot(w[i].m, group_sums);
                }
                (*acc)[i * R_$ + r] = plus((*acc)[i * R_$ + r], sum);
            }
        }
    }
}
