//! Products against dequantised weights and f64 sums. Exact mode may err by 4e-7 of Σ|w·x|; fast mode also by what rounding the activations to
//! bytes changes at most.

use crate::support::{Random, Weights, devices, file_of, random_blocks, random_weights, right, shape};
use ds4_engine::Precision;
use ds4_gpu::ops::linear::{Limits, Linear, Tuning};
use ds4_gpu::selftest::Verdict;
use ds4_gpu::selftest::linear::{self as selftest, Product, odd_cols};
use ds4_gpu::tune::{self, Parameter};
use ds4_gpu::weights::{Matrix, SharedTensors};
use ds4_gpu::{Caps, Gpu, Rows, Vector};
use ds4_quant::Format;
use std::sync::Arc;

const ROWS: [usize; 7] = [1, 2, 3, 5, 8, 17, 33];

fn linear(gpu: &Gpu, precision: Precision) -> Linear {
    Linear::new(gpu, precision, Limits { rows: 64, cols: 4096, normed_cols: 4096 }).unwrap()
}

/// Rows that show what was not written.
fn poisoned(gpu: &Gpu, rows: usize, width: usize) -> Rows {
    selftest::poisoned(gpu, rows, width).unwrap()
}

/// Checks that the first values of each row are `w` times the rows of `x`, of which `per_group` rows of `w` see their own part.
#[allow(clippy::too_many_arguments)]
fn check(
    what: &str,
    precision: Precision,
    w: &Weights,
    x: &[f32],
    x_width: usize,
    out: &[f32],
    out_width: usize,
    per_group: usize,
) {
    let mut verdict = Verdict::default();
    selftest::compare(&mut verdict, &Product { what, precision, w, x, x_width, out, out_width, per_group });
    right(what, &verdict);
}

#[test]
fn every_format_and_number_of_rows() {
    for gpu in devices() {
        for precision in [Precision::Exact, Precision::Fast] {
            let linear = linear(&gpu, precision);
            for format in Format::ALL {
                let mut random = Random(7);
                // Rows are no multiple of anything.
                let cols = odd_cols(format);
                let w = random_weights(&gpu, &mut random, format, shape(83, cols, 1));
                // The plain variants differ in their sums only.
                let rows = if gpu.caps().subgroup.is_some() { &ROWS[..] } else { &[1, 3, 17] };
                for rows in rows.iter().copied() {
                    let values = random.values(rows * cols);
                    let (x, out) = (Rows::of(&gpu, &values, cols).unwrap(), poisoned(&gpu, rows, 90));
                    linear.project(&gpu, rows, &x, None, &[(&w.matrix, &out)]).unwrap();
                    let what = format!("{format} {precision:?} {rows} rows, {:?}", gpu.caps());
                    check(&what, precision, &w, &values, cols, &out.read(&gpu, rows).unwrap(), 90, 83);
                }
            }
        }
    }
}

#[test]
fn lists_of_mixed_formats_with_a_norm() {
    let formats = [Format::Q8_0, Format::F16, Format::Iq2Xxs, Format::Q2K, Format::F32, Format::Q4K, Format::Q8_0];
    for gpu in devices() {
        for precision in [Precision::Exact, Precision::Fast] {
            let linear = linear(&gpu, precision);
            let (mut random, cols, eps) = (Random(8), 256, 1e-6f32);
            let all: Vec<Weights> = (0..)
                .zip(formats)
                .map(|(i, format)| random_weights(&gpu, &mut random, format, shape(16 + 9 * i, cols, 1)))
                .collect();
            let gains = random.values(cols);
            let norm = Vector::new(&gpu, &gains).unwrap();
            for rows in [1, 4, 20] {
                let values = random.values(rows * cols);
                let normed = selftest::normed(&values, &gains, eps);
                let x = Rows::of(&gpu, &values, cols).unwrap();
                let outs: Vec<Rows> = all.iter().map(|w| poisoned(&gpu, rows, w.matrix.shape.rows)).collect();
                for (x_norm, expected) in [(None, &values), (Some((&norm, eps)), &normed)] {
                    let list: Vec<(&Matrix, &Rows)> = all.iter().map(|w| &w.matrix).zip(&outs).collect();
                    linear.project(&gpu, rows, &x, x_norm, &list).unwrap();
                    for (w, out) in all.iter().zip(&outs) {
                        let (what, width) = (format!("{} {precision:?} {rows} rows", w.matrix.format), out.width);
                        check(&what, precision, w, expected, cols, &out.read(&gpu, rows).unwrap(), width, width);
                    }
                }
            }
        }
    }
}

