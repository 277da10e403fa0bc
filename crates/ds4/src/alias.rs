//! `ds4-server`: the program under the name of the C server, with its flags (`spec/http-api.md` §10). Each is mapped to one of
//! `ds4 serve`, ignored with a word where it can do no harm, or refused with the new name.

use crate::args::Cli;
use crate::output;
use clap::{Command, CommandFactory};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The name that makes the difference.
const NAME: &str = "ds4-server";

/// What becomes of a flag of the C server.
enum Becomes {
    /// This flag of `ds4 serve`, with a value.
    Value(&'static str),
    /// This flag, without one.
    Switch(&'static str),
    /// Nothing; it had a value. The text says why.
    IgnoredValue(&'static str),
    /// Nothing. The text says why.
    Ignored(&'static str),
    /// The backend of this name.
    Backend(&'static str),
    /// A refusal that says what to use.
    Refused(&'static str),
}

fn becomes(flag: &str) -> Option<Becomes> {
    use Becomes::*;
    let kept = "states are kept by other rules here (docs/kv.md)";
    Some(match flag {
        "-m" | "--model" => Value("--model"),
        "-c" | "--ctx" => Value("--ctx"),
        "-n" | "--tokens" => Value("--tokens"),
        "-t" | "--threads" => Value("--threads"),
        "--host" => Value("--host"),
        "--port" => Value("--port"),
        "--trace" => Value("--trace"),
        "--mtp" => Value("--mtp"),
        "--mtp-draft" => Value("--mtp-draft"),
        "--kv-disk-dir" => Value("--kv-dir"),
        "--kv-disk-space-mb" => Value("--kv-disk"),
        "--cors" => Switch("--cors"),
        "--quality" => Switch("--exact"),
        "--cpu" => Backend("cpu"),
        "--metal" | "--cuda" => Backend("gpu"),
        "--warm-weights" => Ignored("weights are read when they are needed"),
        "--kv-cache-reject-different-quant" => Ignored("states of another model are never used"),
        "--disable-exact-dsml-tool-replay" => Ignored("sampled calls are always repeated exactly"),
        "--tool-memory-max-ids" => IgnoredValue("what is remembered of calls has a fixed limit"),
        "--mtp-margin" => IgnoredValue("drafts are verified exactly"),
        "--kv-cache-min-tokens"
        | "--kv-cache-cold-max-tokens"
        | "--kv-cache-continued-interval-tokens"
        | "--kv-cache-boundary-trim-tokens"
        | "--kv-cache-boundary-align-tokens" => IgnoredValue(kept),
        "--dir-steering-file" | "--dir-steering-ffn" | "--dir-steering-attn" => {
            Refused("the server does not steer; `ds4 run --help` shows whether this build does")
        }
        _ => return None,
    })
}

/// A command line of `ds4`.
#[derive(Debug, PartialEq)]
struct Translated {
    args: Vec<OsString>,
    chdir: Option<PathBuf>,
    notices: Vec<String>,
}

/// The command line of `ds4` that `args` mean, with effects on the process: its directory, notices, its end after wrong usage.
pub fn translated(args: Vec<OsString>) -> Vec<OsString> {
    let name = args.first().map(Path::new).and_then(Path::file_stem);
    if name.is_none_or(|name| name != NAME) {
        return args;
    }
    let serve = Cli::command().find_subcommand("serve").cloned().unwrap_or_default();
    let wrong = |why: &str| -> ! {
        output::notice(&format!("{why}; `ds4 serve --help` has the flags of this program"));
        std::process::exit(2)
    };
    let Translated { args, chdir, notices } = translate(&args[1..], &serve).unwrap_or_else(|why| wrong(&why));
    notices.iter().for_each(|notice| output::notice(notice));
    if let Some(dir) = chdir
        && let Err(error) = std::env::set_current_dir(&dir)
    {
        wrong(&format!("--chdir {}: {error}", dir.display()));
    }
    args
}

fn translate(args: &[OsString], serve: &Command) -> Result<Translated, String> {
    let mut done = Translated { args: vec!["ds4".into(), "serve".into()], chdir: None, notices: Vec::new() };
    let known = |flag: &str| serve.get_arguments().any(|arg| arg.get_long() == flag.strip_prefix("--"));
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let flag = arg.to_str().ok_or_else(|| format!("{arg:?} is no flag"))?;
        let mut value = || rest.next().cloned().ok_or_else(|| format!("{flag} needs a value"));
        if matches!(flag, "-h" | "--help") {
            done.args.push("--help".into());
            continue;
        }
        if flag == "--chdir" {
            done.chdir = Some(value()?.into());
            continue;
        }
        let meant = if flag == "--backend" {
            let name = value()?;
            let name = name.to_str().unwrap_or_default().to_owned();
            match name.as_str() {
                "cpu" => Becomes::Backend("cpu"),
                "metal" | "cuda" => Becomes::Backend("gpu"),
                _ => return Err(format!("--backend {name:?}, expected metal, cuda or cpu")),
            }
        } else {
            becomes(flag).ok_or_else(|| format!("{flag} is no flag of ds4-server"))?
        };
        match meant {
            Becomes::Value(new) if known(new) => {
                let value = value()?;
                let is_localhost = new == "--host" && value == "localhost";
                done.args.push(new.into());
                done.args.push(if is_localhost { "127.0.0.1".into() } else { value });
            }
            Becomes::Switch(new) if known(new) => done.args.push(new.into()),
            Becomes::Value(new) | Becomes::Switch(new) => {
                return Err(format!("{flag}: this build's server has no {new}; leave it out"));
            }
            Becomes::Ignored(why) => done.notices.push(format!("{flag} is ignored: {why}")),
            Becomes::IgnoredValue(why) => {
                value()?;
                done.notices.push(format!("{flag} is ignored: {why}"));
            }
            Becomes::Backend(name) => {
                let backend = serve.get_arguments().find(|arg| arg.get_long() == Some("backend"));
                let has =
                    backend.is_some_and(|arg| arg.get_possible_values().iter().any(|value| value.get_name() == name));
                if !has {
                    return Err(format!("{flag}: this build does not compute on a GPU; use --cpu"));
                }
                done.args.extend(["--backend".into(), name.into()]);
            }
            Becomes::Refused(why) => return Err(format!("{flag}: {why}")),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Translated, String> {
        let serve = Cli::command().find_subcommand("serve").cloned().unwrap();
        translate(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>(), &serve)
    }

    #[test]
    fn flags_of_the_c_server_are_mapped() {
        let done =
            of("-m a.gguf -c 100000 -n 384000 -t 4 --host localhost --port 80 --cors --quality --cpu --trace t \
                       --kv-disk-dir d --kv-disk-space-mb 8192 --kv-cache-min-tokens 512 --warm-weights --chdir /x")
            .unwrap();
        let expected = "ds4 serve --model a.gguf --ctx 100000 --tokens 384000 --threads 4 --host 127.0.0.1 --port 80 \
                        --cors --exact --backend cpu --trace t --kv-dir d --kv-disk 8192";
        assert_eq!(done.args, expected.split_whitespace().map(OsString::from).collect::<Vec<_>>());
        assert_eq!((done.chdir, done.notices.len()), (Some("/x".into()), 2));
        // The result is a command line that is understood.
        Cli::command().try_get_matches_from(done.args).unwrap();
    }

    #[test]
    fn what_has_no_counterpart_is_refused_with_a_word() {
        for (line, part) in [
            ("--batch 3", "--batch is no flag"),
            ("-m", "-m needs a value"),
            ("--dir-steering-file f", "does not steer"),
            ("--backend vulkan", "expected metal, cuda or cpu"),
            ("model.gguf", "is no flag"),
        ] {
            assert!(of(line).unwrap_err().contains(part), "{line}");
        }
    }
}
