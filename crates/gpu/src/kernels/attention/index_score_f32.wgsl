// The same for rows that are not rounded.
@group(0) @binding(0) var<storage, read> index_q: array<f32>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> arena: array<u32>;
@group(0) @binding(4) var<storage, read_write> scores: array<f32>;

struct Args { first: u32, width: u32 }
var<immediate> args: Args;

const KEYS: u32 = 32u;
const HEAD_GROUPS: u32 = WG / KEYS;

var<workgroup> partial: array<f32, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = args.first + group.y;
    let r = row_at(row);
    let visible = (r.position + 1u) / RATIO;
    let base = group.x * KEYS;
    if (base >= visible || visible <= TOP_K) {
        return;
    }
    let key = thread % KEYS;
    var score = 0.0;
    if (base + key < visible) {
        let place = arena_row(r.table, base + key);
        let at = (place / PAGE_ROWS) * PAGE_WORDS + INDEX_AT + (place % PAGE_ROWS) * INDEX_ROW_WORDS;
        for (var head = thread / KEYS; head < INDEX_HEADS; head += HEAD_GROUPS) {
            let q = (row * INDEX_HEADS + head) * ID;
            var product = vec4<f32>();
            for (var i = 0u; i < ID; i += 4u) {
                let a = vec4<f32>(index_q[q + i], index_q[q + i + 1u], index_q[q + i + 2u], index_q[q + i + 3u]);
                product += a * bitcast<vec4<f32>>(vec4<u32>(arena[at + i], arena[at + i + 1u], arena[at + i + 2u], arena[at + i + 3u]));
            }
            score += weights[row * INDEX_HEADS + head] * max(0.0, (product.x + product.y) + (product.z + product.w));
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
