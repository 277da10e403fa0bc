// A lane's values of a row, a head or a sum: one block of sixteen, number `lane`.
alias Part = mat4x4<f32>;

fn head_part(row: u32, head: u32, lane: u32) -> Part {
    if (lane >= BLOCKS || head >= HEADS) {
        return Part();
    }
    let at = (row * HEADS + head) * (D / 4u) + 4u * lane;
    return mat4x4<f32>(q[at], q[at + 1u], q[at + 2u], q[at + 3u]) * bitcast<f32>(SCALE_BITS);
}

fn key_part(place: vec2<u32>, lane: u32) -> Part {
    if (lane >= BLOCKS) {
        return Part();
    }
    if (place.x == 2u) {
        return arena_block(place.y, lane);
    }
    if (place.x == 1u) {
        return window_block(place.y, lane);
    }
    let at = place.y / 4u + 4u * lane;
    return mat4x4<f32>(kv[at], kv[at + 1u], kv[at + 2u], kv[at + 3u]);
}

fn product(a: Part, b: Part) -> f32 {
    let sum = (a[0] * b[0] + a[1] * b[1]) + (a[2] * b[2] + a[3] * b[3]);
    return (sum.x + sum.y) + (sum.z + sum.w);
}

// What is left of a sum, and four weighted rows.
fn more(acc: Part, keep: f32, w: vec4<f32>, a: Part, b: Part, c: Part, d: Part) -> Part {
    return acc * keep + ((a * w.x + b * w.y) + (c * w.z + d * w.w));
}

fn join(acc: Part, scale: f32, h: u32, lane: u32, is_first: bool) {
    if (lane >= BLOCKS) {
        return;
    }
    let at = h * (D / 4u) + 4u * lane;
    if (is_first) {
        joined[at] = acc[0] * scale;
        joined[at + 1u] = acc[1] * scale;
        joined[at + 2u] = acc[2] * scale;
        joined[at + 3u] = acc[3] * scale;
    } else {
        joined[at] += acc[0] * scale;
        joined[at + 1u] += acc[1] * scale;
        joined[at + 2u] += acc[2] * scale;
        joined[at + 3u] += acc[3] * scale;
    }
}
