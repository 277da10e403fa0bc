// Tiles of `matmul_units.wgsl` as single values: Metal's units take pointers to nothing else.
const PER: u32 = 1u;
var<workgroup> tile_w: array<f16, BR * STRIDE>;
var<workgroup> tile_x: array<f16, BT * STRIDE>;

fn put_w(to: u32, value: vec4<f16>) {
    tile_w[to] = value.x;
    tile_w[to + 1u] = value.y;
    tile_w[to + 2u] = value.z;
    tile_w[to + 3u] = value.w;
}

fn put_x(to: u32, value: vec4<f16>) {
    tile_x[to] = value.x;
    tile_x[to + 1u] = value.y;
    tile_x[to + 2u] = value.z;
    tile_x[to + 3u] = value.w;
}
