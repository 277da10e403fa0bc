// The norm's factor of each row, 1 / root of the mean square, where its weights are in the bytes already (`emit_for_norm.wgsl`).
var<private> byte_factors: array<f32, R>;

fn load_byte_factors(thread: u32) {
    for (var r = 0u; r < R; r++) {
        var sum = 0.0;
        for (var i = thread % LANES; i < X_COLS / 16u; i += LANES) {
            sum += sixteens[r * (X_COLS / 16u) + i];
        }
        byte_factors[r] = 1.0 / sqrt(team_sum(sum, thread) / f32(X_COLS) + bitcast<f32>(EPS_BITS));
    }
}
