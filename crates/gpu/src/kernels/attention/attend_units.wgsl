// Attention of one row and HEADS_HERE of its heads on matrix units (§9): heads are the rows of the products, keys come in tiles of KEYS, decoded
// once for these heads. Weights are relative to the largest score of the first tile; only where a later score exceeds that by more than
// HEADROOM, which F16 weights bear, are the sums scaled. Queries come from `prepare.wgsl` as F16, scaled.
// Eight subgroups: in S = Q·Kᵀ each has one 16×16 tile, or some of the dimensions of one where tiles are fewer; in O = P·K each has
// UNIT_BLOCKS · 16 dimensions of all heads.
@group(0) @binding(0) var<storage, read_write> q_halves: array<vec4<f16>>;
@group(0) @binding(1) var<storage, read_write> q: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> kv: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> frontier: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> arena: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read> chosen: array<u32>;
@group(0) @binding(7) var<storage, read> sinks: array<f32>;
@group(0) @binding(8) var<storage, read_write> partial: array<vec2<f32>>;

struct Args {
    // Whether compressed rows are the chosen ones.
    is_selected: u32,
    // First word of the angles.
    angles: u32,
    // Parts that the keys of a row are split into; more than one are joined by `merge.wgsl`.
    splits: u32,
}
var<immediate> args: Args;

const WG: u32 = 256u;
const KEYS: u32 = 32u;
const BLOCKS: u32 = D / 16u;
const HEAD_TILES: u32 = HEADS_HERE / 16u;
const KEY_TILES: u32 = KEYS / 16u;
const TILES: u32 = HEAD_TILES * KEY_TILES;
// Blocks of sixteen dimensions that a subgroup sums up.
const UNIT_BLOCKS: u32 = BLOCKS / 8u;
// Rows of a tile are eight values further apart, so that those next to each other meet in different banks.
const KEY_STRIDE: u32 = D / 4u + 2u;
const WEIGHT_STRIDE: u32 = KEYS / 4u + 2u;
const NONE: f32 = -1e30;

var<workgroup> keys: array<vec4<f16>, KEYS * KEY_STRIDE>;
// Scores, in as many parts as subgroups share a tile, and in the end 256 values a subgroup.
var<workgroup> scores: array<f32, max(SHARERS * HEADS_HERE * KEYS, 2048u)>;
var<workgroup> weights: array<vec4<f16>, HEADS_HERE * WEIGHT_STRIDE>;
var<workgroup> shares: array<f32, WG>;
// By what the sums of each head are scaled, where `growth` tells that a subgroup has such heads.
var<workgroup> scales: array<f32, 64>;
var<workgroup> growth: array<vec4<u32>, 2>;
// Number of this thread in its subgroup.
var<private> lane: u32;
// Four words, though one is used: a driver lays variables out one behind the other, and matrix units want multiples of 16 bytes.
var<workgroup> tiles_here: vec4<u32>;

// Decodes KEYS keys from number `first` on; behind the last one it is the last one again.
fn load_keys(row: u32, r: Row, oldest: u32, in_window: u32, total: u32, first: u32, thread: u32) {
    for (var i = thread; i < KEYS * BLOCKS; i += WG) {
        let key = i / BLOCKS;
        let block = i % BLOCKS;
        let place = key_place(row, r, oldest, in_window, min(first + key, total - 1u));
        var values: mat4x4<f32>;
        if (place.x == 2u) {
            values = arena_block(place.y, block);
        } else if (place.x == 1u) {
            values = window_block(place.y, block);
        } else {
            let at = place.y / 4u + 4u * block;
            values = mat4x4<f32>(kv[at], kv[at + 1u], kv[at + 2u], kv[at + 3u]);
        }
        let to = key * KEY_STRIDE + 4u * block;
        keys[to] = vec4<f16>(values[0]);
        keys[to + 1u] = vec4<f16>(values[1]);
        keys[to + 2u] = vec4<f16>(values[2]);
        keys[to + 3u] = vec4<f16>(values[3]);
    }
}

