// Sum over the LANES threads of a team, which are a subgroup. Every thread gets it.
fn team_total(value: vec4<f32>, lane: u32) -> vec4<f32> {
    return subgroupAdd(value);
}
