// §4 at the end of the product that makes y, by the workgroup that has KEPT values of each of its R rows: X'_t = post_t·y + Σ_s C[s][t]·X_s, then
// the products and squares of `mix_values.wgsl` for the next site, in parts of KEPT dims of each stream. Needs the products' teams.
const KEPT: u32 = TEAMS * RPT;
const PARTS: u32 = E / KEPT;
const VALUES: u32 = 24u;
// Pairs of dims, of all streams, and those that a thread has; values of a team, the sum of squares is the last of all.
const PAIRS: u32 = 2u * KEPT;
const OWN_PAIRS: u32 = (PAIRS + LANES - 1u) / LANES;
const OWN_VALUES: u32 = (VALUES + TEAMS) / TEAMS;
// Words of a pair of weights.
const WORDS: u32 = 2u - F16;

var<workgroup> kept: array<f32, KEPT * R>;
var<workgroup> expanded: array<f32, 4u * KEPT * R>;
var<workgroup> mix_here: array<f32, 20u * R>;

var<private> own_streams: vec4<f32>;
var<private> own_mix: f32;
var<private> own_weights: array<u32, WORDS * OWN_VALUES * OWN_PAIRS>;

// Asks for everything that does not depend on the product, before it: nothing is done with it yet, so that nothing waits.
fn load_streams(group: u32, thread: u32) {
    let first = group * KEPT;
    if (thread < KEPT * R) {
        let at = thread / KEPT * (4u * E) + first + thread % KEPT;
        own_streams = vec4<f32>(streams[at], streams[at + E], streams[at + 2u * E], streams[at + 3u * E]);
    }
    if (thread < 20u * R) {
        own_mix = mix[thread];
    }
    for (var k = 0u; k < OWN_VALUES; k++) {
        let value = min(k * TEAMS + thread / LANES, VALUES - 1u);
        for (var j = 0u; j < OWN_PAIRS; j++) {
            let pair = min(j * LANES + thread % LANES, PAIRS - 1u);
            let at = value * (2u * E) + pair / (KEPT / 2u) * (E / 2u) + first / 2u + pair % (KEPT / 2u);
            for (var i = 0u; i < WORDS; i++) {
                own_weights[(k * OWN_PAIRS + j) * WORDS + i] = project[at * WORDS + i];
            }
        }
    }
}

// The pair of weights in one or two words.
fn weight_pair(first: u32, last: u32) -> vec2<f32> {
    if (F16 == 1u) {
        return unpack2x16float(first);
    }
    return vec2<f32>(bitcast<f32>(first), bitcast<f32>(last));
}

// Expands what the workgroup kept.
fn expand_kept(group: u32, thread: u32) {
    if (thread < 20u * R) {
        mix_here[thread] = own_mix;
    }
    workgroupBarrier();
    // A thread has a dim of a row: it alone reads and writes it in all streams.
    if (thread < KEPT * R) {
        let r = thread / KEPT;
        let d = thread % KEPT;
        let y = kept[thread];
        for (var t = 0u; t < 4u; t++) {
            let m = 20u * r + t;
            let value = mix_here[m] * y + mix_here[m + 4u] * own_streams.x + mix_here[m + 8u] * own_streams.y
                + mix_here[m + 12u] * own_streams.z + mix_here[m + 16u] * own_streams.w;
            streams[(4u * r + t) * E + group * KEPT + d] = value;
            expanded[(4u * r + t) * KEPT + d] = value;
        }
    }
    workgroupBarrier();
    for (var r = 0u; r < R; r++) {
        var v: array<vec2<f32>, OWN_PAIRS>;
        for (var j = 0u; j < OWN_PAIRS; j++) {
            let pair = j * LANES + thread % LANES;
            if (pair < PAIRS) {
                let at = 4u * KEPT * r + 2u * pair;
                v[j] = vec2<f32>(expanded[at], expanded[at + 1u]);
            }
        }
        for (var k = 0u; k < OWN_VALUES; k++) {
            let value = k * TEAMS + thread / LANES;
            var sum = vec2<f32>(0.0);
            for (var j = 0u; j < OWN_PAIRS; j++) {
                let weight = weight_pair(
                    own_weights[(k * OWN_PAIRS + j) * WORDS], own_weights[(k * OWN_PAIRS + j) * WORDS + WORDS - 1u]);
                sum += v[j] * select(v[j], weight, value < VALUES);
            }
            let total = team_sum(sum.x + sum.y, thread);
            if (thread % LANES == 0u && value <= VALUES) {
                part[(r * PARTS + group) * (VALUES + 1u) + value] = total;
            }
        }
    }
}
