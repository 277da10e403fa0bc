// The token with the highest finite logit of each row, the first of equals; 0 if there is none. One workgroup a row. Logits are compared by
// their bits, so that what is no number needs no comparison of floats.
@group(0) @binding(0) var<storage, read> logits: array<u32>;
@group(0) @binding(1) var<storage, read_write> tokens: array<u32>;
struct Args { at: u32 }
var<immediate> args: Args;

var<workgroup> keys: array<u32, WG>;
var<workgroup> places: array<u32, WG>;

// A number that grows with the logit, 0 for those that are not finite.
fn key_of(bits: u32) -> u32 {
    if ((bits & 0x7f800000u) == 0x7f800000u) {
        return 0u;
    }
    // Both zeros are one.
    let value = select(bits, 0u, bits == 0x80000000u);
    return select(value | 0x80000000u, ~value, (value & 0x80000000u) != 0u);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x * WIDTH;
    var best = 0u;
    var place = 0u;
    // Four loads under way at once; a thread's places ascend, so that the first of equals stays.
    for (var i = lane; i < WIDTH; i += 4u * WG) {
        var four = vec4<u32>();
        for (var j = 0u; j < 4u; j++) {
            if (i + j * WG < WIDTH) {
                four[j] = logits[row + i + j * WG];
            } else {
                four[j] = 0x7f800000u;
            }
        }
        for (var j = 0u; j < 4u; j++) {
            let key = key_of(four[j]);
            if (key > best) {
                best = key;
                place = i + j * WG;
            }
        }
    }
    keys[lane] = best;
    places[lane] = place;
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            let other = keys[lane + half];
            let other_place = places[lane + half];
            if (other > keys[lane] || (other == keys[lane] && other_place < places[lane])) {
                keys[lane] = other;
                places[lane] = other_place;
            }
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
        tokens[args.at + group.x] = places[0];
    }
}
