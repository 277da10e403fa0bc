fn unpack_$(row: u32, c: u32) -> array<vec4<f32>, 16> {
    let q = load_$(row, c);
    var out: array<vec4<f32>, 16>;
    for (var g = 0u; g < 4u; g++) {
        let s = q.s[g];
        let m = q.m[g];
        out[4u * g] = s * bytes_of(q.w[g].x) - m;
        out[4u * g + 1u] = s * bytes_of(q.w[g].y) - m;
        out[4u * g + 2u] = s * bytes_of(q.w[g].z) - m;
        out[4u * g + 3u] = s * bytes_of(q.w[g].w) - m;
    }
    return out;
}
