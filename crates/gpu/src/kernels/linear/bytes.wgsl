// Unit i of the activations as bytes.
fn byte_unit(i: u32) -> vec4<u32> {
    return xq[i];
}
