// Twice the values of four codes in the low halves of four bytes, as bytes.
fn twice(codes: u32) -> u32 {
    let m = codes & 0x07070707u;
    let high = (m >> 2u) & 0x01010101u;
    let a = high & m;
    let b = high & (m >> 1u);
    let v = m + a + 2u * b + 2u * (a & b);
    let is_set = ((v + 0x7f7f7f7fu) >> 7u) & 0x01010101u;
    let minus = (codes >> 3u) & is_set;
    return (v ^ (minus * 255u)) + minus;
}
