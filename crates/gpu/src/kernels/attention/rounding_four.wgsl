// The rounding of four values. Code is short where one value is rounded at a time: the vector turns, the results move up.

// Two words of F16.
fn f16_pairs(v: vec4<f32>) -> vec2<u32> {
    var rest = v;
    var pairs = vec2<u32>();
    for (var i = 0u; i < 4u * once; i += 1u) {
        pairs = vec2<u32>((pairs.x >> 16u) | (pairs.y << 16u), (pairs.y >> 16u) | (f16_bits(rest.x) << 16u));
        rest = rest.yzwx;
    }
    return pairs;
}

fn unpacked(pairs: vec2<u32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(pairs.x), unpack2x16float(pairs.y));
}
