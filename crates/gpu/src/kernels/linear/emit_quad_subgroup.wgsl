// The same where four threads next to each other, each with its quad, share the sixteen: all four call it.
fn emit_quad(quad: u32, row: u32, place: u32) {
    let own = 4u * quad;
    let v = vec4<f32>(
        weighted(kept[own], place), weighted(kept[own + 1u], place + 1u),
        weighted(kept[own + 2u], place + 2u), weighted(kept[own + 3u], place + 3u));
    let emitted = emitted_quad(v, sixteen_most(v));
    let at = row + 24u * (place / 64u);
    bytes[at + place % 64u / 4u] = emitted.word;
    if (quad % 4u == 0u) {
        bytes[at + 16u + place % 64u / 16u] = bitcast<u32>(emitted.d);
        bytes[at + 20u + place % 64u / 16u] = bitcast<u32>(emitted.d * f32(emitted.sum));
    }
}
