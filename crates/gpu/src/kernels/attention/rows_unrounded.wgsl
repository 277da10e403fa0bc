// Sixteen values of a stored row: rows of f32.
fn arena_block(at: u32, block: u32) -> array<vec4<f32>, 4> {
    let i = at / 4u + 4u * block;
    return array<vec4<f32>, 4>(
        bitcast<vec4<f32>>(arena[i]), bitcast<vec4<f32>>(arena[i + 1u]), bitcast<vec4<f32>>(arena[i + 2u]), bitcast<vec4<f32>>(arena[i + 3u]));
}

fn window_block(at: u32, block: u32) -> array<vec4<f32>, 4> {
    let i = at / 4u + 4u * block;
    return array<vec4<f32>, 4>(
        bitcast<vec4<f32>>(frontier[i]), bitcast<vec4<f32>>(frontier[i + 1u]), bitcast<vec4<f32>>(frontier[i + 2u]),
        bitcast<vec4<f32>>(frontier[i + 3u]));
}
