// Values become bytes times the weights of a norm. Its factor follows in the next product (`byte_factor.wgsl`), from the sum of squares of each
// sixteen: bytes are the same whatever it is.
fn weighted(value: f32, place: u32) -> f32 {
    return value * emit_norm[place];
}

fn keep_square(quad: u32, row: u32, place: u32) {
    if (quad % 4u == 0u) {
        var sum = 0.0;
        for (var j = 0u; j < 16u; j++) {
            sum += kept[4u * quad + j] * kept[4u * quad + j];
        }
        sixteens[row * (WIDTH_0 / 16u) + place / 16u] = sum;
    }
}
