fn unpack_$(row: u32, c: u32) -> array<vec4<f32>, 2> {
    let q = w_$[row * (COLS_$ / 8u) + c];
    let low = bitcast<vec4<f32>>(q << vec4<u32>(16u));
    let high = bitcast<vec4<f32>>(q & vec4<u32>(0xffff0000u));
    return array<vec4<f32>, 2>(vec4<f32>(low.x, high.x, low.y, high.y), vec4<f32>(low.z, high.z, low.w, high.w));
}
