//! Endpoint, token and cache, where Hugging Face's own programs have them. An empty variable counts as unset.

use crate::Remote;
use std::env;
use std::path::{Path, PathBuf};

/// Where files come from unless `HF_ENDPOINT` says otherwise.
pub const ENDPOINT: &str = "https://huggingface.co";
/// Most bytes of a file with a token.
const TOKEN_BYTES_MAX: u64 = 4096;

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn directory(name: &str) -> Option<PathBuf> {
    variable(name).map(PathBuf::from)
}

/// `HF_ENDPOINT`, or Hugging Face itself.
pub fn endpoint() -> String {
    variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned())
}

/// `HF_HOME`, by default `huggingface` in the user's cache.
fn home() -> Option<PathBuf> {
    let cache = || directory("XDG_CACHE_HOME").or_else(|| Some(directory("HOME")?.join(".cache")));
    directory("HF_HOME").or_else(|| Some(cache()?.join("huggingface")))
}

/// The token of `HF_TOKEN`, or of the file that `hf auth login` writes; and where it was found.
pub fn token() -> Option<(String, String)> {
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if let Some(token) = variable(name) {
            return Some((token.trim().to_owned(), name.to_owned()));
        }
    }
    let path = directory("HF_TOKEN_PATH").or_else(|| Some(home()?.join("token")))?;
    if std::fs::metadata(&path).ok()?.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let token = std::fs::read_to_string(&path).ok()?.trim().to_owned();
    (!token.is_empty()).then(|| (token, path.display().to_string()))
}

/// The directory in which Hugging Face's programs keep repositories.
pub fn cache() -> Option<PathBuf> {
    directory("HF_HUB_CACHE").or_else(|| directory("HUGGINGFACE_HUB_CACHE")).or_else(|| Some(home()?.join("hub")))
}

/// The file that Hugging Face's cache in `cache` has for `remote`, by its checksum and size. Its bytes are not read.
pub fn cached(cache: &Path, remote: &Remote) -> Option<PathBuf> {
    let path = cache.join(format!("models--{}", remote.repo.replace('/', "--"))).join("blobs").join(&remote.sha256);
    let metadata = std::fs::metadata(&path).ok()?;
    (metadata.is_file() && metadata.len() == remote.bytes).then_some(path)
}

/// Files of the repository `repo` that Hugging Face's cache in `cache` has under the name `file`, whatever their revision.
pub fn cached_under_name(cache: &Path, repo: &str, file: &str) -> Option<PathBuf> {
    let snapshots = cache.join(format!("models--{}", repo.replace('/', "--"))).join("snapshots");
    let mut found: Vec<PathBuf> = std::fs::read_dir(snapshots)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join(file)))
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    found.pop()
}

/// File of certificates to trust, in PEM form, where programs of a company's network set one.
pub fn certificates() -> Option<PathBuf> {
    ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"].into_iter().find_map(directory)
}
