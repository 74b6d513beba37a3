//! Tells the program which build it is: `SLOTWAY_BUILD_COMMIT` and `SLOTWAY_BUILD_RUSTC`.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SLOTWAY_BUILD_COMMIT");
    println!("cargo:rustc-env=SLOTWAY_BUILD_COMMIT={}", commit());
    println!("cargo:rustc-env=SLOTWAY_BUILD_RUSTC={}", rustc());
}

/// The commit, from the environment (an image build has no repository) or from git.
fn commit() -> String {
    if let Some(given) = std::env::var("SLOTWAY_BUILD_COMMIT").ok().filter(|c| !c.is_empty()) {
        return given;
    }
    // A debug build would be compiled again after every commit for nothing.
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return "debug".into();
    }
    from_git().unwrap_or_else(|| "unknown".into())
}

/// What git says, if this is our own repository: a packaged source inside somebody else's would
/// otherwise be given their commit.
fn from_git() -> Option<String> {
    if !Path::new("../.git").exists() {
        return None;
    }
    let head_log = output("git", &["rev-parse", "--git-path", "logs/HEAD"])?;
    // The log grows with every commit, checkout and reset.
    if Path::new(&head_log).exists() {
        println!("cargo:rerun-if-changed={head_log}");
    }
    let commit = output("git", &["rev-parse", "--short=12", "HEAD"])?;
    let changed = output("git", &["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { commit } else { commit + "+" })
}

fn rustc() -> String {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    output(&rustc, &["--version"])
        .and_then(|line| line.split(' ').nth(1).map(String::from))
        .unwrap_or_else(|| "unknown".into())
}

fn output(program: &str, args: &[&str]) -> Option<String> {
    let out = Command::new(program).args(args).output().ok().filter(|out| out.status.success())?;
    Some(String::from_utf8(out.stdout).ok()?.trim().to_owned())
}
