//! The store on real directories: what is saved comes back, whatever happens in between.

use ds4_store::{Access, Draft, Error, Hash, Journal, Key, NewFile, Options, Saved, Store, hash};
use proptest::prelude::*;
use std::borrow::Cow;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

const PAGE_TOKENS: usize = 4;
const PAGE_BYTES: usize = 100;

/// A directory that goes when the test ends.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("ds4-store-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Self(dir)
    }

    fn files(&self, kind: &str) -> Vec<PathBuf> {
        let files = fs::read_dir(&self.0).unwrap().map(|file| file.unwrap().path());
        let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|e| e == kind)).collect();
        files.sort();
        files
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn options() -> Options {
    Options { min_free: 0, ..Options::default() }
}

fn open(dir: &Dir) -> Store {
    Store::open(&dir.0, options()).unwrap()
}

fn identity() -> Hash {
    hash(b"model")
}

/// What a model would have computed for these tokens.
struct Made {
    tokens: Vec<u32>,
    pages: Vec<Vec<u8>>,
    frontier: Vec<u8>,
}

impl Made {
    fn new(tokens: &[u32]) -> Self {
        let bytes = |seed: &[u32], n: usize| {
            let seed: Vec<u8> = seed.iter().flat_map(|token| token.to_le_bytes()).collect();
            hash(&seed).into_iter().cycle().take(n).collect::<Vec<u8>>()
        };
        let page = |end: usize| bytes(&tokens[..end * PAGE_TOKENS], PAGE_BYTES);
        Self {
            tokens: tokens.to_vec(),
            pages: (1..=tokens.len() / PAGE_TOKENS).map(page).collect(),
            frontier: bytes(tokens, 50),
        }
    }

    fn save(&self, store: &Store) -> Result<Saved, Error> {
        let ids: Vec<Hash> = self.pages.iter().map(|page| hash(page)).collect();
        store.save(&Draft {
            identity: identity(),
            label: "model",
            page_tokens: PAGE_TOKENS,
            page_bytes: PAGE_BYTES,
            tokens: &self.tokens,
            pages: &ids,
            page: &|i| Ok(Cow::Borrowed(self.pages[i].as_slice())),
            frontier: &self.frontier,
        })
    }

    fn key(&self) -> Key {
        Key::of_tokens(&identity(), &self.tokens)
    }

    fn is_in(&self, store: &Store) -> bool {
        let Ok(loaded) = store.load(self.key(), &|_| false) else { return false };
        let pages: Vec<Vec<u8>> = loaded.pages.into_iter().map(Option::unwrap).collect();
        assert_eq!((&loaded.tokens, &pages, &loaded.frontier), (&self.tokens, &self.pages, &self.frontier));
        true
    }
}

fn tokens(seed: u32, n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| i * 7 + seed * 1000).collect()
}

#[test]
fn a_conversation_stores_its_history_once() {
    let dir = Dir::new();
    let store = open(&dir);
    let all = tokens(1, 40);
    let mut page_bytes = 0;
    for turn in 1..=10 {
        page_bytes += Made::new(&all[..turn * 4]).save(&store).unwrap().page_bytes;
    }
    assert_eq!(page_bytes, 10 * PAGE_BYTES as u64);
    assert_eq!(Made::new(&all).save(&store).unwrap(), Saved::default(), "it is there already");
    drop(store);
    let store = open(&dir);
    assert_eq!(store.take_problems(), Vec::<String>::new());
    assert_eq!(store.totals().checkpoints, 10);
    for turn in 1..=10 {
        assert!(Made::new(&all[..turn * 4]).is_in(&store));
    }
    // The longest that leaves a token, also beside the way.
    assert_eq!(store.longest(&identity(), &all).map(|found| found.tokens), Some(36));
    let other = [&all[..22], &[9, 9]].concat();
    assert_eq!(store.longest(&identity(), &other).map(|found| found.tokens), Some(20));
    assert_eq!(store.longest(&hash(b"another model"), &all), None);
    // Only what is wanted is read.
    let found = store.longest(&identity(), &all).unwrap();
    let known = hash(&Made::new(&all).pages[0]);
    let loaded = store.load(found.key, &|id| *id == known).unwrap();
    assert!(loaded.pages[0].is_none() && loaded.pages[1..].iter().all(Option::is_some));
    let total: u64 = fs::read_dir(&dir.0)
        .unwrap()
        .map(|f| f.unwrap())
        .filter(|f| f.file_name().len() > 32)
        .map(|f| f.metadata().unwrap().len())
        .sum();
    assert_eq!(store.totals().bytes, total);
}

