//! Choice of the instruction set at run time, and the entry points.

use super::activations::ActivationKind;
use super::out::Out;
use super::scalar::Scalar;
use super::simd::Simd;
use super::{Activations, Matrix, dense, kquants, q8_0};
use crate::Format;
use std::cell::Cell;
use std::ops::Range;

/// An instruction set that kernels exist for. Values other than `Scalar` exist only where the machine has
/// the features: [`Isa::available`] is the one place that makes them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Isa(Kind);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg(target_arch = "aarch64")]
    NeonDot,
}

/// The entry points compiled for one instruction set, as a module. One list of features says what to detect and what to enable; `$tokens` are
/// the numbers of tokens that one decoding of a 256-weight block is compiled for.
macro_rules! entry_points {
    ($name:ident: $simd:ty, $detected:ident [$($feature:tt),*], tokens [$($tokens:literal),*]) => {
        mod $name {
            use super::{Activations, Format, Job, Matrix, Out, Range, Sum, Task, kquants};

            pub(super) fn detected() -> bool {
                true $(&& std::arch::$detected!($feature))*
            }
            $(#[target_feature(enable = $feature)])*
            pub(super) unsafe fn with<T: Task>(task: T) -> T::Output {
                task.run()
            }
            $(#[target_feature(enable = $feature)])*
            pub(super) unsafe fn matmul(job: Job<'_, '_>) {
                // SAFETY: features are on; the rest is the caller's promise.
                unsafe { super::matmul::<$simd>(job, strips) }
            }
            // A function for each format and number of tokens: inlined into one they took minutes to compile.
            $(#[target_feature(enable = $feature)])*
            unsafe fn strip<B: kquants::Block<$simd>, const T: usize>(
                w: Matrix<'_>,
                rows: Range<usize>,
                x: &Activations,
                some: &[u32],
                out: Out<'_>,
                at: usize,
            ) {
                // SAFETY: features are on; the rest is the caller's promise.
                unsafe { kquants::strip::<$simd, B, T>(w, rows, x, some, out, at) }
            }
            fn strips(format: Format) -> &'static [kquants::Strip] {
                match format {
                    Format::Q2K => const { &[$(strip::<kquants::Q2K, $tokens>),*] },
                    Format::Q4K => const { &[$(strip::<kquants::Q4K, $tokens>),*] },
                    Format::Q5K => const { &[$(strip::<kquants::Q5K, $tokens>),*] },
                    Format::Q6K => const { &[$(strip::<kquants::Q6K, $tokens>),*] },
                    Format::Iq2Xxs => const { &[$(strip::<kquants::Iq2Xxs, $tokens>),*] },
                    Format::Q8_0 | Format::F32 | Format::F16 | Format::Bf16 => unreachable!("no 256-weight blocks"),
                }
            }
            $(#[target_feature(enable = $feature)])*
            pub(super) unsafe fn sum(job: Sum<'_>) {
                // SAFETY: features are on; shapes were checked.
                unsafe { super::sum::<$simd>(job) }
            }
        }
    };
}

entry_points!(plain: super::Scalar, none [], tokens [1, 2]);
#[cfg(target_arch = "x86_64")]
entry_points!(avx2: crate::dot::avx2::Avx2, is_x86_feature_detected ["avx2", "fma", "f16c", "bmi1", "bmi2"],
    tokens [1, 2, 3, 4, 5, 6, 7, 8]);
// The operations of AVX2 once more: with this feature the compiler joins a multiplication of pairs and the addition that
// follows it into one instruction, and it does so only where that does not lengthen a chain of additions.
#[cfg(target_arch = "x86_64")]
entry_points!(avx_vnni: crate::dot::avx2::Avx2, is_x86_feature_detected
    ["avx2", "fma", "f16c", "bmi1", "bmi2", "avxvnni"], tokens [1, 2, 3, 4, 5, 6, 7, 8]);
#[cfg(target_arch = "aarch64")]
entry_points!(neon: crate::dot::neon::Neon<false>, is_aarch64_feature_detected ["neon"], tokens [1, 2, 3, 4, 5, 6, 7, 8]);
#[cfg(target_arch = "aarch64")]
entry_points!(neon_dot: crate::dot::neon::Neon<true>, is_aarch64_feature_detected ["neon", "dotprod"],
    tokens [1, 2, 3, 4, 5, 6, 7, 8]);

/// The same instruction on processors that have it with AVX-512 only. Used for Q8_0, where it pays: compiled for AVX-512, the other
/// products and the rounding of activations were slower than AVX2, since the compiler then takes 512-bit registers wherever
/// sixteen words lie together.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::{Activations, Format, Input, Job, Matrix, Out, Range, avx2, q8_0};
    use crate::dot::avx2::Avx2;
    pub(super) use avx2::{sum, with};

    pub(super) fn detected() -> bool {
        avx2::detected()
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni")
    }
    pub(super) unsafe fn matmul(job: Job<'_, '_>) {
        // SAFETY: features are there; the rest is the caller's promise.
        unsafe {
            match job.x {
                Input::Rounded(x) if job.w.format == Format::Q8_0 => product(job.w, job.rows, x, job.tokens, job.out),
                _ => avx2::matmul(job),
            }
        }
    }
    #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn product(w: Matrix<'_>, rows: Range<usize>, x: &Activations, tokens: &[u32], out: Out<'_>) {
        // SAFETY: features are on; the rest is the caller's promise.
        unsafe { q8_0::product::<Avx2>(w, rows, x, tokens, out) }
    }
}

/// `$entry($job)` as compiled for `$isa`.
macro_rules! on {
    ($isa:expr, $entry:ident($job:expr)) => {
        match $isa.0 {
            Kind::Scalar => plain::$entry($job),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => avx2::$entry($job),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => avx512::$entry($job),
            #[cfg(target_arch = "x86_64")]
            Kind::AvxVnni => avx_vnni::$entry($job),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => neon::$entry($job),
            #[cfg(target_arch = "aarch64")]
            Kind::NeonDot => neon_dot::$entry($job),
        }
    };
}

impl Isa {
    /// Plain Rust, everywhere.
    pub const SCALAR: Isa = Isa(Kind::Scalar);

    /// What this machine can run, slowest first.
    pub fn available() -> Vec<Isa> {
        let all = [
            (plain::detected(), Kind::Scalar),
            #[cfg(target_arch = "x86_64")]
            (avx2::detected(), Kind::Avx2),
            #[cfg(target_arch = "x86_64")]
            (avx512::detected(), Kind::Avx512),
            #[cfg(target_arch = "x86_64")]
            (avx_vnni::detected(), Kind::AvxVnni),
            #[cfg(target_arch = "aarch64")]
            (neon::detected(), Kind::Neon),
            #[cfg(target_arch = "aarch64")]
            (neon_dot::detected(), Kind::NeonDot),
        ];
        all.into_iter().filter(|(there, _)| *there).map(|(_, kind)| Isa(kind)).collect()
    }

    /// The fastest available.
    pub fn best() -> Isa {
        Self::available().pop().unwrap_or(Isa::SCALAR)
    }

    /// Name for people.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::AvxVnni => "avx-vnni",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => "neon",
            #[cfg(target_arch = "aarch64")]
            Kind::NeonDot => "neon-dotprod",
        }
    }

    /// Runs plain Rust code compiled for this instruction set, so that the compiler may vectorise it.
    pub fn with<T: Task>(self, task: T) -> T::Output {
        // SAFETY: `Isa::available` saw the features.
        unsafe { on!(self, with(task)) }
    }
}

