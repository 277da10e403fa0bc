//! What `quantize` guarantees: error bounds on Gaussian weights, importance, exact round trips,
//! and refusals.

use ds4_quant::{Format, MAX_MAGNITUDE, QuantizeError, dequantize, quantize};
use proptest::prelude::*;

const BLOCK_FORMATS: [Format; 6] = [Format::Q8_0, Format::Q2K, Format::Q4K, Format::Q5K, Format::Q6K, Format::Iq2Xxs];

fn store(format: Format, x: &[f32], importance: Option<&[f32]>) -> Result<Vec<u8>, QuantizeError> {
    let mut out = vec![0xa5; format.row_bytes(x.len()).unwrap()];
    quantize(format, x, importance, &mut out).map(|()| out)
}

fn expand(format: Format, bytes: &[u8], len: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; len];
    dequantize(format, bytes, &mut out).unwrap();
    out
}

/// Deterministic, roughly normal values: sums of twelve uniform ones.
fn gaussian(len: usize, mut seed: u64) -> Vec<f32> {
    let mut uniform = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1 << 24) as f32
    };
    (0..len).map(|_| 0.02 * ((0..12).map(|_| uniform()).sum::<f32>() - 6.0)).collect()
}

/// Root of the mean squared error over that of the values, with a weight per column.
fn relative_error(x: &[f32], stored: &[f32], column_weight: impl Fn(usize) -> f64) -> f64 {
    let (mut error, mut total) = (0.0, 0.0);
    for (i, (x, s)) in x.iter().zip(stored).enumerate() {
        let (x, s) = (f64::from(*x), f64::from(*s));
        error += column_weight(i) * (x - s) * (x - s);
        total += column_weight(i) * x * x;
    }
    (error / total).sqrt()
}

#[test]
fn errors_on_gaussian_weights_stay_in_bounds() {
    let x = gaussian(64 * 1024, 1);
    let equal = vec![1.0; 1024];
    // At most one percent above what the search reaches.
    for (format, plain_max, equal_max) in [
        (Format::F32, 0.0, 0.0),
        (Format::F16, 2.1e-4, 2.1e-4),
        (Format::Bf16, 1.67e-3, 1.67e-3),
        (Format::Q8_0, 0.0053, 0.0053),
        (Format::Q6K, 0.0172, 0.0172),
        (Format::Q5K, 0.0346, 0.0346),
        (Format::Q4K, 0.0697, 0.0697),
        (Format::Q2K, 0.2656, 0.2656),
        (Format::Iq2Xxs, 0.4080, 0.3330),
    ] {
        for (importance, max) in [(None, plain_max), (Some(&equal[..]), equal_max)] {
            let stored = expand(format, &store(format, &x, importance).unwrap(), x.len());
            let error = relative_error(&x, &stored, |_| 1.0);
            assert!(error <= max, "{format}, importance {}: {error} > {max}", importance.is_some());
        }
    }
}

#[test]
fn importance_moves_the_error_to_unimportant_columns() {
    let columns = 512;
    let x = gaussian(16 * columns, 2);
    let importance: Vec<f32> = (0..columns).map(|c| if c % 4 == 0 { 30.0 } else { 1.0 }).collect();
    let weight = |i: usize| f64::from(importance[i % columns]);
    for format in [Format::Q2K, Format::Q4K, Format::Q5K, Format::Q6K, Format::Iq2Xxs] {
        let equal = vec![1.0; columns];
        let errors = [&equal, &importance].map(|q| {
            let stored = expand(format, &store(format, &x, Some(q)).unwrap(), x.len());
            relative_error(&x, &stored, weight)
        });
        assert!(errors[1] < 0.97 * errors[0], "{format}: {errors:?}");
    }
}

#[test]
fn rows_are_independent_and_share_the_importance() {
    let columns = 512;
    let x = gaussian(3 * columns, 3);
    let importance: Vec<f32> = gaussian(columns, 4).iter().map(|q| q.abs()).collect();
    for format in BLOCK_FORMATS {
        let together = store(format, &x, Some(&importance)).unwrap();
        let apart: Vec<u8> = x.chunks(columns).flat_map(|row| store(format, row, Some(&importance)).unwrap()).collect();
        assert_eq!(together, apart, "{format}");
    }
}

