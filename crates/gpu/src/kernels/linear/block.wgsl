// 32 activations as bytes: d = max|x| / 127, q = round(x / d), and d·Σq of each half.
struct Block { low: vec4<u32>, high: vec4<u32>, d: f32, sums: vec2<f32> }

fn quantized(v: array<vec4<f32>, 8>) -> Block {
    var x = v;
    var most = vec4<f32>();
    for (var j = 0u; j < 8u; j++) {
        most = max(most, abs(x[j]));
    }
    let d = max(max(most.x, most.y), max(most.z, most.w)) / 127.0;
    let inverse = select(0.0, 1.0 / d, d > 0.0);
    var words: array<u32, 8>;
    var sums = vec2<i32>();
    for (var j = 0u; j < 8u; j++) {
        let q = vec4<i32>(clamp(round(x[j] * inverse), vec4<f32>(-127.0), vec4<f32>(127.0)));
        words[j] = pack4xI8(q);
        let sum = q.x + q.y + q.z + q.w;
        sums += select(vec2<i32>(sum, 0), vec2<i32>(0, sum), j >= 4u);
    }
    return Block(
        vec4<u32>(words[0], words[1], words[2], words[3]), vec4<u32>(words[4], words[5], words[6], words[7]), d,
        d * vec2<f32>(sums));
}
