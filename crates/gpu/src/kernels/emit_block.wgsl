// Four values as a word of bytes, with the scale of the block of 32 that eight threads next to each other have, and the sum of the sixteen bytes that
// four of them have. All threads of a subgroup call it.
struct EmittedQuad { word: u32, d: f32, sum: i32 }

fn emitted_quad(v: vec4<f32>) -> EmittedQuad {
    let magnitudes = abs(v);
    var most = max(max(magnitudes.x, magnitudes.y), max(magnitudes.z, magnitudes.w));
    most = max(most, subgroupShuffleXor(most, 1u));
    most = max(most, subgroupShuffleXor(most, 2u));
    most = max(most, subgroupShuffleXor(most, 4u));
    let d = most / 127.0;
    let inverse = select(0.0, 1.0 / d, d > 0.0);
    let q = vec4<i32>(clamp(round(v * inverse), vec4<f32>(-127.0), vec4<f32>(127.0)));
    var sum = q.x + q.y + q.z + q.w;
    sum += subgroupShuffleXor(sum, 1u);
    sum += subgroupShuffleXor(sum, 2u);
    return EmittedQuad(pack4xI8(q), d, sum);
}
