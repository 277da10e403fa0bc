// Planes: 16 bytes per 64 weights, two words a group of 32: four lattice points, then signs and scale (`weights.rs`); f16 d, one per 256.
fn load_$(row: u32, c: u32) -> Chunk4 {
    let i = row * (COLS_$ / 64u) + c;
    let block = i / 4u;
    let d = half_at(w_$[PLANE1_$ + block / 8u][(block / 2u) % 4u], block);
    let q = w_$[i];
    let s = d * (0.5 + vec2<f32>(q.yw >> vec2<u32>(28u))) * 0.25;
    let first = lattice_signs(q.y);
    let second = lattice_signs(q.w);
    return Chunk4(
        array<vec4<u32>, 4>(
            lattice_pair(q.x, first), lattice_pair(q.x >> 16u, first >> 2u),
            lattice_pair(q.z, second), lattice_pair(q.z >> 16u, second >> 2u)),
        s.xxyy, vec4<f32>());
}

fn unpack_$(row: u32, c: u32) -> array<vec4<f32>, 4> {
    let i = row * (COLS_$ / 64u) + c / 4u;
    let block = i / 4u;
    let d = half_at(w_$[PLANE1_$ + block / 8u][(block / 2u) % 4u], block);
    let q = w_$[i];
    let group = select(q.xy, q.zw, (c & 2u) != 0u);
    let s = d * (0.5 + f32(group.y >> 28u)) * 0.25;
    let w = lattice_pair(group.x >> (16u * (c & 1u)), lattice_signs(group.y) >> (2u * (c & 1u)));
    return scaled(w, s, 0.0);
}
