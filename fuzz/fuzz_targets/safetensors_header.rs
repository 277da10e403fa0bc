#![no_main]

use ds4_convert::checkpoint::{files_of_index, read_header};

// Any bytes are refused or a header whose tensors lie in the file; any index names files beside it.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(files) = files_of_index(bytes) {
        assert!(files.iter().all(|name| !name.contains('/')));
    }
    let Ok((metadata, start)) = read_header(bytes, bytes.len() as u64) else { return };
    for name in metadata.offset_keys() {
        let (from, to) = metadata.info(&name).expect("a name of the header").data_offsets;
        assert!(from <= to && start as usize + to <= bytes.len());
    }
});
