//! Files of a store may hold anything: opening, listing, loading, exporting and saving go on, and what can be loaded is whole.
#![no_main]

use ds4_store::format::{CheckpointHead, RunHead};
use ds4_store::{Draft, Hash, Journal, NewFile, Options, Store, hash};
use libfuzzer_sys::fuzz_target;
use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;

/// Tokens of a page.
const PAGE_TOKENS: usize = 4;
const PAGE_BYTES: usize = 16;

fn draft<'a>(
    tokens: &'a [u32],
    pages: &'a [Hash],
    page: &'a dyn Fn(usize) -> Result<Cow<'a, [u8]>, String>,
) -> Draft<'a> {
    Draft {
        identity: hash(b"model"),
        label: "model",
        page_tokens: PAGE_TOKENS,
        page_bytes: PAGE_BYTES,
        tokens,
        pages,
        page,
        frontier: b"frontier",
    }
}

/// Saves a conversation of two checkpoints and writes down an answer.
fn fill(dir: &PathBuf) {
    let store = Store::open(dir, Options { min_free: 0, ..Options::default() }).expect("an empty directory");
    let tokens: Vec<u32> = (0..13).collect();
    let page = |i: usize| Ok(Cow::Owned(vec![i as u8; PAGE_BYTES]));
    let ids: Vec<Hash> = (0..3u8).map(|i| hash(&[i; PAGE_BYTES])).collect();
    for length in [6, 13] {
        store.save(&draft(&tokens[..length], &ids[..length / PAGE_TOKENS], &page)).expect("room");
    }
    let (mut journal, _) = Journal::open(&dir.join("answers"), 1 << 20).expect("a new file");
    journal.append(b"record").expect("room");
    let key = store.list()[0].key;
    let mut file = NewFile::create(dir.join("exported")).expect("a new file");
    store.export(key, &mut file, &mut |_, _| {}).expect("just saved");
    file.commit().expect("room");
}

fuzz_target!(|data: &[u8]| {
    let length = data.len() as u64;
    if let Ok(head) = CheckpointHead::read(&mut &data[..], length) {
        assert!(head.check().is_ok() && head.encode() == data[..head.head_bytes() as usize]);
    }
    if let Ok(head) = RunHead::read(&mut &data[..], length) {
        assert_eq!(head.head_bytes() + (head.ids.len() * head.page_bytes) as u64, length);
    }
    // Which file, what is done to it: new content behind a part of the old, checksums made right or not.
    let [which, keep, mends, content @ ..] = data else { return };
    let dir = std::env::temp_dir().join(format!("ds4-fuzz-store-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fill(&dir);
    let mut files: Vec<PathBuf> =
        fs::read_dir(&dir).expect("it is there").map(|file| file.expect("a file").path()).collect();
    files.retain(|file| file.file_name().is_some_and(|name| name != "lock"));
    files.sort();
    let path = &files[usize::from(*which) % files.len()];
    let old = fs::read(path).expect("it is there");
    let kept = old.len() * usize::from(*keep) / 255;
    let mut new = old[..kept].to_vec();
    new.extend_from_slice(content);
    if mends % 2 == 1 {
        // The head's checksum stands where the old one stood, so that the fuzzer comes past it.
        let place = usize::from(*mends) * 2;
        if let Some((before, after)) = new.split_at_mut_checked(place)
            && let Some(sum) = after.first_chunk_mut::<32>()
        {
            *sum = hash(before);
        }
    }
    fs::write(path, &new).expect("room");
    let store = Store::open(&dir, Options { min_free: 0, ..Options::default() }).expect("whatever is in it");
    for listed in store.list() {
        // One that shared a damaged page with an earlier one has gone with it.
        let Some(listed) = store.listed(listed.key) else { continue };
        let tokens = store.tokens(listed.key);
        assert_eq!(tokens.len(), listed.tokens);
        let Ok(loaded) = store.load(listed.key, &|_| false) else { continue };
        assert_eq!(loaded.tokens, tokens);
        for (id, page) in loaded.ids.iter().zip(&loaded.pages) {
            assert_eq!(hash(page.as_ref().expect("all were wanted")), *id);
        }
        let mut file = NewFile::create(dir.join("again")).expect("a new file");
        let _ = store.export(listed.key, &mut file, &mut |_, _| {});
    }
    let _ = store.import(&dir.join("exported"), &|_, _| {});
    if let Ok((mut journal, _)) = Journal::open(&dir.join("answers"), 1 << 20) {
        journal.append(b"another").expect("room");
        drop(journal);
        let records = Journal::read(&dir.join("answers"), 1 << 20).expect("just written");
        assert_eq!(records.last().map(Vec::as_slice), Some(&b"another"[..]));
    }
    // It works on.
    let tokens: Vec<u32> = (0..9).collect();
    let ids: Vec<Hash> = (5..7u8).map(|i| hash(&[i; PAGE_BYTES])).collect();
    let page = |i: usize| Ok(Cow::Owned(vec![i as u8 + 5; PAGE_BYTES]));
    store.save(&draft(&tokens, &ids, &page)).expect("room");
    let key = ds4_store::Key::of_tokens(&hash(b"model"), &tokens);
    assert_eq!(store.load(key, &|_| false).expect("just saved").tokens, tokens);
});