/// Plain Rust code for [`Isa::with`]. Mark `run` `#[inline(always)]`, or it is compiled without the features.
pub trait Task {
    /// What `run` returns.
    type Output;
    /// The work.
    fn run(self) -> Self::Output;
}

/// The entry points, bound to one instruction set.
#[derive(Clone, Copy, Debug)]
pub struct Kernels {
    isa: Isa,
    sums: FloatSums,
}

/// Precision in which products of floats are summed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FloatSums {
    /// f32.
    Single,
    /// f64: a result is off by its own rounding alone.
    Double,
}

/// One product, shapes checked.
struct Job<'a, 'o> {
    w: Matrix<'a>,
    rows: Range<usize>,
    x: Input<'a>,
    tokens: &'a [u32],
    out: Out<'o>,
    sums: FloatSums,
}

#[derive(Clone, Copy)]
enum Input<'a> {
    /// Rows of `w.cols` floats.
    Float(&'a [f32]),
    Rounded(&'a Activations),
}

struct Sum<'a> {
    p: &'a [f32],
    rows: &'a [&'a [f32]],
    d: usize,
    out: &'a mut [f32],
    sums: FloatSums,
}

impl Kernels {
    /// Kernels for `isa`. Products of rounded activations sum integers, and do not depend on `sums`.
    pub fn new(isa: Isa, sums: FloatSums) -> Self {
        Self { isa, sums }
    }