#[test]
fn the_least_valuable_goes_first() {
    let dir = Dir::new();
    let store = open(&dir);
    let (old, new) = (tokens(1, 40), tokens(2, 40));
    for length in [20, 40] {
        Made::new(&old[..length]).save(&store).unwrap();
        Made::new(&new[..length]).save(&store).unwrap();
    }
    for _ in 0..3 {
        assert!(Made::new(&new).is_in(&store));
    }
    let one = store.totals().bytes / 2;
    store.prune(one).unwrap();
    assert!(store.totals().bytes <= one);
    assert!(Made::new(&new).is_in(&store), "the leaf that was used");
    assert!(!Made::new(&old[..20]).is_in(&store) && !Made::new(&new[..20]).is_in(&store), "what is continued");
    // Pages that another one needs stay.
    let branch = [&new[..20], &[1, 2, 3, 4]].concat();
    Made::new(&branch).save(&store).unwrap();
    store.remove(Made::new(&new).key()).unwrap();
    assert!(Made::new(&branch).is_in(&store));
    store.prune(0).unwrap();
    assert_eq!(store.totals(), Default::default());
    assert!(dir.files("run").is_empty() && dir.files("ckpt").is_empty());
}

#[test]
fn a_limit_is_kept_and_the_way_of_what_is_saved_stays() {
    let dir = Dir::new();
    // A conversation of its own: none of the others begins it.
    let all = tokens(100, 40);
    let store = Store::open(&dir.0, Options { max_bytes: 4000, ..options() }).unwrap();
    for seed in 0..20 {
        Made::new(&tokens(seed, 24)).save(&store).unwrap();
        assert!(store.totals().bytes <= 4000);
        assert!(Made::new(&tokens(seed, 24)).is_in(&store));
    }
    assert!(matches!(Made::new(&tokens(1, 200)).save(&store), Err(Error::TooLarge { .. })));
    Made::new(&all[..20]).save(&store).unwrap();
    let saved = Made::new(&all).save(&store).unwrap();
    assert!(saved.evicted > 0 && Made::new(&all[..20]).is_in(&store));
    drop(store);
    let store = Store::open(&dir.0, Options { max_bytes: 1500, ..options() }).unwrap();
    assert!(store.totals().bytes <= 1500, "a lower limit holds at once");
    drop(store);
    // A disk that others filled: nothing is added, and nothing removed in vain.
    let full = Store::open(&dir.0, Options { min_free: u64::MAX, ..options() }).unwrap();
    let before = full.totals();
    assert!(before.checkpoints > 0);
    assert!(matches!(Made::new(&tokens(50, 24)).save(&full), Err(Error::Full { .. })));
    assert_eq!(full.totals(), before);
}

#[test]
fn one_writer_and_any_number_of_readers() {
    let dir = Dir::new();
    let store = open(&dir);
    let made = Made::new(&tokens(1, 9));
    made.save(&store).unwrap();
    let Err(error) = Store::open(&dir.0, options()) else { panic!("opened twice") };
    assert!(error.to_string().contains(&format!("(process {})", std::process::id())), "{error}");
    let reader = Store::open(&dir.0, Options { access: Access::Read, ..options() }).unwrap();
    assert!(made.is_in(&reader));
    assert!(matches!(Made::new(&tokens(2, 9)).save(&reader), Err(Error::ReadOnly(_))));
    assert!(reader.remove(made.key()).is_err() && reader.prune(0).is_err());
    drop(store);
    assert!(made.is_in(&open(&dir)));
}

