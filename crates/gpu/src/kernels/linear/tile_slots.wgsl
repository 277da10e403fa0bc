// Tile y of the slots in order of their experts (`experts/sort.wgsl`); SLOTS_PER_X slots share a row of x.
fn tile_of(y: u32) -> vec3<u32> {
    return tiles[y].xyz;
}

fn x_row(place: u32) -> u32 {
    return order[place] / SLOTS_PER_X;
}

fn out_row(place: u32) -> u32 {
    return order[place];
}
