// Rows of a tile are eight values further apart than they are long, so that those next to each other meet in different banks.
const STRIDE: u32 = 18u;
const TILE: u32 = 16u * STRIDE;
const UNITS: u32 = WG / LANES;
const X_TURNS: u32 = 256u / LANES;
const MOVED_X: u32 = (AHEAD - 1u) * X_TURNS;
var<workgroup> tiles_w: array<vec4<f16>, UNITS * TILE>;
var<workgroup> tiles_x: array<vec4<f16>, UNITS * TILE>;
var<workgroup> sums: array<f32, UNITS * 256u>;
