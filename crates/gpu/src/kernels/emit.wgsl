// Values 4·i … of row `row` also as bytes, as `linear/quantize.wgsl` makes them: eight threads next to each other have a block of 32. A row has
// EMIT_WIDTH values. All threads of a subgroup call it, those without values not `live`.
@group(0) @binding(EMIT_BINDING) var<storage, read_write> bytes: array<u32>;

fn emit(row: u32, i: u32, v: vec4<f32>, live: bool) {
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
    if (!live) {
        return;
    }
    let at = 24u * (row * (EMIT_WIDTH / 64u) + i / 16u);
    let block = i / 8u % 2u;
    bytes[at + 8u * block + i % 8u] = pack4xI8(q);
    if (i % 4u == 0u) {
        let half = i / 4u % 2u;
        bytes[at + 16u + 2u * block + half] = bitcast<u32>(d);
        bytes[at + 20u + 2u * block + half] = bitcast<u32>(d * f32(sum));
    }
}
