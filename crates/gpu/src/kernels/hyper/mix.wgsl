// The mix values of few rows, or of those that `chosen` names: a workgroup takes one part of a row.
@group(0) @binding(5) var<storage, read> chosen: array<u32>;

// Values of a group of threads.
const OWN: u32 = (VALUES + GROUPS - 1u) / GROUPS;

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
