// mid = swiglu(gate·h, up·h) of a slot: matrices 0 and 1 of its expert. x counts stretches of KEPT values, y slots, behind BESIDE others. Where down
// takes bytes, mid is also written as such. Others have found the slot's expert and weight, or each workgroup finds them here.
var<workgroup> kept: array<f32, KEPT>;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32) {
    once = grid.z;
    SHARED
    PREPARE
    let slot = group.y - BESIDE;
    let lane = thread % LANES;
    ROUTE
    let base = route.x * FF;
    for (var at = 0u; at < KEPT; at += TEAMS * RPT) {
        let own = at + thread / LANES * RPT;
        let first = group.x * KEPT + own;
        var gate: array<Sum, RPT>;
        var up: array<Sum, RPT>;
        sums_pair(base + first, base + FF - 1u, lane, slot / USED, &gate, &up);
        for (var i = 0u; i < RPT; i++) {
            let g = team_sum(total(gate[i]), thread);
            let u = team_sum(total(up[i]), thread);
            if (lane == 0u && first + i < FF) {
                let value = swiglu(g, u, bitcast<f32>(MOST_BITS), bitcast<f32>(route.y));
                mid[slot * FF + first + i] = value;
                kept[own + i] = value;
            }
        }
    }
    EMIT
}
