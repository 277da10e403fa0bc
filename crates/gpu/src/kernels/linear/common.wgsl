// Weights come in chunks: what one thread takes in a step. A chunk of a quantised format has groups of 16 weights, each four words
// of signed bytes `w`, scale `s` and minimum `m`: weight = s·q − m. CHUNK_$, the weights of a chunk, is 64, for Q8_0 16, for floats 8.
struct Chunk4 { w: array<vec4<u32>, 4>, s: vec4<f32>, m: vec4<f32> }
struct Chunk1 { w: array<vec4<u32>, 1>, s: vec4<f32>, m: vec4<f32> }

// The half-precision number in the lower (even i) or upper half of a word.
fn half_at(word: u32, i: u32) -> f32 {
    return unpack2x16float(word >> (16u * (i & 1u))).x;
}

fn bytes_of(word: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xI8(word));
}

fn dot_bytes(a: vec4<u32>, b: vec4<u32>) -> i32 {
    return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y) + dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w);
}
