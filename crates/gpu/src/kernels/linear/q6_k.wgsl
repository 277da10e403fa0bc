// Planes: 32 bytes per 64 weights, low nibbles as in Q4_K; 16 bytes, upper bit pairs as in Q2_K; signed scales, a byte per 16; f16 d, one per 256.
fn load_$(row: u32, c: u32) -> Chunk4 {
    let i = row * (COLS_$ / 64u) + c;
    let block = i / 4u;
    let d = half_at(w_$[PLANE3_$ + block / 8u][(block / 2u) % 4u], block);
    let scales = bytes_of(w_$[PLANE2_$ + block][i % 4u]);
    let a = w_$[2u * i];
    let b = w_$[2u * i + 1u];
    let high = w_$[PLANE1_$ + i];
    let four = vec4<u32>(4u);
    let nibble = vec4<u32>(0x0f0f0f0fu);
    let pair = vec4<u32>(0x30303030u);
    return Chunk4(
        array<vec4<u32>, 4>(
            less_32((a & nibble) | ((high << four) & pair)), less_32((b & nibble) | ((high << vec4<u32>(2u)) & pair)),
            less_32(((a >> four) & nibble) | (high & pair)), less_32(((b >> four) & nibble) | ((high >> vec4<u32>(2u)) & pair))),
        d * scales, vec4<f32>());
}

fn unpack_$(row: u32, c: u32) -> array<vec4<f32>, 4> {
    let i = row * (COLS_$ / 64u) + c / 4u;
    let block = i / 4u;
    let d = half_at(w_$[PLANE3_$ + block / 8u][(block / 2u) % 4u], block);
    let scale = unpack4xI8(w_$[PLANE2_$ + block][i % 4u] >> (8u * (c % 4u))).x;
    let low = (w_$[2u * i + (c & 1u)] >> vec4<u32>(2u * (c & 2u))) & vec4<u32>(0x0f0f0f0fu);
    let high = (w_$[PLANE1_$ + i] >> vec4<u32>(2u * (c % 4u))) & vec4<u32>(0x03030303u);
    return scaled(less_32(low | (high << vec4<u32>(4u))), d * f32(scale), 0.0);
}