#[test]
fn groups_see_their_own_part() {
    for gpu in devices() {
        for precision in [Precision::Exact, Precision::Fast] {
            let linear = linear(&gpu, precision);
            for (format, cols, groups, per_group) in [
                (Format::Q8_0, 64, 4, 24),
                (Format::Q8_0, 64, 4, 64),
                (Format::F16, 40, 2, 70),
                (Format::Q4K, 256, 3, 5),
            ] {
                let mut random = Random(9);
                let w = random_weights(&gpu, &mut random, format, shape(groups * per_group, cols, 1));
                for rows in [1, 3, 8, 18] {
                    let (width, n) = (groups * cols, groups * per_group);
                    let values = random.values(rows * width);
                    let (x, on) = (Rows::of(&gpu, &values, width).unwrap(), poisoned(&gpu, rows, n));
                    linear.project_grouped(&gpu, rows, groups, &w.matrix, &x, &on).unwrap();
                    let out = on.read(&gpu, rows).unwrap();
                    let what = format!("{groups} groups of {format} {precision:?} {rows} rows");
                    check(&what, precision, &w, &values, width, &out, n, per_group);
                    if n.is_multiple_of(32) {
                        let mut verdict = Verdict::default();
                        selftest::compare_consumed(&mut verdict, &gpu, &on, rows).unwrap();
                        right(&what, &verdict);
                    }
                }
            }
        }
    }
}

#[test]
fn outputs_of_few_rows_are_expanded() {
    // The last is as for devices whose compilers leave loops as they are.
    let unrolled = Gpu::open(None).unwrap();
    let caps = Caps { is_software: false, ..unrolled.caps() };
    let cases = [
        (Format::Q8_0, 256, 1, 512),
        (Format::Q2K, 512, 2, 256),
        (Format::Q4K, 1024, 1, 1024),
        (Format::Iq2Xxs, 256, 2, 512),
        (Format::F16, 256, 1, 256),
    ];
    for (gpu, cases) in
        devices().into_iter().map(|gpu| (gpu, &cases[..])).chain([(unrolled.limited(caps), &cases[..1])])
    {
        for (precision, rows) in [(Precision::Exact, &[1, 4][..]), (Precision::Fast, &[1, 2, 3, 4])] {
            for (format, embd, expand_team_rows, expand_threads) in cases.iter().copied() {
                let w = random_weights(&gpu, &mut Random(15), format, shape(embd, 256, 1));
                let tuning = Tuning { expand_team_rows, expand_threads, ..Tuning::of(precision) };
                let limits = Limits { rows: 64, cols: 512, normed_cols: 512 };
                let linear = Linear::tuned(&gpu, precision, limits, tuning).unwrap();
                for rows in rows.iter().copied() {
                    for is_f16 in [true, false].into_iter().take(1 + rows % 2) {
                        let mut verdict = Verdict::default();
                        selftest::check_expanding(&mut verdict, &gpu, &linear, &w, rows, is_f16).unwrap();
                        right(&format!("{format} {precision:?}, {rows} rows of {embd}"), &verdict);
                    }
                }
            }
        }
    }
}

#[test]
fn outputs_of_the_true_width_are_expanded() {
    for gpu in devices() {
        for precision in [Precision::Exact, Precision::Fast] {
            let linear = linear(&gpu, precision);
            let w = random_weights(&gpu, &mut Random(16), Format::Q8_0, shape(4096, 256, 1));
            for (rows, is_f16) in [(1, true), (1, false), (4, true)] {
                let mut verdict = Verdict::default();
                selftest::check_expanding(&mut verdict, &gpu, &linear, &w, rows, is_f16).unwrap();
                right(&format!("{precision:?}, {rows} rows"), &verdict);
            }
        }
    }
}

