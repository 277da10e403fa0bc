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
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
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
    } else if (lane == 0u && HEAD == 0u) {
        // Sinkhorn: rows of C are vectors, a sum of columns is a sum of vectors.
        var c: array<vec4<f32>, 4>;
        for (var i = 0u; i < 4u; i++) {
            let first = (8u + 4u * i) % VALUES;
            let a = vec4<f32>(m[first], m[first + 1u], m[first + 2u], m[first + 3u]);
            let most = max(max(a.x, a.y), max(a.z, a.w));
            let e = vec4<f32>(exp_f32(a.x - most), exp_f32(a.y - most), exp_f32(a.z - most), exp_f32(a.w - most));
            c[i] = e / (e.x + e.y + e.z + e.w) + bitcast<f32>(HC_EPS_BITS);
        }
        // One division a sum: this is a chain of 2·rounds sums that nothing else hides.
        let columns = 1.0 / (c[0] + c[1] + c[2] + c[3] + bitcast<f32>(HC_EPS_BITS));
        c[0] *= columns;
        c[1] *= columns;
        c[2] *= columns;
        c[3] *= columns;
        for (var round = 1u; round < ROUNDS; round++) {
            let a = vec4<f32>(c[0].x, c[1].x, c[2].x, c[3].x) + vec4<f32>(c[0].y, c[1].y, c[2].y, c[3].y);
            let b = vec4<f32>(c[0].z, c[1].z, c[2].z, c[3].z) + vec4<f32>(c[0].w, c[1].w, c[2].w, c[3].w);
            let rows = 1.0 / (a + b + bitcast<f32>(HC_EPS_BITS));
            c[0] *= rows.x;
            c[1] *= rows.y;
            c[2] *= rows.z;
            c[3] *= rows.w;
            let columns = 1.0 / ((c[0] + c[1]) + (c[2] + c[3]) + bitcast<f32>(HC_EPS_BITS));
            c[0] *= columns;
            c[1] *= columns;
            c[2] *= columns;
            c[3] *= columns;
        }
        for (var t = 0u; t < 4u; t++) {
            mix[row * 20u + t] = 2.0 * sigmoid(m[(4u + t) % VALUES]);
            for (var j = 0u; j < 4u; j++) {
                mix[row * 20u + 4u + 4u * t + j] = c[t][j];
            }
        }
    }
}
