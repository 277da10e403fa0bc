//! Every instruction set against the plain reference, on the same random inputs.

use super::*;
use crate::reference;
use proptest::prelude::*;
use proptest::test_runner::Config;

/// Every instruction set of this machine. With `DS4_EXPECT_ISA=NAME` the tests fail where NAME is not the best of them, so that
/// a run says what it proved.
pub(super) fn isas() -> Vec<Isa> {
    if let Ok(expected) = std::env::var("DS4_EXPECT_ISA") {
        assert_eq!(Isa::best().name(), expected, "best instruction set of this machine");
    }
    Isa::available()
}

/// xorshift64*: random bytes and floats from a seed.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn float(&mut self) -> f32 {
        ((self.next() >> 40) as f32 / (1u64 << 24) as f32) * 2.0 - 1.0
    }
}

/// Random bytes with every f16 scale replaced by a moderate value; random floats in element formats.
fn random_weights(format: Format, rows: usize, cols: usize, rng: &mut Rng) -> Vec<u8> {
    let element = |rng: &mut Rng| match format {
        Format::F32 => rng.float().to_le_bytes().to_vec(),
        Format::F16 => half::f16::from_f32(rng.float()).to_le_bytes().to_vec(),
        _ => half::bf16::from_f32(rng.float()).to_le_bytes().to_vec(),
    };
    if format.block_len() == 1 {
        return (0..rows * cols).flat_map(|_| element(rng)).collect();
    }
    let blocks = rows * cols / format.block_len();
    let mut bytes: Vec<u8> = (0..blocks * format.block_bytes()).map(|_| rng.next() as u8).collect();
    let scales: &[usize] = match format {
        Format::Q8_0 | Format::Iq2Xxs => &[0],
        Format::Q2K => &[80, 82],
        Format::Q6K => &[208],
        _ => &[0, 2],
    };
    for block in bytes.chunks_mut(format.block_bytes()) {
        for at in scales {
            block[*at..*at + 2].copy_from_slice(&half::f16::from_f32(rng.float() * 0.1).to_le_bytes());
        }
    }
    bytes
}

/// What a kernel must give: the product with the activations as represented, and the magnitude of its terms.
fn truth(w: Matrix<'_>, r: usize, x: &[f32]) -> (f64, f64) {
    let mut row = vec![0.0f32; w.cols];
    crate::dequantize(w.format, w.row(r), &mut row).unwrap();
    let size = row.iter().zip(x).map(|(w, x)| f64::from(w * x).abs()).sum();
    (reference::dot_f32(w.format, w.row(r), x), size)
}

/// The activations as the kernel sees them.
fn represented(x: &Activations, row: usize) -> Vec<f32> {
    let n = x.cols;
    let at = row * x.stride..row * x.stride + n;
    match x.kind {
        ActivationKind::I16 => x.words[at].iter().map(|q| f32::from(*q) * x.scales[row]).collect(),
        ActivationKind::Q8K => {
            x.bytes[at].iter().enumerate().map(|(i, q)| f32::from(*q) * x.scales[row * n / 256 + i / 256]).collect()
        }
    }
}

/// The product to check.
#[derive(Clone, Copy)]
enum Form {
    Rounded,
    Float(FloatSums),
}

fn check(isa: Isa, format: Format, form: Form, rows: usize, cols: usize, tokens: usize, seed: u64) {
    let mut rng = Rng(seed | 1);
    let data = random_weights(format, rows, cols, &mut rng);
    let w = Matrix::new(format, rows, cols, &data).unwrap();
    let values: Vec<f32> = (0..tokens * cols).map(|_| rng.float()).collect();
    let (kind, sums) = match form {
        Form::Rounded => (ActivationKind::in_front_of(format), FloatSums::Single),
        Form::Float(sums) => (None, sums),
    };
    let allowed = if sums == FloatSums::Double { 1.2e-7 } else { 3e-6 };
    let mut x = Activations::default();
    if let Some(kind) = kind {
        x.fill(isa, kind, &values, tokens, cols, cols);
    }
    // Tokens in a scrambled order with repeats, a range of rows, and guard values around the output.
    let pick: Vec<u32> = (0..tokens).map(|_| (rng.next() % tokens as u64) as u32).collect();
    let range = (rng.next() % rows as u64) as usize..rows;
    let mut got = vec![f32::NAN; tokens * rows];
    let (kernels, out) = (Kernels::new(isa, sums), Out::new(&mut got, rows));
    match kind {
        // SAFETY: one thread.
        Some(_) => unsafe { kernels.matmul(w, range.clone(), &x, &pick, out) },
        // SAFETY: one thread.
        None => unsafe { kernels.matmul_f32(w, range.clone(), &values, &pick, out) },
    }
    for (i, t) in pick.iter().enumerate() {
        let seen = match kind {
            Some(_) => represented(&x, *t as usize),
            None => values[*t as usize * cols..][..cols].to_vec(),
        };
        for r in 0..rows {
            let value = got[i * rows + r];
            if !range.contains(&r) {
                assert!(value.is_nan(), "row outside the range was written");
                continue;
            }
            let (want, size) = truth(w, r, &seen);
            let error = (f64::from(value) - want).abs();
            assert!(
                error <= allowed * size + 1e-12,
                "{} {} {kind:?}: row {r} token {t}: {value} instead of {want}, magnitude {size}",
                isa.name(),
                format.name()
            );
        }
    }
}

