// A lane's values of a row, a head or a sum: several blocks of sixteen, block `lane + b·LANES` is number `b`.
const LANE_BLOCKS: u32 = (BLOCKS + LANES - 1u) / LANES;
alias Part = array<mat4x4<f32>, LANE_BLOCKS>;

fn head_part(row: u32, head: u32, lane: u32) -> Part {
    var part = Part();
    for (var b = 0u; b < LANE_BLOCKS; b++) {
        let block = lane + b * LANES;
        if (block < BLOCKS && head < HEADS) {
            let at = (row * HEADS + head) * (D / 4u) + 4u * block;
            part[b] = mat4x4<f32>(q[at], q[at + 1u], q[at + 2u], q[at + 3u]) * bitcast<f32>(SCALE_BITS);
        }
    }
    return part;
}

fn key_part(place: vec2<u32>, lane: u32) -> Part {
    var part = Part();
    for (var b = 0u; b < LANE_BLOCKS; b++) {
        let block = lane + b * LANES;
        if (block < BLOCKS) {
            if (place.x == 2u) {
                part[b] = arena_block(place.y, block);
            } else if (place.x == 1u) {
                part[b] = window_block(place.y, block);
            } else {
                let at = place.y / 4u + 4u * block;
                part[b] = mat4x4<f32>(kv[at], kv[at + 1u], kv[at + 2u], kv[at + 3u]);
            }
        }
    }
    return part;
}

fn product(a: Part, b: Part) -> f32 {
    var sum = vec4<f32>();
    for (var i = 0u; i < LANE_BLOCKS; i++) {
        sum += (a[i][0] * b[i][0] + a[i][1] * b[i][1]) + (a[i][2] * b[i][2] + a[i][3] * b[i][3]);
    }
    return (sum.x + sum.y) + (sum.z + sum.w);
}

// What is left of a sum, and four weighted rows.
fn more(acc: Part, keep: f32, w: vec4<f32>, a: Part, b: Part, c: Part, d: Part) -> Part {
    var sum = Part();
    for (var i = 0u; i < LANE_BLOCKS; i++) {
        sum[i] = acc[i] * keep + ((a[i] * w.x + b[i] * w.y) + (c[i] * w.z + d[i] * w.w));
    }
    return sum;
}

fn join(acc: Part, scale: f32, h: u32, lane: u32, is_first: bool) {
    for (var b = 0u; b < LANE_BLOCKS; b++) {
        let block = lane + b * LANES;
        if (block < BLOCKS) {
            for (var i = 0u; i < 4u; i++) {
                let at = h * (D / 4u) + 4u * block + i;
                let value = acc[b][i] * scale;
                if (is_first) {
                    joined[at] = value;
                } else {
                    joined[at] += value;
                }
            }
        }
    }
}
