// Sixteen values of a stored row, of which row `at` begins at word `at` of its buffer: rounded rows.
// Four FP8 codes, 2^-8 of their value: F16 has the same fields, one exponent bit more.
fn four_codes(codes: u32) -> vec4<f32> {
    let even = ((codes & 0x007f007fu) << 7u) | ((codes & 0x00800080u) << 8u);
    let odd = ((codes & 0x7f007f00u) >> 1u) | (codes & 0x80008000u);
    let a = unpack2x16float(even);
    let b = unpack2x16float(odd);
    return vec4<f32>(a.x, b.x, a.y, b.y);
}

fn arena_block(at: u32, block: u32) -> mat4x4<f32> {
    let base = at / 4u;
    if (block < NOPE / 16u) {
        let codes = arena[base + block];
        let word = NOPE / 4u + ROT / 2u + block / 16u;
        let scale = 256.0 * bitcast<f32>(((arena[base + word / 4u][word % 4u] >> (8u * (block / 4u % 4u))) & 255u) << 23u);
        return mat4x4<f32>(four_codes(codes.x), four_codes(codes.y), four_codes(codes.z), four_codes(codes.w)) * scale;
    }
    let tail = base + NOPE / 16u + 2u * (block - NOPE / 16u);
    return halves_block(arena[tail], arena[tail + 1u]);
}

fn window_block(at: u32, block: u32) -> mat4x4<f32> {
    return halves_block(frontier[at / 4u + 2u * block], frontier[at / 4u + 2u * block + 1u]);
}

fn halves_block(a: vec4<u32>, b: vec4<u32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        vec4<f32>(unpack2x16float(a.x), unpack2x16float(a.y)),
        vec4<f32>(unpack2x16float(a.z), unpack2x16float(a.w)),
        vec4<f32>(unpack2x16float(b.x), unpack2x16float(b.y)),
        vec4<f32>(unpack2x16float(b.z), unpack2x16float(b.w)));
}
