// 8 weights of F16 as they lie in memory, and what they are.
struct Piece_$ { q: vec4<u32> }

fn piece_$(row: u32, c: u32) -> Piece_$ {
    return Piece_$(w_$[row * (COLS_$ / 8u) + c]);
}

fn values_$(piece: Piece_$, c: u32) -> array<vec4<f32>, 2> {
    let q = piece.q;
    return array<vec4<f32>, 2>(
        vec4<f32>(unpack2x16float(q.x), unpack2x16float(q.y)), vec4<f32>(unpack2x16float(q.z), unpack2x16float(q.w)));
}