#[test]
fn only_the_proportions_of_importance_matter() {
    let x = gaussian(512, 5);
    let importance: Vec<f32> = gaussian(512, 6).iter().map(|q| q.abs()).collect();
    for format in BLOCK_FORMATS {
        let expected = store(format, &x, Some(&importance)).unwrap();
        for factor in [2f32.powi(100), 2f32.powi(-60)] {
            let scaled: Vec<f32> = importance.iter().map(|q| q * factor).collect();
            assert_eq!(store(format, &x, Some(&scaled)).unwrap(), expected, "{format}");
        }
        let equal = store(format, &x, Some(&[1.0; 512])).unwrap();
        assert_eq!(store(format, &x, Some(&[0.0; 512])).unwrap(), equal, "{format}: nothing measured");
    }
}

#[test]
fn columns_without_importance_are_still_stored() {
    let x = gaussian(16 * 256, 10);
    // Two groups of 32, and single columns, that calibration never saw.
    let importance: Vec<f32> = (0..256).map(|c| if c < 64 || c % 8 == 0 { 0.0 } else { 1.0 }).collect();
    for format in [Format::Q2K, Format::Q4K, Format::Q5K, Format::Q6K, Format::Iq2Xxs] {
        let stored = expand(format, &store(format, &x, Some(&importance)).unwrap(), x.len());
        let error = relative_error(&x, &stored, |i| f64::from(i as u16 % 256 < 64));
        let equal = expand(format, &store(format, &x, Some(&[1.0; 256])).unwrap(), x.len());
        let reference = relative_error(&x, &equal, |i| f64::from(i as u16 % 256 < 64));
        assert!(error < 1.6 * reference, "{format}: {error}, {reference} when all columns count");
    }
}

#[test]
fn zeros_stay_zero_and_constants_stay_close() {
    for format in Format::ALL {
        let zeros = expand(format, &store(format, &[0.0; 512], None).unwrap(), 512);
        assert!(zeros.iter().all(|x| *x == 0.0), "{format}");
        for constant in [0.75, -0.75] {
            let x = [constant; 512];
            let stored = expand(format, &store(format, &x, None).unwrap(), 512);
            // F16 scales carry eleven bits. The lattice expects values of different sizes and has
            // no point with eight large levels.
            let max = if format == Format::Iq2Xxs { 0.35 } else { 0.01 };
            assert!(relative_error(&x, &stored, |_| 1.0) < max, "{format}: {:?}", &stored[..8]);
        }
    }
}

#[test]
fn lengths_must_match() {
    let mut out = [0; 144];
    assert!(matches!(quantize(Format::Q4K, &[0.0; 255], None, &mut out), Err(QuantizeError::Length(_))));
    assert!(matches!(quantize(Format::Q4K, &[0.0; 512], None, &mut out), Err(QuantizeError::Length(_))));
    for importance in [0, 1, 255, 257, 512] {
        let error = quantize(Format::Q4K, &[0.0; 256], Some(&vec![1.0; importance]), &mut out).unwrap_err();
        let expected = QuantizeError::ImportanceLength { format: Format::Q4K, importance, values: 256 };
        assert_eq!(error, expected);
    }
}

#[test]
fn unusable_values_are_refused_where_they_are() {
    for format in Format::ALL {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = gaussian(768, 7);
            x[700] = bad;
            let error = store(format, &x, None).unwrap_err();
            assert!(matches!(error, QuantizeError::NotFinite { index: 700, .. }), "{error}");
        }
    }
    for format in [Format::Q2K, Format::Iq2Xxs] {
        for bad in [f32::NAN, f32::INFINITY, -1.0] {
            let mut importance = vec![1.0; 256];
            importance[9] = bad;
            let error = store(format, &gaussian(256, 8), Some(&importance)).unwrap_err();
            assert!(matches!(error, QuantizeError::Importance { column: 9, .. }), "{error}");
        }
    }
}

