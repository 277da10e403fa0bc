//! Requests to the hub and to where it sends us.

use crate::error::{Error, Result};
use crate::settings;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{HeaderMap, Response, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

/// Most redirects of one request.
const REDIRECTS_MAX: usize = 10;
/// Most bytes of a file of certificates: a system's whole bundle has about 250 kB.
const CERTIFICATES_BYTES_MAX: u64 = 16 << 20;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until a connection is there.
    pub connect: Duration,
    /// Without a byte.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(20), silence: Duration::from_secs(30) }
    }
}

/// A way to the hub. Proxies are taken from `HTTPS_PROXY`, `ALL_PROXY`, `HTTP_PROXY` and `NO_PROXY`.
pub struct Client {
    agent: Agent,
    /// Without a slash at the end.
    pub(crate) endpoint: String,
    token: Option<String>,
}

/// An answer.
pub(crate) struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Body,
    /// Where it came from.
    pub url: String,
    /// Whether the token went there.
    pub with_token: bool,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Where it sends us, as an absolute address.
    pub fn location(&self) -> Option<String> {
        if !(300..400).contains(&self.status) {
            return None;
        }
        Some(join(&self.url, self.header("location")?))
    }

    pub fn host(&self) -> String {
        host(&self.url)
    }
}

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Headers only.
    Head,
    /// All bytes.
    Whole,
    /// The bytes from the first to the last.
    Range(u64, u64),
}

impl Client {
    /// A client of `endpoint`, which gets `token`.
    ///
    /// # Errors
    /// The endpoint is no HTTP address, or the certificates that a variable names cannot be read.
    pub fn new(endpoint: &str, token: Option<String>, limits: Limits) -> Result<Self> {
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let uri: Option<Uri> = endpoint.parse().ok();
        let is_http = uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
        if !is_http {
            return Err(Error::Setting(format!(
                "HF_ENDPOINT is {endpoint:?}, expected an address such as {}",
                settings::ENDPOINT
            )));
        }
        if token.as_ref().is_some_and(|token| token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(Error::Setting("the token is empty or holds white space; copy it again".to_owned()));
        }
        let config = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(limits.connect))
            .timeout_recv_response(Some(limits.silence))
            .timeout_per_read(Some(limits.silence))
            .user_agent(concat!("ds4/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(roots()?).build())
            .build();
        Ok(Self { agent: config.into(), endpoint, token })
    }

    /// Asks `url`, once. The token goes to the endpoint only.
    pub(crate) fn ask(&self, url: &str, ask: Ask) -> std::result::Result<Reply, ureq::Error> {
        let request = match ask {
            Ask::Head => self.agent.head(url),
            Ask::Whole | Ask::Range(..) => self.agent.get(url),
        };
        // A compressed answer would have another length.
        let request = request.header("accept-encoding", "identity");
        let request = match ask {
            Ask::Range(first, last) => request.header("range", format!("bytes={first}-{last}")),
            _ => request,
        };
        let token = self.token.as_ref().filter(|_| origin(url) == origin(&self.endpoint));
        let request = match token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        let (parts, body) = Response::into_parts(request.call()?);
        let (status, url) = (parts.status.as_u16(), url.to_owned());
        Ok(Reply { status, headers: parts.headers, body, url, with_token: token.is_some() })
    }

    /// Asks `url` and whoever it sends us to, until `enough` or an answer that sends us nowhere.
    pub(crate) fn follow(
        &self,
        url: &str,
        ask: Ask,
        enough: &dyn Fn(&Reply) -> bool,
    ) -> std::result::Result<Reply, ureq::Error> {
        let mut url = url.to_owned();
        for _ in 0..REDIRECTS_MAX {
            let reply = self.ask(&url, ask)?;
            match reply.location() {
                Some(next) if !enough(&reply) => {
                    if url.starts_with("https:") && !next.starts_with("https:") {
                        return Err(ureq::Error::BadUri(format!("{} sends us to an unprotected address", host(&url))));
                    }
                    url = next;
                }
                _ => return Ok(reply),
            }
        }
        Err(ureq::Error::TooManyRedirects)
    }
}

/// Mozilla's certificates, which are part of the program, or those of the file that a variable names.
fn roots() -> Result<RootCerts> {
    let Some(path) = settings::certificates() else { return Ok(RootCerts::WebPki) };
    let metadata = std::fs::metadata(&path).map_err(Error::io(&path))?;
    let not_certificates = || Error::Setting(format!("{} holds no certificates in PEM form", path.display()));
    if metadata.len() > CERTIFICATES_BYTES_MAX {
        return Err(not_certificates());
    }
    let pem = std::fs::read(&path).map_err(Error::io(&path))?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(not_certificates());
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> &str {
    let after = url.find("://").map_or(0, |at| at + 3);
    let end = url[after..].find(['/', '?', '#']).map_or(url.len(), |at| after + at);
    &url[..end]
}

/// Host and port of an address.
pub(crate) fn host(url: &str) -> String {
    let origin = origin(url);
    origin.split_once("://").map_or(origin, |(_, host)| host).to_owned()
}

/// `location` as seen from `base`.
fn join(base: &str, location: &str) -> String {
    let origin = origin(base);
    if location.contains("://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        let scheme = origin.split_once("://").map_or("https", |(scheme, _)| scheme);
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{origin}{location}")
    } else {
        let path = base.split(['?', '#']).next().unwrap_or(base);
        let folder = path.rfind('/').filter(|at| *at >= origin.len()).map_or(base, |at| &path[..at]);
        format!("{folder}/{location}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_seen_from_where_they_were_given() {
        let base = "https://a.example:8443/x/y?z=/w";
        for (location, expected) in [
            ("http://b.example/q", "http://b.example/q"),
            ("//b.example/q", "https://b.example/q"),
            ("/q?r=1", "https://a.example:8443/q?r=1"),
            ("q", "https://a.example:8443/x/q"),
        ] {
            assert_eq!(join(base, location), expected);
        }
        assert_eq!(origin(base), "https://a.example:8443");
        assert_eq!(host("http://h?x"), "h");
    }

    #[test]
    fn endpoints_and_tokens_that_cannot_work_are_refused() {
        for endpoint in ["huggingface.co", "ftp://h", "", "https://"] {
            assert!(Client::new(endpoint, None, Limits::default()).is_err(), "{endpoint}");
        }
        for token in ["", "a b", "a\r\nx: y"] {
            let made = Client::new("http://h/", Some(token.to_owned()), Limits::default());
            assert!(made.is_err(), "{token:?}");
        }
        assert_eq!(Client::new("http://h/", None, Limits::default()).unwrap().endpoint, "http://h");
    }
}