proptest! {
    #![proptest_config(Config { cases: 24, ..Config::default() })]

    #[test]
    fn matmul_equals_the_reference(rows in 1usize..40, blocks in 1usize..4, tokens in 1usize..20, seed: u64) {
        for isa in isas() {
            for format in Format::ALL {
                let cols = blocks * if format.block_len() == 1 { 37 } else { format.block_len() };
                for form in [Form::Rounded, Form::Float(FloatSums::Single), Form::Float(FloatSums::Double)] {
                    check(isa, format, form, rows, cols, tokens, seed);
                }
            }
        }
    }

    #[test]
    fn weighted_sum_equals_the_reference(heads in 1usize..7, rows in 0usize..9, d in 1usize..70, seed: u64) {
        let mut rng = Rng(seed | 1);
        let p: Vec<f32> = (0..heads * rows).map(|_| rng.float()).collect();
        let v: Vec<Vec<f32>> = (0..rows).map(|_| (0..d).map(|_| rng.float()).collect()).collect();
        let v: Vec<&[f32]> = v.iter().map(Vec::as_slice).collect();
        let start: Vec<f32> = (0..heads * d).map(|_| rng.float()).collect();
        for (isa, sums) in isas().into_iter().flat_map(|isa| [(isa, FloatSums::Single), (isa, FloatSums::Double)]) {
            let mut out = start.clone();
            Kernels::new(isa, sums).weighted_sum(&p, &v, d, &mut out);
            for h in 0..heads {
                for i in 0..d {
                    let want: f64 = f64::from(start[h * d + i])
                        + (0..rows).map(|j| f64::from(p[h * rows + j]) * f64::from(v[j][i])).sum::<f64>();
                    prop_assert!((f64::from(out[h * d + i]) - want).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn integer_forms_stay_within_half_a_step(seed: u64, rows in 1usize..3) {
        let mut rng = Rng(seed | 1);
        let cols = 512;
        let values: Vec<f32> = (0..rows * cols).map(|_| rng.float() * rng.float()).collect();
        for isa in isas() {
            for kind in [ActivationKind::I16, ActivationKind::Q8K] {
                let mut x = Activations::default();
                x.fill(isa, kind, &values, rows, cols, cols);
                for r in 0..rows {
                    for (i, (a, b)) in represented(&x, r).iter().zip(&values[r * cols..]).enumerate() {
                        let step = match kind {
                            ActivationKind::I16 => x.scales[r],
                            _ => x.scales[r * cols / 256 + i / 256].abs(),
                        };
                        prop_assert!((a - b).abs() <= 0.51 * step);
                    }
                }
            }
        }
    }

    #[test]
    fn q8k_equals_the_scalar_rule(seed: u64) {
        let mut rng = Rng(seed | 1);
        let values: Vec<f32> = (0..512).map(|_| rng.float()).collect();
        let mut want = vec![crate::BlockQ8K::ZERO; 2];
        crate::quantize_q8k(&values, &mut want);
        for isa in isas() {
            let mut x = Activations::default();
            x.fill(isa, ActivationKind::Q8K, &values, 1, 512, 512);
            for (b, want) in want.iter().enumerate() {
                prop_assert_eq!(&x.bytes[256 * b..256 * b + 256], &want.q[..]);
                prop_assert_eq!(&x.sums[16 * b..16 * b + 16], &want.bsum[..]);
                prop_assert_eq!(x.scales[b], want.d);
            }
        }
    }
}

#[test]
fn values_that_are_not_finite_do_not_poison_a_row() {
    for isa in isas() {
        let mut values = vec![0.5f32; 256];
        (values[3], values[7]) = (f32::NAN, f32::INFINITY);
        let mut x = Activations::default();
        x.fill(isa, ActivationKind::Q8K, &values, 1, 256, 256);
        assert!(x.scales[0].is_finite() && x.bytes[3] == 0 && x.bytes[0] == -127);
        x.fill(isa, ActivationKind::I16, &values, 1, 256, 256);
        assert!(x.scales[0].is_finite() && x.words[3] == 0 && x.words[0] == 32767);
    }
}
