// The products of `matmul_units.wgsl` without matrix units, for tests of the kernel around them: a lane has some sums next to each other in a row
// of x; factors stay in memory until they are multiplied.
const OWN: u32 = UNIT * UNIT / SUBGROUP;
struct Sums { v: array<f32, OWN> }
alias FactorW = u32;
alias FactorX = u32;

fn load_w(at: u32) -> FactorW {
    return at;
}

fn load_x(at: u32) -> FactorX {
    return at;
}

fn multiply(w: FactorW, x: FactorX, sums: Sums) -> Sums {
    return played(w, x, sums, thread % SUBGROUP);
}

fn played(w: FactorW, x: FactorX, sums: Sums, lane: u32) -> Sums {
    var m = sums;
    for (var j = 0u; j < OWN; j++) {
        let i = lane * OWN + j;
        for (var k = 0u; k < UNIT; k += 1u) { m.v[j] += value_x(x, i / UNIT, k) * value_w(w, i % UNIT, k); }
    }
    return m;
}

fn store_sums(sums: Sums, at: u32) {
    put_sums(sums, at, thread % SUBGROUP);
}

fn put_sums(sums: Sums, at: u32, lane: u32) {
    for (var j = 0u; j < OWN; j++) { staged[at + lane * OWN + j] = sums.v[j]; }
}
