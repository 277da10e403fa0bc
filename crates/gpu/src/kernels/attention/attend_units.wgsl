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
    // Parts that the keys of a row are split into; more than one, and those of few rows, are joined by `merge.wgsl`.
    splits: u32,
    // Bits of 1 / splits.
    split_bits: u32,
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
// Blocks of dimensions that a subgroup multiplies of its tile of the scores. Of few rows its queries stay in registers, asked for before the keys.
const SCORE_BLOCKS: u32 = BLOCKS / SHARERS;
const KEPT: u32 = IS_FEW * SCORE_BLOCKS + 1u - IS_FEW;
const NONE: f32 = -1e30;

var<workgroup> keys: array<vec4<f16>, KEYS * KEY_STRIDE>;
// Scores, in as many parts as subgroups share a tile, and in the end 256 values a subgroup.
var<workgroup> scores: array<vec4<f32>, max(SHARERS * HEADS_HERE * KEYS, 2048u) / 4u>;
// Where each key of a tile is, as `key_place` says.
var<workgroup> places: array<vec2<u32>, KEYS>;
var<workgroup> weights: array<vec4<f16>, HEADS_HERE * WEIGHT_STRIDE>;
var<workgroup> shares: array<f32, WG>;
// By what the sums of each head are scaled, where `growth` tells that a subgroup has such heads.
var<workgroup> scales: array<f32, 64>;
var<workgroup> growth: array<vec4<u32>, 2>;
// Number of this thread in its subgroup.
var<private> lane: u32;
// Four words, though one is used: a driver lays variables out one behind the other, and matrix units want multiples of 16 bytes.
var<workgroup> tiles_here: vec4<u32>;

// Decodes KEYS keys from number `first` on; behind the last one it is the last one again. What the next turn decodes is on its way.
fn load_keys(row: u32, r: Row, oldest: u32, in_window: u32, total: u32, first: u32, thread: u32) {
    if (thread < KEYS) {
        places[thread] = key_place(row, r, oldest, in_window, min(first + thread, total - 1u));
    }
    workgroupBarrier();
    var next: Stored;
    for (var turn = 0u; turn <= UNIT_BLOCKS * once; turn += 1u) {
        let now = next;
        let i = turn * WG + thread;
        if (turn < UNIT_BLOCKS) {
            next = stored(places[i / BLOCKS], i % BLOCKS);
        }
        if (turn > 0u) {
            let before = i - WG;
            let block = before % BLOCKS;
            put_key(now, has_codes(places[before / BLOCKS], block), block, before / BLOCKS * KEY_STRIDE + 4u * block);
        }
    }
}

