// Input of the draft block (§12): the embedding of each row's token, and each of its streams, normed. One workgroup each, the embedding's
// is the last of a row.
@group(0) @binding(0) var<storage, read> embedded: array<f32>;
@group(0) @binding(1) var<storage, read> streams: array<f32>;
@group(0) @binding(2) var<storage, read> token_norm: array<f32>;
@group(0) @binding(3) var<storage, read> stream_norm: array<f32>;
@group(0) @binding(4) var<storage, read_write> normed_token: array<f32>;
@group(0) @binding(5) var<storage, read_write> normed_streams: array<f32>;
struct Args { eps: f32 }
var<immediate> args: Args;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y;
    let is_token = group.x == STREAMS;
    // An embedding is in all streams of its row.
    let first = (row * STREAMS + select(group.x, 0u, is_token)) * E;
    var squares = 0.0;
    for (var i = lane; i < E; i += WG) {
        var value = 0.0;
        if (is_token) {
            value = embedded[first + i];
        } else {
            value = streams[first + i];
        }
        squares += value * value;
    }
    let factor = 1.0 / sqrt(wg_sum(squares, lane) / f32(E) + args.eps);
    for (var i = lane; i < E; i += WG) {
        if (is_token) {
            normed_token[row * E + i] = embedded[first + i] * factor * token_norm[i];
        } else {
            normed_streams[first + i] = streams[first + i] * factor * stream_norm[i];
        }
    }
}