#[test]
fn a_row_is_collapsed_where_it_is_multiplied() {
    for gpu in devices() {
        let has_subgroups = gpu.caps().subgroup.is_some();
        for precision in [Precision::Exact, Precision::Fast] {
            let linear = linear(&gpu, precision);
            // Widths that threads do not share evenly, and the true one, which takes longer.
            for (embd, lists) in [(64, 4), (192, 4), (4096, 1)] {
                let mut random = Random(19);
                let mut make = |format, rows| random_weights(&gpu, &mut random, format, shape(rows, embd, 1));
                let weights = [make(Format::Q8_0, 48), make(Format::F16, 9), make(Format::F32, 33)];
                let [bytes, half, float] = weights.each_ref();
                let all: [(&[_], bool); 4] =
                    [(&[bytes, half, float], true), (&[bytes], true), (&[half], false), (&[float], false)];
                for (weights, is_for_norm) in all.into_iter().take(lists) {
                    let has_floats =
                        precision == Precision::Exact || weights.iter().all(|w| w.matrix.format != Format::Q8_0);
                    let collapses = has_subgroups || has_floats;
                    let mut verdict = Verdict::default();
                    selftest::check_collapsing(&mut verdict, &gpu, &linear, weights, is_for_norm, collapses).unwrap();
                    right(&format!("{precision:?}, {} matrices, row of {embd}", weights.len()), &verdict);
                }
            }
        }
    }
}

#[test]
fn outputs_that_no_workgroups_share_evenly_are_expanded_apart() {
    // A width of 192 is none of workgroups of 128 values, and five rows are too many.
    for gpu in devices() {
        for (embd, rows, precision) in [(192, 1, Precision::Fast), (256, 5, Precision::Exact)] {
            let tuning = Tuning { expand_threads: 1024, expand_team_rows: 16, ..Tuning::of(precision) };
            let limits = Limits { rows: 64, cols: 256, normed_cols: 256 };
            let linear = Linear::tuned(&gpu, precision, limits, tuning).unwrap();
            let w = random_weights(&gpu, &mut Random(17), Format::Q8_0, shape(embd, 64, 1));
            let mut verdict = Verdict::default();
            selftest::check_expanded_apart(&mut verdict, &gpu, &linear, &w, rows).unwrap();
            right(&format!("{rows} rows of {embd}"), &verdict);
        }
    }
}

#[test]
fn rows_for_a_norm_leave_as_bytes() {
    for gpu in devices() {
        for precision in [Precision::Exact, Precision::Fast] {
            let linear = linear(&gpu, precision);
            let mut random = Random(12);
            let mut make = |format, rows, cols| random_weights(&gpu, &mut random, format, shape(rows, cols, 1));
            // As query ranks are made and used: beside other matrices, for one of bytes and one of floats.
            let (first, beside) = (make(Format::Q8_0, 128, 64), make(Format::F16, 40, 64));
            let (second, third) = (make(Format::Q8_0, 96, 128), make(Format::F16, 24, 128));
            let weights = Random(13).values(128);
            let norm = Vector::new(&gpu, &weights).unwrap();
            for rows in [1, 2, 5, 18] {
                let x = Rows::of(&gpu, &Random(14).values(rows * 64), 64).unwrap();
                let (middle, other) = (poisoned(&gpu, rows, 128), poisoned(&gpu, rows, 40));
                let outs = [poisoned(&gpu, rows, 96), poisoned(&gpu, rows, 24)];
                let list = [(&first.matrix, &middle), (&beside.matrix, &other)];
                linear.project_for_norm(&gpu, rows, &x, &norm, &list).unwrap();
                let values = middle.read(&gpu, rows).unwrap();
                let list = [(&second.matrix, &outs[0]), (&third.matrix, &outs[1])];
                linear.project(&gpu, rows, &middle, Some((&norm, 1e-6)), &list).unwrap();
                let normed: Vec<f32> = values
                    .chunks(128)
                    .flat_map(|row| {
                        let mean = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / 128.0;
                        let factor = 1.0 / (mean + 1e-6).sqrt();
                        row.iter().zip(&weights).map(move |(v, w)| (f64::from(*v) * factor * f64::from(*w)) as f32)
                    })
                    .collect();
                for (w, out) in [(&second, &outs[0]), (&third, &outs[1])] {
                    let what = format!("normed, {} {precision:?} {rows} rows", w.matrix.format);
                    let n = w.matrix.shape.rows;
                    check(&what, precision, w, &normed, 128, &out.read(&gpu, rows).unwrap(), n, n);
                }
            }
        }
    }
}

