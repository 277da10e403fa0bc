// What a workgroup has of matrix 0 is kept, and leaves as bytes too.
const KEPT: u32 = TEAMS * RPT;
var<workgroup> kept: array<f32, KEPT * R>;

fn emit_kept(first: u32, thread: u32) {
    workgroupBarrier();
    for (var i = thread; i < KEPT / 4u * R; i += WG) {
        let place = first + 4u * (i % (KEPT / 4u));
        let r = i / (KEPT / 4u);
        if (place < OUT_0) {
            emit_quad(i, 24u * r * (WIDTH_0 / 64u), place);
            keep_square(i, r, place);
        }
    }
}
