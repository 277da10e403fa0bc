// The TOP_K best compressed rows of a row, ascending, as arena rows; a higher score wins, then the lower index. Rows that see no
// more than that get them all. One workgroup a row: the score of the last one chosen is found digit by digit.
// A row of scores is a multiple of four.
@group(0) @binding(0) var<storage, read> scores: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> chosen: array<u32>;

struct Args { first: u32, width: u32 }
var<immediate> args: Args;

// Three digits: eleven bits, eleven, ten. The first one holds sign, exponent and two bits more, so that threads seldom meet.
const BINS: u32 = 2048u;
const THREAD_BINS: u32 = BINS / WG;

var<workgroup> histogram: array<atomic<u32>, BINS>;
var<workgroup> found: vec2<u32>;

// Bits that order as the numbers do; both zeros are the same.
fn sortable(bits: u32) -> u32 {
    if (bits == 0x80000000u) {
        return bits;
    }
    return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32, @builtin(num_workgroups) grid: vec3<u32>
) {
    once = grid.z;
    let row = args.first + group.x;
    let r = row_at(row);
    let visible = (r.position + 1u) / RATIO;
    let out = row * TOP_K;
    if (visible <= TOP_K) {
        for (var c = thread; c < visible; c += WG * once) {
            chosen[out + c] = arena_row(r.table, c);
        }
        return;
    }
    let base = group.x * args.width / 4u;
    let units = (visible + 3u) / 4u;
    // The digits found so far, and how many of those that begin with them are to be taken.
    var prefix = 0u;
    var want = TOP_K;
    for (var digit = 0u; digit < 3u * once; digit += 1u) {
        let shift = select(21u - 11u * digit, 0u, digit == 2u);
        let bits = select(11u, 10u, digit == 2u);
        for (var i = thread; i < BINS * once; i += WG) {
            atomicStore(&histogram[i], 0u);
        }
        workgroupBarrier();
        for (var u = thread; u < units; u += WG * once) {
            var four = scores[base + u];
            for (var j = 0u; j < 4u * once; j += 1u) {
                let key = sortable(four.x);
                four = four.yzwx;
                if (4u * u + j < visible && (digit == 0u || (key >> (shift + bits)) == prefix)) {
                    atomicAdd(&histogram[(key >> shift) & ((1u << bits) - 1u)], 1u);
                }
            }
        }
        workgroupBarrier();
        // From the largest digit down.
        let top = BINS - 1u - thread * THREAD_BINS;
        var count = 0u;
        for (var j = 0u; j < THREAD_BINS * once; j += 1u) {
            count += atomicLoad(&histogram[top - j]);
        }
        var above = sum_before(vec2<u32>(count, 0u), thread).x;
        if (above < want && above + count >= want) {
            for (var j = 0u; j < THREAD_BINS * once; j += 1u) {
                let own = atomicLoad(&histogram[top - j]);
                if (above < want && above + own >= want) {
                    found = vec2<u32>(top - j, above);
                }
                above += own;
            }
        }
        workgroupBarrier();
        prefix = (prefix << bits) | found.x;
        want -= found.y;
        workgroupBarrier();
    }
    // Every thread has consecutive rows, so that the order is kept: it counts, then writes behind those before.
    let share = (units + WG - 1u) / WG;
    let begin = min(thread * share, units);
    let end = min(begin + share, units);
    var counts = vec2<u32>();
    for (var u = begin; u < end; u += once) {
        var four = scores[base + u];
        for (var j = 0u; j < 4u * once; j += 1u) {
            let key = sortable(four.x);
            four = four.yzwx;
            let is_live = 4u * u + j < visible;
            counts += vec2<u32>(u32(is_live && key > prefix), u32(is_live && key == prefix));
        }
    }
    let before = sum_before(counts, thread);
    var ties = before.y;
    var place = before.x + min(before.y, want);
    for (var u = begin; u < end; u += once) {
        var four = scores[base + u];
        for (var j = 0u; j < 4u * once; j += 1u) {
            let key = sortable(four.x);
            four = four.yzwx;
            let is_live = 4u * u + j < visible;
            if (is_live && (key > prefix || (key == prefix && ties < want))) {
                chosen[out + place] = arena_row(r.table, 4u * u + j);
                place++;
            }
            ties += u32(is_live && key == prefix);
        }
    }
}
