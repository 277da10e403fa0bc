// The mix values of many rows, where reading the projection is what takes time: a group of 32 threads takes RB rows at once, all VALUES
// values of each, a pair of dims of each stream a thread. A workgroup has GROUPS such groups.
struct Args { rows: u32 }
var<immediate> args: Args;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let pair = lane % PAIRS;
    let first = (wg.y * GROUPS + lane / PAIRS) * RB;
    let at = wg.x * PAIRS + pair;
    var v0: array<vec2<f32>, RB>;
    var v1: array<vec2<f32>, RB>;
    var v2: array<vec2<f32>, RB>;
    var v3: array<vec2<f32>, RB>;
    for (var r = 0u; r < RB; r++) {
        let row = min(first + r, args.rows - 1u);
        let base = row * (2u * E) + at;
        let a = x[base];
        let b = x[base + E / 2u];
        let c = x[base + E];
        let d = x[base + 3u * (E / 2u)];
        if (EXPAND == 1u) {
            let m = row * 20u;
            let out = y[row * (E / 2u) + at];
            v0[r] = mix[m] * out + mix[m + 4u] * a + mix[m + 8u] * b + mix[m + 12u] * c + mix[m + 16u] * d;
            v1[r] = mix[m + 1u] * out + mix[m + 5u] * a + mix[m + 9u] * b + mix[m + 13u] * c + mix[m + 17u] * d;
            v2[r] = mix[m + 2u] * out + mix[m + 6u] * a + mix[m + 10u] * b + mix[m + 14u] * c + mix[m + 18u] * d;
            v3[r] = mix[m + 3u] * out + mix[m + 7u] * a + mix[m + 11u] * b + mix[m + 15u] * c + mix[m + 19u] * d;
        } else {
            v0[r] = a;
            v1[r] = b;
            v2[r] = c;
            v3[r] = d;
        }
    }
    if (EXPAND == 1u) {
        for (var r = 0u; r < RB; r++) {
            if (first + r < args.rows) {
                let base = (first + r) * (2u * E) + at;
                x[base] = v0[r];
                x[base + E / 2u] = v1[r];
                x[base + E] = v2[r];
                x[base + 3u * (E / 2u)] = v3[r];
            }
        }
    }
    // A turn more for the sum of squares.
    for (var value = 0u; value <= VALUES; value += 1u) {
        var w: array<vec2<f32>, 4>;
        for (var s = 0u; s < 4u; s++) {
            w[s] = weight(min(value, VALUES - 1u), s * (E / 2u) + at);
        }
        for (var r = 0u; r < RB; r++) {
            var sum = v0[r] * w[0] + v1[r] * w[1] + v2[r] * w[2] + v3[r] * w[3];
            if (value == VALUES) {
                sum = v0[r] * v0[r] + v1[r] * v1[r] + v2[r] * v2[r] + v3[r] * v3[r];
            }
            let total = pair_sum(sum.x + sum.y, lane);
            if (pair == 0u && first + r < args.rows) {
                part[((first + r) * PARTS + wg.x) * (VALUES + 1u) + value] = total;
            }
        }
    }
}
