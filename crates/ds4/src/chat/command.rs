//! What a typed line asks for.

use ds4_chat::ThinkingMode;
use std::path::PathBuf;

/// What `/help` prints.
pub const HELP: &str = "\
/think        think before answering
/think-max    think as much as possible (needs a context of 393216 tokens)
/nothink      answer without thinking
/ctx N        make room for N tokens; the conversation is kept and read again
/read FILE    send the content of a file
/save FILE    write the conversation to a file
/load FILE    go on with a conversation from a file
/new          begin a new conversation
/quit         leave; Ctrl-D does the same
A line that ends with a backslash goes on in the next one. Ctrl-C ends an answer.
";

/// What to do.
#[derive(Debug, PartialEq)]
pub enum Command {
    /// An empty line.
    Nothing,
    /// Send this.
    Say(String),
    Help,
    Think(ThinkingMode),
    Context(usize),
    Read(PathBuf),
    Save(PathBuf),
    Load(PathBuf),
    New,
    Quit,
    /// The line makes no sense; the message says why.
    Wrong(String),
}

impl Command {
    /// Reads a line. One that begins with a slash is a command.
    pub fn parse(line: &str) -> Self {
        let line = line.trim();
        if line.is_empty() {
            return Self::Nothing;
        }
        if !line.starts_with('/') {
            return Self::Say(line.to_owned());
        }
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let file = |make: fn(PathBuf) -> Self| match rest {
            "" => Self::Wrong(format!("{command} needs the name of a file")),
            path => make(path.into()),
        };
        match command {
            "/help" => Self::Help,
            "/think" => Self::Think(ThinkingMode::High),
            "/think-max" => Self::Think(ThinkingMode::Max),
            "/nothink" => Self::Think(ThinkingMode::None),
            "/ctx" => match rest.parse().ok().filter(|tokens| (1..=crate::args::CONTEXT_MAX).contains(tokens)) {
                Some(tokens) => Self::Context(usize::try_from(tokens).unwrap_or(usize::MAX)),
                None => Self::Wrong("/ctx needs a number of tokens, for example /ctx 65536".to_owned()),
            },
            "/read" => file(Self::Read),
            "/save" => file(Self::Save),
            "/load" => file(Self::Load),
            "/new" => Self::New,
            "/quit" | "/exit" => Self::Quit,
            other => Self::Wrong(format!("unknown command {other}; /help lists the commands")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_what_they_say() {
        let wrong = |line| matches!(Command::parse(line), Command::Wrong(_));
        assert_eq!(Command::parse("  "), Command::Nothing);
        assert_eq!(Command::parse(" Hello / there "), Command::Say("Hello / there".to_owned()));
        assert_eq!(Command::parse("/think-max"), Command::Think(ThinkingMode::Max));
        assert_eq!(Command::parse("/ctx 4096 "), Command::Context(4096));
        assert_eq!(Command::parse("/read a file.txt"), Command::Read("a file.txt".into()));
        assert_eq!(Command::parse("/exit"), Command::Quit);
        for line in ["/ctx", "/ctx 0", "/ctx many", "/ctx 99999999999999", "/read", "/save ", "/", "/thinking"] {
            assert!(wrong(line), "{line}");
        }
    }

    #[test]
    fn every_command_is_in_the_help() {
        for line in HELP.lines().filter(|line| line.starts_with('/')) {
            let command = line.split_whitespace().next().unwrap();
            let line = if line.contains(" N ") { format!("{command} 8") } else { format!("{command} x") };
            assert!(!matches!(Command::parse(&line), Command::Wrong(_)), "{line}");
        }
    }
}
