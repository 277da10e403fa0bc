//! `ds4 chat` and questions to `ds4 run`, on the demo model.

use crate::support::{Done, command, directory, ds4, model, str};
use std::io::{Read, Write};
use std::process::{Child, Stdio};

fn chat(more: &[&str]) -> Child {
    let args: Vec<&str> = ["chat", "--temp", "0", "--ctx", "4096"].iter().chain(more).copied().collect();
    command(&args).stdin(Stdio::piped()).spawn().unwrap()
}

/// What the program says to these lines.
fn talk(more: &[&str], lines: &str) -> Done {
    let mut child = chat(more);
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    Done::new(child.wait_with_output().unwrap())
}

/// Known tokens of each answer, from the lines about them.
fn known(err: &str) -> Vec<usize> {
    let number = |line: &str| line.split(" tokens, ").nth(1)?.split(' ').next()?.parse().ok();
    err.lines().filter(|line| line.starts_with("ds4: prompt ")).filter_map(number).collect()
}

#[test]
fn a_question_is_answered_and_a_text_continued() {
    let question = ["-p", "What is 57 + 85?", "--temp", "0", "-n", "400"];
    let run = |more: &[&str]| ds4(&[&["run"][..], &question, more].concat());
    let answer = run(&[]);
    assert!(answer.out.contains("142") && answer.err.contains("57"), "{}{}", answer.out, answer.err);
    let json = run(&["--json"]).json();
    assert_eq!(json["text"].as_str().unwrap().trim_end(), answer.out.trim_end());
    assert!(json["reasoning"].as_str().unwrap().contains("57"), "{json}");
    let plain = run(&["--json", "--nothink"]).json();
    assert!(plain["text"].as_str().unwrap().contains("142"), "{plain}");
    assert_eq!(plain["reasoning"], "");
    let raw = run(&["--json", "--raw"]).json();
    assert!(raw.get("reasoning").is_none() && raw["prompt_tokens"].as_u64() < json["prompt_tokens"].as_u64());
    assert_eq!(run(&["--raw", "--nothink"]).code, Some(2));
}

#[test]
fn a_conversation_goes_on_and_reads_only_what_is_new() {
    let path = directory("chat_save").join("talk.json");
    let lines = format!(
        "What is 57 + 85?\n/nothink\nAnd what\\\nis 20 + 22?\n\n/nonsense\n/read /no/such/file\n/save {}\n/quit\nunread\n",
        str(&path)
    );
    let done = talk(&[], &lines);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.out.contains("142") && done.out.contains("42"), "{}", done.out);
    assert!(done.err.contains("unknown command /nonsense; /help"), "{}", done.err);
    assert!(done.err.contains("cannot read /no/such/file"), "{}", done.err);
    let first = known(&done.err);
    assert!(first.len() == 2 && first[1] > 10, "{}", done.err);
    let saved: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let messages = saved["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 4);
    assert_eq!(messages[2]["content"], "And what\nis 20 + 22?");
    assert!(messages[1]["reasoning"].as_str().unwrap().contains("57"));

    let lines =
        format!("/load {}\nWhat is 3 + 4?\nWhat is 4 + 4?\n/new\nWhat is 4 + 5?\n/ctx 2048\nHello\n", str(&path));
    let done = talk(&["--nothink"], &lines);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let known = known(&done.err);
    assert!(known.len() == 4 && known[0] == 0 && known[1] > 60 && known[2] < known[1], "{}", done.err);
    assert!(done.err.contains("context: 2048 tokens"), "{}", done.err);
    for (text, part) in
        [("{}", "is no saved conversation"), ("{\"format\":\"x\",\"version\":9,\"messages\":[]}", "version 9")]
    {
        std::fs::write(&path, text).unwrap();
        let done = talk(&[], &format!("/load {}\n", str(&path)));
        assert!(done.err.contains(part), "{}", done.err);
    }
}

#[test]
fn what_cannot_be_is_said() {
    let done = talk(&["-m", model()], "Hello\n");
    assert_eq!(done.code, Some(0), "{}", done.err);
    let long = format!("{}\nWhat is 57 + 85?\n", "word ".repeat(5000));
    let done = talk(&[], &long);
    assert!(done.err.contains("the configured context size is 4096"), "{}", done.err);
    assert!(done.out.contains("142"), "{}", done.out);
    assert_eq!(talk(&["-m", "/no/such/model"], "").code, Some(1));
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_an_answer_and_not_the_program() {
    let mut child = chat(&["--nothink", "--logit-bias", "1=-100"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"Tell me a story.\n").unwrap();
    let mut first = [0; 8];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    stdin.write_all(b"/save /dev/null/nowhere\n").unwrap();
    drop(stdin);
    let done = Done::new(child.wait_with_output().unwrap());
    assert_eq!(done.code, Some(0), "{}", done.err);
    let interrupted = done.err.find("interrupted").unwrap();
    assert!(done.err[interrupted..].contains("cannot write /dev/null/nowhere"), "{}", done.err);
}
