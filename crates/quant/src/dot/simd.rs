//! The lane operations that the kernels are written in.
//!
//! `Bytes` holds 32 bytes in two halves of 16; `Ints` eight i32 and `Floats` eight f32, in an order
//! that only `sum` observes, unless a method says otherwise. Every method is `unsafe` for one reason: it must run where the
//! implementation's CPU features are enabled. Loads and stores add their pointer's validity.

/// See the module.
pub(super) trait Simd: Copy {
    type Bytes: Copy;
    type Ints: Copy;
    type Floats: Copy;
    /// Two 16-bit factors, one for each half of a `Bytes`.
    type Scale: Copy;

    /// 32 bytes from `p`, unaligned.
    unsafe fn load(p: *const u8) -> Self::Bytes;
    /// Bytes 8i … 8i+7 are the value `words[i]`, least significant byte first.
    unsafe fn from_u64(words: [u64; 4]) -> Self::Bytes;
    /// Bytes 8i … 8i+7 are `table[index[i]]`, which exist.
    #[inline(always)]
    unsafe fn look_up_u64(table: *const u64, index: [usize; 4]) -> Self::Bytes {
        // SAFETY: the entries exist.
        unsafe {
            Self::from_u64([*table.add(index[0]), *table.add(index[1]), *table.add(index[2]), *table.add(index[3])])
        }
    }
    unsafe fn splat(v: u8) -> Self::Bytes;
    /// The four bytes of `v`, least significant first, eight times.
    unsafe fn splat_u32(v: u32) -> Self::Bytes;
    unsafe fn and(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    unsafe fn or(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    unsafe fn xor(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// Wrapping byte addition.
    unsafe fn add(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// Wrapping byte subtraction.
    unsafe fn sub(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// 0xff where bytes are equal, else 0.
    unsafe fn equal(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// Each byte shifted right by `n` < 8, with bits of its neighbour above coming in: mask them off.
    unsafe fn shift_right(a: Self::Bytes, n: u32) -> Self::Bytes;
    /// Each byte shifted left by `n` < 8, with bits of its neighbour below coming in: mask them off.
    unsafe fn shift_left(a: Self::Bytes, n: u32) -> Self::Bytes;
    /// Within each half, byte i of the result is `table[index[i]]`; indices below 16.
    unsafe fn lookup(table: Self::Bytes, index: Self::Bytes) -> Self::Bytes;

    /// The two neighbouring factors at `p`: the first for the lower half.
    unsafe fn scale_pair(p: *const i16) -> Self::Scale;
    /// The same, where both factors are known to be equal.
    unsafe fn scale_same(p: *const i16) -> Self::Scale;
    /// The second four bytes of each of eight eights at `p`, as little-endian numbers.
    unsafe fn odd_u32(p: *const u8) -> [u32; 8];
    unsafe fn zero() -> Self::Ints;
    /// `acc + Σ u·s` over groups of four neighbours, each half times its factor of `scale`. `u` is below 128, `s` signed:
    /// two products then sum to a word, and `u` is the same byte signed or not.
    unsafe fn dot_scaled(acc: Self::Ints, u: Self::Bytes, s: Self::Bytes, scale: Self::Scale) -> Self::Ints;
    /// `acc + Σ a·b` of sixteen 16-bit pairs at `a` and `b`.
    unsafe fn dot_i16(acc: Self::Ints, a: *const i16, b: *const i16) -> Self::Ints;
    /// `acc + Σ a·b` of 32 bytes at `a` widened to 16 bits and 32 words at `b`.
    unsafe fn dot_i8_i16(acc: Self::Ints, a: *const i8, b: *const i16) -> Self::Ints;

    /// Sixteen words, lane-exact: word 2j and 2j+1 belong to lane j.
    type Words: Copy;
    unsafe fn load_words(p: *const i16) -> Self::Words;
    /// The two words at `p`, eight times.
    unsafe fn splat_words(p: *const i16) -> Self::Words;
    /// Lane j: `acc[j] + a[2j]·b[2j] + a[2j+1]·b[2j+1]`.
    unsafe fn multiply_pairs(acc: Self::Ints, a: Self::Words, b: Self::Words) -> Self::Ints;
    /// Writes sixteen vectors of words, the `i`-th with words `(rows[j][2i], rows[j][2i+1])` in lane j: thirty-two bytes of
    /// eight rows, widened and transposed.
    unsafe fn pack8x32(rows: [*const i8; 8], out: *mut i16);

    /// Lane-wise `a − b`.
    unsafe fn sub_ints(a: Self::Ints, b: Self::Ints) -> Self::Ints;
    unsafe fn to_floats(v: Self::Ints) -> Self::Floats;
    unsafe fn splat_f32(v: f32) -> Self::Floats;
    /// Eight floats from `p`, lane-exact.
    unsafe fn load_f32(p: *const f32) -> Self::Floats;
    /// Eight halves from `p`, widened, lane-exact.
    unsafe fn load_f16(p: *const u16) -> Self::Floats;
    /// Eight bfloat16 from `p`, widened, lane-exact.
    unsafe fn load_bf16(p: *const u16) -> Self::Floats;
    /// Eight floats to `p`, lane-exact.
    unsafe fn store_f32(p: *mut f32, v: Self::Floats);
    /// `a·b + c`
    unsafe fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// Sum of the eight lanes.
    unsafe fn sum(v: Self::Floats) -> f32;

    /// Eight doubles, lane by lane those of a `Floats`.
    type Doubles: Copy;
    unsafe fn zero_doubles() -> Self::Doubles;
    /// `a·b + c`, the product exact.
    unsafe fn fma_doubles(a: Self::Floats, b: Self::Floats, c: Self::Doubles) -> Self::Doubles;
    /// Each lane rounded to single precision.
    unsafe fn to_singles(v: Self::Doubles) -> Self::Floats;
    /// Sum of the eight lanes.
    unsafe fn sum_doubles(v: Self::Doubles) -> f64;
    /// Half to single.
    unsafe fn half(bits: u16) -> f32;
    /// The half at `p`, widened, in all lanes.
    #[inline(always)]
    unsafe fn splat_half(p: *const u8) -> Self::Floats {
        // SAFETY: two readable bytes, features on.
        unsafe { Self::splat_f32(Self::half(p.cast::<u16>().read_unaligned())) }
    }
    /// Asks for the cache line at `p`, which need not be valid.
    unsafe fn prefetch(p: *const u8);
}
