// §4 at the beginning of a product of a single row, as its input: h = rmsnorm(Σ_s pre_s·X_s, norm). Every workgroup collapses the streams for itself,
// so that no dispatch has to come before. The first one has no part of the product; it leaves h, post and C for others.
const VALUES: u32 = 24u;
const SUMS: u32 = VALUES + 1u;
const PARTS: u32 = E / PART;
const QUADS: u32 = E / 4u;
const OWN: u32 = (QUADS + WG - 1u) / WG;

var<workgroup> m: array<f32, 32>;

fn collapse_here(is_first: bool, thread: u32) {
    // Everything from memory is asked for before the first barrier.
    var own_streams: array<vec4<f32>, 4u * OWN>;
    var own_norm: array<vec4<f32>, OWN>;
    for (var i = 0u; i < OWN; i++) {
        let at = min(i * WG + thread, QUADS - 1u);
        own_streams[4u * i] = streams[at];
        own_streams[4u * i + 1u] = streams[at + QUADS];
        own_streams[4u * i + 2u] = streams[at + 2u * QUADS];
        own_streams[4u * i + 3u] = streams[at + 3u * QUADS];
        own_norm[i] = site_norm[at];
    }
    let scale_here = scale[0];
    let base_here = base[thread % 4u];
    add_parts(thread);
    let inverse = 1.0 / sqrt(m[VALUES] / f32(4u * E) + bitcast<f32>(RMS_EPS_BITS));
    let pre = pre_of(m[thread % 4u] * (inverse * scale_here) + base_here, thread);
    var collapsed: array<vec4<f32>, OWN>;
    var squares = 0.0;
    for (var i = 0u; i < OWN; i++) {
        collapsed[i] = pre.x * own_streams[4u * i] + pre.y * own_streams[4u * i + 1u] + pre.z * own_streams[4u * i + 2u]
            + pre.w * own_streams[4u * i + 3u];
        if (i * WG + thread < QUADS) {
            squares += dot(collapsed[i], collapsed[i]);
        }
    }
    let normed = 1.0 / sqrt(wg_sum(squares, thread) / f32(E) + bitcast<f32>(RMS_EPS_BITS));
    for (var i = 0u; i < OWN; i++) {
        let at = i * WG + thread;
        let value = collapsed[i] * normed * own_norm[i];
        if (at < QUADS) {
            KEEP_FLOATS
            if (is_first) {
                h[at] = value;
            }
        }
        KEEP_BYTES
    }
    workgroupBarrier();
    if (is_first) {
        LEAVE_BYTES
        var own = 0.0;
        if (thread < VALUES) {
            own = m[thread] * inverse * scale[min(thread / 4u, 2u)] + base[thread];
        }
        workgroupBarrier();
        if (thread < VALUES) {
            m[thread] = own;
        }
        workgroupBarrier();
        if (thread < MIXERS) {
            write_mix(0u, thread);
        }
    }
}
