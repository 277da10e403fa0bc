// §4: the mix values from their parts; h = rmsnorm(Σ_s pre_s·X_s, norm) by the first workgroup of a row, post and C by the second.
// Where HEAD is 1 (§11) there are only the four pre values, and rows are those that `chosen` names.
@group(0) @binding(0) var<storage, read> part: array<f32>;
@group(0) @binding(1) var<storage, read> scale: array<f32>;
@group(0) @binding(2) var<storage, read> base: array<f32>;
@group(0) @binding(3) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> mix: array<f32>;
@group(0) @binding(6) var<storage, read_write> h: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> chosen: array<u32>;

const PARTS: u32 = E / PART;
const SUMS: u32 = VALUES + 1u;
const QUADS: u32 = E / 4u;
const OWN: u32 = (QUADS + WG - 1u) / WG;

const GROUPS: u32 = WG / 32u;
const OWN_PARTS: u32 = (PARTS + GROUPS - 1u) / GROUPS;

var<workgroup> m: array<f32, 32>;
var<workgroup> parts: array<f32, WG>;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    once = grid.z;
    let index = wg.y;
    var row = index;
    if (HEAD == 1u) {
        row = chosen[index];
    }
    // Everything from memory is asked for before the first barrier: its latency is what this kernel takes.
    var streams: array<vec4<f32>, 4u * OWN>;
    var weights: array<vec4<f32>, OWN>;
    if (wg.x == 0u) {
        for (var i = 0u; i < OWN; i++) {
            let at = min(i * WG + lane, QUADS - 1u);
            let first = row * E + at;
            streams[4u * i] = x[first];
            streams[4u * i + 1u] = x[first + QUADS];
            streams[4u * i + 2u] = x[first + 2u * QUADS];
            streams[4u * i + 3u] = x[first + 3u * QUADS];
            weights[i] = norm[at];
        }
    }
    var factor = 0.0;
    var bias = 0.0;
    if (lane < VALUES) {
        factor = scale[min(lane / 4u, 2u)];
        bias = base[lane];
    }
    let value = lane % 32u;
    let group = lane / 32u;
    if (value < SUMS) {
        var sum = 0.0;
        for (var p = 0u; p < OWN_PARTS; p++) {
            let own = part[(index * PARTS + min(p * GROUPS + group, PARTS - 1u)) * SUMS + value];
            sum += select(0.0, own, p * GROUPS + group < PARTS);
        }
        parts[lane] = sum;
    }
    workgroupBarrier();
    var own = 0.0;
    if (lane < SUMS) {
        for (var g = 0u; g < GROUPS; g++) {
            own += parts[g * 32u + lane];
        }
        m[lane] = own;
    }
    workgroupBarrier();
    let inverse = 1.0 / sqrt(m[VALUES] / f32(4u * E) + bitcast<f32>(RMS_EPS_BITS));
    workgroupBarrier();
    if (lane < VALUES) {
        m[lane] = own * inverse * factor + bias;
    }
    workgroupBarrier();
    if (wg.x == 0u) {
        var pre: vec4<f32>;
        for (var s = 0u; s < 4u; s++) {
            pre[s] = sigmoid(m[s]) + bitcast<f32>(HC_EPS_BITS);
        }
        var collapsed: array<vec4<f32>, OWN>;
        var squares = 0.0;
        for (var i = 0u; i < OWN; i++) {
            collapsed[i] = pre.x * streams[4u * i] + pre.y * streams[4u * i + 1u] + pre.z * streams[4u * i + 2u]
                + pre.w * streams[4u * i + 3u];
            if (i * WG + lane < QUADS) {
                squares += dot(collapsed[i], collapsed[i]);
            }
        }
        let normed = 1.0 / sqrt(wg_sum(squares, lane) / f32(E) + bitcast<f32>(RMS_EPS_BITS));
        for (var i = 0u; i < OWN; i++) {
            let at = i * WG + lane;
            let value = collapsed[i] * normed * weights[i];
            if (at < QUADS) {
                h[index * QUADS + at] = value;
            }
            emit(index, at, value, at < QUADS);
        }
    } else if (lane < MIXERS && HEAD == 0u) {
        write_mix(row, lane);
    }
}
