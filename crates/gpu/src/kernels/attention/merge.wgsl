// Joins the parts of a head's attention, with its sink, and rotates the result back.
@group(0) @binding(0) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> sinks: array<f32>;
@group(0) @binding(3) var<storage, read> partial: array<vec4<f32>>;

struct Args { splits: u32, angles: u32, emits: u32 }
var<immediate> args: Args;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let row = group.y;
    let is_live = lane < D / 4u;
    let at_head = min(lane, D / 4u - 1u);
    let base = (group.y * HEADS + head) * args.splits * (D / 4u + 1u);
    let sink = sinks[head];
    var most = sink;
    for (var s = 0u; s < args.splits; s++) {
        most = max(most, partial[base + s * (D / 4u + 1u) + D / 4u].x);
    }
    var sum = exp(sink - most);
    var acc = vec4<f32>();
    for (var s = 0u; s < args.splits; s++) {
        let at = base + s * (D / 4u + 1u);
        let part = partial[at + D / 4u];
        let weight = exp(part.x - most);
        sum += part.y * weight;
        acc += partial[at + at_head] * weight;
    }
    let value = rotated_back(acc / sum, at_head, args.angles + row * ROT);
    if (is_live) {
        q[(row * HEADS + head) * (D / 4u) + lane] = value;
    }
    if (args.emits == 1u) {
        emit(row, head * (D / 4u) + lane, value, is_live);
    }
}
