// Layers of ratio 128 have no indexer.
fn index_finish_role(unit: u32, lane: u32) {}
fn index_query_role(unit: u32, lane: u32) {}
fn store_index(row: u32, lane: u32, r: Row) {}
