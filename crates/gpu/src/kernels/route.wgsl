// §10 router: from the logits z of a row the chosen experts and their weights. One workgroup a row.
// routes[row][i] = (expert, bits of its weight).
@group(0) @binding(0) var<storage, read> z: array<f32>;
@group(0) @binding(1) var<storage, read> bias: array<f32>;
@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read> table: array<u32>;
@group(0) @binding(4) var<storage, read_write> routes: array<vec2<u32>>;
struct Args { scale: f32 }
var<immediate> args: Args;

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32) {
    once = grid.z;
    choose(group.x, args.scale, thread);
    if (thread < USED) {
        routes[group.x * USED + thread] = chosen[thread];
    }
}
