// Sixteen values of a key as they lie in memory: two units of F16, or one of FP8 codes, and in the first word of the other one their scale.
struct Stored {
    a: vec4<u32>,
    b: vec4<u32>,
}

// Of a row of the arena the first blocks are codes.
fn has_codes(place: vec2<u32>, block: u32) -> bool {
    return place.x == 2u && block < NOPE / 16u;
}

fn stored(place: vec2<u32>, block: u32) -> Stored {
    let base = place.y / 4u;
    if (place.x == 2u) {
        if (block < NOPE / 16u) {
            let word = NOPE / 4u + ROT / 2u + block / 16u;
            return Stored(arena[base + block], vec4<u32>(arena[base + word / 4u][word % 4u]));
        }
        let tail = base + NOPE / 16u + 2u * (block - NOPE / 16u);
        return Stored(arena[tail], arena[tail + 1u]);
    }
    if (place.x == 1u) {
        return Stored(frontier[base + 2u * block], frontier[base + 2u * block + 1u]);
    }
    // The step's own rows are F16 in f32.
    let at = base + 4u * block;
    return Stored(vec4<u32>(halves(kv[at]), halves(kv[at + 1u])), vec4<u32>(halves(kv[at + 2u]), halves(kv[at + 3u])));
}

fn halves(v: vec4<f32>) -> vec2<u32> {
    return vec2<u32>(pack2x16float(v.xy), pack2x16float(v.zw));
}

// Two FP8 codes, the low bytes, as F16, 2^-8 of their value: F16 has the same fields, one exponent bit more.
fn two_codes(codes: u32) -> u32 {
    let apart = (codes & 0xffu) | ((codes & 0xff00u) << 8u);
    return ((apart & 0x007f007fu) << 7u) | ((apart & 0x00800080u) << 8u);
}

// Values times four that one piece of code decodes.
const QUADS: u32 = 4u - 3u * IS_FEW;

// Decodes them, QUADS times four at a time: the units turn, so that the code of one turn does for all.
fn put_key(s: Stored, is_codes: bool, block: u32, to: u32) {
    var a = s.a;
    var b = s.b;
    let scale = select(1.0, 256.0 * bitcast<f32>(((b.x >> (8u * (block / 4u % 4u))) & 255u) << 23u), is_codes);
    for (var i = 0u; i < 4u * once; i += QUADS) {
        for (var j = 0u; j < QUADS; j++) {
            let pairs = select(a.xy, vec2<u32>(two_codes(a.x), two_codes(a.x >> 16u)), is_codes);
            keys[to + i + j] = vec4<f16>(scale * vec4<f32>(unpack2x16float(pairs.x), unpack2x16float(pairs.y)));
            a = select(vec4<u32>(a.zw, b.xy), a.yzwx, is_codes);
            b = b.zwxy;
        }
    }
}
