//! Settings: one precedence for every command — flag, environment variable, file, default.
//!
//! A setting has the name of a flag, `DS4_` and that name as a variable, and that name as a key of the file, at its top for all
//! commands or in a table for one. What is found becomes the flag's default before the command line is read, so that the parser's own
//! rules decide.

use crate::published;
use anyhow::{Context, Result, bail};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Commands that have settings.
pub const COMMANDS: [&str; 10] =
    ["run", "chat", "serve", "tokenize", "download", "models", "bench", "eval", "vectors", "doctor"];

/// Settings: the flags that a file or a variable may set.
pub const KEYS: [&str; 25] = [
    "model",
    "backend",
    "threads",
    "dir",
    "ctx",
    "chunk",
    "exact",
    "tokens",
    "system",
    "temp",
    "top-k",
    "top-p",
    "min-p",
    "host",
    "port",
    "api-key-file",
    "cors",
    "kv-dir",
    "kv-disk",
    "kv-min-free",
    "kv-memory",
    "max-queue",
    "max-pause",
    "connections",
    "strict-thinking-sampling",
];

/// What `ds4 config --init` writes.
const SAMPLE: &str = "\
# Settings of ds4. A key is the name of a flag without its dashes. At the top it counts for every command that has the
# flag; in a table, for one command. Before it come the flag itself and the variable DS4_NAME (DS4_CTX, DS4_KV_DIR).

# model = \"/data/models/model.gguf\"
# ctx = 100000
# threads = 0

[chat]
# temp = 0.6

[serve]
# port = 8000
# api-key-file = \"/home/me/ds4-keys\"
# kv-dir = \"/home/me/.cache/ds4/kv\"
";

/// Most bytes of the file.
const FILE_BYTES_MAX: u64 = 1 << 20;
const PRINT: &str = "print-config";

/// Where a value is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This environment variable.
    Variable(String),
    /// The file.
    File(PathBuf),
    /// It was found where models are kept.
    Found,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Variable(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Found => f.write_str("found"),
        }
    }
}

/// What file and environment say.
#[derive(Default)]
pub struct Settings {
    /// The file, whether it exists or not.
    pub path: Option<PathBuf>,
    /// By command, or without one, and key.
    file: BTreeMap<(Option<String>, String), String>,
}

/// `$DS4_CONFIG`, or `ds4/config.toml` among the user's settings. An empty variable means none.
pub fn path() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    match std::env::var_os("DS4_CONFIG") {
        Some(path) if path.is_empty() => None,
        Some(path) => Some(path.into()),
        None => {
            let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
            Some(folder.join("ds4").join("config.toml"))
        }
    }
}

impl Settings {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// It cannot be read, is no TOML, or has a key that is no setting.
    pub fn load() -> Result<Self> {
        let Some(path) = path() else { return Ok(Self::default()) };
        let metadata = match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && std::env::var_os("DS4_CONFIG").is_none() => {
                return Ok(Self { path: Some(path), ..Self::default() });
            }
            metadata => metadata.with_context(|| format!("cannot read the settings in {}", path.display()))?,
        };
        if metadata.len() > FILE_BYTES_MAX {
            bail!("{} has more than {FILE_BYTES_MAX} bytes; it is no file of settings", path.display());
        }
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read the settings in {}", path.display()))?;
        let file = parse(&text).with_context(|| format!("settings in {}", path.display()))?;
        Ok(Self { path: Some(path), file })
    }

    /// The value of `key` for `command`, and where it is from.
    pub fn value(&self, command: &str, key: &str) -> Option<(String, Origin)> {
        let variable = format!("DS4_{}", key.replace('-', "_").to_uppercase());
        // The seed's own variable for the directory of models.
        let names = if key == "dir" { vec![variable, "DS4_GGUF_DIR".to_owned()] } else { vec![variable] };
        for name in names {
            if let Some(value) = std::env::var(&name).ok().filter(|value| !value.is_empty()) {
                return Some((value, Origin::Variable(name)));
            }
        }
        let of = |table: Option<&str>| self.file.get(&(table.map(str::to_owned), key.to_owned()));
        let value = of(Some(command)).or_else(|| of(None))?;
        Some((value.clone(), Origin::File(self.path.clone()?)))
    }
}

