// Workgroup `group` of matrix $: RPT rows a team, each with R rows of x, number r of which is ROW. Rows of group g = row / PER_GROUP_$ see group g of x.
fn product_$(group: u32, thread: u32) {
    let first = (group * TEAMS + thread / LANES) * RPT;
    let x_group = min(first, OUT_$ - 1u) / PER_GROUP_$;
    var at: array<u32, R>;
    for (var r = 0u; r < R; r++) {
        at[r] = ROW * X_STRIDE_$ + x_group * GROUP_STRIDE_$;
    }
    var acc: array<Sum, RPT * R>;
    sums_$(first, OUT_$ - 1u, thread % LANES, &at, &acc);
    for (var r = 0u; r < R; r++) {
        let factor = FACTOR;
        for (var i = 0u; i < RPT; i++) {
            let sum = team_sum(total(acc[i * R + r]), thread) * factor;
            if (thread % LANES == 0u && first + i < OUT_$) {
                out_$[ROW * WIDTH_$ + first + i] = sum;
            }
            KEEP
        }
    }
    EMIT
}
