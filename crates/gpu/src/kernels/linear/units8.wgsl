// The same as `units16.wgsl` on units of 8×8×8 (Apple). Rows of x by rows of the matrix, so that what is stored needs not be transposed.
alias Sums = coop_mat8x8<f32, C>;
alias FactorW = coop_mat8x8<f16, B>;
alias FactorX = coop_mat8x8<f16, A>;

fn load_w(at: u32) -> FactorW {
    return coopLoad<FactorW>(&tile_w[at], STRIDE);
}

fn load_x(at: u32) -> FactorX {
    return coopLoadT<FactorX>(&tile_x[at], STRIDE);
}

fn multiply(w: FactorW, x: FactorX, sums: Sums) -> Sums {
    return coopMultiplyAdd(x, w, sums);
}

fn store_sums(sums: Sums, at: u32) {
    coopStoreT(sums, &staged[at], UNIT);
}