#[test]
fn what_is_damaged_is_told_once_and_goes() {
    let dir = Dir::new();
    let (all, other) = (tokens(1, 40), tokens(2, 9));
    let store = open(&dir);
    Made::new(&all[..20]).save(&store).unwrap();
    Made::new(&all).save(&store).unwrap();
    Made::new(&other).save(&store).unwrap();
    drop(store);
    let damage = |path: &Path, at: i64| {
        let mut bytes = fs::read(path).unwrap();
        let at = if at < 0 { bytes.len() - (-at) as usize } else { at as usize };
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let path = |made: &Made| dir.0.join(format!("{}.ckpt", made.key()));
    // A page of the second half: only the longer one needs it.
    let run = dir.files("run").into_iter().find(|run| {
        fs::metadata(run).unwrap().len() > 500 && {
            let bytes = fs::read(run).unwrap();
            bytes[56..88] == hash(&Made::new(&all).pages[5])
        }
    });
    damage(&run.unwrap(), -1);
    damage(&path(&Made::new(&other)), -1);
    fs::write(dir.0.join("00000000000000000000000000000000.ckpt"), b"nothing of ours").unwrap();
    fs::write(dir.0.join("00000000000000000000000000000000.run"), b"").unwrap();
    fs::write(dir.0.join("notes.txt"), b"a stranger's file").unwrap();
    fs::write(dir.0.join("00000000000000000000000000000001.1-1.partial"), b"half").unwrap();
    let store = open(&dir);
    assert_eq!(store.take_problems().len(), 2);
    assert_eq!(store.totals().checkpoints, 3, "only heads were read so far");
    assert!(!Made::new(&all).is_in(&store) && !Made::new(&other).is_in(&store));
    assert!(Made::new(&all[..20]).is_in(&store));
    assert_eq!(store.take_problems().len(), 2);
    assert!(matches!(store.load(Made::new(&all).key(), &|_| false), Err(Error::Missing(_))));
    assert_eq!(store.take_problems(), Vec::<String>::new());
    // It can be saved again.
    Made::new(&all).save(&store).unwrap();
    assert!(Made::new(&all).is_in(&store));
    drop(store);
    let store = open(&dir);
    assert_eq!(store.take_problems(), Vec::<String>::new());
    assert_eq!(store.totals().checkpoints, 2);
    assert!(dir.0.join("notes.txt").exists() && dir.files("partial").is_empty());
}

#[test]
fn files_may_be_renamed_cut_and_removed() {
    let dir = Dir::new();
    let made: Vec<Made> = (0..6).map(|seed| Made::new(&tokens(seed, 9))).collect();
    let store = open(&dir);
    for made in &made {
        made.save(&store).unwrap();
    }
    drop(store);
    let checkpoints = dir.files("ckpt");
    fs::rename(&checkpoints[0], &checkpoints[1]).unwrap();
    let file = File::options().write(true).open(&checkpoints[2]).unwrap();
    file.set_len(100).unwrap();
    let runs = dir.files("run");
    fs::remove_file(&runs[0]).unwrap();
    fs::remove_file(dir.0.join("usage")).ok();
    let store = open(&dir);
    let left = made.iter().filter(|made| made.is_in(&store)).count();
    assert!((2..=3).contains(&left), "{left}");
    assert_eq!(store.totals().checkpoints, left);
    // While it runs.
    fs::remove_dir_all(&dir.0).unwrap();
    assert!(made.iter().all(|made| !made.is_in(&store)));
    made[0].save(&store).unwrap();
    assert!(made[0].is_in(&store));
    assert!(store.take_problems().iter().any(|problem| problem.contains("had been removed")));
}

#[test]
fn nothing_is_removed_while_a_file_cannot_be_read() {
    let dir = Dir::new();
    let made = [Made::new(&tokens(1, 9)), Made::new(&tokens(2, 9))];
    let store = open(&dir);
    for made in &made {
        made.save(&store).unwrap();
    }
    drop(store);
    // Something that is there and gives no bytes stands for a disk that fails for a while.
    let run = dir.files("run").remove(0);
    let aside = dir.0.join("aside");
    fs::rename(&run, &aside).unwrap();
    fs::create_dir(&run).unwrap();
    let store = open(&dir);
    assert_eq!((store.totals().checkpoints, store.take_problems().len()), (1, 2));
    drop(store);
    fs::remove_dir(&run).unwrap();
    fs::rename(&aside, &run).unwrap();
    let store = open(&dir);
    assert!(made.iter().all(|made| made.is_in(&store)));
}

#[test]
fn a_directory_that_cannot_be_written_is_read() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    let made = Made::new(&tokens(1, 9));
    made.save(&open(&dir)).unwrap();
    assert_eq!(fs::metadata(&dir.0).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(
        dir.files("ckpt")
            .iter()
            .chain(&dir.files("run"))
            .all(|file| fs::metadata(file).unwrap().permissions().mode() & 0o777 == 0o600)
    );
    fs::remove_file(dir.0.join("lock")).unwrap();
    fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o500)).unwrap();
    if File::create(dir.0.join("probe")).is_ok() {
        // The superuser may write anywhere.
        fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o700)).unwrap();
        return;
    }
    let store = open(&dir);
    assert!(!store.may_write() && made.is_in(&store));
    assert_eq!(store.take_problems().len(), 1);
    fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_checkpoint_travels_in_one_file() {
    let (dir, other) = (Dir::new(), Dir::new());
    let store = open(&dir);
    let made = Made::new(&tokens(1, 30));
    made.save(&store).unwrap();
    let path = dir.0.join("exported");
    let mut told = Vec::new();
    let mut file = NewFile::create(path.clone()).unwrap();
    store.export(made.key(), &mut file, &mut |done, total| told.push((done, total))).unwrap();
    file.commit().unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(told.last(), Some(&(bytes.len() as u64, bytes.len() as u64)));
    let target = open(&other);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).unwrap();
        assert!(target.import(&path, &|_, _| {}).is_err(), "byte {at}");
    }
    for end in [0, 10, 24, 100, bytes.len() - 1] {
        fs::write(&path, &bytes[..end]).unwrap();
        assert!(target.import(&path, &|_, _| {}).is_err(), "cut at {end}");
    }
    assert_eq!(target.totals(), Default::default());
    fs::write(&path, &bytes).unwrap();
    assert_eq!(target.import(&path, &|_, _| {}).unwrap().0, made.key());
    assert!(made.is_in(&target));
}

