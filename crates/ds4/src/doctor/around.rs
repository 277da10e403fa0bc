//! Permissions, the port, settings, the set-up of clients.

use super::{Findings, State};
use crate::args::DoctorArgs;
use crate::sessions;
use crate::settings::Settings;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long another server on the port has to answer.
const PATIENCE: Duration = Duration::from_millis(800);
/// Most bytes of its answer, and of a client's file, that are looked at.
const LOOK_BYTES_MAX: u64 = 64 << 10;
/// Permissions of everybody but the owner.
const OTHERS: u32 = 0o077;

pub fn permissions(findings: &mut Findings, args: &DoctorArgs, dir: &Path) {
    let area = "permissions";
    let may_write = |dir: &Path| rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok();
    if dir.is_dir() && !may_write(dir) {
        let finding = format!("{} cannot be written", dir.display());
        findings.add(
            area,
            State::Note,
            finding,
            "`ds4 download` needs --dir with another directory, or other permissions",
        );
    }
    let kv = args.kv_dir.clone().or_else(|| sessions::default_dir().ok());
    let mut private: Vec<(PathBuf, &str)> = Vec::new();
    if let Some(kv) = kv.filter(|kv| kv.is_dir()) {
        if !may_write(&kv) {
            let finding = format!("{} cannot be written: no KV states are kept", kv.display());
            findings.add(area, State::Warning, finding, "give it to your user, or name another with --kv-dir");
        }
        private.push((kv, "holds conversations"));
    }
    private.extend(args.api_key_file.clone().map(|path| (path, "holds API keys")));
    for (path, what) in private {
        let place = path.display();
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.mode() & OTHERS == 0 => findings.ok(area, format!("{place} is yours alone")),
            Ok(_) => {
                let remedy = format!("chmod go= {place}");
                findings.add(area, State::Warning, format!("{place} {what}, and others can reach it"), remedy);
            }
            Err(error) => {
                findings.add(area, State::Error, format!("{place}: {error}"), "check the path of --api-key-file");
            }
        }
    }
}

pub fn port(findings: &mut Findings, args: &DoctorArgs) {
    let area = "port";
    let address = SocketAddr::new(args.host, args.port);
    match TcpListener::bind(address) {
        Ok(_) => findings.ok(area, format!("{address} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => match server_at(address) {
            Some(true) => findings.ok(area, format!("a ds4 server answers on {address}")),
            _ => findings.add(
                area,
                State::Warning,
                format!("another program has {address}"),
                "use `ds4 serve --port N` with another number, and that number in clients",
            ),
        },
        Err(error) => findings.add(
            area,
            State::Warning,
            format!("{address} cannot be listened on: {error}"),
            "use an address of this machine in --host, and a port above 1023",
        ),
    }
}

/// Whether a ds4 server answers.
fn server_at(address: SocketAddr) -> Option<bool> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream
        .write_all(format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())
        .ok()?;
    let mut text = Vec::new();
    // What came until the time was up is enough.
    let _ = stream.take(LOOK_BYTES_MAX).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    // With an API key set, this is refused, in ds4's own words.
    Some(text.contains("ds4_") || text.contains("missing or wrong API key"))
}

pub fn settings(findings: &mut Findings) {
    match Settings::load() {
        Ok(Settings { path: Some(path), .. }) if path.exists() => {
            findings.ok("settings", format!("{} can be read", path.display()));
        }
        Ok(_) => findings.ok("settings", "no file of settings: flags have their defaults"),
        Err(error) => {
            findings.add("settings", State::Error, format!("{error:#}"), "edit the file; `ds4 config --help` says how");
        }
    }
}

pub fn clients(findings: &mut Findings, args: &DoctorArgs) {
    let area = "clients";
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let expected = format!("http://{}", SocketAddr::new(args.host, args.port));
    let is_ours = |url: &str| {
        let of = |host: &str| url.contains(&format!("{host}:{}", args.port));
        of(&args.host.to_string()) || of("localhost") || of("127.0.0.1")
    };
    for (name, suffix) in [("ANTHROPIC_BASE_URL", ""), ("OPENAI_BASE_URL", "/v1")] {
        match variable(name) {
            None => {}
            Some(url) if !is_ours(&url) => findings.add(
                area,
                State::Note,
                format!("{name} leads to another server"),
                format!("for ds4 set {name}={expected}{suffix}"),
            ),
            Some(url) if suffix.is_empty() == url.trim_end_matches('/').ends_with("/v1") => findings.add(
                area,
                State::Warning,
                format!("{name} has the wrong path"),
                format!("set {name}={expected}{suffix}"),
            ),
            Some(_) => findings.ok(area, format!("{name} leads to ds4")),
        }
    }
    let Some(home) = std::env::var_os("HOME").map(PathBuf::from) else { return };
    for (client, file) in [
        ("Codex", ".codex/config.toml"),
        ("opencode", ".config/opencode/opencode.json"),
        ("Pi", ".pi/agent/models.json"),
    ] {
        let path = home.join(file);
        let mut text = String::new();
        let Ok(opened) = std::fs::File::open(&path) else { continue };
        if opened.take(LOOK_BYTES_MAX).read_to_string(&mut text).is_err() {
            continue;
        }
        if is_ours(&text) {
            findings.ok(area, format!("{client} is set up for {expected} in ~/{file}"));
        } else {
            let remedy = format!("docs/clients.md says how; the address is {expected}/v1");
            findings.add(area, State::Note, format!("{client} is here and not set up for ds4"), remedy);
        }
    }
    let is_exempt = || {
        let exempt = variable("NO_PROXY").or_else(|| variable("no_proxy")).unwrap_or_default();
        exempt.split(',').map(str::trim).any(|host| matches!(host, "127.0.0.1" | "localhost" | "*"))
    };
    if (variable("HTTP_PROXY").or_else(|| variable("http_proxy"))).is_some() && !is_exempt() {
        let finding = "a proxy is set and local addresses are not exempt: clients would ask the proxy for ds4";
        findings.add(area, State::Warning, finding, "set NO_PROXY=127.0.0.1,localhost");
    }
}
