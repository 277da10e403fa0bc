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

fn put_frontier4(at: u32, value: vec4<f32>) {
    frontier[at / 4u] = bitcast<vec4<u32>>(value);
}

// Of the KV rows or of the index rows: width of the projected rows, of the compressed ones, where the biases and the state begin, all in units of
// four values.
struct Compressor {
    is_index: bool,
    width: u32,
    own_width: u32,
    ape: u32,
    state: u32,
}

// Its score is the sum of two, which waits until the next candidate is asked for.
struct Candidate {
    k: vec4<f32>,
    g: vec4<f32>,
    bias: vec4<f32>,
}

// The candidate of position `p`, from value 4·`i` of the row on.
fn candidate(c: Compressor, w: Window, p: u32, i: u32) -> Candidate {
    if (p >= w.start) {
        return projected(c.is_index, (w.first + p - w.start) * c.width + i, norms[c.ape + (p % RATIO) * c.width + i]);
    }
    let at = w.slot * (SLOT_WORDS / 4u) + c.state + (p % STATE_ROWS) * c.width + i;
    return Candidate(bitcast<vec4<f32>>(frontier[at]), bitcast<vec4<f32>>(frontier[at + STATE_ROWS * c.width]), vec4<f32>());
}

// The softmax-weighted sum of the candidates, each dimension on its own. They are read twice, by the same code: for the largest scores, and for
// the sums. Two at a time, so that loads are under way but the code is short; sums of two wait for the next two, where candidates may be many.
fn pooled(c: Compressor, w: Window, lane: u32) -> vec4<f32> {
    let own = w.number * RATIO;
    // The window before contributes its first lane.
    let from_p = select(own, own - RATIO, OVERLAP == 1u && own > 0u);
    var most = vec4<f32>(-3.4e38);
    var sum = vec4<f32>();
    var acc = vec4<f32>();
    for (var turn = 0u; turn < 2u * once; turn += 1u) {
        var half_sum = vec4<f32>();
        var half_acc = vec4<f32>();
        for (var p = from_p; p < own + RATIO; p += 2u * once) {
            let i = lane + select(0u, c.width - c.own_width, p >= own);
            let one = candidate(c, w, p, i);
            let two = candidate(c, w, p + 1u, i);
            let first = one.g + one.bias;
            let second = two.g + two.bias;
            if (turn == 0u) {
                most = max(most, max(first, second));
                continue;
            }
            let a = exp(first - most);
            let b = exp(second - most);
            if (c.is_index) {
                sum = sum + a + b;
                acc = acc + a * one.k + b * two.k;
                continue;
            }
            half_sum += a + b;
            half_acc += a * one.k + b * two.k;
            if (p % 4u == 2u) {
                sum += half_sum;
                acc += half_acc;
                half_sum = vec4<f32>();
                half_acc = vec4<f32>();
            }
        }
    }
    return acc / sum;
}

// Pools a window that closes and writes its row to the arena.
fn finish_role(unit: u32, lane: u32) {
    let w = window_at(unit);
    let is_live = has_values(lane, D / 4u);
    var v = vec4<f32>();
    if (is_live) {
        v = pooled(Compressor(false, WIDTH / 4u, D / 4u, APE, STATE_AT / 4u), w, lane);
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
            var codes = 0u;
            for (var i = 0u; i < 4u * once; i += 1u) {
                codes = (codes >> 8u) | (e4m3_code(v.x * scale_inverse(scale)) << 24u);
                v = v.yzwx;
            }
            arena[place + lane] = codes;
        } else if (is_live) {
            let tail = place + NOPE / 4u + 2u * (lane - NOPE / 4u);
            let pairs = f16_pairs(v);
            arena[tail] = pairs.x;
            arena[tail + 1u] = pairs.y;
        }
        let blocks = NOPE / 64u;
        if (lane < (blocks + 3u) / 4u) {
            var word = 0u;
            for (var i = 4u * lane; i < min(4u * lane + 4u, blocks); i += once) {
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
    for (var i = lane; i < WIDTH / 4u; i += WG * once) {
        put_frontier4(state + 4u * i, comp_k[row * (WIDTH / 4u) + i]);
        let score = comp_g[row * (WIDTH / 4u) + i] + norms[APE + (r.position % RATIO) * (WIDTH / 4u) + i];
        put_frontier4(state + STATE_ROWS * WIDTH + 4u * i, score);
    }
    store_index(row, lane, r);
}
