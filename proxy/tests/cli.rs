//! The binary as a shell sees it: exit codes, and what goes to standard output and to standard
//! error.

use std::fs;
use std::time::Duration;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use tempfile::TempDir;

#[test]
fn help_and_version_go_to_standard_output_and_exit_0() {
    for args in [&["--help"][..], &["-h"], &["--version"], &["-V"], &["check", "--help"]] {
        let (out, err) = streams(&slotway(args, &[]).code(0));
        assert!(out.contains("slotway"), "{args:?}: {out}");
        assert_eq!(err, "", "{args:?}");
    }
}

#[test]
fn wrong_flags_and_wrong_configurations_exit_64_and_say_so_on_standard_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bad = file(&folder, "bad.toml", "seeds = ['a:1']\nworkers = 99\n");
    let table: [(&[&str], Env<'_>); 9] = [
        (&[], &[]),
        (&["--no-such-flag"], &[]),
        (&["no-such-command"], &[]),
        (&["--seeds"], &[]),
        (&["--seeds", "a:1", "--workers", "0"], &[]),
        (&["--seeds", "a:1"], &[("SLOTWAY_WORKERS", "0")]),
        (&["--config", "/no/such/file"], &[]),
        (&["--config", &bad], &[]),
        (&["check", "--config", &bad], &[]),
    ];
    for (args, env) in table {
        let (out, err) = streams(&slotway(args, env).code(64));
        assert!(err.starts_with("error: "), "{args:?} {env:?}: {err}");
        assert_eq!(out, "", "{args:?} {env:?}");
    }
}

#[test]
fn check_says_that_a_file_is_valid_or_which_line_is_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let good = file(&folder, "good.toml", "seeds = ['a:1']\nworkers = 2\n");
    let (out, err) = streams(&slotway(&["check", "--config", &good], &[]).code(0));
    assert_eq!((out, err), (format!("{good} is valid\n"), String::new()));

    let (out, err) =
        streams(&slotway(&["--config", &good, "check"], &[("SLOTWAY_X", "1")]).code(0));
    assert_eq!(out, format!("{good} is valid\n"));
    assert_eq!(err, "warning: SLOTWAY_X is not an option\n");

    let bad = file(&folder, "bad.toml", "seeds = ['a:1']\nworkerz = 2\n\nlog-format = 1\n");
    let (out, err) = streams(&slotway(&["check", "--config", &bad], &[]).code(64));
    assert_eq!(out, "");
    assert_eq!(
        err,
        format!(
            "error: {bad}:2: workerz is not an option, did you mean workers?\n\
             error: {bad}:4: log-format is \"1\", but must be text or json\n"
        )
    );
}

#[test]
fn a_run_that_fails_exits_1_and_logs_in_the_format_and_from_the_level_that_are_asked_for() {
    // Nothing listens on port 1, so that the wait for a seed ends without one.
    let run = |format: &str, level: &str| {
        let wait = ["--seeds", "127.0.0.1:1", "--startup-timeout", "100ms"];
        let logs = ["--listen", "127.0.0.1:0", "--log-format", format, "--log-level", level];
        let args = [&wait[..], &logs].concat();
        let (out, err) = streams(&slotway(&args, &[("SLOTWAY_SEED", "x")]).code(1));
        assert_eq!(out, "");
        err
    };
    let starting = concat!("slotway ", env!("CARGO_PKG_VERSION"), " starting");

    let text = run("text", "info");
    assert!(text.lines().next().is_some_and(|line| line.contains(starting)), "{text}");
    assert!(text.contains("WARN"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours where nobody looks: {text}");
    assert!(!run("text", "error").contains(starting));

    let json = run("json", "info");
    let messages = json.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        line["message"].as_str().expect("each line has a message").to_owned()
    });
    let messages: Vec<String> = messages.collect();
    assert_eq!(messages[0], starting);
    assert!(messages.iter().any(|m| m.contains("did you mean SLOTWAY_SEEDS?")), "{json}");
}

#[cfg(unix)]
#[test]
fn arguments_and_variables_that_are_no_text_are_refused_without_a_panic() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let strange = OsStr::from_bytes(b"\xff\xfe");

    let mut command = bare();
    let (_, err) = streams(&command.arg("--seeds").arg(strange).assert().code(64));
    assert!(err.contains("invalid UTF-8"), "{err}");
    let mut command = bare();
    let (_, err) = streams(&command.env("SLOTWAY_SEEDS", strange).assert().code(64));
    assert!(err.starts_with("error: SLOTWAY_SEEDS is not UTF-8 text\n"), "{err}");
}

/// Environment variables, name and value.
type Env<'a> = &'a [(&'a str, &'a str)];

fn slotway(args: &[&str], env: Env<'_>) -> Assert {
    bare().args(args).envs(env.iter().copied()).assert()
}

/// The binary with nothing from this process' environment.
fn bare() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("slotway"));
    command.env_clear().timeout(Duration::from_secs(60));
    command
}

fn streams(assert: &Assert) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("the output is text");
    (text(&assert.get_output().stdout), text(&assert.get_output().stderr))
}

fn file(folder: &TempDir, name: &str, content: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, content).expect("the file is written");
    path.to_str().expect("the path is text").to_owned()
}
