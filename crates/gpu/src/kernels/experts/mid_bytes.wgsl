// A finished stretch of hidden values as bytes, one block.
fn finish_stretch(slot: u32, stretch: u32, thread: u32) {
    workgroupBarrier();
    if (thread == 0u) {
        var v: array<vec4<f32>, 8>;
        for (var j = 0u; j < 8u; j++) {
            v[j] = vec4<f32>(mid_here[4u * j], mid_here[4u * j + 1u], mid_here[4u * j + 2u], mid_here[4u * j + 3u]);
        }
        let block = quantized(v);
        let at = 6u * (slot * (FF / 64u) + stretch / 2u);
        let half = stretch % 2u;
        mid_bytes[at + 2u * half] = block.low;
        mid_bytes[at + 2u * half + 1u] = block.high;
        mid_bytes[at + 4u][2u * half] = bitcast<u32>(block.d);
        mid_bytes[at + 4u][2u * half + 1u] = bitcast<u32>(block.d);
        mid_bytes[at + 5u][2u * half] = bitcast<u32>(block.sums.x);
        mid_bytes[at + 5u][2u * half + 1u] = bitcast<u32>(block.sums.y);
    }
    workgroupBarrier();
}
