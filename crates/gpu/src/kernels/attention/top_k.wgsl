// The TOP_K best compressed rows of a row, ascending, as arena rows; a higher score wins, then the lower index. Rows that see no
// more than that get them all. One workgroup a row: the score of the last one chosen is found digit by digit.
@group(0) @binding(0) var<storage, read> scores: array<u32>;
@group(0) @binding(1) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> chosen: array<u32>;

struct Args { first: u32, width: u32 }
var<immediate> args: Args;

const BINS: u32 = 256u;

var<workgroup> histogram: array<atomic<u32>, BINS>;
var<workgroup> sums: array<vec2<u32>, WG>;
var<workgroup> found: vec2<u32>;

// Bits that order as the numbers do; both zeros are the same.
fn sortable(bits: u32) -> u32 {
    if (bits == 0x80000000u) {
        return bits;
    }
    return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

// Sum of the values of the threads before this one.
fn sum_before(value: vec2<u32>, thread: u32) -> vec2<u32> {
    sums[thread] = value;
    workgroupBarrier();
    var sum = value;
    for (var reach = 1u; reach < WG; reach *= 2u) {
        var more = vec2<u32>();
        if (thread >= reach) {
            more = sums[thread - reach];
        }
        workgroupBarrier();
        sum += more;
        sums[thread] = sum;
        workgroupBarrier();
    }
    return sum - value;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = args.first + group.x;
    let r = row_at(row);
    let visible = (r.position + 1u) / RATIO;
    let out = row * TOP_K;
    if (visible <= TOP_K) {
        for (var c = thread; c < visible; c += WG) {
            chosen[out + c] = arena_row(r.table, c);
        }
        return;
    }
    let base = group.x * args.width;
    // The digits found so far, and how many of those that begin with them are to be taken.
    var prefix = 0u;
    var want = TOP_K;
    for (var digit = 0u; digit < 4u; digit++) {
        let shift = 24u - 8u * digit;
        if (thread < BINS) {
            atomicStore(&histogram[thread], 0u);
        }
        workgroupBarrier();
        for (var c = thread; c < visible; c += WG) {
            let key = sortable(scores[base + c]);
            if (digit == 0u || (key >> (shift + 8u)) == prefix) {
                atomicAdd(&histogram[(key >> shift) & 255u], 1u);
            }
        }
        workgroupBarrier();
        // From the largest digit down.
        var count = 0u;
        if (thread < BINS) {
            count = atomicLoad(&histogram[BINS - 1u - thread]);
        }
        let above = sum_before(vec2<u32>(count, 0u), thread).x;
        if (thread < BINS && above < want && above + count >= want) {
            found = vec2<u32>(BINS - 1u - thread, above);
        }
        workgroupBarrier();
        prefix = (prefix << 8u) | found.x;
        want -= found.y;
        workgroupBarrier();
    }
    // Every thread has consecutive rows, so that the order is kept: it counts, then writes behind those before.
    let share = (visible + WG - 1u) / WG;
    let begin = min(thread * share, visible);
    let end = min(begin + share, visible);
    var counts = vec2<u32>();
    for (var c = begin; c < end; c++) {
        let key = sortable(scores[base + c]);
        counts += vec2<u32>(u32(key > prefix), u32(key == prefix));
    }
    let before = sum_before(counts, thread);
    var ties = before.y;
    var place = before.x + min(before.y, want);
    for (var c = begin; c < end; c++) {
        let key = sortable(scores[base + c]);
        if (key > prefix || (key == prefix && ties < want)) {
            chosen[out + place] = arena_row(r.table, c);
            place++;
        }
        ties += u32(key == prefix);
    }
}
