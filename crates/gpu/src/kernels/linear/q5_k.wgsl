// As in the file: eleven times 16 bytes a block of 256.
fn load_$(row: u32, c: u32) -> Chunk4 {
    let i = row * (COLS_$ / 64u) + c;
    let base = (i / 4u) * 11u;
    let p = i % 4u;
    let s = pair_scales(w_$[base], p);
    let high_a = w_$[base + 1u] >> vec4<u32>(2u * p);
    let high_b = w_$[base + 2u] >> vec4<u32>(2u * p);
    let a = w_$[base + 3u + 2u * p];
    let b = w_$[base + 4u + 2u * p];
    let mask = vec4<u32>(0x0f0f0f0fu);
    let bit = vec4<u32>(0x01010101u);
    let four = vec4<u32>(4u);
    let three = vec4<u32>(3u);
    let one = vec4<u32>(1u);
    return Chunk4(
        array<vec4<u32>, 4>(
            (a & mask) | ((high_a & bit) << four), (b & mask) | ((high_b & bit) << four),
            ((a >> four) & mask) | (((high_a >> one) & bit) << four), ((b >> four) & mask) | (((high_b >> one) & bit) << four)),
        s.xxyy, s.zzww);
}

fn unpack_$(row: u32, c: u32) -> array<vec4<f32>, 4> {
    let i = row * (COLS_$ / 64u) + c / 4u;
    let base = (i / 4u) * 11u;
    let p = i % 4u;
    let s = pair_scales(w_$[base], p);
    let high = (c >> 1u) & 1u;
    let low = (w_$[base + 3u + 2u * p + (c & 1u)] >> vec4<u32>(4u * high)) & vec4<u32>(0x0f0f0f0fu);
    let top = (w_$[base + 1u + (c & 1u)] >> vec4<u32>(2u * p + high)) & vec4<u32>(0x01010101u);
    return scaled(low | (top << vec4<u32>(4u)), select(s.x, s.y, high == 1u), select(s.z, s.w, high == 1u));
}
