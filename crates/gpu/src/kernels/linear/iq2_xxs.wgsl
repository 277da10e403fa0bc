// Planes: 16 bytes per 64 weights, two words a group of 32: four lattice points, then signs and scale (`weights.rs`); f16 d, one per 256.
fn load_$(row: u32, c: u32) -> Chunk4 {
    let i = row * (COLS_$ / 64u) + c;
    let block = i / 4u;
    let d = half_at(w_$[PLANE1_$ + block / 8u][(block / 2u) % 4u], block);
    let q = w_$[i];
    let s = d * (0.5 + vec2<f32>(q.yw >> vec2<u32>(28u))) * 0.25;
    let first = lattice_points(q.x, q.y);
    let second = lattice_points(q.z, q.w);
    return Chunk4(array<vec4<u32>, 4>(first[0], first[1], second[0], second[1]), s.xxyy, vec4<f32>());
}
