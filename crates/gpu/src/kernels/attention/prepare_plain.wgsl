// Sliding layers have no compressors.
fn finish_role(unit: u32, lane: u32) {}
fn index_finish_role(unit: u32, lane: u32) {}
fn index_query_role(unit: u32, lane: u32) {}
fn store_role(unit: u32, lane: u32) {}
