// The sum over the LANES threads of a team, without subgroups. All threads of the workgroup call it.
var<workgroup> team_partial: array<f32, WG>;

fn team_sum(value: f32, thread: u32) -> f32 {
    team_partial[thread] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (thread % LANES < half) {
            team_partial[thread] += team_partial[thread + half];
        }
        workgroupBarrier();
    }
    let sum = team_partial[thread - thread % LANES];
    workgroupBarrier();
    return sum;
}
