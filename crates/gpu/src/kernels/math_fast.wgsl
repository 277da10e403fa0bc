// The same as drivers have them, off by some units in the last place: a third of the code.
fn exp_f32(value: f32) -> f32 {
    return exp(min(value, 88.0));
}

fn exp4_f32(value: vec4<f32>) -> vec4<f32> {
    return exp(min(value, vec4<f32>(88.0)));
}

// By its series where 1 + x would lose too much of x.
fn log1p_f32(x: f32) -> f32 {
    return select(log(1.0 + x), x * (1.0 - x * (0.5 - x / 3.0)), x < 0.01);
}

fn sigmoid(z: f32) -> f32 {
    return 1.0 / (1.0 + exp_f32(-z));
}

fn silu(z: f32) -> f32 {
    return z / (1.0 + exp_f32(-z));
}