#[test]
fn a_journal_keeps_what_was_whole() {
    let dir = Dir::new();
    fs::create_dir_all(&dir.0).unwrap();
    let path = dir.0.join("journal");
    let records: Vec<Vec<u8>> = (0..20u8).map(|i| vec![i; usize::from(i)]).collect();
    let (mut journal, found) = Journal::open(&path, 1 << 20).unwrap();
    assert!(found.is_empty());
    records.iter().for_each(|record| journal.append(record).unwrap());
    drop(journal);
    let whole = fs::read(&path).unwrap();
    for end in 0..=whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        let (mut journal, found) = Journal::open(&path, 1 << 20).unwrap();
        assert_eq!(found, records[..found.len()]);
        journal.append(b"next").unwrap();
        drop(journal);
        assert_eq!(Journal::read(&path, 1 << 20).unwrap().last().unwrap(), b"next");
    }
    fs::write(&path, &whole).unwrap();
    let (mut journal, _) = Journal::open(&path, 300).unwrap();
    assert!(fs::metadata(&path).unwrap().len() <= 300);
    for i in 0..200u8 {
        journal.append(&[i; 10]).unwrap();
        assert!(fs::metadata(&path).unwrap().len() <= 300);
    }
    drop(journal);
    let (_, found) = Journal::open(&path, 300).unwrap();
    assert_eq!(found.last().unwrap(), &[199; 10]);
    assert!(found.len() >= 5 && found.windows(2).all(|pair| pair[0][0] + 1 == pair[1][0]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever is done in whatever order, what the store lists can be loaded, also after it was opened again.
    #[test]
    fn what_is_listed_can_be_loaded(steps in prop::collection::vec((0u32..3, 1usize..30, 0u8..6), 1..25)) {
        let dir = Dir::new();
        let mut store = Store::open(&dir.0, Options { max_bytes: 6000, ..options() }).unwrap();
        for (seed, length, step) in steps {
            let made = Made::new(&tokens(seed, length));
            match step {
                0 => drop(store.remove(made.key())),
                1 => drop(store.prune(3000)),
                2 => {
                    drop(store);
                    store = Store::open(&dir.0, Options { max_bytes: 6000, ..options() }).unwrap();
                }
                _ => {
                    made.save(&store).unwrap();
                    prop_assert!(made.is_in(&store));
                }
            }
            prop_assert_eq!(store.take_problems(), Vec::<String>::new());
            for listed in store.list() {
                let tokens = store.tokens(listed.key);
                prop_assert_eq!(tokens.len(), listed.tokens);
                prop_assert!(Made::new(&tokens).is_in(&store));
            }
            // A run goes as a whole: one checkpoint may keep pages that only others needed.
            prop_assert!(store.totals().bytes <= 6000 || store.totals().checkpoints == 1);
        }
    }
}
