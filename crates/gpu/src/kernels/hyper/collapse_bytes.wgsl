// The collapsed row as bytes (`linear/quantize.wgsl`), in memory of the workgroup.
fn keep_bytes(at: u32, value: vec4<f32>) {
    let quad = emitted_quad_of_32(value);
    if (at >= QUADS) {
        return;
    }
    let unit = BYTE_UNITS * (at / 16u);
    xq[unit + at % 16u / 4u][at % 4u] = quad.word;
    if (at % 4u == 0u) {
        let sixteen = at / 4u % 4u;
        xq[unit + 4u][sixteen] = bitcast<u32>(quad.d);
        xq[unit + 5u][sixteen] = bitcast<u32>(quad.d * f32(quad.sum));
    }
}
