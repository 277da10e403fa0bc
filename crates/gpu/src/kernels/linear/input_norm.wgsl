// Vector i of row r of x, which begins at vector `base`, times the norm's weights. The division by the root of the mean square follows the
// product (`norm_factor`): a team sees all of x on the way.
var<private> squares: array<f32, R>;

fn x_value(r: u32, base: u32, i: u32) -> vec4<f32> {
    let value = x[base + i];
    squares[r] += dot(value, value);
    return value * norm[i];
}

fn norm_factor(r: u32, thread: u32) -> f32 {
    return 1.0 / sqrt(team_sum(squares[r], thread) / f32(X_COLS) + bitcast<f32>(EPS_BITS));
}
