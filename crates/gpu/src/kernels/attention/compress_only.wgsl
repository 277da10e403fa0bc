// Layers of ratio 128 have no indexer.
fn index_finish_role(unit: u32, lane: u32) {}
fn index_query_role(unit: u32, lane: u32) {}
fn store_index(row: u32, lane: u32, r: Row) {}

fn projected(is_index: bool, at: u32, bias: vec4<f32>) -> Candidate {
    return Candidate(comp_k[at], comp_g[at], bias);
}
