// Values 4·i … of row `row` also as bytes, as `linear/quantize.wgsl` makes them: eight threads next to each other have a block of 32. A row has
// EMIT_WIDTH values. All threads of a subgroup call it, those without values not `live`.
@group(0) @binding(EMIT_BINDING) var<storage, read_write> bytes: array<u32>;

fn emit(row: u32, i: u32, v: vec4<f32>, live: bool) {
    let quad = emitted_quad_of_32(v);
    if (!live) {
        return;
    }
    let at = 24u * (row * (EMIT_WIDTH / 64u) + i / 16u);
    let block = i / 8u % 2u;
    bytes[at + 8u * block + i % 8u] = quad.word;
    if (i % 4u == 0u) {
        let half = i / 4u % 2u;
        bytes[at + 16u + 2u * block + half] = bitcast<u32>(quad.d);
        bytes[at + 20u + 2u * block + half] = bitcast<u32>(quad.d * f32(quad.sum));
    }
}
