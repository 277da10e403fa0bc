// Values are not wanted as bytes.
fn emit(row: u32, i: u32, v: vec4<f32>, live: bool) {}
