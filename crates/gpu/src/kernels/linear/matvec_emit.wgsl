// What a workgroup has of matrix 0 is kept, and leaves as bytes too (`quantize.wgsl`), sixteen values a scale: four threads have as many.
const KEPT: u32 = TEAMS * RPT;
var<workgroup> kept: array<f32, KEPT * R>;

fn emit_kept(first: u32, thread: u32) {
    workgroupBarrier();
    for (var i = thread; i < KEPT / 4u * R; i += WG) {
        let r = i / (KEPT / 4u);
        let quad = i % (KEPT / 4u);
        let base = r * KEPT + quad / 4u * 16u;
        var most = 0.0;
        for (var j = 0u; j < 16u; j++) {
            most = max(most, abs(kept[base + j]));
        }
        let d = most / 127.0;
        let inverse = select(0.0, 1.0 / d, d > 0.0);
        var sum = 0.0;
        for (var j = 0u; j < 16u; j++) {
            sum += clamp(round(kept[base + j] * inverse), -127.0, 127.0);
        }
        let own = r * KEPT + 4u * quad;
        let v = vec4<f32>(kept[own], kept[own + 1u], kept[own + 2u], kept[own + 3u]) * inverse;
        let place = first + 4u * quad;
        if (place < OUT_0) {
            let at = 24u * (r * (WIDTH_0 / 64u) + place / 64u);
            bytes[at + place % 64u / 4u] = pack4xI8(vec4<i32>(clamp(round(v), vec4<f32>(-127.0), vec4<f32>(127.0))));
            if (quad % 4u == 0u) {
                bytes[at + 16u + place % 64u / 16u] = bitcast<u32>(d);
                bytes[at + 20u + place % 64u / 16u] = bitcast<u32>(d * sum);
            }
        }
    }
}
