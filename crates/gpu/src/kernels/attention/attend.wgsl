// Attention of one row and HEADS_AT_ONCE heads over a part of its keys (§9). Keys are values, so that a row is loaded once: a lane holds
// blocks of sixteen of its values. TEAMS teams of LANES threads take keys in turn; their sums are joined at the end.
@group(0) @binding(0) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> kv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> frontier: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> arena: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> chosen: array<u32>;
@group(0) @binding(6) var<storage, read> sinks: array<f32>;
@group(0) @binding(7) var<storage, read_write> partial: array<vec4<f32>>;

struct Args {
    // Parts that the keys of a row are split into.
    splits: u32,
    // Whether compressed rows are the chosen ones.
    is_selected: u32,
    // First word of the angles.
    angles: u32,
    // First row.
    first: u32,
}
var<immediate> args: Args;

const HEADS_AT_ONCE: u32 = 4u;
const BLOCKS: u32 = D / 16u;
const LANE_BLOCKS: u32 = (BLOCKS + LANES - 1u) / LANES;
const LANE_UNITS: u32 = 4u * LANE_BLOCKS;
const NONE: f32 = -1e30;

var<workgroup> joined: array<vec4<f32>, HEADS_AT_ONCE * D / 4u>;
var<workgroup> team_max: array<vec4<f32>, TEAMS>;
var<workgroup> team_sum: array<vec4<f32>, TEAMS>;

// Where a lane's value `u` of 4·LANE_UNITS lies in a head, in units of four.
fn unit_at(lane: u32, u: u32) -> u32 {
    return (lane + u / 4u * LANES) * 4u + u % 4u;
}

@compute @workgroup_size(LANES * TEAMS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let lane = thread % LANES;
    let team = thread / LANES;
    let row = args.first + group.y;
    let first_head = group.x / args.splits * HEADS_AT_ONCE;
    let split = group.x % args.splits;
    let r = row_at(row);

    // The keys: those of the window, then compressed rows.
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
    let share = (total + args.splits - 1u) / args.splits;
    let begin = min(split * share, total);
    let end = min(begin + share, total);

    var heads: array<vec4<f32>, HEADS_AT_ONCE * LANE_UNITS>;
    var acc: array<vec4<f32>, HEADS_AT_ONCE * LANE_UNITS>;
    for (var h = 0u; h < HEADS_AT_ONCE; h++) {
        for (var u = 0u; u < LANE_UNITS; u++) {
            let at = unit_at(lane, u);
            if (at < D / 4u && first_head + h < HEADS) {
                heads[h * LANE_UNITS + u] = q[(row * HEADS + first_head + h) * (D / 4u) + at] * bitcast<f32>(SCALE_BITS);
            } else {
                heads[h * LANE_UNITS + u] = vec4<f32>();
            }
            acc[h * LANE_UNITS + u] = vec4<f32>();
        }
    }
    var most = vec4<f32>(NONE);
    var sum = vec4<f32>();
    for (var key = begin + team; key < end; key += TEAMS) {
        var values: array<vec4<f32>, LANE_UNITS>;
        for (var b = 0u; b < LANE_BLOCKS; b++) {
            let block = lane + b * LANES;
            var four = array<vec4<f32>, 4>();
            if (block < BLOCKS) {
                if (key >= in_window) {
                    let c = key - in_window;
                    var place = 0u;
                    if (args.is_selected == 1u) {
                        place = chosen[row * TOP_K + c];
                    } else {
                        place = arena_row(r.table, c);
                    }
                    four = arena_block(arena_word(place), block);
                } else if (oldest + key < r.start) {
                    four = window_block(r.slot * SLOT_WORDS + (oldest + key) % WINDOW * WINDOW_ROW_WORDS, block);
                } else {
                    let at = (r.first + oldest + key - r.start) * (D / 4u) + 4u * block;
                    four = array<vec4<f32>, 4>(kv[at], kv[at + 1u], kv[at + 2u], kv[at + 3u]);
                }
            }
            for (var i = 0u; i < 4u; i++) {
                values[4u * b + i] = four[i];
            }
        }
        var products = vec4<f32>();
        for (var h = 0u; h < HEADS_AT_ONCE; h++) {
            var product = vec4<f32>();
            for (var u = 0u; u < LANE_UNITS; u++) {
                product += heads[h * LANE_UNITS + u] * values[u];
            }
            products[h] = (product.x + product.y) + (product.z + product.w);
        }
        let score = team_total(products, lane);
        let now = max(most, score);
        let keep = exp(most - now);
        let weight = exp(score - now);
        most = now;
        sum = sum * keep + weight;
        for (var h = 0u; h < HEADS_AT_ONCE; h++) {
            for (var u = 0u; u < LANE_UNITS; u++) {
                acc[h * LANE_UNITS + u] = acc[h * LANE_UNITS + u] * keep[h] + weight[h] * values[u];
            }
        }
    }

    // Join the teams.
    if (lane == 0u) {
        team_max[team] = most;
        team_sum[team] = sum;
    }
    workgroupBarrier();
    var all_max = team_max[0];
    for (var t = 1u; t < TEAMS; t++) {
        all_max = max(all_max, team_max[t]);
    }
    var all_sum = vec4<f32>();
    for (var t = 0u; t < TEAMS; t++) {
        all_sum += team_sum[t] * exp(team_max[t] - all_max);
    }
    let own = exp(most - all_max);
    for (var t = 0u; t < TEAMS; t++) {
        if (team == t) {
            for (var h = 0u; h < HEADS_AT_ONCE; h++) {
                for (var u = 0u; u < LANE_UNITS; u++) {
                    let at = unit_at(lane, u);
                    if (at < D / 4u) {
                        let value = acc[h * LANE_UNITS + u] * own[h];
                        if (t == 0u) {
                            joined[h * (D / 4u) + at] = value;
                        } else {
                            joined[h * (D / 4u) + at] += value;
                        }
                    }
                }
            }
        }
        workgroupBarrier();
    }
    for (var i = thread; i < HEADS_AT_ONCE * D / 4u; i += LANES * TEAMS) {
        let h = i / (D / 4u);
        let at = i % (D / 4u);
        let head = first_head + h;
        if (head >= HEADS) {
            continue;
        }
        if (args.splits == 1u) {
            let sink = sinks[head];
            let m = max(sink, all_max[h]);
            let scale = exp(all_max[h] - m) / (exp(sink - m) + all_sum[h] * exp(all_max[h] - m));
            q[(row * HEADS + head) * (D / 4u) + at] = rotated_back(joined[i] * scale, at, args.angles + row * ROT);
        } else {
            let place = ((group.y * HEADS + head) * args.splits + split) * (D / 4u + 1u);
            partial[place + at] = joined[i];
            if (at == 0u) {
                partial[place + D / 4u] = vec4<f32>(all_max[h], all_sum[h], 0.0, 0.0);
            }
        }
    }
}
