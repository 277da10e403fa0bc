// The same where a subgroup has 32 threads.
fn pair_sum(value: f32, lane: u32) -> f32 {
    return subgroupAdd(value);
}
