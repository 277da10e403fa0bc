// Where a key's row is: 0, 1, 2 for the step's latent rows, the window, the arena, and its first word there.
fn key_place(row: u32, r: Row, oldest: u32, in_window: u32, key: u32) -> vec2<u32> {
    if (key >= in_window) {
        let c = key - in_window;
        if (args.is_selected == 1u) {
            return vec2<u32>(2u, arena_word(chosen[row * TOP_K + c]));
        }
        return vec2<u32>(2u, arena_word(arena_row(r.table, c)));
    }
    let position = oldest + key;
    if (position < r.start) {
        return vec2<u32>(1u, r.slot * SLOT_WORDS + position % RING * WINDOW_ROW_WORDS);
    }
    return vec2<u32>(0u, (r.first + position - r.start) * D);
}
