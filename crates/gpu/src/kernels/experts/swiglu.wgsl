fn silu(z: f32) -> f32 {
    return z / (1.0 + exp(-z));
}

// silu(min(g, clamp)) · clamp(u, ±clamp) · weight
fn swiglu(g: f32, u: f32, most: f32, weight: f32) -> f32 {
    return silu(min(g, most)) * clamp(u, -most, most) * weight;
}
