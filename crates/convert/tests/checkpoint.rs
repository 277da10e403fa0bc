//! The checkpoint in `data/checkpoint`, which `scripts/make-checkpoint-fixture.py` wrote, against what
//! torch makes of it.

use ds4_convert::checkpoint::{Checkpoint, CheckpointError, read_header};
use std::path::{Path, PathBuf};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Names, shapes and bytes of what the package reads.
fn expected() -> Vec<(String, Vec<usize>, Vec<u8>)> {
    let bytes = std::fs::read(data("expected.safetensors")).unwrap();
    let (metadata, start) = read_header(&bytes[..], bytes.len() as u64).unwrap();
    let tensors = metadata.offset_keys().into_iter().map(|name| {
        let info = metadata.info(&name).unwrap();
        let (from, to) = info.data_offsets;
        (name.clone(), info.shape.clone(), bytes[start as usize + from..start as usize + to].to_vec())
    });
    tensors.collect()
}

#[test]
fn every_precision_is_read_bit_for_bit() {
    let checkpoint = Checkpoint::open(&data("checkpoint")).unwrap();
    let all = expected();
    assert_eq!(all.len(), 8);
    for (name, shape, bytes) in all {
        let (rows, cols) = (shape[0], shape[1]);
        let matrix = checkpoint.matrix(&name, rows, cols).unwrap();
        let bits: Vec<u32> = bytes.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
        // All rows at once, one at a time, and a few from the middle.
        for step in [rows, 1, 3] {
            for first in (0..rows).step_by(step) {
                let range = first..(first + step).min(rows);
                let expected = &bits[range.start * cols..range.end * cols];
                if name.ends_with("tid2eid") {
                    let numbers = matrix.read_integers(range.clone()).unwrap();
                    assert!(numbers.iter().map(|n| *n as u32).eq(expected.iter().copied()));
                    assert!(matrix.read(range, &mut [0.0; 6]).is_err());
                    continue;
                }
                let mut values = vec![f32::NAN; range.len() * cols];
                matrix.read(range.clone(), &mut values).unwrap();
                for (i, (value, expected)) in values.iter().zip(expected).enumerate() {
                    assert_eq!(value.to_bits(), *expected, "{name} rows {range:?} value {i}: {value}");
                }
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let checkpoint = Checkpoint::open(&data("checkpoint")).unwrap();
    let error = |name, rows, cols| checkpoint.matrix(name, rows, cols).unwrap_err().to_string();
    assert!(error("embed.weight", 5, 25).contains("has shape [5, 24], expected [5, 25]"));
    assert!(error("nothing.weight", 5, 24).contains("is in no file of the checkpoint"));
    assert!(error("layers.0.attn.wkv.scale", 2, 2).contains("is of type F8_E8M0"));
    assert!(matches!(Checkpoint::open(&data("nowhere")), Err(CheckpointError::Io { .. })));
    let error = Checkpoint::open(&data("checkpoint/model.safetensors.index.json")).unwrap_err().to_string();
    assert!(error.contains("no safetensors file"), "{error}");
}

#[test]
fn a_folder_without_an_index_and_a_cut_file() {
    let folder = std::env::temp_dir().join(format!("ds4-checkpoint-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let empty = Checkpoint::open(&folder).unwrap_err().to_string();
    assert!(empty.contains("holds no safetensors files"), "{empty}");
    for i in 1..=2 {
        let name = format!("model-0000{i}-of-00002.safetensors");
        std::fs::copy(data("checkpoint").join(&name), folder.join(&name)).unwrap();
    }
    let checkpoint = Checkpoint::open(&folder).unwrap();
    assert_eq!(checkpoint.names(), Checkpoint::open(&data("checkpoint")).unwrap().names());

    // The same files have the same identity; one that was written to has not, even if it says that it was not.
    let cut = folder.join("model-00002-of-00002.safetensors");
    let bytes = std::fs::read(&cut).unwrap();
    let identity = || Checkpoint::open(&folder).unwrap().identity().unwrap();
    let (before, written) = (identity(), std::fs::metadata(&cut).unwrap().modified().unwrap());
    assert!(identity() == before);
    let mut other = bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    let set_time = |time| std::fs::File::options().write(true).open(&cut).unwrap().set_modified(time).unwrap();
    std::fs::write(&cut, &other).unwrap();
    set_time(written);
    assert!(identity() != before, "another byte");
    std::fs::write(&cut, &bytes).unwrap();
    set_time(written);
    assert!(identity() == before);
    set_time(written + std::time::Duration::from_secs(1));
    assert!(identity() != before, "another time");
    std::fs::write(&cut, &bytes[..bytes.len() - 1]).unwrap();
    let error = Checkpoint::open(&folder).unwrap_err().to_string();
    assert!(error.contains("fetch it again"), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
}
