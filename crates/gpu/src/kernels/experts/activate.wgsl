// hidden = swiglu(g, u) of all slots, or of the shared expert's rows. y is the slot.
@group(0) @binding(0) var<storage, read> g: array<f32>;
@group(0) @binding(1) var<storage, read> u: array<f32>;
@group(0) @binding(2) var<storage, read> routes: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> hidden: array<HIDDEN>;
struct Args { most: f32 }
var<immediate> args: Args;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let slot = group.y;
    let i = group.x * WG + thread;
    if (i < FF) {
        let at = slot * FF + i;
        var weight = 1.0;
        if (ROUTED == 1u) {
            weight = bitcast<f32>(routes[slot].y);
        }
        hidden[at] = HIDDEN(swiglu(g[at], u[at], args.most, weight));
    }
}
