// Every byte, at most 63, less 32.
fn less_32(q: vec4<u32>) -> vec4<u32> {
    let top = vec4<u32>(0x80808080u);
    return ((q | top) - vec4<u32>(0x20202020u)) ^ top;
}
