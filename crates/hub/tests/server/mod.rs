//! A hub on this machine that misbehaves as told.

use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const FILE: &str = "model.gguf";
/// Longer than the silence that the tests allow.
const STALL: Duration = Duration::from_millis(900);

/// What goes wrong with one answer that should bring bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// The connection ends before a byte.
    Nothing,
    /// The connection ends within the head.
    HalfHead,
    /// It ends half way through the body.
    Drop,
    /// Half of the body, then silence.
    Stall,
    /// The length is half of what was asked for, and so is the body.
    Short,
    /// The length says more than comes.
    Long,
    /// The range is that of another file size.
    OtherTotal,
    /// The range begins elsewhere.
    OtherRange,
    /// One byte is another.
    WrongByte,
    /// Ranges are ignored.
    Whole,
    /// A status without a body.
    Status(u16),
}

pub struct Behaviour {
    /// Name of the file that it has.
    pub file: String,
    pub body: Vec<u8>,
    /// What the hub says of the file: size and checksum.
    pub linked: Option<(u64, String)>,
    pub pointer: Option<String>,
    pub token: Option<String>,
    /// For each answer with bytes in turn.
    pub faults: VecDeque<Fault>,
    /// For all that follow.
    pub always: Option<Fault>,
    /// Statuses of the first answers to questions for size and checksum.
    pub find_statuses: VecDeque<u16>,
    /// Signature that storage accepts; `None` without storage.
    pub signature: Option<u32>,
    /// The signature expires after so many answers with bytes.
    pub expires_after: Option<usize>,
    /// From this many answers with bytes on, the hub tells this checksum.
    pub replaced: Option<(usize, String)>,
    pub served: usize,
    /// Bytes of bodies that were sent.
    pub sent: u64,
    /// Method, target and token of each request.
    pub log: Vec<(String, String, Option<String>)>,
}

#[derive(Clone)]
pub struct Server {
    pub url: String,
    pub storage: String,
    pub state: Arc<Mutex<Behaviour>>,
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that differ everywhere.
pub fn content(bytes: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

impl Server {
    /// A hub that has [`FILE`] with this content, and storage to which it sends who asks.
    pub fn start(body: Vec<u8>) -> Self {
        let behaviour = Behaviour {
            file: FILE.to_owned(),
            linked: Some((body.len() as u64, sha256(&body))),
            body,
            pointer: None,
            token: None,
            faults: VecDeque::new(),
            always: None,
            find_statuses: VecDeque::new(),
            signature: Some(1),
            expires_after: None,
            replaced: None,
            served: 0,
            sent: 0,
            log: Vec::new(),
        };
        let state = Arc::new(Mutex::new(behaviour));
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (hub, storage) = (listen(), listen());
        let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let server = Self { url: url(&hub), storage: url(&storage), state };
        for listener in [hub, storage] {
            let server = server.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let server = server.clone();
                    std::thread::spawn(move || server.answer(stream.unwrap()));
                }
            });
        }
        server
    }

    pub fn set(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.state.lock().unwrap());
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let Some(Ok(first)) = lines.next() else { return };
        let headers: Vec<(String, String)> = lines
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.split_once(": ").map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned())))
            .collect();
        let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        let mut words = first.split(' ');
        let method = words.next().unwrap().to_owned();
        let mut target = words.next().unwrap().to_owned();
        // As a proxy it is told whom to ask, and answers itself.
        if method == "CONNECT" {
            let _ = stream.write_all(b"HTTP/1.1 200 X\r\n\r\n");
            self.state.lock().unwrap().log.push((method, target, None));
            return self.answer(stream);
        }
        if let Some((_, path)) = target.strip_prefix("http://").and_then(|rest| rest.split_once('/')) {
            target = format!("/{path}");
        }
        let token = header("authorization").and_then(|value| value.strip_prefix("Bearer ").map(str::to_owned));
        let mut state = self.state.lock().unwrap();
        state.log.push((method.clone(), target.clone(), token.clone()));
        let range = header("range");
        if let Some(signature) = target.strip_prefix("/storage?signature=") {
            if state.expires_after.is_some_and(|after| state.served >= after) {
                state.expires_after = None;
                state.signature = state.signature.map(|signature| signature + 1);
            }
            if Some(signature.to_owned()) != state.signature.map(|signature| signature.to_string()) {
                return plain(&mut stream, 403, &[], b"");
            }
            return bytes(state, stream, range.as_deref());
        }
        if state.token.is_some() && state.token != token {
            return plain(&mut stream, 401, &[], b"");
        }
        if target.contains("/raw/") {
            return match &state.pointer {
                Some(pointer) => plain(&mut stream, 200, &[], pointer.as_bytes()),
                None => plain(&mut stream, 404, &[], b""),
            };
        }
        if !target.contains("/resolve/") || !target.ends_with(&state.file) {
            return plain(&mut stream, 404, &[], b"");
        }
        if method == "HEAD"
            && let Some(status) = state.find_statuses.pop_front()
        {
            return plain(&mut stream, status, &[("Retry-After", "0".to_owned())], b"");
        }
        let mut extra = vec![("X-Repo-Commit", "0c".repeat(20))];
        if let Some((size, sha256)) = &state.linked {
            let replaced = state.replaced.as_ref().filter(|(from, _)| state.served >= *from);
            let sha256 = replaced.map_or(sha256, |(_, sha256)| sha256);
            extra.push(("X-Linked-Size", size.to_string()));
            extra.push(("X-Linked-ETag", format!("\"{sha256}\"")));
        }
        match state.signature {
            Some(signature) => {
                extra.push(("Location", format!("{}/storage?signature={signature}", self.storage)));
                plain(&mut stream, 302, &extra, b"");
            }
            None if method == "HEAD" => plain(&mut stream, 200, &extra, b""),
            None => bytes(state, stream, range.as_deref()),
        }
    }
}

