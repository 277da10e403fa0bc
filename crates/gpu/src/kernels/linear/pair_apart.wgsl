// `sums_0` and `sums_1` of the same rows of both matrices for row `row` of x, one after the other.
fn sums_pair(
    first: u32, last: u32, lane: u32, row: u32, acc_0: ptr<function, array<Sum, RPT>>, acc_1: ptr<function, array<Sum, RPT>>) {
    var at_0 = array<u32, 1>(row * X_STRIDE_0);
    var at_1 = array<u32, 1>(row * X_STRIDE_1);
    sums_0(first, last, lane, &at_0, acc_0);
    sums_1(first, last, lane, &at_1, acc_1);
}
