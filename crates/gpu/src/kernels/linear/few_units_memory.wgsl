// Rows of a tile are eight values further apart than they are long, so that those next to each other meet in different banks.
const STRIDE: u32 = 18u;
const UNITS: u32 = WG / LANES;
const X_TURNS: u32 = 256u / LANES;
var<workgroup> tile_w: array<vec4<f16>, UNITS * 16u * STRIDE>;
var<workgroup> tile_x: array<vec4<f16>, UNITS * 16u * STRIDE>;
var<workgroup> sums: array<f32, 256u * UNITS>;
var<private> fetched_x: array<vec4<f16>, X_TURNS>;
