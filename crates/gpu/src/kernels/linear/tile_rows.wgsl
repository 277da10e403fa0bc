// Tile y of all rows in order: (matrix of the stack, first place, how many).
fn tile_of(y: u32) -> vec3<u32> {
    let first = y * BT;
    return vec3<u32>(0u, first, min(BT, args.rows - first));
}

fn x_row(place: u32) -> u32 {
    return place;
}

fn out_row(place: u32) -> u32 {
    return place;
}
