// Sum of the values of the threads before this one, without subgroups.
var<workgroup> sums: array<vec2<u32>, WG>;

fn sum_before(value: vec2<u32>, thread: u32) -> vec2<u32> {
    sums[thread] = value;
    workgroupBarrier();
    var sum = value;
    for (var reach = 1u; reach < WG; reach *= 2u) {
        var more = vec2<u32>();
        if (thread >= reach) {
            more = sums[thread - reach];
        }
        workgroupBarrier();
        sum += more;
        sums[thread] = sum;
        workgroupBarrier();
    }
    return sum - value;
}
