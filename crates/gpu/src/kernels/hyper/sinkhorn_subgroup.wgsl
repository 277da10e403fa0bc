// The same by four threads of a subgroup, one for each row of C: the first subgroup calls it.
fn column_sums(v: vec4<f32>) -> vec4<f32> {
    let pairs = v + subgroupShuffleXor(v, 1u);
    return pairs + subgroupShuffleXor(pairs, 2u);
}

fn write_mix(row: u32, thread: u32) {
    let own = thread % 4u;
    let first = 8u + 4u * own;
    let a = vec4<f32>(m[first % VALUES], m[(first + 1u) % VALUES], m[(first + 2u) % VALUES], m[(first + 3u) % VALUES]);
    let e = exp4_f32(a - max(max(a.x, a.y), max(a.z, a.w)));
    var c = e / (e.x + e.y + e.z + e.w) + bitcast<f32>(HC_EPS_BITS);
    c *= 1.0 / (column_sums(c) + bitcast<f32>(HC_EPS_BITS));
    for (var round = 1u; round < ROUNDS * once; round += 1u) {
        c *= 1.0 / ((c.x + c.y) + (c.z + c.w) + bitcast<f32>(HC_EPS_BITS));
        c *= 1.0 / (column_sums(c) + bitcast<f32>(HC_EPS_BITS));
    }
    if (thread < 4u) {
        mix[row * 20u + own] = 2.0 * sigmoid(m[(4u + own) % VALUES]);
        for (var j = 0u; j < 4u; j++) {
            mix[row * 20u + 4u + 4u * own + j] = c[j];
        }
    }
}
