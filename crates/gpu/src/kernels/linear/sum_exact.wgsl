// Sums that keep what rounding drops in y.
alias Sum = vec2<f32>;

fn plus(sum: Sum, value: f32) -> Sum {
    let next = sum.x + value;
    let part = next - sum.x;
    return Sum(next, sum.y + ((sum.x - (next - part)) + (value - part)));
}

fn total(sum: Sum) -> f32 {
    return sum.x + sum.y;
}