// A subgroup's tile of the scores, or part of it. Where tiles are fewer than subgroups but do not divide them, some do the same.
fn score(row: u32, first_head: u32, unit: u32) {
    let head = unit % TILES / KEY_TILES * 16u;
    let key = unit % KEY_TILES * 16u;
    let part = min(unit / TILES, SHARERS - 1u);
    let first = part * (BLOCKS / SHARERS);
    var sum: Sums;
    for (var k = 0u; k < BLOCKS / SHARERS; k += SCORE_STEP) {
        for (var j = 0u; j < SCORE_STEP; j++) {
            let block = first + k + j;
            let b = key_columns(key * KEY_STRIDE + 4u * block);
            sum = multiply(query((row * HEADS + first_head + head) * (D / 2u) + 4u * block), b, sum);
        }
    }
    store_scores(sum, (part * HEADS_HERE + head) * KEYS + key);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group.x;
    let unit = thread / LANES;
    lane = thread % LANES;
    let r = row_at(row);
    let oldest = r.position + 1u - min(r.position + 1u, WINDOW);
    let in_window = r.position + 1u - oldest;
    var compressed = 0u;
    if (IS_COMPRESSED == 1u) {
        compressed = (r.position + 1u) / RATIO;
        if (args.is_selected == 1u) {
            compressed = min(compressed, TOP_K);
        }
    }
    let total = in_window + compressed;
    // The tiles of this part.
    let all_tiles = (total + KEYS - 1u) / KEYS;
    let share = (all_tiles + args.splits - 1u) / args.splits;
    let first_tile = min(group.y * share, all_tiles);
    if (thread == 0u) {
        tiles_here = vec4<u32>(min(share, all_tiles - first_tile));
    }
    // Matrix units want control flow that is known to be uniform.
    let tiles = workgroupUniformLoad(&tiles_here).x;

    // A thread has eight keys of one head: four threads a head, HEADS_HERE · 4 of them.
    let first_head = group.z * HEADS_HERE;
    let head = thread / 4u;
    let part = thread % 4u * 8u;
    var most = NONE;
    var acc: array<Sums, HEAD_TILES * UNIT_BLOCKS>;
    var sum = 0.0;
    for (var tile = 0u; tile < tiles; tile++) {
        load_keys(row, r, oldest, in_window, total, (first_tile + tile) * KEYS, thread);
        workgroupBarrier();
        score(row, first_head, unit);
        workgroupBarrier();
        var s: array<vec4<f32>, 2>;
        if (head < HEADS_HERE) {
            for (var i = 0u; i < 2u; i++) {
                let key = (first_tile + tile) * KEYS + part + 4u * i;
                var four = vec4<f32>();
                for (var p = 0u; p < SHARERS; p++) {
                    let at = (p * HEADS_HERE + head) * KEYS + part + 4u * i;
                    four += vec4<f32>(scores[at], scores[at + 1u], scores[at + 2u], scores[at + 3u]);
                }
                s[i] = select(vec4<f32>(NONE), four, vec4<u32>(key, key + 1u, key + 2u, key + 3u) < vec4<u32>(total));
            }
        }
        let eight = max(s[0], s[1]);
        let now = head_max(max(max(eight.x, eight.y), max(eight.z, eight.w)), thread);
        let is_higher = now > most + HEADROOM;
        let scale = select(1.0, exp(most - now), is_higher);
        most = select(most, now, is_higher);
        sum *= scale;
        if (head < HEADS_HERE) {
            for (var i = 0u; i < 2u; i++) {
                let rounded = vec4<f16>(exp(s[i] - most));
                weights[head * WEIGHT_STRIDE + part / 4u + i] = rounded;
                let counted = vec4<f32>(rounded);
                sum += (counted.x + counted.y) + (counted.z + counted.w);
            }
            if (thread % 4u == 0u) {
                scales[head] = scale;
            }
        }
        let grows = unit_any(is_higher && tile > 0u, unit);
        if (lane == 0u) {
            growth[unit / 4u][unit % 4u] = select(0u, 1u, grows);
        }
        let all = workgroupUniformLoad(&growth);
        if (any((all[0] | all[1]) != vec4<u32>())) {
            // Through workgroup memory: 256 values a subgroup at a time.
            for (var h = 0u; h < HEAD_TILES; h++) {
                for (var n = 0u; n < UNIT_BLOCKS; n++) {
                    store_sums(acc[h * UNIT_BLOCKS + n], 256u * unit);
                    workgroupBarrier();
                    for (var i = lane; i < 256u; i += LANES) {
                        scores[256u * unit + i] *= scales[16u * h + i / 16u];
                    }
                    workgroupBarrier();
                    acc[h * UNIT_BLOCKS + n] = load_sums(256u * unit);
                    workgroupBarrier();
                }
            }
        }
        for (var k = 0u; k < KEY_TILES; k++) {
            var a: array<Weights, HEAD_TILES>;
            for (var h = 0u; h < HEAD_TILES; h++) {
                a[h] = head_weights(16u * h * WEIGHT_STRIDE + 4u * k);
            }
            for (var n = 0u; n < UNIT_BLOCKS; n++) {
                let b = key_rows(16u * k * KEY_STRIDE + 4u * (unit * UNIT_BLOCKS + n));
                for (var h = 0u; h < HEAD_TILES; h++) {
                    acc[h * UNIT_BLOCKS + n] = multiply(a[h], b, acc[h * UNIT_BLOCKS + n]);
                }
            }
        }
        workgroupBarrier();
    }

    // What each head is divided by; a sink far above all scores leaves nothing.
    shares[thread] = sum;
    workgroupBarrier();
    let at = thread / 4u * 4u;
    let all = (shares[at] + shares[at + 1u]) + (shares[at + 2u] + shares[at + 3u]);
    workgroupBarrier();
    if (head < HEADS_HERE && thread % 4u == 0u) {
        shares[head] = select(1.0, 1.0 / (all + exp(min(sinks[first_head + head] - most, 80.0))), args.splits == 1u);
        if (args.splits > 1u) {
            let place = ((row * HEADS + first_head + head) * args.splits + group.y) * (D / 2u + 2u) + D / 2u;
            partial[place] = vec2<f32>(most, all);
        }
    }
    workgroupBarrier();
    // Through workgroup memory: 256 values a subgroup at a time.
    for (var h = 0u; h < HEAD_TILES; h++) {
        for (var n = 0u; n < UNIT_BLOCKS; n++) {
            store_sums(acc[h * UNIT_BLOCKS + n], 256u * unit);
            workgroupBarrier();
            for (var i = lane; i < 128u; i += LANES) {
                let own = 16u * h + i / 8u;
                let place = row * HEADS + first_head + own;
                let d = 16u * (unit * UNIT_BLOCKS + n) + 2u * (i % 8u);
                var v = vec2<f32>(scores[256u * unit + 2u * i], scores[256u * unit + 2u * i + 1u]) * shares[own];
                if (args.splits > 1u) {
                    partial[(place * args.splits + group.y) * (D / 2u + 2u) + d / 2u] = v;
                    continue;
                }
                if (d >= NOPE) {
                    let angle = args.angles + row * ROT + d - NOPE;
                    let c = bitcast<f32>(step_word(angle));
                    let s = bitcast<f32>(step_word(angle + 1u));
                    v = vec2<f32>(v.x * c + v.y * s, v.y * c - v.x * s);
                }
                q[(place * D + d) / 2u] = v;
            }
            workgroupBarrier();
        }
    }
}
