//! The chat page: one file, and a policy that lets a browser run nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

static TEXT: &str = include_str!("../page/index.html");

/// The page with its policy.
pub struct Page {
    policy: String,
}

impl Default for Page {
    fn default() -> Self {
        let (script, style) = (hash("<script>", "</script>"), hash("<style>", "</style>"));
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'"
        );
        Self { policy }
    }
}

/// Hash of what stands between two tags, each of which the page has once.
fn hash(open: &str, close: &str) -> String {
    let inner = TEXT.split_once(open).and_then(|(_, rest)| rest.split_once(close)).map_or("", |(inner, _)| inner);
    STANDARD.encode(Sha256::digest(inner.as_bytes()))
}

impl Page {
    /// The HTML.
    pub fn text(&self) -> &'static str {
        TEXT
    }

    /// The value of `Content-Security-Policy`.
    pub fn policy(&self) -> &str {
        &self.policy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_script_and_one_style() {
        for tag in ["<script>", "</script>", "<style>", "</style>"] {
            assert_eq!(TEXT.matches(tag).count(), 1, "{tag}");
        }
        assert!(!TEXT.contains('\r'));
    }
}
