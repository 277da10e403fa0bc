// mid = swiglu(gate·h, up·h) of a slot: matrices 0 and 1 of its expert, 2 and 3 of the shared one.
// x counts stretches of MID = 32 values, y slots; the last y is the shared expert, with all R rows. Where down takes bytes,
// mid is also written as such, a block a stretch.
var<workgroup> mid_here: array<f32, MID>;
var<workgroup> shared_here: array<f32, MID * R>;

fn finish_mid(slot: u32, i: u32, g: f32, u: f32, most: f32, weight: f32, is_first: bool) {
    if (is_first && i < FF) {
        let value = swiglu(g, u, most, weight);
        mid[slot * FF + i] = value;
        mid_here[i % MID] = value;
    }
}

fn routed(slot: u32, stretch: u32, thread: u32) {
    let route = routes[slot];
    let lane = thread % LANES;
    for (var at = 0u; at < MID; at += TEAMS * RPT) {
        let first = stretch * MID + at + thread / LANES * RPT;
        let base = route.x * FF;
        var gate_at = array<u32, 1>(slot / USED * X_STRIDE_0);
        var up_at = array<u32, 1>(slot / USED * X_STRIDE_1);
        var gate: array<Sum, RPT>;
        var up: array<Sum, RPT>;
        sums_0(base + first, base + FF - 1u, lane, &gate_at, &gate);
        sums_1(base + first, base + FF - 1u, lane, &up_at, &up);
        for (var i = 0u; i < RPT; i++) {
            let g = team_sum(total(gate[i]), thread);
            let u = team_sum(total(up[i]), thread);
            finish_mid(slot, first + i, g, u, args.most, bitcast<f32>(route.y), lane == 0u);
        }
    }
    finish_stretch(slot, stretch, thread);
}

fn shared_expert(stretch: u32, thread: u32) {
    let lane = thread % LANES;
    for (var at = 0u; at < MID; at += TEAMS * RPT) {
        let own = at + thread / LANES * RPT;
        let first = stretch * MID + own;
        var gate_at: array<u32, R>;
        var up_at: array<u32, R>;
        for (var r = 0u; r < R; r++) {
            gate_at[r] = r * X_STRIDE_2;
            up_at[r] = r * X_STRIDE_3;
        }
        var gate: array<Sum, RPT * R>;
        var up: array<Sum, RPT * R>;
        sums_2(first, FF - 1u, lane, &gate_at, &gate);
        sums_3(first, FF - 1u, lane, &up_at, &up);
        for (var r = 0u; r < R; r++) {
            for (var i = 0u; i < RPT; i++) {
                let g = team_sum(total(gate[i * R + r]), thread);
                let u = team_sum(total(up[i * R + r]), thread);
                if (lane == 0u && first + i < FF) {
                    shared_here[r * MID + own + i] = swiglu(g, u, args.shared_most, 1.0);
                }
            }
        }
    }
    workgroupBarrier();
    for (var r = 0u; r < R; r += 1u) {
        if (thread < MID && stretch * MID + thread < FF) {
            let value = shared_here[r * MID + thread];
            mid[(R * USED + r) * FF + stretch * MID + thread] = value;
            mid_here[thread] = value;
        }
        finish_stretch(R * USED + r, stretch, thread);
    }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    PREPARE
    if (group.y < R * USED) {
        routed(group.y, group.x, thread);
    } else {
        shared_expert(group.x, thread);
    }
}