fn plain(stream: &mut TcpStream, status: u16, headers: &[(&str, String)], body: &[u8]) {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

/// Answers with bytes of the file, or as the next fault has it.
fn bytes(mut state: std::sync::MutexGuard<'_, Behaviour>, mut stream: TcpStream, range: Option<&str>) {
    let fault = state.faults.pop_front().or(state.always);
    state.served += 1;
    let total = state.body.len();
    let asked = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let asked = asked.map(|(first, last)| (first.parse::<usize>().unwrap(), last.parse::<usize>().unwrap()));
    if let Some((first, _)) = asked
        && first >= total
    {
        return plain(&mut stream, 416, &[], b"");
    }
    let ranged = asked.filter(|_| fault != Some(Fault::Whole));
    let (first, last) = ranged.map_or((0, total - 1), |(first, last)| (first, last.min(total - 1)));
    let mut body = state.body[first..=last].to_vec();
    let (mut told_first, mut told_total, mut length) = (first, total, body.len());
    let half = body.len().div_ceil(2);
    match fault {
        Some(Fault::Nothing) => return,
        Some(Fault::HalfHead) => {
            let _ = stream.write_all(b"HTTP/1.1 206 X\r\nContent-Le");
            return;
        }
        Some(Fault::Status(status)) => return plain(&mut stream, status, &[("Retry-After", "0".to_owned())], b""),
        Some(Fault::Drop | Fault::Stall) => body.truncate(half),
        Some(Fault::Short) => {
            body.truncate(half);
            length = half;
        }
        Some(Fault::Long) => length += 10,
        Some(Fault::OtherTotal) => told_total += 1,
        Some(Fault::OtherRange) => told_first += 1,
        Some(Fault::WrongByte) => body[half - 1] ^= 1,
        Some(Fault::Whole) | None => {}
    }
    state.sent += body.len() as u64;
    drop(state);
    let range = format!("Content-Range: bytes {told_first}-{last}/{told_total}\r\n");
    let head = match ranged {
        Some(_) => format!("HTTP/1.1 206 X\r\n{range}Content-Length: {length}\r\nConnection: close\r\n\r\n"),
        None => format!("HTTP/1.1 200 X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"),
    };
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).and_then(|()| stream.flush());
    if fault == Some(Fault::Stall) {
        // Until the client gives up, or for good measure.
        let _ = stream.set_read_timeout(Some(STALL));
        let _ = stream.read(&mut [0]);
    }
}
