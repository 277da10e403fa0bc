//! Hyper-connections, norms and the router against the formulas in f64.

use crate::support::{devices, right};
use ds4_gpu::selftest::Verdict;
use ds4_gpu::selftest::hyper::{Choice, check_norm, check_router, check_streams};
use ds4_gpu::{Caps, Gpu};

#[test]
fn collapse_and_expand_follow_the_formulas() {
    // The last is as for devices whose compilers leave loops as they are.
    let unrolled = Gpu::open(None).unwrap();
    let caps = Caps { is_software: false, ..unrolled.caps() };
    for gpu in devices().into_iter().chain([unrolled.limited(caps)]) {
        for (embd, rows) in [(64, 1), (128, 3), (256, 17), (256, 37), (4096, 1), (4096, 2)] {
            for is_f16 in [true, false] {
                let mut verdict = Verdict::default();
                check_streams(&mut verdict, &gpu, embd, rows, is_f16).unwrap();
                right(&format!("{rows} rows of {embd}"), &verdict);
            }
        }
    }
}

#[test]
fn rows_are_normed_in_place() {
    for gpu in devices() {
        for (width, rows) in [(1, 1), (7, 2), (1024, 3)] {
            let mut verdict = Verdict::default();
            check_norm(&mut verdict, &gpu, width, rows).unwrap();
            right(&format!("{rows} rows of {width}"), &verdict);
        }
    }
}

#[test]
fn the_router_chooses_as_the_formula_does() {
    for gpu in devices() {
        for (experts, used, rows) in [(6, 2, 5), (8, 3, 1), (256, 6, 9)] {
            for choice in [Choice::Hash, Choice::Plain, Choice::Biased] {
                let mut verdict = Verdict::default();
                check_router(&mut verdict, &gpu, experts, used, rows, choice).unwrap();
                right(&format!("{rows} rows, {used} of {experts}"), &verdict);
            }
        }
    }
}
