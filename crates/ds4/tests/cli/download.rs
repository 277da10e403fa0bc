//! `ds4 download` and `ds4 models` against a hub on this machine.

use crate::hub::{Fault, Server, content, sha256};
use crate::support::{Done, command, directory, model, str};
use std::path::Path;
use std::process::Command;

const MTP: &str = "DeepSeek-V4-Flash-MTP-Q4K-Q8_0-F32.gguf";
const Q2: &str = "DeepSeek-V4-Flash-IQ2XXS-w2Q2K-AProjQ8-SExpQ8-OutQ8-chat-v2-imatrix.gguf";

fn hub(file: &str, body: Vec<u8>) -> Server {
    let server = Server::start(body);
    server.set(|state| state.file = file.to_owned());
    server
}

/// The program in `folder`, with this hub.
fn ds4(server: &Server, folder: &Path, args: &[&str]) -> Command {
    let mut command = command(args);
    command
        .env("HF_ENDPOINT", &server.url)
        .env("HF_HOME", folder.join("hf"))
        .args(["--dir", str(&folder.join("models"))]);
    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(proxy);
    }
    command
}

fn done(mut command: Command) -> Done {
    Done::new(command.output().unwrap())
}

#[test]
fn a_model_is_fetched_becomes_the_default_and_answers() {
    let folder = directory("download_default");
    let server = hub(Q2, std::fs::read(model()).unwrap());
    let json = done(ds4(&server, &folder, &["download", "q2-imatrix", "--json"])).json();
    let path = folder.join("models").join(Q2);
    assert_eq!(json["path"], str(&path));
    assert_eq!(json["fetched_bytes"], json["bytes"]);
    assert!(std::fs::read(&path).unwrap() == std::fs::read(model()).unwrap());

    let mut listing = ds4(&server, &folder, &["models", "--json"]);
    let listing = done(std::mem::replace(&mut listing, Command::new("true"))).json();
    let ready: Vec<_> =
        listing["models"].as_array().unwrap().iter().filter(|model| model["state"] == "ready").collect();
    assert_eq!(ready.len(), 1, "the link is the same model: {listing}");
    assert_eq!((&ready[0]["target"], &ready[0]["default"]), (&"q2-imatrix".into(), &true.into()));
    assert_eq!(ready[0]["fits"], true);
    let others = listing["models"].as_array().unwrap().iter().filter(|model| model["state"] == "not here").count();
    assert_eq!(others, 4);

    // A second time nothing is fetched.
    let again = done(ds4(&server, &folder, &["download", "q2-imatrix", "--json"])).json();
    assert_eq!(again["fetched_bytes"], 0);
}

#[test]
fn a_download_that_fails_says_why_and_is_resumed() {
    let folder = directory("download_resumed");
    let body = content(200_000);
    let server = hub(MTP, body.clone());
    server.set(|state| (state.faults, state.always) = ([Fault::Drop].into(), Some(Fault::Status(404))));
    let failed = done(ds4(&server, &folder, &["download", "mtp"]));
    assert_eq!((failed.code, failed.out.as_str()), (Some(1), ""), "{}", failed.err);
    assert!(failed.err.contains("has no file") && failed.err.contains("HF_ENDPOINT"), "{}", failed.err);
    assert!(!folder.join("models").join(MTP).exists());
    let listing = done(ds4(&server, &folder, &["models"])).ok();
    assert!(listing.contains("unfinished, 50.0 %: `ds4 download mtp` goes on"), "{listing}");
    server.set(|state| state.always = None);
    let json = done(ds4(&server, &folder, &["download", "mtp", "--json"])).json();
    assert_eq!((&json["fetched_bytes"], &json["sha256"]), (&100_000.into(), &sha256(&body).into()));
    assert!(!folder.join("models/ds4flash.gguf").exists(), "a draft model is no default");
}

