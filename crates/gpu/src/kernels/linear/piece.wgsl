// A piece of weights of any format: waits for them.
struct Piece_$ { w: array<vec4<f32>, VECTORS_$> }

fn piece_$(row: u32, c: u32) -> Piece_$ {
    return Piece_$(unpack_$(row, c));
}

fn values_$(piece: Piece_$, c: u32) -> array<vec4<f32>, VECTORS_$> {
    return piece.w;
}
