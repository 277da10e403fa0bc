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
    // Whether the heads are wanted as bytes too.
    emits: u32,
}
var<immediate> args: Args;

const HEADS_AT_ONCE: u32 = 4u;
// Keys whose rows a lane asks for before it needs the first.
const KEYS_AT_ONCE: u32 = 4u;
const BLOCKS: u32 = D / 16u;
const NONE: f32 = -1e30;

var<workgroup> joined: array<vec4<f32>, HEADS_AT_ONCE * D / 4u>;
var<workgroup> team_max: array<vec4<f32>, TEAMS>;
var<workgroup> team_sum: array<vec4<f32>, TEAMS>;

@compute @workgroup_size(LANES * TEAMS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let lane = thread % LANES;
    let team = thread / LANES;
    let row = group.y;
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

    let q0 = head_part(row, first_head, lane);
    let q1 = head_part(row, first_head + 1u, lane);
    let q2 = head_part(row, first_head + 2u, lane);
    let q3 = head_part(row, first_head + 3u, lane);
    var acc0 = Part();
    var acc1 = Part();
    var acc2 = Part();
    var acc3 = Part();
    var most = vec4<f32>(NONE);
    var sum = vec4<f32>();
    // Keys behind the last one are the last one again, without weight. Where rows lie is asked for one round ahead.
    let last = max(end, 1u) - 1u;
    let first_key = begin + team;
    var place0 = key_place(row, r, oldest, in_window, min(first_key, last));
    var place1 = key_place(row, r, oldest, in_window, min(first_key + TEAMS, last));
    var place2 = key_place(row, r, oldest, in_window, min(first_key + 2u * TEAMS, last));
    var place3 = key_place(row, r, oldest, in_window, min(first_key + 3u * TEAMS, last));
    for (var key = first_key; key < end; key += TEAMS * KEYS_AT_ONCE) {
        let k0 = key_part(place0, lane);
        let k1 = key_part(place1, lane);
        let k2 = key_part(place2, lane);
        let k3 = key_part(place3, lane);
        let next = key + TEAMS * KEYS_AT_ONCE;
        place0 = key_place(row, r, oldest, in_window, min(next, last));
        place1 = key_place(row, r, oldest, in_window, min(next + TEAMS, last));
        place2 = key_place(row, r, oldest, in_window, min(next + 2u * TEAMS, last));
        place3 = key_place(row, r, oldest, in_window, min(next + 3u * TEAMS, last));
        // A vector a key, a head a value.
        let s0 = team_total(vec4<f32>(product(q0, k0), product(q1, k0), product(q2, k0), product(q3, k0)), lane);
        var s1 = team_total(vec4<f32>(product(q0, k1), product(q1, k1), product(q2, k1), product(q3, k1)), lane);
        var s2 = team_total(vec4<f32>(product(q0, k2), product(q1, k2), product(q2, k2), product(q3, k2)), lane);
        var s3 = team_total(vec4<f32>(product(q0, k3), product(q1, k3), product(q2, k3), product(q3, k3)), lane);
        s1 = select(vec4<f32>(NONE), s1, key + TEAMS < end);
        s2 = select(vec4<f32>(NONE), s2, key + 2u * TEAMS < end);
        s3 = select(vec4<f32>(NONE), s3, key + 3u * TEAMS < end);
        let now = max(most, max(max(s0, s1), max(s2, s3)));
        let keep = exp(most - now);
        let w0 = exp(s0 - now);
        let w1 = exp(s1 - now);
        let w2 = exp(s2 - now);
        let w3 = exp(s3 - now);
        most = now;
        sum = sum * keep + ((w0 + w1) + (w2 + w3));
        acc0 = more(acc0, keep.x, vec4<f32>(w0.x, w1.x, w2.x, w3.x), k0, k1, k2, k3);
        acc1 = more(acc1, keep.y, vec4<f32>(w0.y, w1.y, w2.y, w3.y), k0, k1, k2, k3);
        acc2 = more(acc2, keep.z, vec4<f32>(w0.z, w1.z, w2.z, w3.z), k0, k1, k2, k3);
        acc3 = more(acc3, keep.w, vec4<f32>(w0.w, w1.w, w2.w, w3.w), k0, k1, k2, k3);
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
            join(acc0, own.x, 0u, lane, t == 0u);
            join(acc1, own.y, 1u, lane, t == 0u);
            join(acc2, own.z, 2u, lane, t == 0u);
            join(acc3, own.w, 3u, lane, t == 0u);
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
            let value = rotated_back(joined[i] * scale, at, args.angles + row * ROT);
            q[(row * HEADS + head) * (D / 4u) + at] = value;
            if (args.emits == 1u) {
                emit(row, head * (D / 4u) + at, value, true);
            }
        } else {
            let place = ((group.y * HEADS + head) * args.splits + split) * (D / 4u + 1u);
            partial[place + at] = joined[i];
            if (at == 0u) {
                partial[place + D / 4u] = vec4<f32>(all_max[h], all_sum[h], 0.0, 0.0);
            }
        }
    }
}
