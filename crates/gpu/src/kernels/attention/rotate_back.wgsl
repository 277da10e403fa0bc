// Undoes the rotation of values 4·i … of a head.
fn rotated_back(v: vec4<f32>, i: u32, angles: u32) -> vec4<f32> {
    if (i < NOPE / 4u) {
        return v;
    }
    let a = bitcast<vec4<f32>>(step[angles / 4u + i - NOPE / 4u]);
    return vec4<f32>(v.x * a.x + v.y * a.y, v.y * a.x - v.x * a.y, v.z * a.z + v.w * a.w, v.w * a.z - v.z * a.w);
}
