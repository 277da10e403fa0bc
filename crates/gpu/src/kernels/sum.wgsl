// Sums and maxima over a workgroup of WG threads, without subgroups. Every thread gets the result.
var<workgroup> wg_partial: array<f32, WG>;

fn wg_sum(value: f32, lane: u32) -> f32 {
    wg_partial[lane] = value;
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            wg_partial[lane] += wg_partial[lane + half];
        }
        workgroupBarrier();
    }
    let sum = wg_partial[0];
    workgroupBarrier();
    return sum;
}

fn wg_max(value: f32, lane: u32) -> f32 {
    wg_partial[lane] = value;
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            wg_partial[lane] = max(wg_partial[lane], wg_partial[lane + half]);
        }
        workgroupBarrier();
    }
    let most = wg_partial[0];
    workgroupBarrier();
    return most;
}
