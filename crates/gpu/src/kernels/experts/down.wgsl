// y = Σ down of a row's slots (matrix 0 of their experts) + down of the shared expert (matrix 1). A team owns RPT values of every row; what it has
// after the routed part stays in y, or in memory of the workgroup where that is expanded at the end.
@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    PREPARE
    BEFORE
    let lane = thread % LANES;
    let first = (group.x * TEAMS + thread / LANES) * RPT;
    // Rows one after the other.
    for (var r = 0u; r < R; r += 1u) {
        var acc: array<Sum, RPT>;
        for (var i = 0u; i < USED; i++) {
            let slot = r * USED + i;
            let base = routes[slot].x * OUT_0;
            var at = array<u32, 1>(slot * X_STRIDE_0);
            sums_0(base + first, base + OUT_0 - 1u, lane, &at, &acc);
        }
        for (var i = 0u; i < RPT; i++) {
            let sum = team_sum(total(acc[i]), thread);
            if (lane == 0u && first + i < OUT_0) {
                ROUTED_SUM = sum;
            }
        }
    }
    var at: array<u32, R>;
    for (var r = 0u; r < R; r++) {
        at[r] = (R * USED + r) * X_STRIDE_1;
    }
    var acc: array<Sum, RPT * R>;
    sums_1(first, OUT_0 - 1u, lane, &at, &acc);
    for (var r = 0u; r < R; r++) {
        for (var i = 0u; i < RPT; i++) {
            let sum = team_sum(total(acc[i * R + r]), thread);
            // The same thread wrote the routed part.
            if (lane == 0u && first + i < OUT_0) {
                ALL_SUMS
            }
        }
    }
    END
}
