//! Bit-for-bit comparison with files made by `scripts/make-quant-fixtures.py`.

use ds4_quant::{Format, dequantize, quantize};
use std::path::Path;

fn read(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (words, rest) = bytes.as_chunks();
    assert!(rest.is_empty());
    words.iter().map(|w| f32::from_le_bytes(*w)).collect()
}

/// Blocks in a file that holds each block both stored and as f32.
fn block_count(format: Format, file_len: usize) -> usize {
    let per_block = format.block_bytes() + 4 * format.block_len();
    assert_eq!(file_len % per_block, 0, "{format}: truncated file");
    let count = file_len / per_block;
    assert!(count >= 28, "{format}: {count} blocks");
    count
}

#[test]
fn every_format_expands_to_the_golden_bits() {
    for format in Format::ALL {
        let file = read(&format!("{format}.bin"));
        let blocks = block_count(format, file.len());
        let (stored, golden) = file.split_at(blocks * format.block_bytes());
        let golden = floats(golden);
        let mut values = vec![0.0; blocks * format.block_len()];
        dequantize(format, stored, &mut values).unwrap();
        for (i, (value, golden)) in values.iter().zip(&golden).enumerate() {
            assert_eq!(value.to_bits(), golden.to_bits(), "{format}, weight {i}: {value} instead of {golden}");
        }
    }
}

#[test]
fn formats_without_a_search_store_the_golden_bits() {
    for format in [Format::F16, Format::Bf16, Format::Q8_0] {
        let file = read(&format!("{format}-quantize.bin"));
        let blocks = block_count(format, file.len());
        let (values, golden) = file.split_at(blocks * format.block_len() * 4);
        let mut stored = vec![0; golden.len()];
        quantize(format, &floats(values), None, &mut stored).unwrap();
        for (n, (stored, golden)) in
            stored.chunks(format.block_bytes()).zip(golden.chunks(format.block_bytes())).enumerate()
        {
            assert_eq!(stored, golden, "{format}, block {n}");
        }
    }
}
