// The same where they are a subgroup.
fn chosen_most(value: f32, thread: u32) -> f32 {
    return subgroupMax(value);
}
