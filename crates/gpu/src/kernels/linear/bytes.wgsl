// Unit i of the activations as bytes, and a word of it.
fn byte_unit(i: u32) -> vec4<u32> {
    return xq[i];
}

fn byte_word(i: u32, word: u32) -> u32 {
    return xq[i][word];
}
