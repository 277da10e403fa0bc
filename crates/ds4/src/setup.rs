//! `ds4 config`, `ds4 completions`, `ds4 man`.

use crate::args::{Cli, CompletionsArgs, ConfigArgs, ManArgs};
use crate::output;
use crate::settings::{self, COMMANDS, KEYS, Settings};
use anyhow::{Context, Result};
use clap::CommandFactory;
use serde_json::json;

pub fn config(args: &ConfigArgs) -> Result<()> {
    if args.init {
        let path = settings::path().context("no home directory is known; name a file with DS4_CONFIG")?;
        settings::init(&path)?;
        return output::print(&format!("{}\n", path.display()));
    }
    let settings = Settings::load()?;
    let command = Cli::command();
    let mut set = Vec::new();
    for name in COMMANDS {
        let Some(own) = command.find_subcommand(name) else { continue };
        for key in KEYS {
            if own.get_arguments().any(|arg| arg.get_long() == Some(key))
                && let Some((value, origin)) = settings.value(name, key)
            {
                set.push((name, key, value, origin.to_string()));
            }
        }
    }
    let path = settings.path.as_deref();
    if args.json {
        let set: Vec<_> = set
            .into_iter()
            .map(|(command, key, value, origin)| json!({"command": command, "key": key, "value": value, "origin": origin}))
            .collect();
        let exists = path.is_some_and(std::path::Path::exists);
        return output::print_json(&json!({"file": path, "exists": exists, "settings": set}));
    }
    let mut text = match path {
        Some(path) if path.exists() => format!("file: {}\n", path.display()),
        Some(path) => format!("file: {}, which does not exist (`ds4 config --init` writes one)\n", path.display()),
        None => "file: none (DS4_CONFIG is empty)\n".to_owned(),
    };
    if set.is_empty() {
        text += "nothing is set: every flag has its default\n";
    }
    for (command, key, value, origin) in set {
        let value = output::printable(&value);
        text += &format!("{command:<10} {key:<14} {value:<40} {origin}\n");
    }
    output::print(&text)
}

pub fn completions(args: &CompletionsArgs) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ds4", &mut text);
    output::print(&String::from_utf8(text).context("the shell's text")?)
}

pub fn man(args: &ManArgs) -> Result<()> {
    let dir = &args.dir;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), dir)
        .with_context(|| format!("cannot write to {}", dir.display()))
}
