//! States and conversations on disk: `ds4 serve --kv-dir`, `ds4 chat --session`, `ds4 sessions`, `ds4 kv`.

use crate::support::{Done, command, directory, ds4, str};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Says these lines in a conversation that is kept in `dir`.
fn talk(dir: &Path, session: &str, lines: &str) -> Done {
    let args = ["chat", "--temp", "0", "--ctx", "4096", "--session", session, "--kv-dir", str(dir)];
    let mut child = command(&args).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    Done::new(child.wait_with_output().unwrap())
}

/// Prompt tokens and known tokens of each answer, from the lines about them.
fn known(err: &str) -> Vec<(usize, usize)> {
    let numbers = |line: &str| {
        let mut words = line.strip_prefix("ds4: prompt ")?.split(' ');
        Some((words.next()?.parse().ok()?, words.nth(1)?.parse().ok()?))
    };
    err.lines().filter_map(numbers).collect()
}

fn kv(dir: &Path, args: &[&str]) -> Done {
    ds4(&[&["kv"], args, &["--kv-dir", str(dir)]].concat())
}

const QUESTIONS: [&str; 2] = ["What is 57 + 85?", "And what is 20 + 22?"];

#[test]
fn a_session_goes_on_at_once() {
    let (dir, other) = (directory("kv_session"), directory("kv_session_other"));
    let first = talk(&dir, "sums", QUESTIONS[0]);
    assert!(first.out.contains("142"), "{}{}", first.out, first.err);
    let second = talk(&dir, "sums", QUESTIONS[1]);
    assert!(second.out.contains("42") && second.err.contains("a conversation of 2 messages"), "{}", second.err);
    // What the same process would have known.
    let together = talk(&other, "sums", &QUESTIONS.join("\n"));
    assert_eq!(known(&second.err)[..], known(&together.err)[1..]);
    assert!(known(&second.err)[0].1 > 10, "{}", second.err);
    assert_eq!(first.out + &second.out, together.out);

    let sessions = ds4(&["sessions", "--kv-dir", str(&dir), "--json"]).json();
    assert_eq!(sessions["sessions"][0]["name"], "sums");
    assert_eq!(sessions["sessions"][0]["messages"], 4);
    assert_eq!(sessions["sessions"][0]["begins"], QUESTIONS[0]);
    assert!(ds4(&["sessions", "--kv-dir", str(&dir)]).ok().starts_with("sums "));
    ds4(&["sessions", "--kv-dir", str(&dir), "--delete", "sums"]).ok();
    let none = ds4(&["sessions", "--kv-dir", str(&dir), "--delete", "../sessions/sums"]);
    assert!(none.code == Some(1) && none.err.contains("no session"), "{}", none.err);
    assert!(ds4(&["sessions", "--kv-dir", str(&dir)]).ok().is_empty());
    assert_eq!(talk(&dir, "../x", "").code, Some(2));
}

#[test]
fn states_are_listed_checked_moved_and_removed() {
    let (dir, other) = (directory("kv_states"), directory("kv_states_other"));
    talk(&dir, "sums", &QUESTIONS.join("\n")).ok();
    let listed = kv(&dir, &["ls", "--json"]).json();
    let states = listed["states"].as_array().unwrap();
    assert!(!states.is_empty() && listed["bytes"].as_u64().unwrap() > 0, "{listed}");
    let last = states.iter().max_by_key(|state| state["tokens"].as_u64()).unwrap();
    let name = last["name"].as_str().unwrap();
    assert!(last["model"].as_str().unwrap().starts_with("ds4 demo, rounded rows, fast"), "{last}");
    assert!(kv(&dir, &["ls"]).ok().contains(name));
    let shown = kv(&dir, &["show", &name[..12], "--text", "--json"]).json();
    assert_eq!(shown["tokens"], last["tokens"]);
    assert!(shown["text"].as_str().unwrap().contains(QUESTIONS[0]), "{shown}");
    assert!(kv(&dir, &["show", name]).ok().contains("tokens     "));
    assert!(kv(&dir, &["verify"]).ok().ends_with("0 damaged\n"));

    let file = dir.join("state.ds4kv");
    kv(&dir, &["export", name, str(&file)]).ok();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "it holds what was said");
    assert_eq!(kv(&other, &["import", str(&file), "--json"]).json()["name"], name);
    assert!(kv(&other, &["import", str(&file)]).ok().contains("was there already"));
    assert_eq!(kv(&other, &["ls", "--json"]).json()["states"][0]["name"], name);
    assert_eq!(kv(&other, &["verify", "--json"]).json(), json!({"whole": 1, "damaged": []}));

    // A damaged state is told and nothing is removed.
    let path = other.join(format!("{name}.ckpt"));
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let verified = kv(&other, &["verify"]);
    assert!(verified.code == Some(1) && verified.out == "0 whole, 1 damaged\n", "{}", verified.out);
    assert!(verified.err.contains("is damaged: its frontier has another checksum"), "{}", verified.err);
    assert!(path.exists());

    assert_eq!(kv(&dir, &["prune", name, "--json"]).json()["removed"], 1);
    kv(&dir, &["prune", "--to", "0"]).ok();
    assert_eq!(kv(&dir, &["ls", "--json"]).json(), json!({"states": [], "pages": 0, "bytes": 0}));
    for (args, message) in [
        (&["show", name][..], "no checkpoint"),
        (&["prune", "ffff"], "no checkpoint ffff"),
        (&["import", "/no/such/file"], "/no/such/file"),
    ] {
        let done = kv(&dir, args);
        assert!(done.code == Some(1) && done.err.contains(message), "{}", done.err);
    }
    let none = kv(Path::new("/no/such/dir"), &["ls"]);
    assert!(none.code == Some(1) && none.err.contains("there are no KV states in /no/such/dir"), "{}", none.err);
    assert_eq!(kv(&dir, &["prune"]).code, Some(2));
}

