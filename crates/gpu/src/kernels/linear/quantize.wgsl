// Rows of x, normed if NORM, as bytes: of each 64 values 64 bytes q, then the scale d of each 16 (the same for two, 32 make a block),
// then d·Σq of each 16. One workgroup a row.
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> bytes: array<u32>;
struct Args { eps: f32 }
var<immediate> args: Args;

fn value(row: u32, i: u32) -> vec4<f32> {
    let v = x[row * (X_COLS / 4u) + i];
    if (NORM == 1u) {
        return v * norm[i];
    }
    return v;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group.x;
    var factor = 1.0;
    if (NORM == 1u) {
        var square = 0.0;
        for (var i = thread; i < X_COLS / 4u; i += WG) {
            let v = x[row * (X_COLS / 4u) + i];
            square += dot(v, v);
        }
        factor = 1.0 / sqrt(wg_sum(square, thread) / f32(X_COLS) + args.eps);
    }
    for (var b = thread; b < X_COLS / 32u; b += WG) {
        var v: array<vec4<f32>, 8>;
        for (var j = 0u; j < 8u; j++) {
            v[j] = value(row, 8u * b + j) * factor;
        }
        let block = quantized(v);
        let at = 24u * (row * (X_COLS / 64u) + b / 2u);
        for (var j = 0u; j < 4u; j++) {
            bytes[at + 8u * (b % 2u) + j] = block.low[j];
            bytes[at + 8u * (b % 2u) + 4u + j] = block.high[j];
        }
        for (var half = 0u; half < 2u; half++) {
            bytes[at + 16u + 2u * (b % 2u) + half] = bitcast<u32>(block.d);
            bytes[at + 20u + 2u * (b % 2u) + half] = bitcast<u32>(block.sums[half]);
        }
    }
}
