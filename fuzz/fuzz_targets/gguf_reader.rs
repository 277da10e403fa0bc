#![no_main]

// Any bytes are either refused or a file whose every payload can be read in full.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = ds4_gguf::File::from_vec(bytes.to_vec()) else { return };
    for tensor in file.tensors() {
        assert_eq!(file.data(tensor).len() as u64, tensor.n_bytes);
        std::hint::black_box(file.data(tensor).iter().fold(0, |all, byte| all ^ byte));
    }
});
