// 16 weights of Q8_0 as they lie in memory, and what they are. Rows begin with a whole word of scales.
struct Piece_$ { q: vec4<u32>, d: u32 }

fn piece_$(row: u32, c: u32) -> Piece_$ {
    let i = row * (COLS_$ / 16u) + c;
    return Piece_$(w_$[i], w_$[PLANE1_$ + i / 16u][(i / 4u) % 4u]);
}

fn values_$(piece: Piece_$, c: u32) -> array<vec4<f32>, 4> {
    return scaled(piece.q, half_at(piece.d, c / 2u), 0.0);
}
