// The compressor of KV rows (§7). Projected rows are those of the step, and older ones in the frontier.
@group(0) @binding(5) var<storage, read_write> arena: array<u32>;
@group(0) @binding(6) var<storage, read> comp_k: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> comp_g: array<vec4<f32>>;

// Where the vectors lie in `norms`, in units of four values.
const APE: u32 = D / 4u;
const COMP_NORM: u32 = APE + RATIO * WIDTH / 4u;
const INDEX_APE: u32 = COMP_NORM + D / 4u;
const INDEX_NORM: u32 = INDEX_APE + RATIO * INDEX_WIDTH / 4u;

struct Window {
    number: u32,
    first: u32,
    start: u32,
    slot: u32,
    table: u32,
}

fn window_at(unit: u32) -> Window {
    let a = step[args.closing / 4u + 2u * unit];
    let b = step[args.closing / 4u + 2u * unit + 1u];
    return Window(a.x, a.y, a.z, a.w, b.x);
}

fn frontier4(at: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(frontier[at], frontier[at + 1u], frontier[at + 2u], frontier[at + 3u]));
}

fn put_frontier4(at: u32, value: vec4<f32>) {
    let bits = bitcast<vec4<u32>>(value);
    for (var i = 0u; i < 4u; i++) {
        frontier[at + i] = bits[i];
    }
}

// Candidates of a window: `k` and score of position `p`, from value 4·`i` of the row on.
fn candidate_score(w: Window, p: u32, i: u32) -> vec4<f32> {
    if (p >= w.start) {
        return comp_g[(w.first + p - w.start) * (WIDTH / 4u) + i] + norms[APE + (p % RATIO) * (WIDTH / 4u) + i];
    }
    return frontier4(w.slot * SLOT_WORDS + STATE_AT + (STATE_ROWS + p % STATE_ROWS) * WIDTH + 4u * i);
}

fn candidate_value(w: Window, p: u32, i: u32) -> vec4<f32> {
    if (p >= w.start) {
        return comp_k[(w.first + p - w.start) * (WIDTH / 4u) + i];
    }
    return frontier4(w.slot * SLOT_WORDS + STATE_AT + (p % STATE_ROWS) * WIDTH + 4u * i);
}

// The softmax-weighted sum of the candidates, each dimension on its own.
fn pooled(w: Window, lane: u32) -> vec4<f32> {
    let own = w.number * RATIO;
    // The window before contributes its first lane.
    let from_p = select(own, own - RATIO, OVERLAP == 1u && own > 0u);
    let lane_b = (WIDTH - D) / 4u;
    var most = vec4<f32>(-3.4e38);
    for (var p = from_p; p < own + RATIO; p++) {
        most = max(most, candidate_score(w, p, lane + select(0u, lane_b, p >= own)));
    }
    var sum = vec4<f32>();
    var acc = vec4<f32>();
    for (var p = from_p; p < own + RATIO; p += 4u) {
        let i = lane + select(0u, lane_b, p >= own);
        let a = exp(candidate_score(w, p, i) - most);
        let b = exp(candidate_score(w, p + 1u, i) - most);
        let c = exp(candidate_score(w, p + 2u, i) - most);
        let d = exp(candidate_score(w, p + 3u, i) - most);
        sum += (a + b) + (c + d);
        acc += (a * candidate_value(w, p, i) + b * candidate_value(w, p + 1u, i))
            + (c * candidate_value(w, p + 2u, i) + d * candidate_value(w, p + 3u, i));
    }
    return acc / sum;
}

// Pools a window that closes and writes its row to the arena.
fn finish_role(unit: u32, lane: u32) {
    let w = window_at(unit);
    let is_live = lane < D / 4u;
    var v = vec4<f32>();
    if (is_live) {
        v = pooled(w, lane);
    }
    let scale = inverse_rms(v, f32(D), lane);
    if (is_live) {
        v = rotated(v * scale * norms[COMP_NORM + lane], lane, D, args.closing_angles + unit * ROT);
    }
    let place = arena_word(arena_row(w.table, w.number));
    if (IS_NATIVE == 1u) {
        let is_rounded = 4u * lane < NOPE;
        let scale = fp8_scale(block_maximum(v, lane, 16u, is_rounded));
        if (is_rounded) {
            arena[place + lane] = e4m3_codes(v * scale_inverse(scale));
        } else if (is_live) {
            let tail = place + NOPE / 4u + 2u * (lane - NOPE / 4u);
            arena[tail] = f16_pair(v.x, v.y);
            arena[tail + 1u] = f16_pair(v.z, v.w);
        }
        let blocks = NOPE / 64u;
        if (lane < (blocks + 3u) / 4u) {
            var word = 0u;
            for (var i = 4u * lane; i < min(4u * lane + 4u, blocks); i++) {
                word |= fp8_scale(atomicLoad(&maxima[i])) << (8u * (i % 4u));
            }
            arena[place + NOPE / 4u + ROT / 2u + lane] = word;
        }
    } else if (is_live) {
        put_arena4(place + 4u * lane, v);
    }
}

fn put_arena4(at: u32, value: vec4<f32>) {
    let bits = bitcast<vec4<u32>>(value);
    for (var i = 0u; i < 4u; i++) {
        arena[at + i] = bits[i];
    }
}

// A row that a later window can still need enters the frontier, also if the last tokens are taken back.
fn store_role(row: u32, lane: u32) {
    let r = row_at(row);
    let end = r.start + r.count - min(r.start + r.count, DRAFTS_MAX);
    let open = end - end % RATIO;
    let live = select(open, open - RATIO, OVERLAP == 1u && open > 0u);
    if (r.position < live) {
        return;
    }
    let state = r.slot * SLOT_WORDS + STATE_AT + (r.position % STATE_ROWS) * WIDTH;
    for (var i = lane; i < WIDTH / 4u; i += WG) {
        put_frontier4(state + 4u * i, comp_k[row * (WIDTH / 4u) + i]);
        let score = comp_g[row * (WIDTH / 4u) + i] + norms[APE + (r.position % RATIO) * (WIDTH / 4u) + i];
        put_frontier4(state + STATE_ROWS * WIDTH + 4u * i, score);
    }
    store_index(row, lane, r);
}
