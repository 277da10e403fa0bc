// Cuts each expert's slots into tiles of BT: (expert, first place, how many); tiles that are not needed have none. One workgroup.
@group(0) @binding(0) var<storage, read> spans: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read_write> tiles: array<vec4<u32>>;
struct Args { tiles: u32 }
var<immediate> args: Args;
var<workgroup> counts: array<u32, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) thread: u32) {
    let stretch = (EXPERTS + WG - 1u) / WG;
    let first = min(thread * stretch, EXPERTS);
    let end = min(first + stretch, EXPERTS);
    var n = 0u;
    for (var e = first; e < end; e++) {
        n += (spans[e].y + BT - 1u) / BT;
    }
    counts[thread] = n;
    workgroupBarrier();
    for (var step = 1u; step < WG; step *= 2u) {
        var add = 0u;
        if (thread >= step) {
            add = counts[thread - step];
        }
        workgroupBarrier();
        counts[thread] += add;
        workgroupBarrier();
    }
    var at = counts[thread] - n;
    for (var e = first; e < end; e++) {
        for (var done = 0u; done < spans[e].y; done += BT) {
            tiles[at] = vec4<u32>(e, spans[e].x + done, min(BT, spans[e].y - done), 0u);
            at++;
        }
    }
    for (var i = counts[WG - 1u] + thread; i < args.tiles; i += WG) {
        tiles[i] = vec4<u32>();
    }
}
