// The rounding of §6, on bits, so that codes are those of the host.

// Nearest F16, ties to even.
fn f16_bits(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    let sign = (bits >> 16u) & 0x8000u;
    let a = bits & 0x7fffffffu;
    // From 2^16 on all that is a number becomes infinite.
    let most = min(a, 0x47800000u);
    let normal = (most + 0xfffu + ((a >> 13u) & 1u) - 0x38000000u) >> 13u;
    let code = select(normal, u32(round(bitcast<f32>(most) * 16777216.0)), a < 0x38800000u);
    return sign | select(code, 0x7e00u, a > 0x7f800000u);
}

// Bits of a magnitude that a block's scale is chosen by: not a number counts nothing, infinity as the largest number.
fn magnitude_bits(x: f32) -> u32 {
    let a = bitcast<u32>(x) & 0x7fffffffu;
    return select(min(a, 0x7f7fffffu), 0u, a > 0x7f800000u);
}

fn magnitude_bits4(v: vec4<f32>) -> u32 {
    return max(max(magnitude_bits(v.x), magnitude_bits(v.y)), max(magnitude_bits(v.z), magnitude_bits(v.w)));
}

// Biased exponent of 2^ceil(log2(m / 448)) for the bits of m; 448 is 1.75·2^8.
fn fp8_scale(m: u32) -> u32 {
    let floored = max(m, 0x38d1b717u);
    return (floored >> 23u) - 8u + u32((floored & 0x7fffffu) > 0x600000u);
}

// Biased exponent of 2^ceil(log2(m / 6)); 6 is 1.5·2^2.
fn fp4_scale(m: u32) -> u32 {
    let floored = max(m, 0x01c00000u);
    return (floored >> 23u) - 2u + u32((floored & 0x7fffffu) > 0x400000u);
}

// 2^e of a biased exponent from 1 to 253, and 2^−e.
fn scale_value(scale: u32) -> f32 {
    return bitcast<f32>(scale << 23u);
}

fn scale_inverse(scale: u32) -> f32 {
    return bitcast<f32>((254u - scale) << 23u);
}

fn e4m3_code(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    let sign = (bits >> 24u) & 0x80u;
    let a = min(bits & 0x7fffffffu, 0x43e00000u);
    let normal = ((a + 0x7ffffu + ((a >> 20u) & 1u)) >> 20u) - 960u;
    return sign | select(normal, u32(round(bitcast<f32>(a) * 512.0)), a < 0x3c800000u);
}

// The value of that code.
fn e4m3_rounded(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    let a = min(bits & 0x7fffffffu, 0x43e00000u);
    let normal = (a + 0x7ffffu + ((a >> 20u) & 1u)) & 0xfff00000u;
    let magnitude = select(normal, bitcast<u32>(round(bitcast<f32>(a) * 512.0) * 0.001953125), a < 0x3c800000u);
    return bitcast<f32>(magnitude | (bits & 0x80000000u));
}

fn e2m1_code(x: f32) -> u32 {
    let a = abs(x);
    let code = u32(a > 0.25) + u32(a >= 0.75) + u32(a > 1.25) + u32(a >= 1.75) + u32(a > 2.5) + u32(a >= 3.5) + u32(a > 5.0);
    return code | ((bitcast<u32>(x) >> 28u) & 8u);
}
