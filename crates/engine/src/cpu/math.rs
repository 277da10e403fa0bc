//! Elementwise functions, written so that the compiler can vectorise them.

/// e^x to about one unit in the last place; 0 below −87.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // x = n·ln 2 + r, |r| ≤ ln 2 / 2; the polynomial is Cephes' for e^r.
    let x = x.min(88.0);
    let n = (x * std::f32::consts::LOG2_E).round_ties_even();
    let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5e-1;
    let y = p * r * r + r + 1.0;
    let scaled = y * f32::from_bits(((n as i32 + 127) as u32) << 23);
    if x < -87.0 { 0.0 } else { scaled }
}

/// `z·σ(z)`
#[inline(always)]
pub(super) fn silu(z: f32) -> f32 {
    z / (1.0 + exp(-z))
}

/// `σ(z)`
#[inline(always)]
pub(super) fn sigmoid(z: f32) -> f32 {
    1.0 / (1.0 + (-z).exp())
}

/// `sqrt(softplus(z))` with the spec's cut-offs (§10).
pub(super) fn sqrt_softplus(z: f32) -> f32 {
    let softplus = if z > 20.0 {
        z
    } else if z < -20.0 {
        z.exp()
    } else {
        z.exp().ln_1p()
    };
    softplus.sqrt()
}

/// Sum of squares, in f64.
#[inline(always)]
pub(super) fn sum_of_squares(x: &[f32]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let mut chunks = x.chunks_exact(8);
    for c in &mut chunks {
        for (l, v) in lanes.iter_mut().zip(c) {
            *l += f64::from(*v) * f64::from(*v);
        }
    }
    let rest: f64 = chunks.remainder().iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
    lanes.iter().sum::<f64>() + rest
}

/// `1 / sqrt(mean(x²) + eps)`
#[inline(always)]
pub(super) fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    (1.0 / (sum_of_squares(x) / x.len() as f64 + f64::from(eps)).sqrt()) as f32
}

/// RMSNorm in place, with or without a weight.
#[inline(always)]
pub(super) fn rms_norm(x: &mut [f32], weight: Option<&[f32]>, eps: f32) {
    let scale = inverse_rms(x, eps);
    match weight {
        Some(w) => x.iter_mut().zip(w).for_each(|(v, w)| *v = *v * scale * w),
        None => x.iter_mut().for_each(|v| *v *= scale),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_everywhere() {
        for i in -9000..8800 {
            let x = i as f32 / 100.0;
            let want = f64::from(x).exp();
            let got = f64::from(exp(x));
            assert!((got - want).abs() <= 2.5e-7 * want + 2e-38, "exp({x}) = {got}, not {want}");
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
    }
}
