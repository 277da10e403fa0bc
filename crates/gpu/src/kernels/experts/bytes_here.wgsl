// The only row of x as bytes, made by every workgroup for itself: what `quantize.wgsl` makes.
var<workgroup> x_bytes: array<vec4<u32>, X_COLS / 64u * 6u>;

fn byte_unit(i: u32) -> vec4<u32> {
    return x_bytes[i];
}

fn byte_word(i: u32, word: u32) -> u32 {
    return x_bytes[i][word];
}

fn quantize_here(thread: u32) {
    for (var b = thread; b < X_COLS / 32u; b += WG) {
        var v: array<vec4<f32>, 8>;
        for (var j = 0u; j < 8u; j++) {
            v[j] = x[8u * b + j];
        }
        let block = quantized(v);
        let at = 6u * (b / 2u);
        x_bytes[at + 2u * (b % 2u)] = block.low;
        x_bytes[at + 2u * (b % 2u) + 1u] = block.high;
        for (var half = 0u; half < 2u; half++) {
            x_bytes[at + 4u][2u * (b % 2u) + half] = bitcast<u32>(block.d);
            x_bytes[at + 5u][2u * (b % 2u) + half] = bitcast<u32>(block.sums[half]);
        }
    }
    workgroupBarrier();
}
