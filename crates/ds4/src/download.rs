//! `ds4 download`: a published file, verified.

use crate::args::DownloadArgs;
use crate::interrupt::{self, Interrupt};
use crate::output::{self, Bytes};
use crate::published::{DEFAULT_NAME, REPO, Target, models_dir};
use anyhow::{Context, Result, bail};
use ds4_hub::{Client, Error, Fetched, Limits, Options, Progress, Remote, Watch, fetch, settings, verify};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::fs;
use std::io::IsTerminal;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often a line tells how far it is where there is no terminal.
const LINE: Duration = Duration::from_secs(30);

/// After Ctrl-C, how long requests under way may take to end.
const GRACE: Duration = Duration::from_secs(2);

/// Ends the process some time after Ctrl-C: a request to a silent server cannot be called off. How far the download is was
/// written down by then.
fn end_in_time(interrupt: Interrupt) {
    std::thread::spawn(move || {
        while !interrupt.is_requested() {
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(GRACE);
        output::notice(&Error::Stopped.to_string());
        std::process::exit(i32::from(interrupt::EXIT_CODE));
    });
}

pub fn run(args: &DownloadArgs) -> Result<ExitCode> {
    let interrupt = Interrupt::install()?;
    end_in_time(interrupt.clone());
    let dir = models_dir(args.dir.as_deref())?;
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}; use --dir", dir.display()))?;
    let given = args.token.clone().map(|token| (token, "--token".to_owned()));
    let token = given.or_else(settings::token);
    let endpoint = settings::endpoint();
    let source = token.as_ref().map_or(String::new(), |(_, from)| format!(", token of {from}"));
    let client = Client::new(&endpoint, token.map(|(token, _)| token), Limits::default())?;
    let options = Options { connections: usize::from(args.connections), ..Options::default() };
    let watcher = Watcher::new(interrupt);
    let begin = Instant::now();

    let done = client.find(REPO, args.target.file(), &options, &watcher).and_then(|remote| {
        let target = dir.join(&remote.file);
        let (bytes, place) = (Bytes(remote.bytes), dir.display());
        output::notice(&format!("{}: {bytes} from {endpoint} to {place}{source}", remote.file));
        let fetched = match cached(&remote, &target) {
            Some(path) => link_cached(&path, &remote, &target, &watcher),
            None => fetch(&client, &remote, &target, &options, &watcher),
        };
        Ok((fetched?, remote, target))
    });
    watcher.clear();
    let (fetched, remote, path) = match done {
        Ok(done) => done,
        Err(error @ Error::Stopped) => {
            output::notice(&error.to_string());
            return Ok(interrupt::EXIT_CODE.into());
        }
        Err(error) => return Err(error.into()),
    };
    let is_default = args.target != Target::Mtp && make_default(&dir, &remote.file)?;
    tell(args, &remote, &path, fetched, begin.elapsed(), is_default)?;
    Ok(ExitCode::SUCCESS)
}

fn tell(
    args: &DownloadArgs,
    remote: &Remote,
    path: &Path,
    fetched: Fetched,
    elapsed: Duration,
    is_default: bool,
) -> Result<()> {
    let seconds = elapsed.as_secs_f64();
    if args.json {
        return output::print_json(&json!({
            "target": args.target.name(), "path": path, "bytes": remote.bytes, "sha256": remote.sha256,
            "fetched_bytes": fetched.came, "seconds": seconds,
        }));
    }
    output::print(&format!("{}\n", path.display()))?;
    let (came, rate) = (Bytes(fetched.came), Bytes((fetched.came as f64 / seconds.max(1e-3)) as u64));
    let next = match (is_default, args.target) {
        (true, _) => "it is the default model now: try `ds4 chat`".to_owned(),
        (false, Target::Mtp) => "a draft model is used beside a main one".to_owned(),
        (false, _) => format!("try `ds4 chat -m {}`", path.display()),
    };
    output::notice(&format!("verified; {came} came in {seconds:.0} s, {rate}/s; {next}"));
    Ok(())
}

/// The file in Hugging Face's cache, if `target` is not there.
fn cached(remote: &Remote, target: &Path) -> Option<PathBuf> {
    if target.symlink_metadata().is_ok() {
        return None;
    }
    settings::cached(&settings::cache()?, remote)
}

/// Makes `target` a link to the file in the cache, if that is right.
fn link_cached(path: &Path, remote: &Remote, target: &Path, watcher: &Watcher) -> ds4_hub::Result<Fetched> {
    watcher.notice(&format!("{} has it; checking it", path.display()));
    if verify(path, watcher)? != remote.sha256 {
        return Err(Error::Other { path: path.to_owned(), what: "wrong SHA-256, a damaged cache".to_owned() });
    }
    let io = |source| Error::Io { path: target.to_owned(), source };
    // A hard link outlives the cache; across file systems there is none.
    fs::hard_link(path, target).or_else(|_| symlink(path, target)).map_err(io)?;
    Ok(Fetched { came: 0, resumed: remote.bytes })
}

/// Makes the file `name` in `dir` the default model, unless something else than a link has that name.
fn make_default(dir: &Path, name: &str) -> Result<bool> {
    let link = dir.join(DEFAULT_NAME);
    match fs::symlink_metadata(&link) {
        Ok(metadata) if !metadata.is_symlink() => {
            output::notice(&format!("{} is a file of its own and stays the default model", link.display()));
            return Ok(false);
        }
        Ok(_) => fs::remove_file(&link).with_context(|| format!("cannot replace {}", link.display()))?,
        Err(_) => {}
    }
    if let Err(error) = symlink(name, &link) {
        bail!("the file is there, but {} cannot be made: {error}", link.display());
    }
    Ok(true)
}

/// Shows how far it is, and passes Ctrl-C on.
struct Watcher {
    interrupt: Interrupt,
    bar: Option<ProgressBar>,
    lines: Mutex<Lines>,
}

/// What was last told without a terminal.
#[derive(Default)]
struct Lines {
    begin: Option<(Instant, u64)>,
    told: Option<Instant>,
}

impl Watcher {
    fn new(interrupt: Interrupt) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = "{msg} [{bar:24}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}, {eta} left";
            let bar = ProgressBar::no_length();
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        Self { interrupt, bar, lines: Mutex::default() }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Watch for Watcher {
    fn progress(&self, Progress { here, checked, total }: Progress) {
        let (label, at) = if here < total { ("fetching", here) } else { ("checking", checked) };
        let mut lines = self.lines.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let now = Instant::now();
        let is_first = lines.begin.is_none();
        let (begin, from) = *lines.begin.get_or_insert((now, at));
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_message(label);
            bar.set_position(at);
            // The rate is that of this run, and of this part of it.
            if is_first {
                bar.reset_eta();
            }
            return;
        }
        if lines.told.is_none_or(|told| told.elapsed() >= LINE) && !is_first && at > from {
            lines.told = Some(now);
            let rate = (at - from) as f64 / begin.elapsed().as_secs_f64().max(1e-3);
            let left = (total - at) as f64 / rate / 60.0;
            let (at, total, rate) = (Bytes(at), Bytes(total), Bytes(rate as u64));
            output::notice(&format!("{label}: {at} of {total}, {rate}/s, {left:.0} min left"));
        }
    }

    fn notice(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| output::notice(message)),
            None => output::notice(message),
        }
    }

    fn stop(&self) -> bool {
        self.interrupt.is_requested()
    }
}
