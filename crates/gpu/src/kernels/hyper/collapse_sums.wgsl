// m = the sums of the parts, which are 32 threads apart.
const GROUPS: u32 = WG / 32u;
const OWN_PARTS: u32 = (PARTS + GROUPS - 1u) / GROUPS;
var<workgroup> parts: array<f32, WG>;
var<workgroup> pre_here: vec4<f32>;

fn add_parts(thread: u32) {
    let value = thread % 32u;
    let group = thread / 32u;
    var sum = 0.0;
    if (value < SUMS) {
        for (var p = 0u; p < OWN_PARTS; p++) {
            let own = part[min(p * GROUPS + group, PARTS - 1u) * SUMS + value];
            sum += select(0.0, own, p * GROUPS + group < PARTS);
        }
    }
    parts[thread] = sum;
    workgroupBarrier();
    if (thread < SUMS) {
        var all = 0.0;
        for (var g = 0u; g < GROUPS; g++) {
            all += parts[g * 32u + thread];
        }
        m[thread] = all;
    }
    workgroupBarrier();
}

// What the streams are weighted with, of four threads' gates.
fn pre_of(gate: f32, thread: u32) -> vec4<f32> {
    if (thread < 4u) {
        pre_here[thread] = sigmoid(gate) + bitcast<f32>(HC_EPS_BITS);
    }
    workgroupBarrier();
    return pre_here;
}
