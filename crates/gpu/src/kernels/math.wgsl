// Elementary functions to about one unit in the last place: those of the driver may be off by dozens.

// e^x for x <= 88; 0 below -87.
fn exp_f32(value: f32) -> f32 {
    let x = min(value, 88.0);
    let n = round(x * 1.44269504);
    // ln 2 in two parts, so that the first product is exact.
    let r = (x - n * 0.693359375) + n * 2.12194440e-4;
    var p = 1.9875691500e-4;
    p = p * r + 1.3981999507e-3;
    p = p * r + 8.3334519073e-3;
    p = p * r + 4.1665795894e-2;
    p = p * r + 1.6666665459e-1;
    p = p * r + 5.0000001201e-1;
    let y = p * r * r + r + 1.0;
    let scale = bitcast<f32>(u32(i32(n) + 127) << 23u);
    return select(y * scale, 0.0, x < -87.0);
}

// The same of four values.
fn exp4_f32(value: vec4<f32>) -> vec4<f32> {
    let x = min(value, vec4<f32>(88.0));
    let n = round(x * 1.44269504);
    let r = (x - n * 0.693359375) + n * 2.12194440e-4;
    var p = vec4<f32>(1.9875691500e-4);
    p = p * r + 1.3981999507e-3;
    p = p * r + 8.3334519073e-3;
    p = p * r + 4.1665795894e-2;
    p = p * r + 1.6666665459e-1;
    p = p * r + 5.0000001201e-1;
    let y = p * r * r + r + 1.0;
    let scale = bitcast<vec4<f32>>(vec4<u32>(vec4<i32>(n) + 127) << vec4<u32>(23u));
    return select(y * scale, vec4<f32>(), x < vec4<f32>(-87.0));
}

// ln(1 + x) for x >= 0, by 2·atanh(f / (2 + f)) with f small. No step relies on what a sum loses: drivers simplify such sums away.
fn log1p_f32(x: f32) -> f32 {
    var f = x;
    var n = 0.0;
    if (x > 0.4142) {
        // 1 + x = m * 2^n with m in [sqrt(1/2), sqrt(2)).
        let bits = bitcast<u32>(1.0 + x) - 0x3f3504f3u;
        n = f32(i32(bits) >> 23u);
        f = bitcast<f32>((bits & 0x7fffffu) + 0x3f3504f3u) - 1.0;
    }
    let s = f / (2.0 + f);
    let q = s * s;
    var p = 1.0 / 13.0;
    p = p * q + 1.0 / 11.0;
    p = p * q + 1.0 / 9.0;
    p = p * q + 1.0 / 7.0;
    p = p * q + 1.0 / 5.0;
    p = p * q + 1.0 / 3.0;
    return 2.0 * (s + s * q * p) + n * 0.69314718;
}

fn sigmoid(z: f32) -> f32 {
    return 1.0 / (1.0 + exp_f32(-z));
}

fn silu(z: f32) -> f32 {
    return z / (1.0 + exp_f32(-z));
}
