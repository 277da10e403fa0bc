// The lattice of IQ2_XXS: eight bytes a point, in COPIES copies, so that threads of a subgroup meet in fewer banks.
var<workgroup> lattice_copy: array<vec2<u32>, 256u * COPIES>;
var<private> lattice_lane: u32;

const LATTICE_TURNS: u32 = (256u * COPIES + WG - 1u) / WG;

fn load_lattice(thread: u32) {
    // All points are asked for before the first one comes.
    var points: array<vec2<u32>, LATTICE_TURNS>;
    for (var k = 0u; k < LATTICE_TURNS; k++) {
        points[k] = lattice[min(WG * k + thread, 256u * COPIES - 1u) / COPIES];
    }
    for (var k = 0u; k < LATTICE_TURNS; k++) {
        if (WG * k + thread < 256u * COPIES) {
            lattice_copy[WG * k + thread] = points[k];
        }
    }
    lattice_lane = thread % COPIES;
    workgroupBarrier();
}

fn lattice_point(i: u32) -> vec2<u32> {
    return lattice_copy[(i & 255u) * COPIES + lattice_lane];
}

// In the second word of a group of 32 weights, bit 8e + k is the sign of element e of point k, bit 8e + 4 + k that of element 4 + e. The sign
// of element 7 makes the number of signs of a point even; its bit belongs to the scale and is replaced here.
fn lattice_signs(word: u32) -> u32 {
    var parity = word ^ (word >> 16u);
    parity ^= parity >> 8u;
    parity ^= parity >> 4u;
    return word ^ (parity << 28u);
}

// Two points, those in the lowest bytes, with the signs of points 0 and 1.
fn lattice_pair(points: u32, signs: u32) -> vec4<u32> {
    let negative = (vec4<u32>(signs) >> vec4<u32>(0u, 4u, 1u, 5u)) & vec4<u32>(0x01010101u);
    let w = vec4<u32>(lattice_point(points), lattice_point(points >> 8u));
    // −q = ~q + 1, byte by byte: magnitudes are at least 8, so that nothing carries over.
    return (w ^ (negative * 255u)) + negative;
}
