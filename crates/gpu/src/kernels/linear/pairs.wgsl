// Scales (xy) and minima (zw) of groups 2p and 2p + 1 of a Q4_K or Q5_K block from its first 16 bytes.
fn pair_scales(head: vec4<u32>, p: u32) -> vec4<f32> {
    let shift = vec2<u32>(0u, 8u) + 16u * (p & 1u);
    let y = (vec2<u32>(head.y) >> shift) & vec2<u32>(255u);
    let z = (vec2<u32>(head.z) >> shift) & vec2<u32>(255u);
    let w = (vec2<u32>(head.w) >> shift) & vec2<u32>(255u);
    let d = unpack2x16float(head.x);
    let high_scale = (w & vec2<u32>(15u)) | ((y >> vec2<u32>(6u)) << vec2<u32>(4u));
    let high_min = (w >> vec2<u32>(4u)) | ((z >> vec2<u32>(6u)) << vec2<u32>(4u));
    let scale = select(high_scale, y & vec2<u32>(63u), p < 2u);
    let least = select(high_min, z & vec2<u32>(63u), p < 2u);
    return vec4<f32>(d.x * vec2<f32>(scale), d.y * vec2<f32>(least));
}
