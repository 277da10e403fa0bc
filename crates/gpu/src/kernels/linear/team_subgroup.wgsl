// The same where a team is a subgroup.
fn team_sum(value: f32, thread: u32) -> f32 {
    return subgroupAdd(value);
}
