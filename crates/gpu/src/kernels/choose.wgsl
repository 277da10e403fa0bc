// §10: the experts of a row and their weights, from its logits z, to `chosen`: by the table of its token if HASHED, else those with the largest
// p + bias, equal ones by id. All WG threads call it; the first CHOOSERS choose, and only `chosen_most` may have barriers.
const OWN: u32 = (EXPERTS + CHOOSERS - 1u) / CHOOSERS;
const NONE: f32 = -3.0e38;

var<workgroup> p: array<f32, EXPERTS>;
// (expert, bits of its weight).
var<workgroup> chosen: array<vec2<u32>, USED>;

fn sqrt_softplus(z: f32) -> f32 {
    if (z > 20.0) { return sqrt(z); }
    if (z < -20.0) { return sqrt(exp_f32(z)); }
    return sqrt(log1p_f32(exp_f32(z)));
}

fn choose(row: u32, scale: f32, thread: u32) {
    for (var e = thread; e < EXPERTS; e += WG) {
        p[e] = sqrt_softplus(z[row * EXPERTS + e]);
    }
    workgroupBarrier();
    if (thread < CHOOSERS) {
        var score: array<f32, OWN>;
        for (var i = 0u; i < OWN; i++) {
            let e = i * CHOOSERS + thread;
            score[i] = NONE;
            if (HASHED == 0u && e < EXPERTS) {
                score[i] = p[e];
                if (BIASED == 1u) { score[i] += bias[e]; }
            }
        }
        var own = 0u;
        var sum = 0.0;
        for (var n = 0u; n < USED * once; n += 1u) {
            var id = 0u;
            if (HASHED == 1u) {
                id = table[ids[row] * USED + n];
            } else {
                var best = NONE;
                var at = 0u;
                for (var i = 0u; i < OWN; i++) {
                    if (score[i] > best) { best = score[i]; at = i * CHOOSERS + thread; }
                }
                let most = chosen_most(best, thread);
                // Ids are small enough to be exact; the largest of the negative ones is the lowest.
                id = u32(-chosen_most(select(NONE, -f32(at), best == most), thread));
                for (var i = 0u; i < OWN; i++) {
                    if (id == i * CHOOSERS + thread) { score[i] = NONE; }
                }
            }
            sum += p[id];
            if (thread == n) { own = id; }
        }
        if (thread < USED) {
            // 2^-14, the smallest denominator.
            chosen[thread] = vec2<u32>(own, bitcast<u32>(scale / max(sum, 6.103515625e-5) * p[own]));
        }
    }
    workgroupBarrier();
}
