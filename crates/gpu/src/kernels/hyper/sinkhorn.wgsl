// §4: post and C of row `row` to `mix`, from the mix values `m` of a site with VALUES of them. The first thread calls it.
fn write_mix(row: u32, thread: u32) {
    // Rows of C are vectors, a sum of columns is a sum of vectors.
    var c: array<vec4<f32>, 4>;
    for (var i = 0u; i < 4u; i++) {
        let first = (8u + 4u * i) % VALUES;
        let a = vec4<f32>(m[first], m[first + 1u], m[first + 2u], m[first + 3u]);
        let most = max(max(a.x, a.y), max(a.z, a.w));
        let e = vec4<f32>(exp_f32(a.x - most), exp_f32(a.y - most), exp_f32(a.z - most), exp_f32(a.w - most));
        c[i] = e / (e.x + e.y + e.z + e.w) + bitcast<f32>(HC_EPS_BITS);
    }
    // One division a sum: this is a chain of 2·rounds sums that nothing else hides.
    let columns = 1.0 / (c[0] + c[1] + c[2] + c[3] + bitcast<f32>(HC_EPS_BITS));
    c[0] *= columns;
    c[1] *= columns;
    c[2] *= columns;
    c[3] *= columns;
    for (var round = 1u; round < ROUNDS; round++) {
        let a = vec4<f32>(c[0].x, c[1].x, c[2].x, c[3].x) + vec4<f32>(c[0].y, c[1].y, c[2].y, c[3].y);
        let b = vec4<f32>(c[0].z, c[1].z, c[2].z, c[3].z) + vec4<f32>(c[0].w, c[1].w, c[2].w, c[3].w);
        let rows = 1.0 / (a + b + bitcast<f32>(HC_EPS_BITS));
        c[0] *= rows.x;
        c[1] *= rows.y;
        c[2] *= rows.z;
        c[3] *= rows.w;
        let columns = 1.0 / ((c[0] + c[1]) + (c[2] + c[3]) + bitcast<f32>(HC_EPS_BITS));
        c[0] *= columns;
        c[1] *= columns;
        c[2] *= columns;
        c[3] *= columns;
    }
    for (var t = 0u; t < 4u; t++) {
        mix[row * 20u + t] = 2.0 * sigmoid(m[(4u + t) % VALUES]);
        for (var j = 0u; j < 4u; j++) {
            mix[row * 20u + 4u + 4u * t + j] = c[t][j];
        }
    }
}
