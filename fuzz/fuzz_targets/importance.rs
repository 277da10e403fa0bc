#![no_main]

use ds4_convert::Importance;

// Any bytes are either refused or a matrix whose values can be used, and which is the same when it is written and read again.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(matrix) = Importance::read(bytes, bytes.len() as u64) else { return };
    for (name, values) in matrix.entries() {
        assert!(values.iter().all(|value| value.is_finite() && *value >= 0.0));
        let _ = std::hint::black_box(matrix.find(name, 1, 4, values.len() / 4));
    }
    let mut again = Vec::new();
    matrix.write(&mut again).expect("what was read can be written");
    assert!(Importance::read(&again[..], again.len() as u64).expect("and read") == matrix);
});
