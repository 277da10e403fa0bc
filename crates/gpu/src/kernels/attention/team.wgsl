// Sum over the LANES threads of a team, which are the workgroup. Every thread gets it.
var<workgroup> team_partial: array<vec4<f32>, LANES>;

fn team_total(value: vec4<f32>, lane: u32) -> vec4<f32> {
    team_partial[lane] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            team_partial[lane] += team_partial[lane + half];
        }
        workgroupBarrier();
    }
    let sum = team_partial[0];
    workgroupBarrier();
    return sum;
}