    /// The instruction set.
    pub fn isa(self) -> Isa {
        self.isa
    }

    /// `out[i][r] = Σ_k w[r][k] · x[tokens[i]][k]` for rows `rows`, with rounded activations.
    ///
    /// # Safety
    /// No other thread touches columns `rows` of `out` meanwhile.
    ///
    /// # Panics
    /// When shapes or token numbers do not fit, or `x` is not of the kind that [`ActivationKind::in_front_of`] names.
    pub unsafe fn matmul(self, w: Matrix<'_>, rows: Range<usize>, x: &Activations, tokens: &[u32], out: Out<'_>) {
        assert_eq!(w.cols, x.cols, "matrix columns against activation columns");
        assert!(
            Some(x.kind) == ActivationKind::in_front_of(w.format),
            "{:?} activations, {} weights",
            x.kind,
            w.format.name()
        );
        // SAFETY: exclusivity is the caller's promise.
        unsafe { self.run(Job { w, rows, x: Input::Rounded(x), tokens, out, sums: self.sums }, x.rows) }
    }

    /// The same with f32 activations, rows of `w.cols` values in `x`: weights of any format count exactly.
    ///
    /// # Safety
    /// As for [`Kernels::matmul`].
    ///
    /// # Panics
    /// When shapes or token numbers do not fit.
    pub unsafe fn matmul_f32(self, w: Matrix<'_>, rows: Range<usize>, x: &[f32], tokens: &[u32], out: Out<'_>) {
        // SAFETY: exclusivity is the caller's promise.
        unsafe { self.run(Job { w, rows, x: Input::Float(x), tokens, out, sums: self.sums }, x.len() / w.cols.max(1)) }
    }

    /// # Safety
    /// As for [`Kernels::matmul`]; a rounded input fits the matrix.
    unsafe fn run(self, job: Job<'_, '_>, batch: usize) {
        let Job { w, rows, tokens, out, .. } = &job;
        assert!(rows.start <= rows.end && rows.end <= w.rows && rows.end <= out.stride(), "rows outside the matrix");
        assert!(
            tokens.iter().all(|t| (*t as usize) < batch) && tokens.len() <= out.tokens(),
            "token outside the batch"
        );
        if rows.is_empty() || tokens.is_empty() {
            return;
        }
        // SAFETY: `Isa::available` saw the features; shapes checked above, exclusivity promised.
        unsafe { on!(self.isa, matmul(job)) }
    }

    /// `out[t][r] = Σ_k rows[r][k] · x[t][k]` for contiguous f32 `rows` and `x`, both of width `d`; `out` has one value a row.
    ///
    /// # Panics
    /// When shapes do not fit.
    pub fn inner_products(self, rows: &[f32], x: &[f32], d: usize, out: &mut [f32]) {
        let n = rows.len() / d.max(1);
        let tokens: Vec<u32> = (0..(x.len() / d.max(1)) as u32).collect();
        assert!(out.len() == n * tokens.len(), "one output a row and token");
        if out.is_empty() {
            return;
        }
        // SAFETY: any bit pattern of a float is plain bytes; the length is that of the slice.
        let data = unsafe { std::slice::from_raw_parts(rows.as_ptr().cast::<u8>(), size_of_val(rows)) };
        let w = Matrix { format: Format::F32, rows: n, cols: d, data: &data[..n * d * 4] };
        // SAFETY: `out` is borrowed uniquely.
        unsafe { self.matmul_f32(w, 0..n, x, &tokens, Out::new(out, n)) }
    }

    /// `out[h][d] += Σ_j p[h][j] · rows[j][d]`: attention's second product. `out` has `d` values a head.
    ///
    /// # Panics
    /// When shapes do not fit.
    pub fn weighted_sum(self, p: &[f32], rows: &[&[f32]], d: usize, out: &mut [f32]) {
        assert!(
            d > 0 && out.len().is_multiple_of(d) && p.len() == out.len() / d * rows.len(),
            "weights against outputs"
        );
        assert!(rows.iter().all(|r| r.len() >= d), "row shorter than its width");
        let job = Sum { p, rows, d, out, sums: self.sums };
        // SAFETY: `Isa::available` saw the features; shapes checked above.
        unsafe { on!(self.isa, sum(job)) }
    }
}

