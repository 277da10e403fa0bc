// Planes: bytes; f16 scales, one per 32.
fn load_$(row: u32, c: u32) -> Chunk1 {
    let i = row * (COLS_$ / 16u) + c;
    let block = i / 2u;
    let d = half_at(w_$[PLANE1_$ + block / 8u][(block / 2u) % 4u], block);
    return Chunk1(array<vec4<u32>, 1>(w_$[i]), vec4<f32>(d, 0.0, 0.0, 0.0), vec4<f32>());
}

fn unpack_$(row: u32, c: u32) -> array<vec4<f32>, 4> {
    let q = load_$(row, c);
    return scaled(q.w[0], q.s.x, 0.0);
}
