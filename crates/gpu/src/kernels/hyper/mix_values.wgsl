// §4: the products of the mix values, m = fn · X, and the sum of squares of X, in parts of 64 dims of each stream; before that, where
// EXPAND is 1, X'_t = post_t·y + Σ_s C[s][t]·X_s. This is what `mix.wgsl` and `mix_many.wgsl` share.
// part[row][part][0 .. VALUES] = Σ fn·X over the part, part[row][part][VALUES] = Σ X².
@group(0) @binding(0) var<storage, read> project: array<u32>;
@group(0) @binding(1) var<storage, read_write> x: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> part: array<f32>;
@group(0) @binding(3) var<storage, read> y: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> mix: array<f32>;

const PAIRS: u32 = 32u;
const GROUPS: u32 = WG / PAIRS;
const PARTS: u32 = E / 64u;

var<workgroup> sums: array<f32, WG>;

// Pair `at` of row `value` of the projection.
fn weight(value: u32, at: u32) -> vec2<f32> {
    if (F16 == 1u) {
        return unpack2x16float(project[value * (2u * E) + at]);
    }
    let first = 2u * (value * (2u * E) + at);
    return vec2<f32>(bitcast<f32>(project[first]), bitcast<f32>(project[first + 1u]));
}
