//! Every way in which a download can go wrong ends in a verified file or a clear error, with nothing under the file's name.

mod server;

use ds4_hub::{Client, Error, Fetched, Limits, Options, Progress, Remote, Watch, fetch, unfinished};
use server::{FILE, Fault, Server, content, sha256};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const REPO: &str = "owner/models";
const BYTES: usize = 300_000;
const LIMITS: Limits = Limits { connect: Duration::from_secs(5), silence: Duration::from_millis(300) };
const OPTIONS: Options = Options { connections: 3, piece: 40_000, tries: 4, backoff: Duration::from_millis(5) };

/// Ends once so many bytes are here.
struct Watcher {
    stop_at: u64,
    here: AtomicU64,
    notices: Mutex<Vec<String>>,
}

impl Watcher {
    fn new(stop_at: u64) -> Self {
        Self { stop_at, here: AtomicU64::new(0), notices: Mutex::new(Vec::new()) }
    }

    fn told(&self, part: &str) -> bool {
        self.notices.lock().unwrap().iter().any(|notice| notice.contains(part))
    }
}

impl Watch for Watcher {
    fn progress(&self, progress: Progress) {
        assert!(progress.here <= progress.total && progress.checked <= progress.total, "{progress:?}");
        self.here.store(progress.here, Ordering::Relaxed);
    }
    fn notice(&self, message: &str) {
        self.notices.lock().unwrap().push(message.to_owned());
    }
    fn stop(&self) -> bool {
        self.here.load(Ordering::Relaxed) >= self.stop_at
    }
}

/// A server and a directory.
struct Case {
    server: Server,
    folder: PathBuf,
    token: Option<String>,
}

