// As in the file: nine times 16 bytes a block of 256.
fn load_$(row: u32, c: u32) -> Chunk4 {
    let i = row * (COLS_$ / 64u) + c;
    let base = (i / 4u) * 9u;
    let p = i % 4u;
    let s = pair_scales(w_$[base], p);
    let a = w_$[base + 1u + 2u * p];
    let b = w_$[base + 2u + 2u * p];
    let mask = vec4<u32>(0x0f0f0f0fu);
    return Chunk4(
        array<vec4<u32>, 4>(a & mask, b & mask, (a >> vec4<u32>(4u)) & mask, (b >> vec4<u32>(4u)) & mask), s.xxyy, s.zzww);
}

fn unpack_$(row: u32, c: u32) -> array<vec4<f32>, 4> {
    let i = row * (COLS_$ / 64u) + c / 4u;
    let base = (i / 4u) * 9u;
    let p = i % 4u;
    let s = pair_scales(w_$[base], p);
    let high = (c & 2u) != 0u;
    let w = (w_$[base + 1u + 2u * p + (c & 1u)] >> vec4<u32>(select(0u, 4u, high))) & vec4<u32>(0x0f0f0f0fu);
    return scaled(w, select(s.x, s.y, high), select(s.z, s.w, high));
}
