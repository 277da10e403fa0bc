//! Compressors, indexer and attention against a plain reference. Needs a Vulkan device, which may be software.

use crate::bench::{Bench, DEMO, EVEN, FULL, KINDS, Random, SMALL, Size, config};
use ds4_engine::Precision;
use ds4_engine::kv::RowFormat::{self, Native, Unrounded};
use ds4_gpu::ops::attention::Attention;
use ds4_gpu::{Caps, Gpu, Pool, Shape};

/// Steps from the states that `starts` tokens leave: the rows of each sequence in each step.
fn check(size: Size, format: RowFormat, limit: fn(Caps) -> Caps, starts: &[usize], steps: &[&[usize]]) {
    check_on(&Bench::new(size, format, limit), starts, steps);
}

fn check_on(bench: &Bench, starts: &[usize], steps: &[&[usize]]) {
    let mut random = Random(42);
    let mut host: Vec<_> = starts.iter().map(|tokens| bench.filled(*tokens, &mut random)).collect();
    let mut device: Vec<_> = host.iter().zip(starts).map(|(host, tokens)| bench.to_device(host, *tokens)).collect();
    let mut at = starts.to_vec();
    for (i, counts) in steps.iter().enumerate() {
        let lengths: Vec<(usize, usize)> = at.iter().copied().zip(counts.iter().copied()).collect();
        bench.step(&lengths, &mut host, &mut device, 100 + i as u64);
        at.iter_mut().zip(*counts).for_each(|(at, n)| *at += n);
    }
}

const ALL: fn(Caps) -> Caps = |caps| caps;

#[test]
fn single_rows_at_every_phase() {
    for format in [Native, Unrounded] {
        check(SMALL, format, ALL, &[0], &[[1].as_slice(); 10]);
        check(SMALL, format, ALL, &[125, 260], &[[1, 1].as_slice(); 6]);
    }
}

#[test]
fn prompts_from_nothing() {
    for format in [Native, Unrounded] {
        check(SMALL, format, ALL, &[0, 0, 0, 0], &[&[3, 4, 7, 1], &[1, 1, 130, 2], &[140, 3, 5, 1]]);
        check(DEMO, format, ALL, &[0], &[&[257], &[1], &[6]]);
    }
}

#[test]
fn decode_rows_beside_a_prompt() {
    for format in [Native, Unrounded] {
        check(DEMO, format, ALL, &[700, 131, 3], &[&[1, 9, 1], &[1, 1, 1], &[5, 1, 200]]);
    }
}

#[test]
fn without_subgroups() {
    for format in [Native, Unrounded] {
        check(SMALL, format, Caps::plain, &[126, 515], &[&[1, 1], &[6, 1], &[1, 1]]);
    }
}

/// As for devices whose compilers leave loops as they are.
#[test]
fn loops_written_out() {
    let limit = |caps: Caps| Caps { is_software: false, ..caps };
    check(SMALL, Native, limit, &[126, 515], &[&[1, 1], &[6, 1]]);
}

#[test]
fn the_true_shape() {
    check(FULL, Native, ALL, &[2560, 127], &[&[1, 1], &[3, 2]]);
    check(FULL, Native, Caps::plain, &[2047 + 4], &[&[1]]);
}

#[test]
fn on_matrix_units() {
    // Rows behind a long history, from nothing, and beside rows of other sequences.
    let steps: [&[usize]; 3] = [&[9, 1], &[1, 1], &[33, 2]];
    check_on(&Bench::with_units(EVEN, Native), &[700, 0], &steps);
    if Gpu::open(None).unwrap().caps().matrix16 {
        check_on(&Bench::new(EVEN, Native, ALL), &[700, 0], &steps);
        check_on(&Bench::new(FULL, Native, ALL), &[2600, 0], &[&[9, 3], &[40, 1]]);
    }
}

/// Devices with matrix units are rare where tests run: at least the kernels for them are valid.
#[test]
fn kernels_for_matrix_units_are_valid() {
    let units = |caps: Caps| Caps { subgroup: Some(32), f16: true, matrix16: true, workgroup_bytes: 48 << 10, ..caps };
    for size in [EVEN, FULL] {
        let gpu = Gpu::open(None).unwrap();
        let caps = units(gpu.caps());
        let gpu = std::sync::Arc::new(gpu.collecting(caps));
        let shape = Shape::new(&config(size, &KINDS), Native).unwrap();
        Attention::new(Pool::new(std::sync::Arc::clone(&gpu), shape).unwrap(), Precision::Fast).unwrap();
        let sources = gpu.collected();
        let kernels: Vec<_> = sources.iter().filter(|(name, _)| name == "attend_units").collect();
        assert_eq!(kernels.len(), 6);
        for (_, source) in kernels {
            let module =
                naga::front::wgsl::parse_str(source).unwrap_or_else(|e| panic!("{}", e.emit_to_string(source)));
            let (flags, all) = (naga::valid::ValidationFlags::all(), naga::valid::Capabilities::all());
            let info = naga::valid::Validator::new(flags, all).validate(&module);
            info.unwrap_or_else(|error| panic!("{}", error.emit_to_string(source)));
        }
    }
}

/// Many equal scores: the same key rows again and again.
#[test]
fn equal_scores_go_to_the_lower_index() {
    use ds4_engine::backend::CompressedStream;
    for limit in [ALL, Caps::plain] {
        let bench = Bench::new(DEMO, Native, limit);
        let tokens = 1201;
        let mut host = bench.filled(tokens, &mut Random(4));
        let rows: Vec<Vec<f32>> = (0..5).map(|i| Random(70 + i).values(128)).collect();
        (0..tokens / 4).for_each(|row| host.write_row(1, CompressedStream::Index, row, &rows[row * row % 5]));
        let mut device = [bench.to_device(&host, tokens)];
        let numbers = device[0].page_numbers();
        let choice = bench.choice(tokens, &host, &mut device);
        // Classes of equal rows are taken whole, from the front, until the last of them.
        let logical: Vec<usize> = choice
            .iter()
            .map(|place| numbers.iter().position(|n| *n == place / 32).unwrap() * 32 + *place as usize % 32)
            .collect();
        assert_eq!(logical.len(), bench.config.top_k);
        assert!(logical.is_sorted_by(|a, b| a < b));
        for class in 0..5 {
            let all: Vec<usize> = (0..tokens / 4).filter(|row| row * row % 5 == class).collect();
            let taken: Vec<usize> = all.iter().copied().filter(|row| logical.contains(row)).collect();
            assert_eq!(taken[..], all[..taken.len()], "class {class}");
        }
    }
}
