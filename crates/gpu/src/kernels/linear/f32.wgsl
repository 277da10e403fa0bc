fn unpack_$(row: u32, c: u32) -> array<vec4<f32>, 2> {
    let i = row * (COLS_$ / 4u) + 2u * c;
    return array<vec4<f32>, 2>(bitcast<vec4<f32>>(w_$[i]), bitcast<vec4<f32>>(w_$[i + 1u]));
}