/// `strips` are those of a 256-weight format.
///
/// # Safety
/// As for [`Kernels::matmul`], with shapes checked; features of `S` and of the strips on.
#[inline(always)]
unsafe fn matmul<S: Simd>(job: Job<'_, '_>, strips: fn(Format) -> &'static [kquants::Strip]) {
    let Job { w, rows, x, tokens, out, sums } = job;
    // SAFETY: forwarded promises.
    unsafe {
        match x {
            Input::Float(x) => match sums {
                FloatSums::Single => float::<S, dense::Single>(w, rows, x, tokens, out),
                FloatSums::Double => float::<S, dense::Double>(w, rows, x, tokens, out),
            },
            Input::Rounded(x) => match w.format {
                Format::Q8_0 => q8_0::product::<S>(w, rows, x, tokens, out),
                Format::F32 | Format::F16 | Format::Bf16 => unreachable!("checked by `in_front_of`"),
                format => kquants::product(w, rows, x, tokens, out, strips(format)),
            },
        }
    }
}

/// # Safety
/// As for [`matmul`].
#[inline(always)]
unsafe fn float<S: Simd, A: dense::Sums<S>>(
    w: Matrix<'_>,
    rows: Range<usize>,
    x: &[f32],
    tokens: &[u32],
    out: Out<'_>,
) {
    let token = |t: usize| x[tokens[t] as usize * w.cols..].as_ptr();
    let (n, first, count) = (rows.len(), rows.start, tokens.len());
    // SAFETY: forwarded promises; a row of an element format holds `cols` elements.
    unsafe {
        let base = w.data.as_ptr().add(first * w.row_bytes());
        match w.format {
            Format::F32 => dense::product::<S, f32, A>(base.cast(), n, w.cols, token, count, out, first),
            Format::F16 => dense::product::<S, dense::F16, A>(base.cast(), n, w.cols, token, count, out, first),
            Format::Bf16 => dense::product::<S, dense::Bf16, A>(base.cast(), n, w.cols, token, count, out, first),
            _ => dequantised::<S, A>(w, rows, token, count, out),
        }
    }
}

/// A few rows at a time are dequantised to f32, then multiplied.
///
/// # Safety
/// As for [`matmul`].
#[inline(always)]
unsafe fn dequantised<S: Simd, A: dense::Sums<S>>(
    w: Matrix<'_>,
    rows: Range<usize>,
    token: impl Fn(usize) -> *const f32 + Copy,
    tokens: usize,
    out: Out<'_>,
) {
    thread_local!(static ROWS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) });
    // Taken, not borrowed in a closure, which would be compiled without the features.
    let mut buffer = ROWS.take();
    buffer.resize(dense::ROWS * w.cols, 0.0);
    let mut first = rows.start;
    while first < rows.end {
        let n = (rows.end - first).min(dense::ROWS);
        let bytes = &w.data[first * w.row_bytes()..(first + n) * w.row_bytes()];
        let whole = crate::dequantize(w.format, bytes, &mut buffer[..n * w.cols]);
        assert!(whole.is_ok(), "a matrix holds whole blocks");
        // SAFETY: the buffer holds n rows; the rest is forwarded.
        unsafe { dense::product::<S, f32, A>(buffer.as_ptr(), n, w.cols, token, tokens, out, first) };
        first += n;
    }
    ROWS.set(buffer);
}

/// # Safety
/// Shapes checked; features of `S` on.
#[inline(always)]
unsafe fn sum<S: Simd>(job: Sum<'_>) {
    let rows: Vec<*const f32> = job.rows.iter().map(|r| r.as_ptr()).collect();
    let (p, heads, out) = (job.p.as_ptr(), job.out.len() / job.d, job.out.as_mut_ptr());
    // SAFETY: shapes were checked by the caller.
    unsafe {
        match job.sums {
            FloatSums::Single => dense::weighted_sum::<S, dense::Single>(p, heads, &rows, job.d, out),
            FloatSums::Double => dense::weighted_sum::<S, dense::Double>(p, heads, &rows, job.d, out),
        }
    }
}
