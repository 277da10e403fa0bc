// Slots (row · used + i) in order of their experts, and within one in their own order. Workgroup e finds those of expert e:
// how many have a lower expert, and its own, counted by stretches of SLOTS / WG.
@group(0) @binding(0) var<storage, read> routes: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read_write> order: array<u32>;
@group(0) @binding(2) var<storage, read_write> spans: array<vec2<u32>>;
struct Args { slots: u32 }
var<immediate> args: Args;
var<workgroup> own: array<u32, WG>;
var<workgroup> lower: array<u32, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let expert = group.x;
    let stretch = (args.slots + WG - 1u) / WG;
    let first = min(thread * stretch, args.slots);
    let end = min(first + stretch, args.slots);
    var n = 0u;
    var below = 0u;
    for (var slot = first; slot < end; slot++) {
        let e = routes[slot].x;
        n += select(0u, 1u, e == expert);
        below += select(0u, 1u, e < expert);
    }
    own[thread] = n;
    lower[thread] = below;
    workgroupBarrier();
    // Inclusive prefix sums.
    for (var step = 1u; step < WG; step *= 2u) {
        var add = vec2<u32>();
        if (thread >= step) {
            add = vec2<u32>(own[thread - step], lower[thread - step]);
        }
        workgroupBarrier();
        own[thread] += add.x;
        lower[thread] += add.y;
        workgroupBarrier();
    }
    let start = lower[WG - 1u];
    if (thread == 0u) {
        spans[expert] = vec2<u32>(start, own[WG - 1u]);
    }
    var at = start + own[thread] - n;
    for (var slot = first; slot < end; slot++) {
        if (routes[slot].x == expert) {
            order[at] = slot;
            at++;
        }
    }
}
