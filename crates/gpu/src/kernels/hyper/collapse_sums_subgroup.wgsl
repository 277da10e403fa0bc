// The same by subgroups of SUBGROUP threads, each with a value: fewer barriers, and less code.
const OWN_PARTS: u32 = (PARTS + SUBGROUP - 1u) / SUBGROUP;

fn add_parts(thread: u32) {
    for (var value = thread / SUBGROUP; value < SUMS; value += WG / SUBGROUP) {
        var sum = 0.0;
        for (var k = 0u; k < OWN_PARTS; k++) {
            let p = k * SUBGROUP + thread % SUBGROUP;
            sum += select(0.0, part[min(p, PARTS - 1u) * SUMS + value], p < PARTS);
        }
        let all = subgroupAdd(sum);
        if (thread % SUBGROUP == 0u) {
            m[value] = all;
        }
    }
    workgroupBarrier();
}

fn pre_of(gate: f32, thread: u32) -> vec4<f32> {
    let own = sigmoid(gate) + bitcast<f32>(HC_EPS_BITS);
    return vec4<f32>(subgroupShuffle(own, 0u), subgroupShuffle(own, 1u), subgroupShuffle(own, 2u), subgroupShuffle(own, 3u));
}