/// A server that keeps its states in `dir`.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(dir: &Path) -> Self {
        let args = ["serve", "--port", "0", "--ctx", "4096", "--kv-min-free", "0", "--kv-dir", str(dir)];
        let mut child = command(&args).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.by_ref().map(Result::unwrap).find(|line| line.contains("listening on")).unwrap();
        let port = line.split("127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, port }
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(body).unwrap()
    }

    fn end(mut self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
        self.child.wait().unwrap();
    }
}

/// An agent's conversation whose calls and hidden reasoning the client does not send back as they were, over restarts.
#[test]
fn a_conversation_goes_on_after_a_restart() {
    for thinking in [false, true] {
        let dir = directory(&format!("kv_restart_{thinking}"));
        let tools = json!([{"type": "function", "function": {"name": "read_file", "description": "Read a file",
            "parameters": {"type": "object", "properties": {"path": {"type": "string", "maxLength": 12}},
                "required": ["path"]}}}]);
        let mut messages = vec![
            json!({"role": "system", "content": "You are ds4, an agent."}),
            json!({"role": "user", "content": "Read the files."}),
        ];
        let mut known = 0;
        for turn in 0..4 {
            let server = Server::start(&dir);
            let body = json!({"messages": messages, "tools": tools, "tool_choice": "required", "temperature": 0,
                "parallel_tool_calls": false, "max_tokens": 300, "thinking": thinking});
            let answer = server.post("/v1/chat/completions", &body);
            let (choice, usage) = (&answer["choices"][0], &answer["usage"]);
            assert_eq!(choice["finish_reason"], "tool_calls", "{answer}");
            let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
            // The last token of an answer is sampled, not evaluated.
            assert!(cached + 1 >= known, "turn {turn}, thinking {thinking}: {cached} of {known} tokens: {usage}");
            known = usage["total_tokens"].as_u64().unwrap();
            let mut message = choice["message"].clone();
            message.as_object_mut().unwrap().remove("reasoning_content");
            let id = message["tool_calls"][0]["id"].clone();
            messages.push(message);
            messages.push(json!({"role": "tool", "tool_call_id": id, "content": format!("line {turn}")}));
            server.end("-INT");
        }
    }
}

#[test]
fn a_directory_belongs_to_one_program() {
    let dir = directory("kv_lock");
    let server = Server::start(&dir);
    let pid = server.child.id();
    let second = ds4(&["serve", "--port", "0", "--kv-dir", str(&dir)]);
    let expected = format!("is in use by another ds4 (process {pid}); end it, or choose another directory");
    assert!(second.code == Some(1) && second.err.contains(&expected), "{}", second.err);
    assert!(kv(&dir, &["prune", "--to", "0"]).err.contains(&expected));
    kv(&dir, &["ls"]).ok();
    kv(&dir, &["verify"]).ok();
    server.end("-KILL");
    Server::start(&dir).end("-TERM");
}
