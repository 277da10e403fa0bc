//! Size and checksum of a published file.

use crate::client::{Ask, Client, Reply, host};
use crate::error::{Error, Result};
use crate::worker::is_passing;
use crate::{FILE_BYTES_MAX, Options, Watch};
use std::io::Read;

/// Most bytes of a Git LFS pointer, by its specification.
const POINTER_BYTES_MAX: u64 = 1024;

/// A published file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// `owner/name` of its repository.
    pub repo: String,
    /// Its path there.
    pub file: String,
    /// The commit that has it, as far as the server tells; otherwise a branch.
    pub revision: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, 64 hexadecimal digits.
    pub sha256: String,
}

impl Client {
    /// What the branch `main` of `repo` has under the name `file`.
    ///
    /// # Errors
    /// The server cannot be reached, refuses, has no such file, or does not tell size and checksum.
    pub fn find(&self, repo: &str, file: &str, options: &Options, watch: &dyn Watch) -> Result<Remote> {
        let address = |kind, revision: &str| format!("{}/{repo}/{kind}/{revision}/{file}", self.endpoint);
        let reply = options.patiently(watch, || {
            let url = address("resolve", "main");
            let reply = self.follow(&url, Ask::Head, &|reply| is_linked(reply) || leaves(reply));
            self.answered(reply, &url, file)
        })?;
        let revision = reply.header("x-repo-commit").filter(|commit| is_hex(commit, 40)).unwrap_or("main").to_owned();
        let known = linked(&reply);
        let (bytes, sha256) = match known {
            Some(known) => known,
            None => {
                let pointer = options.patiently(watch, || self.pointer(&address("raw", &revision), file))?;
                pointer.ok_or_else(|| Error::Protocol {
                    host: host(&self.endpoint),
                    what: format!("it tells no size and SHA-256 of {file}"),
                })?
            }
        };
        if bytes == 0 || bytes > FILE_BYTES_MAX {
            let what = format!("{file} has {bytes} bytes, expected 1 to {FILE_BYTES_MAX}");
            return Err(Error::Protocol { host: host(&self.endpoint), what });
        }
        Ok(Remote { repo: repo.to_owned(), file: file.to_owned(), revision, bytes, sha256 })
    }

    /// Size and checksum from the Git LFS pointer at `url`, if it is one.
    fn pointer(&self, url: &str, file: &str) -> std::result::Result<Option<(u64, String)>, Trouble> {
        let mut reply = self.answered(self.follow(url, Ask::Whole, &|_| false), url, file)?;
        let mut text = String::new();
        let read = reply.body.as_reader().take(POINTER_BYTES_MAX).read_to_string(&mut text);
        match read {
            Ok(_) => Ok(parse_pointer(&text)),
            // Other bytes than text are no pointer.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(Trouble::Passing { host: host(url), cause: error.to_string(), wait: None }),
        }
    }

    /// The reply, unless it says that there is no such thing for us.
    pub(crate) fn answered(
        &self,
        reply: std::result::Result<Reply, ureq::Error>,
        url: &str,
        file: &str,
    ) -> std::result::Result<Reply, Trouble> {
        let reply = reply.map_err(|error| match error {
            ureq::Error::BadUri(_) | ureq::Error::TooManyRedirects => {
                Trouble::Lasting(Error::Protocol { host: host(url), what: error.to_string() })
            }
            error => Trouble::Passing { host: host(url), cause: error.to_string(), wait: None },
        })?;
        let (host, status) = (reply.host(), reply.status);
        match status {
            200..=399 => Ok(reply),
            // Storage: the address that the hub gave is too old already.
            401 | 403 if host != crate::client::host(&self.endpoint) => {
                Err(Trouble::Passing { host, cause: format!("status {status}"), wait: None })
            }
            401 | 403 => Err(Trouble::Lasting(Error::Refused { host, status, had_token: reply.with_token })),
            404 | 410 => Err(Trouble::Lasting(Error::NotFound { host, file: file.to_owned(), status })),
            status if is_passing(status) => {
                let wait = reply.header("retry-after").and_then(|seconds| seconds.parse().ok());
                Err(Trouble::Passing { host, cause: format!("status {status}"), wait })
            }
            _ => Err(Trouble::Lasting(Error::Protocol { host, what: format!("status {status}") })),
        }
    }
}

/// Whether trying again may help.
pub(crate) enum Trouble {
    /// It may, after so many seconds if the server says so.
    Passing { host: String, cause: String, wait: Option<u64> },
    /// It does not.
    Lasting(Error),
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_linked(reply: &Reply) -> bool {
    linked(reply).is_some()
}

/// Whether the reply sends us to another server, which knows nothing of repositories.
fn leaves(reply: &Reply) -> bool {
    reply.location().is_some_and(|next| host(&next) != reply.host())
}

/// Size and checksum in the headers that the hub adds for files in LFS.
pub(crate) fn linked(reply: &Reply) -> Option<(u64, String)> {
    let sha256 = reply.header("x-linked-etag")?.trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
    let bytes = reply.header("x-linked-size")?.parse().ok()?;
    is_hex(&sha256, 64).then_some((bytes, sha256))
}

/// Size and checksum in the text of a Git LFS pointer.
fn parse_pointer(text: &str) -> Option<(u64, String)> {
    let mut lines = text.lines();
    if lines.next()? != "version https://git-lfs.github.com/spec/v1" {
        return None;
    }
    let (mut bytes, mut sha256) = (None, None);
    for line in lines {
        match line.split_once(' ')? {
            ("size", value) => bytes = value.parse().ok(),
            ("oid", value) => sha256 = value.strip_prefix("sha256:").filter(|hex| is_hex(hex, 64)).map(str::to_owned),
            _ => {}
        }
    }
    Some((bytes?, sha256?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_tells_size_and_checksum() {
        let hex = "0123456789abcdef".repeat(4);
        let text = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{hex}\nsize 12345\n");
        assert_eq!(parse_pointer(&text), Some((12345, hex.clone())));
        for wrong in [
            text.replace("v1", "v2"),
            text.replace("sha256", "sha512"),
            text.replace("12345", "-1"),
            text.replace(&hex, &hex[1..]),
            text.replace("size 12345\n", ""),
            String::new(),
            "<html>".to_owned(),
        ] {
            assert_eq!(parse_pointer(&wrong), None, "{wrong:?}");
        }
    }
}
