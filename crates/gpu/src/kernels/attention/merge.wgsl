// Joins the parts of a head's attention, with its sink, and rotates the result back.
@group(0) @binding(0) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> sinks: array<f32>;
@group(0) @binding(3) var<storage, read> partial: array<vec4<f32>>;

struct Args { splits: u32, angles: u32, emits: u32 }
var<immediate> args: Args;

// Parts that are read at once: of a row there are some twenty, and a turn waits for memory.
const AT_ONCE: u32 = 8u;
const NONE: f32 = -3.0e38;

// Of each part its reference, what it counts, and the sum of its weights. Behind the last one are some that count nothing.
var<workgroup> references: array<vec4<f32>, (SPLITS_MAX + AT_ONCE) / 4u>;
var<workgroup> counted: array<vec2<f32>, SPLITS_MAX + AT_ONCE>;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) grid: vec3<u32>
) {
    once = grid.z;
    let head = group.x;
    let row = group.y;
    let is_live = lane < D / 4u;
    let at_head = min(lane, D / 4u - 1u);
    let base = (group.y * HEADS + head) * args.splits * (D / 4u + 1u);
    let sink = sinks[head];
    let end = (args.splits + AT_ONCE - 1u) / AT_ONCE * AT_ONCE;
    for (var s = lane; s < end; s += WG * once) {
        var part = vec2<f32>(NONE, 0.0);
        if (s < args.splits) {
            part = partial[base + s * (D / 4u + 1u) + D / 4u].xy;
        }
        references[s / 4u][s % 4u] = part.x;
        counted[s].y = part.y;
    }
    workgroupBarrier();
    var most = sink;
    for (var s = 0u; s < end / 4u; s += once) {
        let four = references[s];
        most = max(most, max(max(four.x, four.y), max(four.z, four.w)));
    }
    for (var s = lane; s < end; s += WG * once) {
        counted[s].x = exp(references[s / 4u][s % 4u] - most);
    }
    workgroupBarrier();
    var sum = exp(sink - most);
    var acc = vec4<f32>();
    for (var s = 0u; s < end; s += AT_ONCE * once) {
        var values: array<vec4<f32>, AT_ONCE>;
        for (var i = 0u; i < AT_ONCE; i++) {
            values[i] = partial[base + min(s + i, args.splits - 1u) * (D / 4u + 1u) + at_head];
        }
        for (var i = 0u; i < AT_ONCE; i++) {
            let part = counted[s + i];
            sum += part.y * part.x;
            acc += values[i] * part.x;
        }
    }
    let value = rotated_back(acc / sum, at_head, args.angles + row * ROT);
    if (is_live) {
        q[(row * HEADS + head) * (D / 4u) + lane] = value;
    }
    if (args.emits == 1u) {
        emit(row, head * (D / 4u) + lane, value, is_live);
    }
}
