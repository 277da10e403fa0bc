// As `sums_0` and `sums_1` of the same rows of both matrices for row `row` of x, which share what is read of it.
fn sums_pair(
    first: u32, last: u32, lane: u32, row: u32, acc_0: ptr<function, array<Sum, RPT>>, acc_1: ptr<function, array<Sum, RPT>>) {
    for (var c = lane; c < CHUNKS_0; c += LANES) {
        var v: array<Chunk4, RPT>;
        var w: array<Chunk4, RPT>;
        for (var i = 0u; i < RPT; i++) {
            v[i] = load_0(min(first + i, last), c);
            w[i] = load_1(min(first + i, last), c);
        }
        let b = row * X_STRIDE_0 + 6u * c;
        let q0 = byte_unit(b);
        let q1 = byte_unit(b + 1u);
        let q2 = byte_unit(b + 2u);
        let q3 = byte_unit(b + 3u);
        let scales = bitcast<vec4<f32>>(byte_unit(b + 4u));
        let group_sums = bitcast<vec4<f32>>(byte_unit(b + 5u));
        for (var i = 0u; i < RPT; i++) {
            let products_0 = vec4<f32>(vec4<i32>(
                dot_bytes(v[i].w[0], q0), dot_bytes(v[i].w[1], q1), dot_bytes(v[i].w[2], q2), dot_bytes(v[i].w[3], q3)));
            let products_1 = vec4<f32>(vec4<i32>(
                dot_bytes(w[i].w[0], q0), dot_bytes(w[i].w[1], q1), dot_bytes(w[i].w[2], q2), dot_bytes(w[i].w[3], q3)));
            var sum_0 = dot(products_0 * v[i].s, scales);
            var sum_1 = dot(products_1 * w[i].s, scales);
            if (HAS_MIN_0) {
                sum_0 -= dot(v[i].m, group_sums);
            }
            if (HAS_MIN_1) {
                sum_1 -= dot(w[i].m, group_sums);
            }
            (*acc_0)[i] = plus((*acc_0)[i], sum_0);
            (*acc_1)[i] = plus((*acc_1)[i], sum_1);
        }
    }
}
