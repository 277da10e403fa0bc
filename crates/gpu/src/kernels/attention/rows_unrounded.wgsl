// Sixteen values of a stored row: rows of f32.
fn arena_block(at: u32, block: u32) -> mat4x4<f32> {
    let i = at / 4u + 4u * block;
    return mat4x4<f32>(
        bitcast<vec4<f32>>(arena[i]), bitcast<vec4<f32>>(arena[i + 1u]), bitcast<vec4<f32>>(arena[i + 2u]), bitcast<vec4<f32>>(arena[i + 3u]));
}

fn window_block(at: u32, block: u32) -> mat4x4<f32> {
    let i = at / 4u + 4u * block;
    return mat4x4<f32>(
        bitcast<vec4<f32>>(frontier[i]), bitcast<vec4<f32>>(frontier[i + 1u]), bitcast<vec4<f32>>(frontier[i + 2u]),
        bitcast<vec4<f32>>(frontier[i + 3u]));
}
