//! `ds4 config`, settings, `ds4 doctor`, `ds4 service`, completions, man pages.

use crate::support::{Done, command, directory, ds4, model, str, write};
use std::process::Command;

fn done(mut command: Command) -> Done {
    Done::new(command.output().unwrap())
}

/// What `ds4 … --print-config` says of a setting.
#[track_caller]
fn setting(mut command: Command, key: &str) -> String {
    command.arg("--print-config");
    let text = done(command).ok();
    let line = text.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap_or_else(|| panic!("{text}"));
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn flags_come_before_variables_before_tables_before_the_top() {
    let folder = directory("config_order");
    let file = write(&folder, "config.toml", "port = 1\nctx = 1000\n[serve]\nport = 2\n[chat]\nctx = 3000\n");
    let serve = |variable: bool, flags: &[&str]| {
        let mut serve = command(&[&["serve"], flags].concat());
        serve.env("DS4_CONFIG", &file);
        if variable {
            serve.env("DS4_PORT", "3");
        }
        serve
    };
    assert_eq!(setting(serve(true, &["--port", "4"]), "port"), "port = 4 # flag");
    assert_eq!(setting(serve(true, &[]), "port"), "port = 3 # DS4_PORT");
    assert_eq!(setting(serve(false, &[]), "port"), format!("port = 2 # {file}"));
    assert_eq!(setting(serve(false, &[]), "ctx"), format!("ctx = 1000 # {file}"));
    assert_eq!(setting(serve(false, &[]), "max-queue"), "max-queue = 256 # default");
    let mut chat = command(&["chat"]);
    chat.env("DS4_CONFIG", &file);
    assert_eq!(setting(chat, "ctx"), format!("ctx = 3000 # {file}"));
    // What a command needs is not asked for.
    let mut run = command(&["run"]);
    run.env("DS4_CONFIG", &file);
    assert_eq!(setting(run, "ctx"), format!("ctx = 1000 # {file}"));
}

#[test]
fn settings_are_obeyed() {
    let folder = directory("config_obeyed");
    let file = write(&folder, "config.toml", format!("model = {:?}\ntokens = 3\ntemp = 0\n", model()));
    let mut run = command(&["run", "--raw", "-p", "x", "--json", "--logit-bias", "1=-100"]);
    run.env("DS4_CONFIG", &file);
    let json = done(run).json();
    assert_eq!((&json["finish_reason"], json["tokens"].as_array().map(Vec::len)), (&"length".into(), Some(3)));
    // Exclusive flags are not in each other's way: settings are defaults.
    let mut scored = command(&["run", "--perplexity", str(&folder.join("text"))]);
    write(&folder, "text", "a".repeat(40));
    scored.env("DS4_CONFIG", &file).env_remove("DS4_TOKENS");
    done(scored).ok();
}

#[test]
fn settings_that_cannot_be_used_are_refused_with_their_place() {
    let folder = directory("config_refused");
    for (text, parts) in [
        ("prot = 1", &["config.toml: \"prot\" is no setting", "port"][..]),
        ("port = 70000", &["port of ", "config.toml", "70000"]),
        ("cors = 1", &["cors of ", "expected true or false"]),
        ("port = ", &["config.toml: line 1"]),
        ("[server]\nport = 1", &["[server] is no command"]),
    ] {
        let file = write(&folder, "config.toml", text);
        let mut serve = command(&["serve", "--print-config"]);
        serve.env("DS4_CONFIG", &file);
        let done = done(serve);
        assert_eq!((done.code, done.err.lines().count()), (Some(1), 1), "{text}: {}", done.err);
        for part in parts {
            assert!(done.err.contains(part), "{text}: {part:?} is not in {:?}", done.err);
        }
    }
    let mut variable = command(&["serve", "--print-config"]);
    variable.env("DS4_PORT", "x");
    assert!(done(variable).err.contains("port of DS4_PORT: invalid value 'x'"));
    let mut missing = command(&["config"]);
    missing.env("DS4_CONFIG", folder.join("none.toml"));
    assert!(done(missing).err.contains("none.toml: No such file"));
}

#[test]
fn a_file_of_settings_is_written_once() {
    let folder = directory("config_init");
    let file = folder.join("a/config.toml");
    let init = || {
        let mut init = command(&["config", "--init"]);
        init.env("DS4_CONFIG", &file);
        done(init)
    };
    init().ok();
    assert!(init().err.contains("is there already; edit it"));
    let mut show = command(&["config", "--json"]);
    show.env("DS4_CONFIG", &file).env_remove("DS4_GGUF_DIR");
    let json = done(show).json();
    assert_eq!((&json["exists"], &json["settings"]), (&true.into(), &serde_json::json!([])));
}

#[test]
fn the_default_model_is_found_here_and_where_models_are_kept() {
    let folder = directory("config_model");
    let kept = directory("config_model_kept");
    let run = |copy: bool| {
        if copy {
            std::fs::copy(model(), folder.join("ds4flash.gguf")).unwrap();
        }
        let mut run = command(&["run", "--raw", "-p", "x", "-n", "1"]);
        run.current_dir(&folder).env("DS4_GGUF_DIR", &kept);
        let done = done(run);
        assert_eq!(done.code, Some(0), "{}", done.err);
        done.err
    };
    assert!(run(false).contains("built-in demo"));
    std::os::unix::fs::symlink(model(), kept.join("ds4flash.gguf")).unwrap();
    assert!(run(false).contains(&format!("using {}", kept.join("ds4flash.gguf").display())));
    assert!(run(true).contains("using ds4flash.gguf"));
}

#[test]
fn the_doctor_finds_what_is_wrong_and_says_what_to_do() {
    let folder = directory("doctor");
    let keys = write(&folder, "keys", "k");
    let home = str(&folder).to_owned();
    let doctor = |more: &[&str]| {
        let mut doctor = command(&[&["doctor", "--json", "--kv-dir", "/nonexistent"], more].concat());
        doctor.env("HOME", &home).env_remove("HTTP_PROXY").env_remove("http_proxy");
        doctor.env("DS4_PORT", "0").env_remove("ANTHROPIC_BASE_URL").env_remove("OPENAI_BASE_URL");
        doctor
    };
    let states = |json: &serde_json::Value, area: &str| -> Vec<String> {
        let findings = json["findings"].as_array().unwrap().iter();
        findings.filter(|f| f["area"] == area).map(|f| f["state"].as_str().unwrap().to_owned()).collect()
    };
    let good = done(doctor(&["-m", model(), "--deep"])).json();
    assert_eq!(states(&good, "model"), ["ok", "ok"], "{good}");
    assert_eq!((states(&good, "port"), states(&good, "settings")), (vec!["ok".into()], vec!["ok".into()]));
    for finding in good["findings"].as_array().unwrap() {
        assert_eq!(finding["state"] == "ok", finding["remedy"].is_null(), "{finding}");
    }

    let mut bytes = std::fs::read(model()).unwrap();
    bytes.truncate(bytes.len() - 1000);
    let cut = write(&folder, "cut.gguf", bytes);
    let failed = done(doctor(&["-m", &cut]));
    assert_eq!(failed.code, Some(1));
    let json: serde_json::Value = serde_json::from_str(&failed.out).unwrap();
    assert_eq!(states(&json, "model"), ["error"]);

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut troubled = doctor(&["--api-key-file", &keys]);
    troubled.env("DS4_PORT", &port).env("ANTHROPIC_BASE_URL", format!("http://127.0.0.1:{port}/v1"));
    troubled.env("HTTP_PROXY", "http://p:1").env_remove("NO_PROXY").env_remove("no_proxy");
    let json = done(troubled).json();
    assert_eq!(states(&json, "port"), ["warning"]);
    assert_eq!(states(&json, "permissions"), ["warning"]);
    assert_eq!(states(&json, "clients"), ["warning", "warning"], "{json}");

    // A file of settings that stops other commands is a finding here.
    let mut unset = doctor(&[]);
    unset.env("DS4_CONFIG", write(&folder, "bad.toml", "x = 1"));
    let failed = done(unset);
    assert_eq!(failed.code, Some(1));
    let json: serde_json::Value = serde_json::from_str(&failed.out).unwrap();
    assert_eq!(states(&json, "settings"), ["error"]);
}

#[test]
fn a_service_is_printed_and_written() {
    let folder = directory("service");
    let service = |args: &[&str]| {
        let mut service = command(&[&["service"], args].concat());
        service.env("HOME", &folder).env_remove("XDG_CONFIG_HOME");
        done(service)
    };
    let printed = service(&["print", "--", "--ctx", "5000"]).ok();
    assert!(printed.contains("serve") && printed.contains("5000"), "{printed}");
    let path = service(&["install", "--no-start", "--", "--ctx", "5000"]).ok();
    assert_eq!(std::fs::read_to_string(path.trim()).unwrap(), printed);
    std::fs::remove_file(path.trim()).unwrap();
    assert!(service(&["remove"]).err.contains("there is no service"));
}

#[test]
fn completions_and_man_pages_are_made_from_the_flags() {
    for shell in ["bash", "zsh", "fish"] {
        let text = ds4(&["completions", shell]).ok();
        assert!(text.contains("kv-memory") && text.contains("download"), "{shell}");
    }
    let folder = directory("man");
    ds4(&["man", str(&folder)]).ok();
    let page = std::fs::read_to_string(folder.join("ds4-serve.1")).unwrap();
    assert!(page.contains("kv\\-memory"), "{page}");
    assert!(folder.join("ds4.1").is_file());
}

#[test]
fn under_the_name_of_the_c_server_its_flags_are_understood() {
    let folder = directory("alias");
    let server = folder.join("ds4-server");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ds4"), &server).unwrap();
    let run = |args: &[&str]| {
        let mut run = Command::new(&server);
        run.args(args).env("DS4_CONFIG", "").env("DS4_GGUF_DIR", &folder);
        done(run)
    };
    assert!(run(&["--help"]).ok().contains("--kv-dir"));
    let wrong = run(&["--batched-session", "4"]);
    assert!(wrong.code == Some(2) && wrong.err.contains("no flag of ds4-server"), "{}", wrong.err);
    // Mapped flags reach the server: this model is not there.
    let missing = run(&["--warm-weights", "-m", "none.gguf", "--kv-disk-space-mb", "100", "--chdir", str(&folder)]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.err.contains("--warm-weights is ignored") && missing.err.contains("none.gguf"), "{}", missing.err);
}
