//! When and how often checkpoints were used: a file of lines `<key> <hits> <seconds>`. It may be lost: only the choice of what
//! to remove depends on it.

use crate::error::Result;
use crate::files::NewFile;
use crate::format::Key;
use crate::limits::USAGE_BYTES_MAX;
use std::collections::HashMap;
use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const FILE: &str = "usage";
/// Time in which the weight of earlier uses halves, in seconds.
const HALF_LIFE: f64 = 6.0 * 3600.0;

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Uses of a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Number of uses, each counted less the longer it was before the last one.
    pub hits: f64,
    /// The last use, or when it was saved, in Unix seconds.
    pub used: u64,
}

impl Usage {
    /// Hits as they count at `now`. A clock that went back makes nothing younger.
    pub fn hits_at(&self, now: u64) -> f64 {
        self.hits * (-(now.saturating_sub(self.used) as f64) / HALF_LIFE).exp2()
    }

    /// Takes note of a use.
    pub fn hit(&mut self, now: u64) {
        *self = Self { hits: self.hits_at(now) + 1.0, used: now };
    }
}

/// Reads the uses in `dir`; lines that make no sense are skipped.
pub fn read(dir: &Path, now: u64) -> HashMap<Key, Usage> {
    let mut text = Vec::new();
    let Ok(file) = File::open(dir.join(FILE)) else { return HashMap::new() };
    if file.take(USAGE_BYTES_MAX).read_to_end(&mut text).is_err() {
        return HashMap::new();
    }
    let line = |line: &str| {
        let mut parts = line.split(' ');
        let key = Key::parse(parts.next()?)?;
        let hits = parts.next()?.parse().ok().filter(|hits: &f64| hits.is_finite() && *hits >= 0.0)?;
        // A time to come is that of a clock that was wrong.
        let used = parts.next()?.parse::<u64>().ok()?.min(now);
        Some((key, Usage { hits, used }))
    };
    String::from_utf8_lossy(&text).lines().filter_map(line).collect()
}

/// Writes the uses, all or none.
pub fn write(dir: &Path, uses: impl Iterator<Item = (Key, Usage)>) -> Result<()> {
    let mut text = String::new();
    for (key, usage) in uses {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{key} {:.4} {}", usage.hits, usage.used);
    }
    let mut file = NewFile::create(dir.join(FILE))?;
    file.write(text.as_bytes())?;
    file.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_fade_and_clocks_may_jump() {
        let mut usage = Usage { hits: 4.0, used: 1_000_000 };
        assert_eq!(usage.hits_at(1_000_000 + 6 * 3600), 2.0);
        assert_eq!(usage.hits_at(0), 4.0);
        usage.hit(10);
        assert_eq!(usage, Usage { hits: 5.0, used: 10 });
    }
}
