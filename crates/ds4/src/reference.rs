//! `docs/commands.md` from the flags, so that each is documented there once. A test keeps the page current.

use crate::args::Cli;
use clap::{Arg, Command, CommandFactory};

/// What stands above the commands.
const HEAD: &str = "\
# Commands

Every command and flag, as `--help` shows them. This page is made from the program: after a change of flags run
`DS4_UPDATE=1 cargo test -p ds4 commands_are_documented`.

Settings of the file and of `DS4_…` variables have the names of flags: [setup.md](setup.md).
";

/// The page.
fn page() -> String {
    let mut text = HEAD.to_owned();
    add(&mut text, &Cli::command(), "");
    text
}

fn add(text: &mut String, command: &Command, above: &str) {
    let name = format!("{above}{}", command.get_name());
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    *text += &format!("\n## {name}\n\n{}.\n", about.trim_end_matches('.'));
    let shown = |arg: &&Arg| !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version");
    let args: Vec<&Arg> = command.get_arguments().filter(shown).collect();
    if !args.is_empty() {
        *text += "\n| | |\n|---|---|\n";
    }
    for arg in args {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default().replace('\n', " ");
        let values: Vec<String> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        let takes_value = arg.get_action().takes_values();
        let values = if takes_value && !values.is_empty() { format!("; {}", values.join(", ")) } else { String::new() };
        let defaults: Vec<String> =
            arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
        let default = match takes_value && !defaults.is_empty() {
            true => format!(" [default: {}]", defaults.join(" ")),
            false => String::new(),
        };
        *text += &format!("| {} | {}{values}{default} |\n", flag(arg), help.replace('|', "\\|"));
    }
    for own in command.get_subcommands().filter(|own| own.get_name() != "help" && !own.is_hide_set()) {
        add(text, own, &format!("{name} "));
    }
}

/// How an argument is written.
fn flag(arg: &Arg) -> String {
    let names: Vec<String> = arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
    let value = if arg.get_action().takes_values() { names.join(" ") } else { String::new() };
    match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("`-{short}`, `--{long}` {value}"),
        (None, Some(long)) => {
            let others = arg.get_visible_aliases().unwrap_or_default();
            let names: Vec<String> = [long].into_iter().chain(others).map(|name| format!("`--{name}`")).collect();
            format!("{} {value}", names.join(", "))
        }
        (Some(short), None) => format!("`-{short}` {value}"),
        (None, None) => format!("{value} (no flag)"),
    }
}

#[test]
fn commands_are_documented() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/commands.md");
    let page = page();
    if std::env::var_os("DS4_UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/commands.md is not current; run DS4_UPDATE=1 cargo test -p ds4 commands_are_documented"
    );
}

#[test]
fn help_fits_on_a_screen_and_has_an_example() {
    // Of a terminal of 100 columns. Those of commands that load and sample have more flags than a small screen has lines.
    let mut command = Cli::command();
    command.build();
    for own in command.get_subcommands_mut().filter(|own| !matches!(own.get_name(), "help" | "debug")) {
        let name = own.get_name().to_owned();
        let help = own.clone().term_width(100).render_help().to_string();
        let lines = help.lines().count();
        let most = if matches!(name.as_str(), "run" | "chat" | "serve") { 100 } else { 50 };
        assert!(lines <= most, "{name} has {lines} lines");
        assert!(help.lines().all(|line| line.chars().count() <= 170), "{name}");
        assert!(help.contains("Example") || own.has_subcommands() || name == "sessions", "{name} has no example");
    }
}