#[test]
fn true_widths() {
    let gpu = Gpu::open(None).unwrap();
    for precision in [Precision::Exact, Precision::Fast] {
        let linear = linear(&gpu, precision);
        for (format, cols) in [(Format::Q8_0, 4096), (Format::F16, 4096), (Format::Iq2Xxs, 4096), (Format::Q2K, 2048)] {
            let mut random = Random(10);
            let w = random_weights(&gpu, &mut random, format, shape(64, cols, 1));
            for rows in [1, 2, 4, 9, 16, 40] {
                let values = random.values(rows * cols);
                let (x, out) = (Rows::of(&gpu, &values, cols).unwrap(), poisoned(&gpu, rows, 64));
                linear.project(&gpu, rows, &x, None, &[(&w.matrix, &out)]).unwrap();
                let what = format!("{format} {precision:?} {rows} rows of {cols}");
                check(&what, precision, &w, &values, cols, &out.read(&gpu, rows).unwrap(), 64, 64);
            }
        }
    }
}

#[test]
fn every_tuning_computes_the_same() {
    // Loops written out, which is left to the compiler where the device is a CPU.
    let gpu = Gpu::open(None).unwrap();
    let caps = Caps { is_software: false, ..gpu.caps() };
    let gpu = gpu.limited(caps);
    let usual = Tuning::of(Precision::Fast);
    // Enough rows that teams take several at once, also where subgroups are narrow.
    let (mut random, n, cols) = (Random(14), 33_001, 256);
    let all: Vec<Weights> = [Format::Q8_0, Format::F16, Format::Iq2Xxs, Format::Q2K]
        .map(|format| random_weights(&gpu, &mut random, format, shape(n, cols, 1)))
        .into();
    // What is chosen by timing, and what is not.
    let mut tunings = vec![
        (Tuning { team_rows: 4, lattice_copies: 16, q8_0_bytes_from: 17, ..usual }, &[1, 3][..]),
        (Tuning { pass_rows: 2, ..usual }, &[1, 3]),
    ];
    for parameter in Parameter::ALL {
        let rows: &[usize] = match parameter {
            Parameter::TeamRows | Parameter::LatticeCopies => &[1, 3],
            // Enough for the largest tiles.
            Parameter::TileRows | Parameter::Prefetch => &[40, 100],
            // Tested below.
            Parameter::ExpandThreads | Parameter::ExpandTeamRows | Parameter::ExpandedRows => continue,
        };
        let others = parameter.values(caps, tune::Q2).into_iter().map(|value| parameter.with(usual, value));
        tunings.extend(others.filter(|tuning| *tuning != usual || parameter == Parameter::TeamRows).map(|t| (t, rows)));
    }
    for (tuning, rows) in tunings {
        let limits = Limits { rows: 128, cols: 4096, normed_cols: 4096 };
        let linear = Linear::tuned(&gpu, Precision::Fast, limits, tuning).unwrap();
        let is_of_lattice = tuning == Tuning { lattice_copies: tuning.lattice_copies, ..usual } && tuning != usual;
        for w in all.iter().filter(|w| !is_of_lattice || w.matrix.format == Format::Iq2Xxs) {
            for rows in rows.iter().copied() {
                let values = random.values(rows * cols);
                let (x, out) = (Rows::of(&gpu, &values, cols).unwrap(), poisoned(&gpu, rows, n));
                linear.project(&gpu, rows, &x, None, &[(&w.matrix, &out)]).unwrap();
                let what = format!("{} {rows} rows, {tuning:?}", w.matrix.format);
                check(&what, Precision::Fast, w, &values, cols, &out.read(&gpu, rows).unwrap(), n, n);
            }
        }
    }
}

