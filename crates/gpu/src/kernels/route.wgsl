// §10 router: from the logits z of a row the chosen experts and their weights. One workgroup a row.
// routes[row][i] = (expert, bits of its weight). HASHED: by the table of its token; else the largest p + bias, equal ones by id.
@group(0) @binding(0) var<storage, read> z: array<f32>;
@group(0) @binding(1) var<storage, read> bias: array<f32>;
@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read> table: array<u32>;
@group(0) @binding(4) var<storage, read_write> routes: array<vec2<u32>>;
struct Args { scale: f32 }
var<immediate> args: Args;

const OWN: u32 = (EXPERTS + WG - 1u) / WG;
const NONE: f32 = -3.0e38;

var<workgroup> p: array<f32, EXPERTS>;
var<workgroup> chosen: array<u32, USED>;

fn sqrt_softplus(z: f32) -> f32 {
    if (z > 20.0) { return sqrt(z); }
    if (z < -20.0) { return sqrt(exp_f32(z)); }
    return sqrt(log1p_f32(exp_f32(z)));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = wg.x;
    var score: array<f32, OWN>;
    for (var i = 0u; i < OWN; i++) {
        let e = i * WG + lane;
        score[i] = NONE;
        if (e < EXPERTS) {
            let value = sqrt_softplus(z[row * EXPERTS + e]);
            p[e] = value;
            score[i] = value;
            if (BIASED == 1u) { score[i] += bias[e]; }
        }
    }
    workgroupBarrier();
    if (HASHED == 1u) {
        if (lane < USED) {
            chosen[lane] = table[ids[row] * USED + lane];
        }
    } else {
        for (var n = 0u; n < USED; n++) {
            var best = NONE;
            var at = 0u;
            for (var i = 0u; i < OWN; i++) {
                if (score[i] > best) { best = score[i]; at = i; }
            }
            let most = wg_max(best, lane);
            // Ids are small enough to be exact; the largest of the negative ones is the lowest.
            let id = u32(-wg_max(select(NONE, -f32(at * WG + lane), best == most), lane));
            if (id == at * WG + lane) { score[at] = NONE; }
            if (lane == 0u) { chosen[n] = id; }
        }
    }
    workgroupBarrier();
    if (lane < USED) {
        var sum = 0.0;
        for (var n = 0u; n < USED; n++) { sum += p[chosen[n]]; }
        // 2^-14, the smallest denominator.
        let weight = args.scale / max(sum, 6.103515625e-5) * p[chosen[lane]];
        routes[row * USED + lane] = vec2<u32>(chosen[lane], bitcast<u32>(weight));
    }
}
