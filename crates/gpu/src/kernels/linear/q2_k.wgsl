// Planes: 16 bytes per 64 weights, bit pair g of byte l is weight 16·g + l; scales and minima, a byte per 16; f16 d and dmin, a word
// per 256.
fn load_$(row: u32, c: u32) -> Chunk4 {
    let i = row * (COLS_$ / 64u) + c;
    let block = i / 4u;
    let d = unpack2x16float(w_$[PLANE2_$ + block / 4u][block % 4u]);
    let scales = vec4<u32>(w_$[PLANE1_$ + block][i % 4u]) >> vec4<u32>(0u, 8u, 16u, 24u);
    let q = w_$[i];
    let mask = vec4<u32>(0x03030303u);
    return Chunk4(
        array<vec4<u32>, 4>(
            q & mask, (q >> vec4<u32>(2u)) & mask, (q >> vec4<u32>(4u)) & mask, (q >> vec4<u32>(6u)) & mask),
        d.x * vec4<f32>(scales & vec4<u32>(15u)), d.y * vec4<f32>((scales >> vec4<u32>(4u)) & vec4<u32>(15u)));
}

fn unpack_$(row: u32, c: u32) -> array<vec4<f32>, 4> {
    let i = row * (COLS_$ / 64u) + c / 4u;
    let block = i / 4u;
    let d = unpack2x16float(w_$[PLANE2_$ + block / 4u][block % 4u]);
    let scale = w_$[PLANE1_$ + block][i % 4u] >> (8u * (c % 4u));
    let w = (w_$[i] >> vec4<u32>(2u * (c % 4u))) & vec4<u32>(0x03030303u);
    return scaled(w, d.x * f32(scale & 15u), d.y * f32((scale >> 4u) & 15u));
}