/// The keys of a file.
fn parse(text: &str) -> Result<BTreeMap<(Option<String>, String), String>> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        anyhow::anyhow!("line {line}: {}", error.message())
    })?;
    let mut found = BTreeMap::new();
    let mut add = |table: Option<&str>, key: &str, value: &toml::Value| -> Result<()> {
        if !KEYS.contains(&key) {
            bail!("{key:?} is no setting; expected one of {}", KEYS.join(", "));
        }
        let value = match value {
            toml::Value::String(value) => value.clone(),
            toml::Value::Integer(value) => value.to_string(),
            toml::Value::Float(value) => value.to_string(),
            toml::Value::Boolean(value) => value.to_string(),
            _ => bail!("{key} is a {}, expected a text, a number, true or false", value.type_str()),
        };
        found.insert((table.map(str::to_owned), key.to_owned()), value);
        Ok(())
    };
    for (key, value) in &table {
        match value {
            toml::Value::Table(of_command) if COMMANDS.contains(&key.as_str()) => {
                for (name, value) in of_command {
                    add(Some(key), name, value)?;
                }
            }
            toml::Value::Table(_) => {
                bail!("[{key}] is no command with settings; expected one of {}", COMMANDS.join(", "))
            }
            value => add(None, key, value)?,
        }
    }
    Ok(found)
}

/// The command line, with settings as defaults; and whether to print them instead of acting.
///
/// # Errors
/// The file cannot be used, or a value is none that its flag takes. Wrong usage ends the process.
pub fn matches(command: Command, args: &[std::ffi::OsString]) -> Result<Parsed> {
    let named = args.get(1).and_then(|name| name.to_str()).filter(|name| COMMANDS.contains(name));
    let Some(name) = named else {
        return Ok(Parsed { matches: command.get_matches_from(args), command: None });
    };
    let settings = match Settings::load() {
        // It says so itself, among the rest.
        Err(_) if name == "doctor" => Settings::default(),
        settings => settings?,
    };
    let is_asked = args.iter().skip(2).any(|arg| arg == "--print-config");
    let mut origins = BTreeMap::new();
    let mut command = command;
    let own = command.find_subcommand(name).cloned().context("the command")?;
    for arg in own.get_arguments() {
        let Some(key) = arg.get_long().filter(|long| KEYS.contains(long)) else { continue };
        let found = settings.value(name, key).or_else(|| {
            let dir = settings.value("download", "dir").map(|(dir, _)| PathBuf::from(dir));
            let path = published::default_model(dir.as_deref()).filter(|_| key == "model")?;
            Some((path.to_str()?.to_owned(), Origin::Found))
        });
        let Some((value, origin)) = found else { continue };
        check(&own, arg, &value).with_context(|| format!("{key} of {origin}"))?;
        let id = arg.get_id().clone();
        origins.insert(id.to_string(), origin);
        // Flags keep their defaults as long as the program runs.
        let value: &'static str = Box::leak(value.into_boxed_str());
        command = command.mut_subcommand(name, |own| own.mut_arg(id, |arg| arg.default_value(value)));
    }
    let print = Arg::new(PRINT)
        .long(PRINT)
        .action(ArgAction::SetTrue)
        .help("Print the settings in effect, each with its origin, and exit");
    command = command.mut_subcommand(name, |own| own.arg(print));
    if is_asked {
        command = command.mut_subcommand(name, |own| {
            let groups: Vec<_> = own.get_groups().map(|group| group.get_id().clone()).collect();
            let own = own.mut_args(|arg| arg.required(false));
            groups.into_iter().fold(own, |own, group| own.mut_group(group, |group| group.required(false)))
        });
    }
    let matches = command.clone().get_matches_from(args);
    Ok(Parsed { matches, command: Some(Named { command, name: name.to_owned(), origins, path: settings.path }) })
}

