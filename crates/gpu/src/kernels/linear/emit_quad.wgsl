// Quad `quad` of the values that a workgroup keeps, as bytes (`quantize.wgsl`), sixteen values a scale: `row` is the first word of the row's bytes,
// `place` the first value's place in the row.
fn emit_quad(quad: u32, row: u32, place: u32) {
    let base = quad / 4u * 16u;
    let first = place - place % 16u;
    var most = 0.0;
    for (var j = 0u; j < 16u; j++) {
        most = max(most, abs(weighted(kept[base + j], first + j)));
    }
    let d = most / 127.0;
    let inverse = select(0.0, 1.0 / d, d > 0.0);
    var sum = 0.0;
    for (var j = 0u; j < 16u; j++) {
        sum += clamp(round(weighted(kept[base + j], first + j) * inverse), -127.0, 127.0);
    }
    let own = 4u * quad;
    let v = inverse * vec4<f32>(
        weighted(kept[own], place), weighted(kept[own + 1u], place + 1u),
        weighted(kept[own + 2u], place + 2u), weighted(kept[own + 3u], place + 3u));
    let at = row + 24u * (place / 64u);
    bytes[at + place % 64u / 4u] = pack4xI8(vec4<i32>(clamp(round(v), vec4<f32>(-127.0), vec4<f32>(127.0))));
    if (quad % 4u == 0u) {
        bytes[at + 16u + place % 64u / 16u] = bitcast<u32>(d);
        bytes[at + 20u + place % 64u / 16u] = bitcast<u32>(d * sum);
    }
}
