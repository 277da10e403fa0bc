// §4: the products of the mix values, m = fn · X, and the sum of squares of X, in parts of 64 dims of each stream; before that, where
// EXPAND is 1, X'_t = post_t·y + Σ_s C[s][t]·X_s. A workgroup takes one part of a row.
// part[row][part][0 .. VALUES] = Σ fn·X over the part, part[row][part][VALUES] = Σ X².
@group(0) @binding(0) var<storage, read> project: array<u32>;
@group(0) @binding(1) var<storage, read_write> x: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> part: array<f32>;
@group(0) @binding(3) var<storage, read> y: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> mix: array<f32>;
@group(0) @binding(5) var<storage, read> chosen: array<u32>;

const PAIRS: u32 = 32u;
const GROUPS: u32 = WG / PAIRS;
// Values of a group of threads.
const OWN: u32 = (VALUES + GROUPS - 1u) / GROUPS;
const PARTS: u32 = E / 64u;

var<workgroup> sums: array<f32, WG>;

fn weight(value: u32, at: u32) -> vec2<f32> {
    // Pair `at` of row `value`.
    if (F16 == 1u) {
        return unpack2x16float(project[value * (2u * E) + at]);
    }
    let first = 2u * (value * (2u * E) + at);
    return vec2<f32>(bitcast<f32>(project[first]), bitcast<f32>(project[first + 1u]));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let pair = lane % PAIRS;
    let group = lane / PAIRS;
    let at = wg.x * PAIRS + pair;
    let index = wg.y;
    var row = index;
    if (CHOSEN == 1u) {
        row = chosen[row];
    }
    let base = row * (2u * E);
    var v: array<vec2<f32>, 4>;
    for (var s = 0u; s < 4u; s++) {
        v[s] = x[base + s * (E / 2u) + at];
    }
    if (EXPAND == 1u) {
        let old = v;
        let m = row * 20u;
        let out = y[row * (E / 2u) + at];
        for (var t = 0u; t < 4u; t++) {
            v[t] = mix[m + t] * out + mix[m + 4u + t] * old[0] + mix[m + 8u + t] * old[1]
                + mix[m + 12u + t] * old[2] + mix[m + 16u + t] * old[3];
        }
        workgroupBarrier();
        if (group == 0u) {
            for (var s = 0u; s < 4u; s++) {
                x[base + s * (E / 2u) + at] = v[s];
            }
        }
    }
    let out_base = (index * PARTS + wg.x) * (VALUES + 1u);
    if (VALUES > 0u) {
        for (var i = 0u; i <= OWN; i++) {
            // The last round is the sum of squares.
            let value = group * OWN + i;
            var sum = vec2<f32>(0.0);
            if (i == OWN) {
                for (var s = 0u; s < 4u; s++) { sum += v[s] * v[s]; }
            } else if (value < VALUES) {
                for (var s = 0u; s < 4u; s++) { sum += v[s] * weight(value, s * (E / 2u) + at); }
            }
            let total = pair_sum(sum.x + sum.y, lane);
            if (pair == 0u) {
                if (i == OWN) {
                    if (group == 0u) { part[out_base + VALUES] = total; }
                } else if (value < VALUES) {
                    part[out_base + value] = total;
                }
            }
        }
    }
}
