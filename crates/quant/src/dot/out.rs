//! An output matrix that several threads fill, each its own columns.

use std::marker::PhantomData;

/// Token-major output `out[token * stride + row]`, shared by workers that each write other rows.
///
/// A `&mut [f32]` cannot be handed out by columns, so this carries the pointer; the contract is on
/// [`Out::writer`].
#[derive(Clone, Copy)]
pub struct Out<'a> {
    ptr: *mut f32,
    len: usize,
    stride: usize,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: the pointer comes from a unique borrow that lives for 'a; `set` is unsafe and its contract
// (no two threads write the same element) is what sharing needs.
unsafe impl Send for Out<'_> {}
// SAFETY: as above.
unsafe impl Sync for Out<'_> {}

impl<'a> Out<'a> {
    /// Wraps `data` as rows (tokens) of `stride` values.
    pub fn new(data: &'a mut [f32], stride: usize) -> Self {
        Self { ptr: data.as_mut_ptr(), len: data.len(), stride, life: PhantomData }
    }

    /// The same buffer without its first `tokens` rows.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn skip(self, tokens: usize) -> Self {
        let at = tokens * self.stride;
        assert!(at <= self.len, "skipped past the end of a buffer");
        Self { ptr: self.ptr.wrapping_add(at), len: self.len - at, ..self }
    }

    /// Number of whole token rows.
    pub fn tokens(&self) -> usize {
        self.len.checked_div(self.stride).unwrap_or(0)
    }

    /// Values in a token row.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Writes `value` for `(token, row)`.
    ///
    /// # Safety
    /// No other thread writes or reads this element at the same time.
    ///
    /// # Panics
    /// When the element is outside the buffer.
    #[inline(always)]
    pub unsafe fn set(&self, token: usize, row: usize, value: f32) {
        let at = token * self.stride + row;
        assert!(row < self.stride && at < self.len, "output element outside its buffer");
        // SAFETY: in bounds by the assertion; exclusive by the caller's promise.
        unsafe { *self.ptr.add(at) = value }
    }

    /// The values `rows` of `token`, for exclusive use.
    ///
    /// # Safety
    /// No other thread touches these elements while the slice lives.
    ///
    /// # Panics
    /// When the range is outside the buffer.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn slice(&self, token: usize, rows: std::ops::Range<usize>) -> &'a mut [f32] {
        assert!(rows.start <= rows.end && rows.end <= self.stride && token < self.tokens());
        // SAFETY: in bounds by the assertion; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(token * self.stride + rows.start), rows.len()) }
    }
}