/// Refuses a value that the flag would not take.
fn check(command: &Command, arg: &Arg, value: &str) -> Result<()> {
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return match value {
            "true" | "false" => Ok(()),
            other => bail!("{other:?}, expected true or false"),
        };
    }
    let flag = format!("--{}={value}", arg.get_long().unwrap_or_default());
    match command.clone().no_binary_name(true).try_get_matches_from([flag]) {
        Err(error) if matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) => {
            let text = error.to_string();
            bail!("{}", text.lines().next().unwrap_or_default().trim_start_matches("error: "))
        }
        _ => Ok(()),
    }
}

/// A command line that was read.
pub struct Parsed {
    /// What clap made of it.
    pub matches: ArgMatches,
    command: Option<Named>,
}

struct Named {
    command: Command,
    name: String,
    origins: BTreeMap<String, Origin>,
    path: Option<PathBuf>,
}

impl Parsed {
    /// The model that is used without having been asked for.
    pub fn found_model(&self) -> Option<PathBuf> {
        let named = self.command.as_ref()?;
        let (_, own) = self.matches.subcommand()?;
        let is_found = named.origins.get("model") == Some(&Origin::Found);
        if !is_found || own.value_source("model") != Some(ValueSource::DefaultValue) {
            return None;
        }
        own.get_one::<PathBuf>("model").cloned()
    }

    /// The settings in effect, if they were asked for.
    pub fn printed(&self) -> Option<String> {
        let named = self.command.as_ref()?;
        let (_, own) = self.matches.subcommand()?;
        if !own.get_flag(PRINT) {
            return None;
        }
        let mut text = format!("# ds4 {}\n", named.name);
        for arg in named.command.find_subcommand(&named.name)?.get_arguments() {
            let id = arg.get_id().as_str();
            let Some(long) = arg.get_long().filter(|_| id != PRINT) else { continue };
            let Ok(Some(mut values)) = own.try_get_raw(id) else { continue };
            let origin = match own.value_source(id) {
                Some(ValueSource::CommandLine) => "flag".to_owned(),
                _ => named.origins.get(id).map_or("default".to_owned(), Origin::to_string),
            };
            let value = values.next().map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
            text += &format!("{:<48} # {origin}\n", format!("{long} = {}", bare_or_quoted(&value)));
        }
        text +=
            &format!("# file: {}\n", named.path.as_deref().map_or("none".into(), |path| path.display().to_string()));
        Some(text)
    }
}

/// A value in the form of the file.
fn bare_or_quoted(value: &str) -> String {
    let is_bare = value.parse::<i64>().is_ok() || value.parse::<f64>().is_ok_and(f64::is_finite);
    if is_bare || matches!(value, "true" | "false") { value.to_owned() } else { format!("{value:?}") }
}

/// Writes the sample, where there is no file yet.
pub fn init(path: &Path) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => anyhow::anyhow!("{} is there already; edit it", path.display()),
        _ => anyhow::anyhow!("cannot write {}: {error}", path.display()),
    })?;
    std::io::Write::write_all(&mut file, SAMPLE.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_setting_is_a_flag_of_a_command() {
        let command = crate::args::Cli::command();
        for name in COMMANDS {
            assert!(command.find_subcommand(name).is_some(), "{name}");
        }
        for key in KEYS {
            let has = |name: &&str| {
                let own = command.find_subcommand(name).unwrap();
                own.get_arguments().any(|arg| arg.get_long() == Some(key))
            };
            assert!(COMMANDS.iter().any(has), "{key}");
        }
        // As a file it says nothing, without its comments it would be one.
        assert!(parse(SAMPLE).unwrap().is_empty());
        let settings: String = SAMPLE
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line).to_owned() + "\n")
            .collect();
        assert_eq!(parse(&settings).unwrap().len(), 7);
    }

    #[test]
    fn what_is_no_setting_is_refused_by_name() {
        for (text, part) in [
            ("prot = 1", "\"prot\" is no setting"),
            ("[server]\nport = 1", "[server] is no command"),
            ("ctx = [1]", "ctx is a array"),
            ("nothink = true", "\"nothink\" is no setting"),
            ("a = 1\nb = \n", "line 2"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
}
