// Beside the slots of a single row, the shared expert: matrices 2 and 3, SHARED_KEPT values a workgroup. Its weights are on their way while other
// workgroups count.
fn shared_here(stretch: u32, thread: u32) {
    let lane = thread % LANES;
    var at = array<u32, 1>(0u);
    for (var turn = 0u; turn < SHARED_KEPT; turn += TEAMS * RPT) {
        let own = turn + thread / LANES * RPT;
        let first = stretch * SHARED_KEPT + own;
        var gate: array<Sum, RPT>;
        var up: array<Sum, RPT>;
        sums_2(first, FF - 1u, lane, &at, &gate);
        sums_3(first, FF - 1u, lane, &at, &up);
        for (var i = 0u; i < RPT; i++) {
            let g = team_sum(total(gate[i]), thread);
            let u = team_sum(total(up[i]), thread);
            if (lane == 0u && first + i < FF) {
                let value = swiglu(g, u, bitcast<f32>(SHARED_MOST_BITS), 1.0);
                mid[USED * FF + first + i] = value;
                kept[own + i] = value;
            }
        }
    }
    EMIT
}
