//! Thirty-two f32 at a time: what the searches are written in, each lane a search of its own.
//!
//! A value exists only where its instructions do: the first one takes a [`Proof`], which only the entry points make, and all others come
//! from values. So the searches themselves need no `unsafe`.

/// Values in a vector.
pub(super) const LANES: usize = 32;

/// That the instructions of `V` are there.
pub(super) struct Proof<V>(std::marker::PhantomData<V>);

impl<V> Clone for Proof<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Proof<V> {}

/// See the module. Every method is `#[inline(always)]`, and so must be what calls it, down to [`LaneTask::run`].
pub(super) trait Lanes: Copy {
    /// One truth value a lane.
    type Mask: Copy;
    fn splat(proof: Proof<Self>, v: f32) -> Self;
    fn load(proof: Proof<Self>, from: &[f32; LANES]) -> Self;
    fn store(self, to: &mut [f32; LANES]);
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    fn sqrt(self) -> Self;
    /// `self·factor + term`, rounded once, but for `Plain`.
    fn mul_add(self, factor: Self, term: Self) -> Self;
    /// The smaller one; `other` if there is a NaN.
    fn min(self, other: Self) -> Self;
    /// The larger one; `other` if there is a NaN.
    fn max(self, other: Self) -> Self;
    /// Whether `self < other`; not where there is a NaN.
    fn less(self, other: Self) -> Self::Mask;
    /// `yes` where the mask is true.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
    /// Sum of all lanes: of halves, quarters and so on.
    fn sum(self) -> f32;
    /// The first lane that has the smallest value; 0 if there is a NaN.
    fn least_lane(self) -> usize;

    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        let mut array = [0.0; LANES];
        self.store(&mut array);
        array
    }
}

/// A search, for [`on_lanes`].
pub(super) trait LaneTask {
    type Output;
    /// `#[inline(always)]`, or it is compiled without the instructions.
    fn run<V: Lanes>(self, proof: Proof<V>) -> Self::Output;
}

/// Runs `task` with the widest vectors of this machine.
pub(super) fn on_lanes<T: LaneTask>(task: T) -> T::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if x86::has_avx512() {
            // SAFETY: the features are there.
            return unsafe { x86::avx512(task) };
        }
        if x86::has_avx2() {
            // SAFETY: the features are there.
            return unsafe { x86::avx2(task) };
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        neon::run(task)
    }
    #[cfg(not(target_arch = "aarch64"))]
    {
        task.run::<Plain>(Proof(std::marker::PhantomData))
    }
}

/// An array, for the compiler to make vectors of, on machines that nothing is written for. Its operations are functions: written out wherever they are used they would take minutes
/// to compile.
#[cfg(not(target_arch = "aarch64"))]
#[derive(Clone, Copy)]
pub(super) struct Plain([f32; LANES]);

#[cfg(not(target_arch = "aarch64"))]
impl Plain {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let mut out = self;
        for (a, b) in out.0.iter_mut().zip(other.0) {
            *a = f(*a, b);
        }
        out
    }
}

#[cfg(not(target_arch = "aarch64"))]
impl Lanes for Plain {
    type Mask = [bool; LANES];

    #[inline(never)]
    fn splat(_: Proof<Self>, v: f32) -> Self {
        Self([v; LANES])
    }
    #[inline(never)]
    fn load(_: Proof<Self>, from: &[f32; LANES]) -> Self {
        Self(*from)
    }
    #[inline(never)]
    fn store(self, to: &mut [f32; LANES]) {
        *to = self.0;
    }
    #[inline(never)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(never)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(never)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(never)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
    #[inline(never)]
    fn sqrt(self) -> Self {
        self.zip(self, |a, _| a.sqrt())
    }
    #[inline(never)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        let mut out = self;
        for ((a, b), c) in out.0.iter_mut().zip(factor.0).zip(term.0) {
            // Without the instruction, which old processors of this kind lack, one rounding is a slow call: two then, and blocks may
            // differ in ties.
            *a = if cfg!(target_arch = "x86_64") { *a * b + c } else { a.mul_add(b, c) };
        }
        out
    }
    #[inline(never)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }
    #[inline(never)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(never)]
    fn less(self, other: Self) -> Self::Mask {
        let mut mask = [false; LANES];
        for ((mask, a), b) in mask.iter_mut().zip(self.0).zip(other.0) {
            *mask = a < b;
        }
        mask
    }
    #[inline(never)]
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
        let mut out = no;
        for ((out, yes), mask) in out.0.iter_mut().zip(yes.0).zip(mask) {
            *out = if mask { yes } else { *out };
        }
        out
    }
    #[inline(never)]
    fn sum(mut self) -> f32 {
        let mut half = LANES / 2;
        while half > 0 {
            for i in 0..half {
                self.0[i] += self.0[i + half];
            }
            half /= 2;
        }
        self.0[0]
    }
    #[inline(never)]
    fn least_lane(self) -> usize {
        let least = self.0.iter().fold(f32::INFINITY, |least, x| if *x < least { *x } else { least });
        self.0.iter().position(|x| *x == least).unwrap_or(0)
    }
}

