// Scores of the indexer (§8): IH·ID^(−1/2) · Σ_h w_h · max(0, iq_h · key_c), products in integers.
// A workgroup is KEYS keys of one row times HEAD_GROUPS groups of heads.
@group(0) @binding(0) var<storage, read> index_q: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> arena: array<u32>;
@group(0) @binding(4) var<storage, read_write> scores: array<f32>;

struct Args {
    // First row of the step, and scores of a row.
    first: u32,
    width: u32,
}
var<immediate> args: Args;

const KEYS: u32 = 32u;
const HEAD_GROUPS: u32 = WG / KEYS;
const KEY_WORDS: u32 = ID / 4u;
const BLOCKS: u32 = ID / 32u;
const HEAD_UNITS: u32 = ID / 4u;

var<workgroup> keys: array<u32, KEYS * KEY_WORDS>;
var<workgroup> key_scales: array<f32, KEYS * BLOCKS>;
var<workgroup> partial: array<f32, WG>;

// Sixteen products.
fn four_products(a: vec4<u32>, b: vec4<u32>) -> i32 {
    return (dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y)) + (dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w));
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32, @builtin(num_workgroups) grid: vec3<u32>
) {
    once = grid.z;
    let row = args.first + group.y;
    let r = row_at(row);
    let visible = (r.position + 1u) / RATIO;
    let base = group.x * KEYS;
    if (base >= visible || visible <= TOP_K) {
        return;
    }
    // A word of codes is eight values: bytes of the even ones and of the odd ones, which are brought in order.
    for (var i = thread; i < KEYS * INDEX_ROW_WORDS; i += WG * once) {
        let key = i / INDEX_ROW_WORDS;
        let word = i % INDEX_ROW_WORDS;
        var codes = 0u;
        if (base + key < visible) {
            let place = arena_row(r.table, base + key);
            codes = arena[(place / PAGE_ROWS) * PAGE_WORDS + INDEX_AT + (place % PAGE_ROWS) * INDEX_ROW_WORDS + word];
        }
        let low = (codes & 0x0fu) | ((codes & 0xf0u) << 4u) | ((codes & 0xf00u) << 8u) | ((codes & 0xf000u) << 12u);
        let top = codes >> 16u;
        let high = (top & 0x0fu) | ((top & 0xf0u) << 4u) | ((top & 0xf00u) << 8u) | ((top & 0xf000u) << 12u);
        keys[2u * word * KEYS + key] = twice(low);
        keys[(2u * word + 1u) * KEYS + key] = twice(high);
    }
    for (var i = thread; i < KEYS * BLOCKS; i += WG * once) {
        let key = i / BLOCKS;
        let block = i % BLOCKS;
        var scale = 0.0;
        if (base + key < visible) {
            let place = arena_row(r.table, base + key);
            let at = (place / PAGE_ROWS) * PAGE_WORDS + INDEX_SCALES_AT + (place % PAGE_ROWS) * INDEX_SCALE_WORDS;
            scale = 0.5 * bitcast<f32>(((arena[at + block / 4u] >> (8u * (block % 4u))) & 255u) << 23u);
        }
        key_scales[block * KEYS + key] = scale;
    }
    workgroupBarrier();
    let key = thread % KEYS;
    var own: array<vec4<u32>, 2u * BLOCKS>;
    for (var i = 0u; i < 2u * BLOCKS; i++) {
        let word = 4u * i * KEYS + key;
        own[i] = vec4<u32>(keys[word], keys[word + KEYS], keys[word + 2u * KEYS], keys[word + 3u * KEYS]);
    }
    var score = 0.0;
    // Two heads at a time, so that their loads are under way together.
    for (var first = thread / KEYS; first < INDEX_HEADS; first += 2u * HEAD_GROUPS * once) {
        for (var j = 0u; j < 2u; j++) {
            let head = row * INDEX_HEADS + min(first + j * HEAD_GROUPS, INDEX_HEADS - 1u);
            let at = head * HEAD_UNITS;
            var product = 0.0;
            for (var block = 0u; block < BLOCKS; block++) {
                let sum = four_products(index_q[at + 2u * block], own[2u * block])
                    + four_products(index_q[at + 2u * block + 1u], own[2u * block + 1u]);
                let factor = bitcast<f32>(index_q[at + ID / 16u + block / 4u][block % 4u]);
                product += f32(sum) * (factor * key_scales[block * KEYS + key]);
            }
            // A head beyond the last one counts nothing.
            score += select(0.0, weights[head], first + j * HEAD_GROUPS < INDEX_HEADS) * max(0.0, product);
        }
    }
    partial[thread] = score;
    workgroupBarrier();
    if (thread < KEYS && base + key < visible) {
        var sum = 0.0;
        for (var i = 0u; i < HEAD_GROUPS; i++) {
            sum += partial[i * KEYS + key];
        }
        scores[group.y * args.width + base + key] = sum * bitcast<f32>(INDEX_SCALE_BITS);
    }
}
