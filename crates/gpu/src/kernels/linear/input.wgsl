// Vector i of row r of x, which begins at vector `base`.
fn x_value(r: u32, base: u32, i: u32) -> vec4<f32> {
    return x[base + i];
}
