// The same over subgroups of SUBGROUP threads, which divides WG.
var<workgroup> wg_partial: array<f32, WG / SUBGROUP>;
// So many that a subgroup adds up what they have.
const MANY_SUBGROUPS: bool = WG / SUBGROUP > 8u && WG / SUBGROUP <= SUBGROUP;

fn wg_sum(value: f32, lane: u32) -> f32 {
    let own = subgroupAdd(value);
    if (lane % SUBGROUP == 0u) {
        wg_partial[lane / SUBGROUP] = own;
    }
    workgroupBarrier();
    var sum = 0.0;
    if (MANY_SUBGROUPS) {
        let other = lane % SUBGROUP;
        sum = subgroupAdd(select(0.0, wg_partial[min(other, WG / SUBGROUP - 1u)], other < WG / SUBGROUP));
    } else {
        for (var i = 0u; i < WG / SUBGROUP; i++) {
            sum += wg_partial[i];
        }
    }
    workgroupBarrier();
    return sum;
}

fn wg_max(value: f32, lane: u32) -> f32 {
    let own = subgroupMax(value);
    if (lane % SUBGROUP == 0u) {
        wg_partial[lane / SUBGROUP] = own;
    }
    workgroupBarrier();
    var most = wg_partial[0];
    for (var i = 1u; i < WG / SUBGROUP; i++) {
        most = max(most, wg_partial[i]);
    }
    workgroupBarrier();
    return most;
}
