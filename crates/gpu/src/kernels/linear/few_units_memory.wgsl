// Rows of a tile are eight values further apart than they are long, so that those next to each other meet in different banks.
const STRIDE: u32 = 18u;
const UNITS: u32 = WG / LANES;
var<workgroup> tile: array<vec4<f16>, UNITS * OWN * STRIDE>;
var<workgroup> sums: array<f32, 256u * UNITS>;