impl Case {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Self { server: Server::start(content(BYTES)), folder, token: None }
    }

    fn target(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    fn client(&self) -> Client {
        Client::new(&self.server.url, self.token.clone(), LIMITS).unwrap()
    }

    fn find(&self, watch: &Watcher) -> ds4_hub::Result<Remote> {
        self.client().find(REPO, FILE, &OPTIONS, watch)
    }

    fn fetch_with(&self, watch: &Watcher) -> ds4_hub::Result<Fetched> {
        let remote = self.find(watch)?;
        fetch(&self.client(), &remote, &self.target(), &OPTIONS, watch)
    }

    fn fetch(&self) -> ds4_hub::Result<Fetched> {
        self.fetch_with(&Watcher::new(u64::MAX))
    }

    /// The file is there, right, and alone.
    #[track_caller]
    fn arrives(&self) -> Fetched {
        let fetched = self.fetch().unwrap();
        self.is_right();
        fetched
    }

    #[track_caller]
    fn is_right(&self) {
        assert!(std::fs::read(self.target()).unwrap() == content(BYTES));
        assert_eq!(self.names(), [FILE]);
    }

    /// There is an error, and no file under its name.
    #[track_caller]
    fn fails(&self) -> Error {
        let error = self.fetch().unwrap_err();
        assert!(!self.target().exists(), "{error}");
        assert!(!error.to_string().contains('\n'));
        error
    }

    fn names(&self) -> Vec<String> {
        let names = std::fs::read_dir(&self.folder).unwrap();
        let mut names: Vec<String> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn a_file_arrives_in_ranges_and_the_token_stays_with_the_hub() {
    let mut case = Case::new("hub_good");
    case.token = Some("hf_secret".to_owned());
    case.server.set(|state| state.token = Some("hf_secret".to_owned()));
    assert_eq!(case.arrives(), Fetched { came: BYTES as u64, resumed: 0 });
    let state = case.server.state.lock().unwrap();
    assert!(state.served >= BYTES / OPTIONS.piece as usize);
    for (method, target, token) in &state.log {
        assert_eq!(token.is_some(), !target.starts_with("/storage"), "{method} {target}");
    }
    // Storage is asked directly once its address is known: at most one way through the hub a connection.
    let asked = state.log.iter().filter(|(method, target, _)| method == "GET" && target.contains("resolve")).count();
    assert!(asked <= OPTIONS.connections, "{asked}");
}

#[test]
fn faults_that_pass_end_in_a_verified_file() {
    for fault in [
        Fault::Nothing,
        Fault::HalfHead,
        Fault::Drop,
        Fault::Short,
        Fault::Long,
        Fault::OtherTotal,
        Fault::OtherRange,
        Fault::Status(429),
        Fault::Status(500),
        Fault::Status(503),
    ] {
        let case = Case::new("hub_passing");
        case.server.set(|state| state.faults = [fault; 5].into());
        case.arrives();
    }
}

#[test]
fn a_server_that_stalls_is_asked_again() {
    let case = Case::new("hub_stall");
    case.server.set(|state| state.faults = [Fault::Stall; 2].into());
    case.arrives();
}

#[test]
fn faults_that_stay_end_in_an_error() {
    for fault in [Fault::Nothing, Fault::HalfHead, Fault::OtherTotal, Fault::OtherRange, Fault::Status(503)] {
        let case = Case::new("hub_lasting");
        case.server.set(|state| state.always = Some(fault));
        let error = case.fails();
        assert!(matches!(error, Error::Unreachable { .. }), "{fault:?}: {error}");
        assert_eq!(case.names(), Vec::<String>::new(), "nothing came, nothing stays");
    }
    let case = Case::new("hub_lasting_404");
    case.server.set(|state| state.always = Some(Fault::Status(404)));
    assert!(matches!(case.fails(), Error::NotFound { status: 404, .. }));
}

#[test]
fn a_line_that_breaks_after_every_half_gets_there() {
    let case = Case::new("hub_halves");
    case.server.set(|state| state.faults = [Fault::Drop; 60].into());
    case.arrives();
}

#[test]
fn a_server_that_dies_half_way_is_resumed_later() {
    let case = Case::new("hub_dies");
    case.server.set(|state| {
        state.faults = [Fault::Drop; 3].into();
        state.always = Some(Fault::Nothing);
    });
    let error = case.fails();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("run it again to resume"), "{error}");
    let here = unfinished(&case.target()).unwrap().here;
    assert!(here > 0 && here < BYTES as u64);
    case.server.set(|state| (state.always, state.sent) = (None, 0));
    let fetched = case.arrives();
    assert_eq!(fetched, Fetched { came: BYTES as u64 - here, resumed: here });
    assert_eq!(case.server.state.lock().unwrap().sent, fetched.came, "only what lacked was sent");
}

#[test]
fn a_run_that_is_stopped_is_resumed() {
    let case = Case::new("hub_stopped");
    case.server.set(|state| state.faults = [Fault::Drop; 5].into());
    let watch = Watcher::new(1);
    assert!(matches!(case.fetch_with(&watch), Err(Error::Stopped)));
    assert!(!case.target().exists());
    assert!(case.arrives().resumed > 0);
}

#[test]
fn wrong_bytes_are_noticed_and_removed() {
    let case = Case::new("hub_wrong");
    case.server.set(|state| state.faults = [Fault::WrongByte].into());
    let error = case.fails();
    assert!(matches!(&error, Error::Checksum { expected, .. } if *expected == sha256(&content(BYTES))), "{error}");
    assert_eq!(case.names(), Vec::<String>::new());
    case.arrives();
}

#[test]
fn a_size_that_lies_is_noticed() {
    for (said, right) in [(BYTES as u64 + 5, false), (BYTES as u64 - 5, false), (BYTES as u64, true)] {
        let case = Case::new("hub_size");
        case.server.set(|state| state.linked = Some((said, sha256(&state.body))));
        if right {
            case.arrives();
        } else {
            case.fails();
        }
    }
    for said in [0, u64::MAX] {
        let case = Case::new("hub_size_absurd");
        case.server.set(|state| state.linked = Some((said, sha256(&state.body))));
        assert!(matches!(case.fails(), Error::Protocol { .. }));
    }
}

#[test]
fn tokens_that_lack_or_are_wrong_are_told_apart() {
    let mut case = Case::new("hub_token");
    case.server.set(|state| state.token = Some("right".to_owned()));
    let error = case.fails();
    assert!(matches!(error, Error::Refused { had_token: false, status: 401, .. }), "{error}");
    assert!(error.to_string().contains("a token is needed"));
    case.token = Some("wrong".to_owned());
    let error = case.fails();
    assert!(error.to_string().contains("the token is not accepted"), "{error}");
    assert!(!error.to_string().contains("wrong"), "the token itself is not told");
    case.token = Some("right".to_owned());
    case.arrives();
}

#[test]
fn a_file_that_is_not_there() {
    let case = Case::new("hub_missing");
    let error = case.client().find(REPO, "other.gguf", &OPTIONS, &Watcher::new(u64::MAX)).unwrap_err();
    assert!(matches!(error, Error::NotFound { status: 404, .. }), "{error}");
}

#[test]
fn a_busy_hub_is_asked_again() {
    let case = Case::new("hub_busy");
    case.server.set(|state| state.find_statuses = [429, 503, 500].into());
    case.arrives();
    let case = Case::new("hub_down");
    case.server.set(|state| state.find_statuses = [503; 9].into());
    assert!(matches!(case.fails(), Error::Unreachable { .. }));
}

#[test]
fn nobody_listens() {
    let mut case = Case::new("hub_nobody");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    case.server.url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert!(matches!(case.fails(), Error::Unreachable { .. }));
}

#[test]
fn a_file_that_is_replaced_meanwhile_is_noticed() {
    // The hub says so when it is asked again.
    let case = Case::new("hub_replaced");
    case.server.set(|state| {
        state.expires_after = Some(2);
        state.replaced = Some((2, "e".repeat(64)));
    });
    assert!(matches!(case.fails(), Error::Changed { .. }));
    assert_eq!(case.names(), Vec::<String>::new());
    // It does not: the checksum tells.
    let case = Case::new("hub_replaced_silently");
    case.server.set(|state| state.signature = None);
    let watch = Watcher::new(u64::MAX);
    let remote = case.find(&watch).unwrap();
    case.server.set(|state| {
        state.body[BYTES - 1] ^= 1;
        state.linked = None;
    });
    let error = fetch(&case.client(), &remote, &case.target(), &OPTIONS, &watch).unwrap_err();
    assert!(matches!(error, Error::Checksum { .. }), "{error}");
    assert!(!case.target().exists());
}

#[test]
fn another_version_between_two_runs_starts_anew() {
    let case = Case::new("hub_new_version");
    case.server.set(|state| state.faults = [Fault::Drop; 5].into());
    assert!(case.fetch_with(&Watcher::new(1)).is_err());
    case.server.set(|state| {
        state.body[0] ^= 1;
        state.linked = Some((BYTES as u64, sha256(&state.body)));
    });
    let watch = Watcher::new(u64::MAX);
    assert_eq!(case.fetch_with(&watch).unwrap().resumed, 0);
    assert!(watch.told("another version was published"));
    assert_eq!(std::fs::read(case.target()).unwrap()[0], content(1)[0] ^ 1);
}

#[test]
fn remains_that_cannot_be_used_start_anew() {
    for (record, length) in [("", BYTES), ("{}", BYTES), ("[1,2", 3)] {
        let case = Case::new("hub_remains");
        std::fs::write(case.folder.join("model.gguf.part.json"), record).unwrap();
        std::fs::write(case.folder.join("model.gguf.part"), vec![7; length]).unwrap();
        let watch = Watcher::new(u64::MAX);
        case.fetch_with(&watch).unwrap();
        assert!(watch.told("starting anew"));
        case.is_right();
    }
    // A record that claims more than the file has bytes.
    let case = Case::new("hub_remains_claimed");
    let sha256 = sha256(&content(BYTES));
    let record = format!("{{\"sha256\":\"{sha256}\",\"bytes\":{BYTES},\"piece\":{BYTES},\"done\":[{BYTES}]}}");
    std::fs::write(case.folder.join("model.gguf.part.json"), record).unwrap();
    std::fs::write(case.folder.join("model.gguf.part"), b"short").unwrap();
    case.arrives();
}

#[test]
fn addresses_of_storage_that_expire_are_asked_for_again() {
    let case = Case::new("hub_expired");
    case.server.set(|state| state.expires_after = Some(3));
    case.arrives();
}

#[test]
fn a_server_without_ranges() {
    let case = Case::new("hub_whole");
    case.server.set(|state| state.always = Some(Fault::Whole));
    let watch = Watcher::new(u64::MAX);
    case.fetch_with(&watch).unwrap();
    assert!(watch.told("whole files only"));
    case.is_right();
    // And one that breaks off there.
    let case = Case::new("hub_whole_breaks");
    case.server.set(|state| {
        state.faults = [Fault::Whole, Fault::Whole, Fault::Whole, Fault::Drop, Fault::Drop].into();
        state.always = Some(Fault::Whole);
    });
    case.arrives();
}

#[test]
fn a_disk_that_is_too_small() {
    let case = Case::new("hub_space");
    case.server.set(|state| state.linked = Some((1 << 42, "a".repeat(64))));
    let error = case.fails();
    assert!(matches!(error, Error::Space { .. }), "{error}");
    assert_eq!(case.names(), Vec::<String>::new());
    assert_eq!(case.server.state.lock().unwrap().served, 0);
}

#[test]
fn files_that_are_there_are_checked_and_never_replaced() {
    let case = Case::new("hub_there");
    case.arrives();
    let served = case.server.state.lock().unwrap().served;
    assert_eq!(case.fetch().unwrap(), Fetched { came: 0, resumed: BYTES as u64 });
    assert_eq!(case.server.state.lock().unwrap().served, served);
    for other in [vec![0; BYTES], vec![1; 5], Vec::new()] {
        std::fs::write(case.target(), &other).unwrap();
        let error = case.fetch().unwrap_err();
        assert!(matches!(error, Error::Other { .. }), "{error}");
        assert_eq!(std::fs::read(case.target()).unwrap(), other);
    }
}

#[test]
fn the_pointer_tells_where_headers_do_not() {
    let case = Case::new("hub_pointer");
    case.server.set(|state| {
        let (bytes, sha256) = state.linked.take().unwrap();
        let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {bytes}\n");
        state.pointer = Some(pointer);
    });
    case.arrives();
    for pointer in [Some("<html>".to_owned()), Some("\u{0}".repeat(5000)), None] {
        let case = Case::new("hub_no_pointer");
        case.server.set(|state| (state.linked, state.pointer) = (None, pointer));
        assert!(matches!(case.fails(), Error::Protocol { .. } | Error::NotFound { .. }));
    }
}

#[test]
fn two_processes_do_not_write_one_file() {
    let case = Case::new("hub_locked");
    let part = std::fs::File::create(case.folder.join("model.gguf.part")).unwrap();
    part.lock().unwrap();
    assert!(matches!(case.fails(), Error::InUse { .. }));
    drop(part);
    case.arrives();
}
