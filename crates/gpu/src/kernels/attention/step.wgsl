// Rows of a step, from `step: array<vec4<u32>>`.
struct Row {
    position: u32,
    sequence: u32,
    // First row and first position of its segment, and the rows it has.
    first: u32,
    start: u32,
    count: u32,
    slot: u32,
    // First word of its page table.
    table: u32,
}

fn row_at(row: u32) -> Row {
    let a = step[2u * row];
    let b = step[2u * row + 1u];
    return Row(a.x, a.y, a.z, a.w, b.x, b.y, b.z);
}

fn step_word(at: u32) -> u32 {
    return step[at / 4u][at % 4u];
}

// Arena row of compressed row `c`.
fn arena_row(table: u32, c: u32) -> u32 {
    return step_word(table + c / PAGE_ROWS) * PAGE_ROWS + c % PAGE_ROWS;
}

// First word of an arena row.
fn arena_word(row: u32) -> u32 {
    return (row / PAGE_ROWS) * PAGE_WORDS + (row % PAGE_ROWS) * ROW_WORDS;
}
