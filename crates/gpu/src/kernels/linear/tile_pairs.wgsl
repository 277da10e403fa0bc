// Tiles of `matmul_units.wgsl` as pairs of values.
const PER: u32 = 2u;
var<workgroup> tile_w: array<vec2<f16>, BR * STRIDE>;
var<workgroup> tile_x: array<vec2<f16>, BT * STRIDE>;

fn put_w(to: u32, value: vec4<f16>) {
    tile_w[to] = value.xy;
    tile_w[to + 1u] = value.zw;
}

fn put_x(to: u32, value: vec4<f16>) {
    tile_x[to] = value.xy;
    tile_x[to + 1u] = value.zw;
}
