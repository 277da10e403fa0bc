// Sum over the 32 threads that share lane / 32; the first of them gets it.
fn pair_sum(value: f32, lane: u32) -> f32 {
    sums[lane] = value;
    workgroupBarrier();
    for (var half = 16u; half > 0u; half /= 2u) {
        if (lane % 32u < half) { sums[lane] += sums[lane + half]; }
        workgroupBarrier();
    }
    let total = sums[lane - lane % 32u];
    workgroupBarrier();
    return total;
}
