// The compressor of index rows and the indexer's query heads (§7, §8).
@group(0) @binding(8) var<storage, read> index_k: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read> index_g: array<vec4<f32>>;
@group(0) @binding(10) var<storage, read_write> index_q: array<vec4<f32>>;

// Threads of an index row, and rows that a workgroup works on at once.
const INDEX_THREADS: u32 = ID / 4u;
const INDEX_ROWS: u32 = WG / INDEX_THREADS;

var<workgroup> exchange: array<vec4<f32>, WG>;
var<workgroup> halves: array<u32, WG>;

// The Walsh–Hadamard rotation of rows of INDEX_THREADS threads.
fn hadamard(value: vec4<f32>, lane: u32) -> vec4<f32> {
    var v = vec4<f32>(value.x + value.y, value.x - value.y, value.z + value.w, value.z - value.w);
    v = vec4<f32>(v.x + v.z, v.y + v.w, v.x - v.z, v.y - v.w);
    for (var half = 1u; half < INDEX_THREADS * once; half *= 2u) {
        exchange[lane] = v;
        workgroupBarrier();
        let other = exchange[lane ^ half];
        v = select(v + other, other - v, (lane & half) != 0u);
        workgroupBarrier();
    }
    return v * bitcast<f32>(HADAMARD_BITS);
}

fn projected(is_index: bool, at: u32, bias: vec4<f32>) -> Candidate {
    if (is_index) {
        return Candidate(index_k[at], index_g[at], bias);
    }
    return Candidate(comp_k[at], comp_g[at], bias);
}

// Codes of four values in the four bytes of a word.
fn e2m1_codes(v: vec4<f32>) -> u32 {
    var rest = v;
    var codes = 0u;
    for (var i = 0u; i < 4u * once; i += 1u) {
        codes = (codes >> 8u) | (e2m1_code(rest.x) << 24u);
        rest = rest.yzwx;
    }
    return codes;
}

fn index_finish_role(unit: u32, lane: u32) {
    let w = window_at(unit);
    let is_live = has_values(lane, INDEX_THREADS);
    var v = vec4<f32>();
    if (is_live) {
        v = pooled(Compressor(true, INDEX_WIDTH / 4u, ID / 4u, INDEX_APE, INDEX_STATE_AT / 4u), w, lane);
    }
    let scale = inverse_rms(v, f32(ID), lane);
    if (is_live) {
        v = rotated(v * scale * norms[INDEX_NORM + lane], lane, ID, args.closing_angles + unit * ROT);
    }
    let row = arena_row(w.table, w.number);
    let page = (row / PAGE_ROWS) * PAGE_WORDS;
    let codes = page + INDEX_AT + (row % PAGE_ROWS) * INDEX_ROW_WORDS;
    if (IS_NATIVE == 1u) {
        v = hadamard(v, lane);
        let scale = fp4_scale(block_maximum(v, lane, 8u, is_live));
        let codes8 = e2m1_codes(v * scale_inverse(scale));
        // Eight values a word, four bits each.
        let codes4 = codes8 | (codes8 >> 4u);
        halves[lane] = (codes4 & 0xffu) | ((codes4 >> 8u) & 0xff00u);
        workgroupBarrier();
        if (is_live && lane % 2u == 0u) {
            arena[codes + lane / 2u] = halves[lane] | (halves[lane + 1u] << 16u);
        }
        if (lane < INDEX_SCALE_WORDS) {
            var word = 0u;
            for (var i = 4u * lane; i < min(4u * lane + 4u, ID / 32u); i += once) {
                word |= fp4_scale(atomicLoad(&maxima[i])) << (8u * (i % 4u));
            }
            arena[page + INDEX_SCALES_AT + (row % PAGE_ROWS) * INDEX_SCALE_WORDS + lane] = word;
        }
    } else if (is_live) {
        put_arena4(codes + 4u * lane, v);
    }
}

// Query heads of the indexer: RoPE, rotation, FP4. A rounded head becomes ID bytes of twice the code's value, then a factor for each
// 32 of them, f32.
fn index_query_role(unit: u32, lane: u32) {
    const GROUPS: u32 = (INDEX_HEADS + INDEX_ROWS - 1u) / INDEX_ROWS;
    let row = unit / GROUPS;
    let head = unit % GROUPS * INDEX_ROWS + lane / INDEX_THREADS;
    let i = lane % INDEX_THREADS;
    let is_live = head < INDEX_HEADS && lane < INDEX_ROWS * INDEX_THREADS;
    let at = (row * INDEX_HEADS + head) * INDEX_THREADS;
    var v = vec4<f32>();
    if (is_live) {
        v = rotated(index_q[at + i], i, ID, args.angles + row * ROT);
    }
    if (IS_NATIVE == 0u) {
        if (is_live) {
            index_q[at + i] = v;
        }
        return;
    }
    v = hadamard(v, lane);
    let scale = fp4_scale(block_maximum(v, lane, 8u, is_live));
    if (!is_live) {
        return;
    }
    index_q[at + i / 4u][i % 4u] = bitcast<f32>(twice(e2m1_codes(v * scale_inverse(scale))));
    // Blocks are eight threads, four blocks a unit.
    if (i % 8u == 0u) {
        index_q[at + ID / 16u + i / 32u][i / 8u % 4u] = 0.5 * scale_value(scale);
    }
}

fn store_index(row: u32, lane: u32, r: Row) {
    let state = r.slot * SLOT_WORDS + INDEX_STATE_AT + (r.position % STATE_ROWS) * INDEX_WIDTH;
    for (var i = lane; i < INDEX_WIDTH / 4u; i += WG * once) {
        put_frontier4(state + 4u * i, index_k[row * (INDEX_WIDTH / 4u) + i]);
        let score = index_g[row * (INDEX_WIDTH / 4u) + i] + norms[INDEX_APE + (r.position % RATIO) * (INDEX_WIDTH / 4u) + i];
        put_frontier4(state + STATE_ROWS * INDEX_WIDTH + 4u * i, score);
    }
}
