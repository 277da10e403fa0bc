// The products of `matmul_units.wgsl` on matrix units: 16×16×16, F16 with f32 sums, rows of the matrix by rows of x. `T` reads and writes rows, the
// plain form columns.
alias Sums = coop_mat16x16<f32, C>;
alias FactorW = coop_mat16x16<f16, A>;
alias FactorX = coop_mat16x16<f16, B>;

fn load_w(at: u32) -> FactorW {
    return coopLoadT<FactorW>(&tile_w[at], STRIDE);
}

fn load_x(at: u32) -> FactorX {
    return coopLoad<FactorX>(&tile_x[at], STRIDE);
}

fn multiply(w: FactorW, x: FactorX, sums: Sums) -> Sums {
    return coopMultiplyAdd(w, x, sums);
}

fn store_sums(sums: Sums, at: u32) {
    coopStore(sums, &staged[at], UNIT);
}
