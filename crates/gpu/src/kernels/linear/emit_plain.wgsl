// Values become bytes as they are.
fn weighted(value: f32, place: u32) -> f32 {
    return value;
}

fn keep_square(quad: u32, row: u32, place: u32) {}