// Whether a subgroup has heads whose sums are to be scaled.
fn has_growth() -> bool {
    let all = workgroupUniformLoad(&growth);
    return any((all[0] | all[1]) != vec4<u32>());
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group.x;
    let unit = thread / LANES;
    lane = thread % LANES;
    once = 1u;
    // Of few rows code is cold. No axis of the grid is unused, but there are parts.
    if (IS_FEW == 1u) {
        once = min(args.splits, 1u);
    }
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
    // Rounded up. Half a tile is more than the product is off by, and divisions of integers are long.
    let share = u32((f32(all_tiles + args.splits) - 0.5) * bitcast<f32>(args.split_bits));
    let first_tile = min(group.y * share, all_tiles);
    if (thread == 0u) {
        tiles_here = vec4<u32>(min(share, all_tiles - first_tile));
    }
    // Matrix units want control flow that is known to be uniform.
    let tiles = workgroupUniformLoad(&tiles_here).x;

    // A subgroup's tile of the scores, or part of it. Where tiles are fewer than subgroups but do not divide them, some do the same.
    let first_head = group.z * HEADS_HERE;
    let score_head = unit % TILES / KEY_TILES * 16u;
    let score_key = unit % KEY_TILES * 16u;
    let score_part = min(unit / TILES, SHARERS - 1u);
    let first_query = (row * HEADS + first_head + score_head) * (D / 2u) + 4u * score_part * SCORE_BLOCKS;
    let first_key = score_key * KEY_STRIDE + 4u * score_part * SCORE_BLOCKS;
    var queries: array<Weights, KEPT>;
    if (IS_FEW == 1u) {
        for (var k = 0u; k < KEPT; k++) {
            queries[k] = query(first_query + 4u * k);
        }
    }
    // A thread has eight keys of one head: four threads a head, HEADS_HERE · 4 of them.
    let head = thread / 4u;
    let part = thread % 4u * 8u;
    var most = NONE;
    var acc: array<Sums, HEAD_TILES * UNIT_BLOCKS>;
    var sum = 0.0;
    for (var tile = 0u; tile < tiles; tile++) {
        load_keys(row, r, oldest, in_window, total, (first_tile + tile) * KEYS, thread);
        workgroupBarrier();
        var products: Sums;
        if (IS_FEW == 1u) {
            for (var k = 0u; k < KEPT; k++) {
                products = multiply(queries[k], key_columns(first_key + 4u * k), products);
            }
        } else {
            for (var k = 0u; k < SCORE_BLOCKS; k += SCORE_STEP) {
                for (var j = 0u; j < SCORE_STEP; j++) {
                    products = multiply(query(first_query + 4u * (k + j)), key_columns(first_key + 4u * (k + j)), products);
                }
            }
        }
        store_scores(products, (score_part * HEADS_HERE + score_head) * KEYS + score_key);
        workgroupBarrier();
        var low = vec4<f32>();
        var high = vec4<f32>();
        if (head < HEADS_HERE) {
            for (var p = 0u; p < SHARERS * once; p += 1u) {
                let at = ((p * HEADS_HERE + head) * KEYS + part) / 4u;
                low += scores[at];
                high += scores[at + 1u];
            }
            // What lies behind the last key counts nothing.
            if ((first_tile + tile + 1u) * KEYS > total) {
                let key = (first_tile + tile) * KEYS + part + vec4<u32>(0u, 1u, 2u, 3u);
                low = select(vec4<f32>(NONE), low, key < vec4<u32>(total));
                high = select(vec4<f32>(NONE), high, key + 4u < vec4<u32>(total));
            }
        }
        let eight = max(low, high);
        let now = head_max(max(max(eight.x, eight.y), max(eight.z, eight.w)), thread);
        let is_higher = now > most + HEADROOM;
        let scale = select(1.0, exp(most - now), is_higher);
        most = select(most, now, is_higher);
        sum *= scale;
        if (head < HEADS_HERE) {
            for (var i = 0u; i < 2u * once; i += 1u) {
                let rounded = vec4<f16>(exp(low - most));
                low = high;
                weights[head * WEIGHT_STRIDE + part / 4u + i] = rounded;
                let counted = vec4<f32>(rounded);
                sum += (counted.x + counted.y) + (counted.z + counted.w);
            }
            if (thread % 4u == 0u) {
                scales[head] = scale;
            }
        }
        if (tile > 0u) {
            let grows = unit_any(is_higher, unit);
            if (lane == 0u) {
                growth[unit / 4u][unit % 4u] = select(0u, 1u, grows);
            }
        }
        workgroupBarrier();
        if (tile > 0u && has_growth()) {
            // Through workgroup memory: 256 values a subgroup at a time.
            for (var h = 0u; h < HEAD_TILES; h++) {
                for (var n = 0u; n < UNIT_BLOCKS; n++) {
                    store_sums(acc[h * UNIT_BLOCKS + n], 256u * unit);
                    workgroupBarrier();
                    for (var i = lane; i < 64u; i += LANES) {
                        scores[64u * unit + i] *= scales[16u * h + i / 4u];
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
    // Of few rows always, so that there is one way.
    if (IS_FEW == 1u || args.splits > 1u) {
        let stride = args.splits * (D / 2u + 2u);
        let first = (row * HEADS + first_head) * stride + group.y * (D / 2u + 2u);
        if (head < HEADS_HERE && thread % 4u == 0u) {
            partial[first + head * stride + D / 2u] = vec2<f32>(most, all);
        }
        for (var h = 0u; h < HEAD_TILES; h++) {
            for (var n = 0u; n < UNIT_BLOCKS; n++) {
                store_partial(acc[h * UNIT_BLOCKS + n], first + 16u * h * stride + 8u * (unit * UNIT_BLOCKS + n), stride);
            }
        }
        return;
    }
    workgroupBarrier();
    if (head < HEADS_HERE && thread % 4u == 0u) {
        shares[head] = 1.0 / (all + exp(min(sinks[first_head + head] - most, 80.0)));
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
                let four = scores[64u * unit + i / 2u];
                var v = select(four.xy, four.zw, i % 2u == 1u) * shares[own];
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