/// `f` of each register of vectors.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! each {
    ($f:ident($first:expr $(, $more:expr)*)) => {{
        let mut out = $first;
        for i in 0..out.0.len() {
            // SAFETY: the features are there, since the vectors are.
            out.0[i] = unsafe { $f($first.0[i] $(, $more.0[i])*) };
        }
        out
    }};
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! lanes {
    ($name:ident: $count:literal of $register:ty, mask $mask:ty, $splat:ident, $load:ident, $store:ident, $add:ident, $sub:ident,
     $mul:ident, $div:ident, $sqrt:ident, $fma:ident, $min:ident, $max:ident, $less:ident, $select:ident, $sum:ident, $least:ident) => {
        /// A few registers.
        #[derive(Clone, Copy)]
        pub(super) struct $name([$register; $count]);

        impl Lanes for $name {
            type Mask = [$mask; $count];

            #[inline(always)]
            fn splat(_: Proof<Self>, v: f32) -> Self {
                // SAFETY: proven.
                unsafe { Self([$splat(v); $count]) }
            }
            #[inline(always)]
            fn load(proof: Proof<Self>, from: &[f32; LANES]) -> Self {
                let mut out = Self::splat(proof, 0.0);
                for i in 0..$count {
                    // SAFETY: proven; the registers together are as long as the array.
                    out.0[i] = unsafe { $load(from.as_ptr().add(i * (LANES / $count))) };
                }
                out
            }
            #[inline(always)]
            fn store(self, to: &mut [f32; LANES]) {
                for i in 0..$count {
                    // SAFETY: the features are there, since the vector is; the registers together are as long as the array.
                    unsafe { $store(to.as_mut_ptr().add(i * (LANES / $count)), self.0[i]) };
                }
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                each!($add(self, other))
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                each!($sub(self, other))
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                each!($mul(self, other))
            }
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                each!($div(self, other))
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                each!($sqrt(self))
            }
            #[inline(always)]
            fn mul_add(self, factor: Self, term: Self) -> Self {
                each!($fma(self, factor, term))
            }
            #[inline(always)]
            fn min(self, other: Self) -> Self {
                each!($min(self, other))
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                each!($max(self, other))
            }
            #[inline(always)]
            fn less(self, other: Self) -> Self::Mask {
                // SAFETY: the features are there, since the vectors are.
                let mut mask = [unsafe { $less(self.0[0], other.0[0]) }; $count];
                for i in 1..$count {
                    // SAFETY: as above.
                    mask[i] = unsafe { $less(self.0[i], other.0[i]) };
                }
                mask
            }
            #[inline(always)]
            fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
                let mut out = no;
                for i in 0..$count {
                    // SAFETY: the features are there, since the vectors are.
                    out.0[i] = unsafe { $select(mask[i], yes.0[i], no.0[i]) };
                }
                out
            }
            #[inline(always)]
            fn sum(self) -> f32 {
                // SAFETY: the features are there, since the vector is.
                unsafe { $sum(self.0) }
            }
            #[inline(always)]
            fn least_lane(self) -> usize {
                // SAFETY: the features are there, since the vector is.
                unsafe { $least(self.0) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{LANES, LaneTask, Lanes, Proof};
    use std::arch::x86_64::*;

    pub(super) fn has_avx2() -> bool {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
    }

    pub(super) fn has_avx512() -> bool {
        has_avx2() && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl")
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn avx2<T: LaneTask>(task: T) -> T::Output {
        task.run::<Avx2>(Proof(std::marker::PhantomData))
    }

    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512vl")]
    pub(super) unsafe fn avx512<T: LaneTask>(task: T) -> T::Output {
        task.run::<Avx512>(Proof(std::marker::PhantomData))
    }

    #[inline(always)]
    unsafe fn less_256(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the caller's features.
        unsafe { _mm256_cmp_ps::<_CMP_LT_OQ>(a, b) }
    }
    #[inline(always)]
    unsafe fn select_256(mask: __m256, yes: __m256, no: __m256) -> __m256 {
        // SAFETY: the caller's features.
        unsafe { _mm256_blendv_ps(no, yes, mask) }
    }
    #[inline(always)]
    unsafe fn less_512(a: __m512, b: __m512) -> __mmask16 {
        // SAFETY: the caller's features.
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b) }
    }
    #[inline(always)]
    unsafe fn select_512(mask: __mmask16, yes: __m512, no: __m512) -> __m512 {
        // SAFETY: the caller's features.
        unsafe { _mm512_mask_blend_ps(mask, no, yes) }
    }

    #[inline(always)]
    unsafe fn sum_8(v: __m256) -> f32 {
        // SAFETY: the caller's features.
        unsafe {
            let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
        }
    }
    #[inline(always)]
    unsafe fn sum_256(v: [__m256; 4]) -> f32 {
        // SAFETY: the caller's features.
        unsafe { sum_8(_mm256_add_ps(_mm256_add_ps(v[0], v[2]), _mm256_add_ps(v[1], v[3]))) }
    }
    #[inline(always)]
    unsafe fn sum_512(v: [__m512; 2]) -> f32 {
        // SAFETY: the caller's features.
        unsafe {
            let v = _mm512_add_ps(v[0], v[1]);
            let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(v)));
            sum_8(_mm256_add_ps(_mm512_castps512_ps256(v), high))
        }
    }
    #[inline(always)]
    unsafe fn least_256(v: [__m256; 4]) -> usize {
        // SAFETY: the caller's features.
        unsafe {
            let least = _mm256_min_ps(_mm256_min_ps(v[0], v[1]), _mm256_min_ps(v[2], v[3]));
            let least = _mm256_min_ps(least, _mm256_permute2f128_ps::<1>(least, least));
            let least = _mm256_min_ps(least, _mm256_permute_ps::<0b01_00_11_10>(least));
            let least = _mm256_min_ps(least, _mm256_permute_ps::<0b10_11_00_01>(least));
            let mut bits = 0;
            for (i, v) in v.iter().enumerate() {
                let equal = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(*v, least));
                bits |= (equal as u32) << (8 * i);
            }
            bits.trailing_zeros() as usize % LANES
        }
    }
    #[inline(always)]
    unsafe fn least_512(v: [__m512; 2]) -> usize {
        // SAFETY: the caller's features.
        unsafe {
            let least = _mm512_set1_ps(_mm512_reduce_min_ps(_mm512_min_ps(v[0], v[1])));
            let equal = |v| u32::from(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(v, least));
            (equal(v[0]) | equal(v[1]) << 16).trailing_zeros() as usize % LANES
        }
    }

    lanes!(Avx2: 4 of __m256, mask __m256, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps, _mm256_sub_ps,
        _mm256_mul_ps, _mm256_div_ps, _mm256_sqrt_ps, _mm256_fmadd_ps, _mm256_min_ps, _mm256_max_ps, less_256, select_256, sum_256, least_256);
    lanes!(Avx512: 2 of __m512, mask __mmask16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps, _mm512_sub_ps,
        _mm512_mul_ps, _mm512_div_ps, _mm512_sqrt_ps, _mm512_fmadd_ps, _mm512_min_ps, _mm512_max_ps, less_512, select_512, sum_512, least_512);
}

