// The products of `attend_units.wgsl` without matrix units, for tests of the kernel around them: a lane has eight sums, half a row;
// the factors stay in memory until they are multiplied.
struct Sums { v: array<f32, 8> }
// 0 for queries, 1 for weights, 2 for keys by column, 3 by row; and where.
struct Factor { kind: u32, at: u32 }
alias Weights = Factor;

fn query(at: u32) -> Factor { return Factor(0u, at); }
fn head_weights(at: u32) -> Factor { return Factor(1u, at); }
fn key_columns(at: u32) -> Factor { return Factor(2u, at); }
fn key_rows(at: u32) -> Factor { return Factor(3u, at); }

fn element(f: Factor, row: u32, column: u32) -> f32 {
    if (f.kind == 0u) { return f32(q_halves[f.at + row * (D / 2u) + column / 4u][column % 4u]); }
    if (f.kind == 1u) { return f32(weights[f.at + row * WEIGHT_STRIDE + column / 4u][column % 4u]); }
    if (f.kind == 2u) { return f32(keys[f.at + column * KEY_STRIDE + row / 4u][row % 4u]); }
    return f32(keys[f.at + row * KEY_STRIDE + column / 4u][column % 4u]);
}

fn multiply(a: Factor, b: Factor, c: Sums) -> Sums {
    var m = c;
    for (var k = 0u; k < 16u; k++) {
        let left = element(a, lane / 2u, k);
        for (var j = 0u; j < 8u; j++) { m.v[j] += left * element(b, k, lane % 2u * 8u + j); }
    }
    return m;
}

fn put_score(i: u32, value: f32) { scores[i / 4u][i % 4u] = value; }

fn store_scores(sums: Sums, at: u32) {
    for (var j = 0u; j < 8u; j++) { put_score(at + lane / 2u * KEYS + lane % 2u * 8u + j, sums.v[j]); }
}

fn store_sums(sums: Sums, at: u32) {
    for (var j = 0u; j < 8u; j++) { put_score(at + lane * 8u + j, sums.v[j]); }
}

fn store_partial(sums: Sums, at: u32, stride: u32) {
    for (var j = 0u; j < 4u; j++) {
        partial[at + lane / 2u * stride + lane % 2u * 4u + j] = vec2<f32>(sums.v[2u * j], sums.v[2u * j + 1u]);
    }
}

fn load_sums(at: u32) -> Sums {
    var sums: Sums;
    for (var j = 0u; j < 8u; j++) { let i = at + lane * 8u + j; sums.v[j] = scores[i / 4u][i % 4u]; }
    return sums;
}

// So little that sums are scaled all the time.
const HEADROOM: f32 = 0.1;

fn head_max(value: f32, thread: u32) -> f32 {
    shares[thread] = value;
    workgroupBarrier();
    let at = thread / 4u * 4u;
    let most = max(max(shares[at], shares[at + 1u]), max(shares[at + 2u], shares[at + 3u]));
    workgroupBarrier();
    return most;
}

var<workgroup> seen: array<atomic<u32>, 8>;

fn unit_any(flag: bool, unit: u32) -> bool {
    if (lane == 0u) { atomicStore(&seen[unit], 0u); }
    workgroupBarrier();
    if (flag) { atomicStore(&seen[unit], 1u); }
    workgroupBarrier();
    return atomicLoad(&seen[unit]) == 1u;
}