#[test]
fn tokens_are_found_where_hugging_face_has_them() {
    let folder = directory("download_token");
    let server = hub(MTP, content(1000));
    server.set(|state| state.token = Some("hf_right".to_owned()));
    let refused = done(ds4(&server, &folder, &["download", "mtp"]));
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("a token is needed; give it with --token or HF_TOKEN"), "{}", refused.err);
    let wrong = done(ds4(&server, &folder, &["download", "mtp", "--token", "hf_wrong"]));
    assert!(wrong.err.contains("the token is not accepted") && !wrong.err.contains("hf_wrong"), "{}", wrong.err);
    std::fs::create_dir_all(folder.join("hf")).unwrap();
    std::fs::write(folder.join("hf/token"), "hf_right\n").unwrap();
    done(ds4(&server, &folder, &["download", "mtp"])).ok();
    let mut by_variable = ds4(&server, &folder, &["download", "mtp"]);
    by_variable.env("HF_TOKEN", "hf_right").env_remove("HF_HOME");
    done(by_variable).ok();
}

#[test]
fn a_copy_in_hugging_faces_cache_is_linked_if_it_is_right() {
    let folder = directory("download_cache");
    let body = content(5000);
    let server = hub(MTP, body.clone());
    let blobs = folder.join("hf/hub/models--antirez--deepseek-v4-gguf/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let blob = blobs.join(sha256(&body));
    std::fs::write(&blob, vec![0; body.len()]).unwrap();
    let damaged = done(ds4(&server, &folder, &["download", "mtp"]));
    assert!(damaged.code == Some(1) && damaged.err.contains("wrong SHA-256"), "{}", damaged.err);
    std::fs::write(&blob, &body).unwrap();
    let json = done(ds4(&server, &folder, &["download", "mtp", "--json"])).json();
    assert_eq!(json["fetched_bytes"], 0);
    assert_eq!(server.state.lock().unwrap().served, 0);
    assert_eq!(std::fs::read(folder.join("models").join(MTP)).unwrap(), body);
}

#[test]
fn proxies_are_used_unless_an_address_is_exempt() {
    let folder = directory("download_proxy");
    let (proxy, unused) = (hub(MTP, content(1000)), hub(MTP, content(1000)));
    proxy.set(|state| state.signature = None);
    let mut through = ds4(&proxy, &folder, &["download", "mtp"]);
    through.env("HF_ENDPOINT", "http://hub.invalid").env("HTTP_PROXY", &proxy.url).env_remove("NO_PROXY");
    done(through).ok();
    assert!(proxy.state.lock().unwrap().served > 0);
    let mut exempt = ds4(&proxy, &directory("download_no_proxy"), &["download", "mtp"]);
    exempt.env("HTTP_PROXY", &unused.url).env("NO_PROXY", "127.0.0.1");
    done(exempt).ok();
    assert!(unused.state.lock().unwrap().log.is_empty());
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let folder = directory("download_settings");
    let server = hub(MTP, content(10));
    let mut endpoint = ds4(&server, &folder, &["download", "mtp"]);
    endpoint.env("HF_ENDPOINT", "huggingface.co");
    let refused = done(endpoint);
    assert!(refused.code == Some(1) && refused.err.contains("HF_ENDPOINT is \"huggingface.co\""), "{}", refused.err);
    assert_eq!(done(ds4(&server, &folder, &["download", "q3"])).code, Some(2));
}

#[test]
fn the_script_of_the_c_program_fetches_and_links() {
    let folder = directory("download_script");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../download_model.sh");
    std::fs::copy(script, folder.join("download_model.sh")).unwrap();
    let server = hub(Q2, content(3000));
    let run = |args: &[&str]| {
        let mut run = Command::new("bash");
        run.arg(folder.join("download_model.sh")).args(args).env("DS4", env!("CARGO_BIN_EXE_ds4"));
        run.env("HF_ENDPOINT", &server.url).env("HF_HOME", folder.join("hf")).env("DS4_CONFIG", "");
        run.env_remove("DS4_GGUF_DIR").env("NO_PROXY", "127.0.0.1");
        done(run)
    };
    assert_eq!((run(&[]).code, run(&["help"]).code, run(&["q9"]).code), (Some(1), Some(0), Some(1)));
    assert!(run(&["q2-imatrix"]).ok().contains("ds4flash.gguf is now"));
    assert_eq!(std::fs::read(folder.join("ds4flash.gguf")).unwrap(), content(3000));
    assert!(folder.join("gguf").join(Q2).is_file());
}
