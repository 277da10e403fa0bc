// Sum of the values of the threads before this one, over subgroups of SUBGROUP threads, which divides WG.
var<workgroup> sums: array<vec2<u32>, WG / SUBGROUP>;

fn sum_before(value: vec2<u32>, thread: u32) -> vec2<u32> {
    let inside = subgroupExclusiveAdd(value);
    if (thread % SUBGROUP == SUBGROUP - 1u) {
        sums[thread / SUBGROUP] = inside + value;
    }
    workgroupBarrier();
    var before = vec2<u32>();
    for (var i = thread % SUBGROUP; i < thread / SUBGROUP; i += SUBGROUP) {
        before += sums[i];
    }
    let all = subgroupAdd(before);
    workgroupBarrier();
    return all + inside;
}
