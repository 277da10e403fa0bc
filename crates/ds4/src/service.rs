//! `ds4 service`: the server as a unit of systemd or an agent of launchd, of the user.

use crate::args::{ServiceAction, ServiceArgs};
use crate::output;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// Name of the agent.
const LABEL: &str = "org.ds4.serve";
/// Name of the unit.
const UNIT: &str = "ds4.service";

/// Whose service.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manager {
    Systemd,
    Launchd,
}

impl Manager {
    fn here() -> Self {
        if cfg!(target_os = "macos") { Self::Launchd } else { Self::Systemd }
    }

    /// Where the file belongs.
    fn path(self) -> Result<PathBuf> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("HOME").context("HOME is not set; it says where services of a user are")?;
        Ok(match self {
            Self::Systemd => {
                absolute("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")).join("systemd/user").join(UNIT)
            }
            Self::Launchd => home.join("Library/LaunchAgents").join(format!("{LABEL}.plist")),
        })
    }

    /// The file, for the program at `program`.
    fn file(self, program: &str, flags: &[String]) -> Result<String> {
        let words: Vec<&str> = [program, "serve"].into_iter().chain(flags.iter().map(String::as_str)).collect();
        if words.iter().any(|word| word.chars().any(char::is_control)) {
            bail!("a flag holds a control character; services cannot have such flags");
        }
        Ok(match self {
            Self::Systemd => {
                let command: Vec<String> = words.iter().map(|word| unit_word(word)).collect();
                format!(
                    "[Unit]\nDescription=DeepSeek V4 Flash on this machine\nAfter=network.target\n\n[Service]\n\
                     ExecStart={}\nRestart=on-failure\nRestartSec=5\n# Running answers have 30 s to end.\n\
                     TimeoutStopSec=40\nNoNewPrivileges=true\n\n[Install]\nWantedBy=default.target\n",
                    command.join(" ")
                )
            }
            Self::Launchd => {
                let words: String = words.iter().map(|word| format!("    <string>{}</string>\n", xml(word))).collect();
                let log = std::env::var("HOME").map(|home| format!("{home}/Library/Logs/ds4.log")).unwrap_or_default();
                let log = xml(&log);
                format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
                     \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\">\n<dict>\n  \
                     <key>Label</key>\n  <string>{LABEL}</string>\n  <key>ProgramArguments</key>\n  <array>\n{words}  \
                     </array>\n  <key>RunAtLoad</key>\n  <true/>\n  <key>KeepAlive</key>\n  <dict>\n    \
                     <key>SuccessfulExit</key>\n    <false/>\n  </dict>\n  <key>ExitTimeOut</key>\n  \
                     <integer>40</integer>\n  <key>StandardErrorPath</key>\n  <string>{log}</string>\n</dict>\n</plist>\n"
                )
            }
        })
    }

    /// What starts the service, in order.
    fn start(self, path: &str) -> Vec<Vec<String>> {
        match self {
            Self::Systemd => vec![
                words(&["systemctl", "--user", "daemon-reload"]),
                words(&["systemctl", "--user", "enable", "--now", UNIT]),
            ],
            Self::Launchd => vec![words(&["launchctl", "load", "-w", path])],
        }
    }

    fn stop(self, path: &str) -> Vec<Vec<String>> {
        match self {
            Self::Systemd => vec![words(&["systemctl", "--user", "disable", "--now", UNIT])],
            Self::Launchd => vec![words(&["launchctl", "unload", "-w", path])],
        }
    }

    fn log(self) -> &'static str {
        match self {
            Self::Systemd => "journalctl --user -u ds4",
            Self::Launchd => "tail ~/Library/Logs/ds4.log",
        }
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A word of `ExecStart`: quoted, and without meaning for systemd.
fn unit_word(word: &str) -> String {
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{escaped}\"")
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

pub fn run(args: &ServiceArgs) -> Result<()> {
    let manager = Manager::here();
    let path = manager.path()?;
    let place = path.to_str().context("the home directory is no text")?;
    let text = |flags: &[String]| {
        let program = std::env::current_exe().context("the path of this program is not known")?;
        manager.file(program.to_str().context("the path of this program is no text")?, flags)
    };
    match &args.action {
        ServiceAction::Print { flags } => output::print(&text(flags)?),
        ServiceAction::Install { no_start, flags } => {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
            }
            std::fs::write(&path, text(flags)?).with_context(|| format!("cannot write {place}"))?;
            output::print(&format!("{place}\n"))?;
            if *no_start {
                return Ok(());
            }
            manager.start(place).iter().try_for_each(|command| obey(command))?;
            output::notice(&format!("the server runs; its log: {}", manager.log()));
            Ok(())
        }
        ServiceAction::Remove => {
            if !path.exists() {
                bail!("there is no service in {place}");
            }
            // One that was never started cannot be stopped.
            for command in manager.stop(place) {
                if let Err(error) = obey(&command) {
                    output::notice(&format!("{error:#}"));
                }
            }
            std::fs::remove_file(&path).with_context(|| format!("cannot remove {place}"))
        }
    }
}

fn obey(command: &[String]) -> Result<()> {
    let Some((program, args)) = command.split_first() else { return Ok(()) };
    let line = command.join(" ");
    let status = Command::new(program).args(args).status();
    let status = status.with_context(|| format!("cannot run `{line}`; the file is there, start it yourself"))?;
    if !status.success() {
        bail!("`{line}` failed; the file is there, start it yourself");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_mean_what_they_say() {
        let flags = words(&["--kv-dir", "/a b/50%", "--api-key-file", "$HOME/\"k\"", "<&>"]);
        let unit = Manager::Systemd.file("/usr/bin/ds4", &flags).unwrap();
        let line = "ExecStart=\"/usr/bin/ds4\" \"serve\" \"--kv-dir\" \"/a b/50%%\" \"--api-key-file\" \"$$HOME/\\\"k\\\"\" \"<&>\"\n";
        assert!(unit.contains(line), "{unit}");
        let agent = Manager::Launchd.file("/usr/bin/ds4", &flags).unwrap();
        assert!(agent.contains("<string>&lt;&amp;&gt;</string>") && agent.contains("<string>/a b/50%</string>"));
        for manager in [Manager::Systemd, Manager::Launchd] {
            assert!(manager.file("/usr/bin/ds4", &words(&["a\nExecStart=evil"])).is_err());
        }
    }
}
