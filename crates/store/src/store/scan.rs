//! Reading the heads of all files.

use super::{CHECKPOINT, RUN};
use crate::error::{Error, Result};
use crate::files::PARTIAL;
use crate::format::{CheckpointHead, Key, RunHead};
use crate::index::Index;
use crate::limits::FILES_MAX;
use crate::usage::{self, Usage};
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;

/// Reads the heads of all files. What a crash left behind is removed if `may_write`.
pub(super) fn scan(dir: &Path, may_write: bool, problems: &mut Vec<String>) -> Result<Index> {
    let now = usage::now();
    let uses = usage::read(dir, now);
    let (mut runs, mut checkpoints) = (Vec::new(), Vec::new());
    for file in fs::read_dir(dir).map_err(Error::io(dir))?.take(FILES_MAX) {
        let path = file.map_err(Error::io(dir))?.path();
        let key = path.file_stem().and_then(|stem| Key::parse(stem.to_str()?));
        match (key, path.extension().and_then(|kind| kind.to_str())) {
            (Some(key), Some(RUN)) => runs.push((key, path)),
            (Some(key), Some(CHECKPOINT)) => checkpoints.push((key, path)),
            (_, Some(PARTIAL)) if may_write => {
                // Nobody else writes here, so nobody will complete it.
                let _ = fs::remove_file(&path);
            }
            _ => {}
        }
    }
    let mut index = Index::default();
    // While a file cannot be read, what is missing is not known to be lost: nothing is removed.
    let mut is_all_read = true;
    let bad = |path: &Path, what: String, problems: &mut Vec<String>| {
        problems.push(Error::damaged(path, what).to_string());
        if may_write {
            // It is named like ours and is no good to anybody.
            let _ = fs::remove_file(path);
        }
    };
    for (key, path) in runs {
        match read_head(&path, RunHead::read) {
            Ok(head) if Key::of_pages(&head.ids) == key => index.add_run(key, head),
            Ok(_) => bad(&path, "it has the name of another one".to_owned(), problems),
            Err(HeadFault::Content(what)) => bad(&path, what, problems),
            Err(HeadFault::System(error)) => {
                problems.push(error.to_string());
                is_all_read = false;
            }
        }
    }
    for (key, path) in checkpoints {
        let head = match read_head(&path, CheckpointHead::read) {
            Ok(head) if Key::of_tokens(&head.identity, &head.tokens) == key => head,
            Ok(_) => {
                bad(&path, "it has the name of another one".to_owned(), problems);
                continue;
            }
            Err(HeadFault::Content(what)) => {
                bad(&path, what, problems);
                continue;
            }
            Err(HeadFault::System(error)) => {
                problems.push(error.to_string());
                is_all_read = false;
                continue;
            }
        };
        let usage = uses.get(&key).copied().unwrap_or(Usage { hits: 0.0, used: head.created.min(now) });
        match index.add_checkpoint(key, &head, usage) {
            Ok(()) => {}
            Err(what) if is_all_read => bad(&path, what, problems),
            Err(what) => problems.push(Error::damaged(&path, what).to_string()),
        }
    }
    // Those that stay are seen again at the next start.
    let unused = index.take_unused_runs();
    if may_write && is_all_read {
        for run in unused {
            let _ = fs::remove_file(dir.join(format!("{run}.{RUN}")));
        }
    }
    Ok(index)
}

enum HeadFault {
    Content(String),
    System(Error),
}

fn read_head<H>(
    path: &Path,
    read: impl Fn(&mut dyn Read, u64) -> std::result::Result<H, String>,
) -> std::result::Result<H, HeadFault> {
    let system = |error| HeadFault::System(Error::io(path)(error));
    let file = File::open(path).map_err(system)?;
    let metadata = file.metadata().map_err(system)?;
    if !metadata.is_file() {
        return Err(HeadFault::System(Error::damaged(path, "not a file")));
    }
    read(&mut BufReader::new(file), metadata.len()).map_err(HeadFault::Content)
}