#[test]
fn values_beyond_the_reach_of_a_format_are_refused() {
    for (format, start) in BLOCK_FORMATS.map(|f| (f, if f == Format::Q8_0 { 288 } else { 256 })) {
        let mut x = gaussian(512, 9);
        x[300] = 1.01 * MAX_MAGNITUDE;
        let error = store(format, &x, None).unwrap_err();
        let expected = QuantizeError::TooLarge { format, start, largest: 1.01 * MAX_MAGNITUDE };
        assert_eq!(error, expected);
        assert!(error.to_string().contains("store the tensor as F32"));
    }
}

proptest! {
    /// Values of one block over many magnitudes and any importance. A search may give up columns
    /// that do not matter, but what it stores there stays near the range of the block.
    #[test]
    fn no_weight_is_far_off(
        x in prop::collection::vec((-1f32..1.0, -20i32..1), 256),
        exponent in -3i32..10,
        importance in prop::option::of(prop::collection::vec(prop_oneof![Just(0.0), 1e-30f32..1e30], 256)),
    ) {
        let x: Vec<f32> = x.iter().map(|(x, e)| x * 2f32.powi(e + exponent)).collect();
        let largest = x.iter().fold(0f32, |m, x| m.max(x.abs()));
        for format in Format::ALL {
            let searched = matches!(
                format,
                Format::Q2K | Format::Q4K | Format::Q5K | Format::Q6K | Format::Iq2Xxs
            );
            let bound = if searched { 1.5 * largest } else { largest / 200.0 };
            let stored = expand(format, &store(format, &x, importance.as_deref()).unwrap(), 256);
            for (x, s) in x.iter().zip(&stored) {
                prop_assert!((x - s).abs() <= bound, "{}: {} became {}", format, x, s);
            }
        }
    }

    /// Arbitrary bit patterns never panic, and what is accepted expands to finite weights.
    #[test]
    fn any_input_is_stored_or_refused(
        x in prop::collection::vec(any::<f32>(), 256),
        finite in any::<bool>(),
        importance in prop::collection::vec(any::<f32>(), 256),
        usable in any::<bool>(),
    ) {
        let x: Vec<f32> = x.iter().map(|x| if finite && !x.is_finite() { 1.0 } else { *x }).collect();
        let importance: Vec<f32> =
            importance.iter().map(|q| if usable && !q.is_finite() { 1.0 } else { q.abs() }).collect();
        for format in Format::ALL {
            for importance in [None, Some(&importance[..])] {
                if let Ok(stored) = store(format, &x, importance) {
                    prop_assert!(expand(format, &stored, 256).iter().all(|w| w.is_finite()), "{}", format);
                }
            }
        }
    }

    /// Formats whose stored values are a fixed point of storing.
    #[test]
    fn storing_twice_changes_nothing(x in prop::collection::vec(-1f32..1.0, 256), exponent in -6i32..12) {
        let x: Vec<f32> = x.iter().map(|x| x * 2f32.powi(exponent)).collect();
        for format in [Format::F32, Format::F16, Format::Bf16, Format::Q8_0] {
            let once = store(format, &x, None).unwrap();
            let twice = store(format, &expand(format, &once, 256), None).unwrap();
            prop_assert_eq!(once, twice, "{}", format);
        }
    }

    #[test]
    fn expanding_checks_lengths_and_takes_any_bytes(
        bytes in prop::collection::vec(any::<u8>(), 0..700),
        len in 0usize..700,
    ) {
        for format in Format::ALL {
            let mut out = vec![0.0; len];
            let fits = format.row_bytes(len) == Some(bytes.len());
            prop_assert_eq!(dequantize(format, &bytes, &mut out).is_ok(), fits);
            let whole = bytes.len() / format.block_bytes();
            let mut out = vec![0.0; whole * format.block_len()];
            prop_assert!(dequantize(format, &bytes[..whole * format.block_bytes()], &mut out).is_ok());
        }
    }
}
