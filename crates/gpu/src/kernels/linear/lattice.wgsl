// The lattice of IQ2_XXS: eight bytes a point, in COPIES copies, so that threads of a subgroup meet in fewer banks.
var<workgroup> lattice_copy: array<vec2<u32>, 256u * COPIES>;
var<private> lattice_lane: u32;

fn load_lattice(thread: u32) {
    for (var i = thread; i < 256u * COPIES; i += WG) {
        lattice_copy[i] = lattice[i / COPIES];
    }
    lattice_lane = thread % COPIES;
    workgroupBarrier();
}

fn lattice_point(i: u32) -> vec2<u32> {
    return lattice_copy[(i & 255u) * COPIES + lattice_lane];
}

// 32 weights. In `signs`, bit 8e + k is the sign of element e of point k, bit 8e + 4 + k that of element 4 + e; the sign of element 7
// makes the number of signs of a point even, and its bit belongs to the scale.
fn lattice_points(points: u32, word: u32) -> array<vec4<u32>, 2> {
    var parity = word ^ (word >> 16u);
    parity ^= parity >> 8u;
    parity ^= parity >> 4u;
    let signs = vec4<u32>(word ^ (parity << 28u));
    let a = lattice_point(points);
    let b = lattice_point(points >> 8u);
    let c = lattice_point(points >> 16u);
    let d = lattice_point(points >> 24u);
    let ones = vec4<u32>(0x01010101u);
    let first = (signs >> vec4<u32>(0u, 4u, 1u, 5u)) & ones;
    let second = (signs >> vec4<u32>(2u, 6u, 3u, 7u)) & ones;
    // −q = ~q + 1, byte by byte: magnitudes are at least 8, so that nothing carries over.
    return array<vec4<u32>, 2>(
        (vec4<u32>(a, b) ^ (first * 255u)) + first, (vec4<u32>(c, d) ^ (second * 255u)) + second);
}
