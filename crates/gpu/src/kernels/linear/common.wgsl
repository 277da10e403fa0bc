// Weights come in pieces of 16 (floats: 8) as f32, `unpack_$(row, c)`, or in chunks of 64 (Q8_0: 16) as bytes, `load_$(row, c)`: groups of 16 weights,
// each four words `w`, scale `s` and minimum `m`; weight = s·q − m. VECTORS_$ times four is what a step takes, CHUNKS_$ the steps of a row.
struct Chunk4 { w: array<vec4<u32>, 4>, s: vec4<f32>, m: vec4<f32> }
struct Chunk1 { w: array<vec4<u32>, 1>, s: vec4<f32>, m: vec4<f32> }

// The half-precision number in the lower (even i) or upper half of a word.
fn half_at(word: u32, i: u32) -> f32 {
    return unpack2x16float(word >> (16u * (i & 1u))).x;
}

fn bytes_of(word: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xI8(word));
}

fn scaled(w: vec4<u32>, s: f32, m: f32) -> array<vec4<f32>, 4> {
    return array<vec4<f32>, 4>(s * bytes_of(w.x) - m, s * bytes_of(w.y) - m, s * bytes_of(w.z) - m, s * bytes_of(w.w) - m);
}

fn dot_bytes(a: vec4<u32>, b: vec4<u32>) -> i32 {
    return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y) + dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w);
}
