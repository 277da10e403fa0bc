// The products of `attend_units.wgsl` on matrix units: 16×16×16, F16 with f32 sums. `T` reads rows, the plain form columns.
alias Sums = coop_mat16x16<f32, C>;
alias Weights = coop_mat16x16<f16, A>;

fn query(at: u32) -> Weights {
    return coopLoadT<coop_mat16x16<f16, A>>(&q_halves[at], D / 2u);
}

fn head_weights(at: u32) -> Weights {
    return coopLoadT<coop_mat16x16<f16, A>>(&weights[at], WEIGHT_STRIDE);
}

fn key_columns(at: u32) -> coop_mat16x16<f16, B> {
    return coopLoad<coop_mat16x16<f16, B>>(&keys[at], KEY_STRIDE);
}

fn key_rows(at: u32) -> coop_mat16x16<f16, B> {
    return coopLoadT<coop_mat16x16<f16, B>>(&keys[at], KEY_STRIDE);
}

fn multiply(a: Weights, b: coop_mat16x16<f16, B>, c: Sums) -> Sums {
    return coopMultiplyAdd(a, b, c);
}

fn store_scores(sums: Sums, at: u32) {
    coopStoreT(sums, &scores[at / 4u], KEYS / 4u);
}

fn store_sums(sums: Sums, at: u32) {
    coopStoreT(sums, &scores[at / 4u], 4u);
}

fn store_partial(sums: Sums, at: u32, stride: u32) {
    coopStoreT(sums, &partial[at], stride);
}

fn load_sums(at: u32) -> Sums {
    return coopLoadT<coop_mat16x16<f32, C>>(&scores[at / 4u], 4u);
}

// e^HEADROOM is far below the largest F16.
const HEADROOM: f32 = 7.0;

// The largest of the values of the four threads of a head.
fn head_max(value: f32, thread: u32) -> f32 {
    let pair = max(value, subgroupShuffleXor(value, 1u));
    return max(pair, subgroupShuffleXor(pair, 2u));
}

// Whether any thread of the subgroup has it.
fn unit_any(flag: bool, unit: u32) -> bool {
    return subgroupAny(flag);
}
