// The same where four threads next to each other, each with its quad, share the sixteen: all four call it.
fn emit_quad(quad: u32, row: u32, place: u32) {
    let own = 4u * quad;
    let v = vec4<f32>(
        weighted(kept[own], place), weighted(kept[own + 1u], place + 1u),
        weighted(kept[own + 2u], place + 2u), weighted(kept[own + 3u], place + 3u));
    let magnitudes = abs(v);
    var most = max(max(magnitudes.x, magnitudes.y), max(magnitudes.z, magnitudes.w));
    most = max(most, subgroupShuffleXor(most, 1u));
    most = max(most, subgroupShuffleXor(most, 2u));
    let d = most / 127.0;
    let inverse = select(0.0, 1.0 / d, d > 0.0);
    let q = vec4<i32>(clamp(round(v * inverse), vec4<f32>(-127.0), vec4<f32>(127.0)));
    var sum = q.x + q.y + q.z + q.w;
    sum += subgroupShuffleXor(sum, 1u);
    sum += subgroupShuffleXor(sum, 2u);
    let at = row + 24u * (place / 64u);
    bytes[at + place % 64u / 4u] = pack4xI8(q);
    if (quad % 4u == 0u) {
        bytes[at + 16u + place % 64u / 16u] = bitcast<u32>(d);
        bytes[at + 20u + place % 64u / 16u] = bitcast<u32>(d * f32(sum));
    }
}
