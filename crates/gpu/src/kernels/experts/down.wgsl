// y = Σ down of a row's slots (matrix 0 of their experts) + down of the shared expert (matrix 1). A team owns RPT values of every row; what it has
// after the routed part stays in y, or in memory of the workgroup where that is expanded at the end. Of ROWS rows a workgroup has R from R · y on.
@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32) {
    once = grid.z;
    PREPARE
    BEFORE
    let lane = thread % LANES;
    let first = (group.x * TEAMS + thread / LANES) * RPT;
    // Constants, if it has them all.
    let first_row = select(group.y * R, 0u, ROWS == R);
    let rows = select(min(R, ROWS - first_row), R, ROWS == R);
    // Rows one after the other.
    for (var r = 0u; r < rows; r += 1u) {
        var acc: array<Sum, RPT>;
        for (var i = 0u; NEXT_SLOT) {
            let slot = (first_row + r) * USED + i;
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
        at[r] = (ROWS * USED + min(first_row + r, ROWS - 1u)) * X_STRIDE_1;
    }
    var acc: array<Sum, RPT * R>;
    sums_1(first, OUT_0 - 1u, lane, &at, &acc);
    for (var r = 0u; r < R; r++) {
        for (var i = 0u; i < RPT; i++) {
            let sum = team_sum(total(acc[i * R + r]), thread);
            // The same thread wrote the routed part.
            if (lane == 0u && r < rows && first + i < OUT_0) {
                ALL_SUMS
            }
        }
    }
    END
}