#[test]
fn every_tuning_expands_the_same() {
    let gpu = Gpu::open(None).unwrap();
    let of = |parameter: Parameter| parameter.values(gpu.caps(), tune::Q2);
    let usual = Tuning::of(Precision::Fast);
    let w = random_weights(&gpu, &mut Random(18), Format::Q8_0, shape(512, 256, 1));
    let mut tunings = Vec::new();
    for threads in of(Parameter::ExpandThreads) {
        for team_rows in of(Parameter::ExpandTeamRows) {
            let tuning = Parameter::ExpandThreads.with(usual, threads);
            tunings.push(Parameter::ExpandTeamRows.with(tuning, team_rows));
        }
    }
    tunings.extend(of(Parameter::TeamRows).into_iter().map(|rows| Parameter::TeamRows.with(usual, rows)));
    tunings.extend(of(Parameter::ExpandedRows).into_iter().map(|rows| Parameter::ExpandedRows.with(usual, rows)));
    for tuning in tunings {
        let limits = Limits { rows: 4, cols: 256, normed_cols: 256 };
        let linear = Linear::tuned(&gpu, Precision::Fast, limits, tuning).unwrap();
        for rows in [1, 4] {
            let mut verdict = Verdict::default();
            if rows <= tuning.expanded_rows {
                selftest::check_expanding(&mut verdict, &gpu, &linear, &w, rows, true).unwrap();
            } else {
                selftest::check_expanded_apart(&mut verdict, &gpu, &linear, &w, rows).unwrap();
            }
            right(&format!("{rows} rows, {tuning:?}"), &verdict);
        }
    }
}

#[test]
fn embeddings_go_to_every_stream() {
    for gpu in devices() {
        let linear = linear(&gpu, Precision::Exact);
        for format in Format::ALL {
            let (mut random, cols, mut verdict) = (Random(11), odd_cols(format), Verdict::default());
            let table = random_weights(&gpu, &mut random, format, shape(20, cols, 1));
            selftest::compare_embedding(&mut verdict, &gpu, &linear, &table).unwrap();
            right(&format!("{format}"), &verdict);
        }
    }
}

#[test]
fn tensors_that_share_bytes_share_memory() {
    let gpu = Gpu::open(None).unwrap();
    let (mut random, of) = (Random(12), shape(300, 4096, 1));
    let bytes = random_blocks(&mut random, Format::Q8_0, 300 * 4096);
    let file = file_of(&[(Format::Q8_0, of, &bytes), (Format::Q8_0, of, &bytes)]);
    let shared = SharedTensors::default();
    let tensor = |name: &str| file.tensor(name).unwrap().clone();
    let load = |tensor| Matrix::load(&gpu, &shared, &file, &tensor, Format::Q8_0, of).unwrap();
    let (first, again, other) = (load(tensor("m0")), load(tensor("m0")), load(tensor("m1")));
    assert!(Arc::ptr_eq(&first.buffer, &again.buffer));
    assert!(!Arc::ptr_eq(&first.buffer, &other.buffer));
    assert_eq!(first.buffer.bytes(), bytes.len() as u64);
    // Several parts, so that their borders count.
    let downloaded = gpu.download(&first.buffer, 0, first.buffer.bytes()).unwrap();
    let (q, d) = downloaded.split_at(300 * 4096);
    for (block, (q, d)) in bytes.chunks_exact(34).zip(q.chunks_exact(32).zip(d.chunks_exact(2))) {
        assert_eq!((&block[2..], &block[..2]), (q, d));
    }
}

#[test]
fn what_does_not_fit_is_told() {
    let gpu = Gpu::open(None).unwrap();
    let bytes = [0u8; 20 * 3 * 2];
    let file = file_of(&[(Format::F16, shape(3, 20, 1), &bytes)]);
    let tensor = file.tensor("m0").unwrap().clone();
    let load = |of| Matrix::load(&gpu, &SharedTensors::default(), &file, &tensor, Format::F16, of);
    let error = load(shape(3, 20, 1)).err().unwrap().to_string();
    assert!(error.contains("m0") && error.contains("20"), "{error}");
    assert!(load(shape(4, 20, 1)).is_err());
    let linear = linear(&gpu, Precision::Exact);
    let w = random_weights(&gpu, &mut Random(13), Format::F32, shape(8, 16, 1));
    let (x, wide, out) = (poisoned(&gpu, 1, 16), poisoned(&gpu, 1, 24), poisoned(&gpu, 1, 8));
    assert!(linear.project(&gpu, 1, &wide, None, &[(&w.matrix, &out)]).is_err());
    assert!(linear.project(&gpu, 65, &x, None, &[(&w.matrix, &out)]).is_err());
    assert!(linear.project_grouped(&gpu, 1, 2, &w.matrix, &x, &out).is_err());
}