/// NEON, which every processor of this kind has.
#[cfg(target_arch = "aarch64")]
mod neon {
    use super::{LANES, LaneTask, Lanes, Proof};
    use std::arch::aarch64::*;

    pub(super) fn run<T: LaneTask>(task: T) -> T::Output {
        task.run::<Neon>(Proof(std::marker::PhantomData))
    }

    #[inline(always)]
    unsafe fn fma(factor: float32x4_t, other: float32x4_t, term: float32x4_t) -> float32x4_t {
        // SAFETY: NEON is there.
        unsafe { vfmaq_f32(term, factor, other) }
    }
    // Not `vminq_f32` and `vmaxq_f32`, of which a NaN makes a NaN.
    #[inline(always)]
    unsafe fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: NEON is there.
        unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: NEON is there.
        unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }
    #[inline(always)]
    unsafe fn sum(v: [float32x4_t; 8]) -> f32 {
        // SAFETY: NEON is there.
        unsafe {
            let half = |i: usize| vaddq_f32(vaddq_f32(v[i], v[i + 4]), vaddq_f32(v[i + 2], v[i + 6]));
            let four = vaddq_f32(half(0), half(1));
            let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
            vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
        }
    }
    #[inline(always)]
    unsafe fn least(v: [float32x4_t; 8]) -> usize {
        // SAFETY: NEON is there; a mask is as long as the array.
        unsafe {
            let four = v.iter().skip(1).fold(v[0], |least, v| vminq_f32(least, *v));
            let least = vdupq_n_f32(vminvq_f32(four));
            for (i, v) in v.iter().enumerate() {
                let mut equal = [0u32; 4];
                vst1q_u32(equal.as_mut_ptr(), vceqq_f32(*v, least));
                if let Some(lane) = equal.iter().position(|equal| *equal != 0) {
                    return 4 * i + lane;
                }
            }
            0
        }
    }

    lanes!(Neon: 8 of float32x4_t, mask uint32x4_t, vdupq_n_f32, vld1q_f32, vst1q_f32, vaddq_f32, vsubq_f32, vmulq_f32, vdivq_f32, vsqrtq_f32,
        fma, min, max, vcltq_f32, vbslq_f32, sum, least);
}

/// What each instruction set of this machine with the same rounding finds, for tests.
#[cfg(test)]
pub(super) fn on_all<T: LaneTask>(task: impl Fn() -> T) -> Vec<T::Output> {
    let all = [on_lanes(task())].into_iter();
    // SAFETY: the features are there.
    #[cfg(target_arch = "x86_64")]
    let all = all.chain(x86::has_avx2().then(|| unsafe { x86::avx2(task()) }));
    all.collect()
}
