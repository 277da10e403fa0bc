// Copies an entry of a buffer to another one. Units are 16 bytes.
@group(0) @binding(0) var<storage, read_write> data: array<vec4<u32>>;
struct Args { source: u32, to: u32, count: u32 }
var<immediate> args: Args;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < args.count) {
        data[args.to + id.x] = data[args.source + id.x];
    }
}
