// Values as bytes by threads next to each other, four values each: a word of bytes, the scale that some of these threads share, and the sum of the
// sixteen bytes that four of them have. All that share something call it.
struct EmittedQuad { word: u32, d: f32, sum: i32 }

// The largest magnitude of the sixteen values of four threads.
fn sixteen_most(v: vec4<f32>) -> f32 {
    let magnitudes = abs(v);
    var most = max(max(magnitudes.x, magnitudes.y), max(magnitudes.z, magnitudes.w));
    most = max(most, subgroupShuffleXor(most, 1u));
    return max(most, subgroupShuffleXor(most, 2u));
}

// `most` is the largest magnitude of the values that share a scale.
fn emitted_quad(v: vec4<f32>, most: f32) -> EmittedQuad {
    let d = most / 127.0;
    let inverse = select(0.0, 1.0 / d, d > 0.0);
    let q = vec4<i32>(clamp(round(v * inverse), vec4<f32>(-127.0), vec4<f32>(127.0)));
    var sum = q.x + q.y + q.z + q.w;
    sum += subgroupShuffleXor(sum, 1u);
    sum += subgroupShuffleXor(sum, 2u);
    return EmittedQuad(pack4xI8(q), d, sum);
}

// With a scale for the 32 values of eight threads.
fn emitted_quad_of_32(v: vec4<f32>) -> EmittedQuad {
    let most = sixteen_most(v);
    return emitted_quad(v, max(most, subgroupShuffleXor(most, 4u)));
}
