// The shared expert's hidden values, swiglu(gate·h, up·h) of R of the ROWS rows with matrices 0 and 1, KEPT a workgroup, behind those of the routed
// ones; workgroups after these have the router's logits, where it is given. Where down takes bytes, mid is also written as such. y counts runs of R
// rows; behind the last row it is the last one again.
var<workgroup> kept: array<f32, KEPT * R>;
var<private> first_row: u32;

fn row_of(r: u32) -> u32 {
    return min(first_row + r, ROWS - 1u);
}

fn shared_stretch(stretch: u32, thread: u32) {
    let lane = thread % LANES;
    let own = thread / LANES * RPT;
    let first = stretch * KEPT + own;
    var gate_at: array<u32, R>;
    var up_at: array<u32, R>;
    for (var r = 0u; r < R; r++) {
        gate_at[r] = row_of(r) * X_STRIDE_0;
        up_at[r] = row_of(r) * X_STRIDE_1;
    }
    var gate: array<Sum, RPT * R>;
    var up: array<Sum, RPT * R>;
    sums_0(first, FF - 1u, lane, &gate_at, &gate);
    sums_1(first, FF - 1u, lane, &up_at, &up);
    for (var r = 0u; r < R; r++) {
        for (var i = 0u; i < RPT; i++) {
            let g = team_sum(total(gate[i * R + r]), thread);
            let u = team_sum(total(up[i * R + r]), thread);
            if (lane == 0u && first + i < FF) {
                kept[r * KEPT + own + i] = swiglu(g, u, bitcast<f32>(MOST_BITS), 1.0);
            }
        }
    }
    workgroupBarrier();
    for (var i = thread; i < KEPT * R; i += WG) {
        let place = stretch * KEPT + i % KEPT;
        if (place < FF) {
            mid[(ROWS * USED + row_of(i / KEPT)) * FF + place] = kept[i];
        }
    }
    EMIT
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    PREPARE
    first_row = select(group.y * R, 0u, ROWS == R);
    if (group.x < STRETCHES) {
        shared_stretch(group.x, thread);
        return;
    }
    ROUTER
}
