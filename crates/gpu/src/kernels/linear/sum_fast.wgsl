alias Sum = f32;

fn plus(sum: Sum, value: f32) -> Sum {
    return sum + value;
}

fn total(sum: Sum) -> f32 {
    return sum;
}
