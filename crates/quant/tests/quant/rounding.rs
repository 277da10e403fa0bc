//! F16 and BF16 rounding at every boundary between neighbouring values.

use ds4_quant::{Format, QuantizeError, dequantize, quantize};

fn value(format: Format, code: u16) -> f32 {
    let mut out = [0.0];
    dequantize(format, &code.to_le_bytes(), &mut out).unwrap();
    out[0]
}

fn code(format: Format, x: f32) -> Result<u16, QuantizeError> {
    let mut out = [0; 2];
    quantize(format, &[x], None, &mut out).map(|()| u16::from_le_bytes(out))
}

/// Rounding is a step function that rises only at the midpoints of neighbours, so checking both
/// sides of each midpoint checks every f32.
fn check_every_boundary(format: Format, largest: u16) {
    for low in 0..largest {
        let high = low + 1;
        let middle = value(format, low) + (value(format, high) - value(format, low)) / 2.0;
        let even = if low % 2 == 0 { low } else { high };
        for (x, expected) in [
            (value(format, low), low),
            (middle.next_down(), low),
            (middle, even),
            (middle.next_up(), high),
            (value(format, high), high),
        ] {
            assert_eq!(code(format, x), Ok(expected), "{format}: {x:e}");
            assert_eq!(code(format, -x), Ok(expected | 0x8000), "{format}: -{x:e}");
        }
    }
    // Beyond the last value the next one would be a power of two that the format does not have.
    let last = value(format, largest);
    let beyond = last + (last - value(format, largest - 1)) / 2.0;
    assert_eq!(code(format, beyond.next_down()), Ok(largest), "{format}");
    for x in [beyond, -beyond, f32::MAX] {
        let error = code(format, x).unwrap_err();
        assert!(matches!(error, QuantizeError::TooLarge { start: 0, .. }), "{format}: {x:e}: {error}");
    }
}

#[test]
fn f16_rounds_to_nearest_even() {
    assert_eq!(value(Format::F16, 0x3c00), 1.0);
    check_every_boundary(Format::F16, 0x7bff);
}

#[test]
fn bf16_rounds_to_nearest_even() {
    assert_eq!(value(Format::Bf16, 0x3f80), 1.0);
    check_every_boundary(Format::Bf16, 0x7f7f);
}
