fn unpack_$(row: u32, c: u32) -> array<vec4<f32>, 2> {
    let q = w_$[row * (COLS_$ / 8u) + c];
    return array<vec4<f32>, 2>(
        vec4<f32>(unpack2x16float(q.x), unpack2x16float(q.y)), vec4<f32>(unpack2x16float(q.z), unpack2x16float(q.w)));
}
