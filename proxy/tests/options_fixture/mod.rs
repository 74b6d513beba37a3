//! Loads configurations from made-up command lines, environments and files.
#![allow(dead_code)] // each test binary uses its part

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use slotway::config::{Config, Invocation, Refusal};
use tempfile::TempDir;

/// Environment variables, name and value.
pub(crate) type Env<'a> = &'a [(&'a str, &'a str)];

pub(crate) fn load(args: &[&str], env: Env<'_>) -> Result<Invocation, Refusal> {
    let args = std::iter::once("slotway").chain(args.iter().copied()).map(OsString::from);
    let env = env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Config::load(args, env)
}

/// Loads for a run, which must be accepted.
pub(crate) fn run_exactly(args: &[&str], env: Env<'_>) -> Config {
    match load(args, env) {
        Ok(Invocation::Run { config, .. }) => *config,
        other => panic!("{args:?} {env:?}: {other:?}"),
    }
}

/// Like `run_exactly`, with seeds in the environment, since no run goes without.
pub(crate) fn run(args: &[&str], env: Env<'_>) -> Config {
    run_exactly(args, &[env, &[("SLOTWAY_SEEDS", "default:1")]].concat())
}

/// Loads, which must be refused; the message.
pub(crate) fn refuse(args: &[&str], env: Env<'_>) -> String {
    load(args, env).expect_err("this is refused").to_string()
}

/// A temporary folder for files of options.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("the path is text").to_owned()
    }

    /// A file that everybody can read.
    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        self.with_mode(name, content, 0o644)
    }

    /// A file that only its owner can read.
    pub(crate) fn private(&self, name: &str, content: &str) -> String {
        self.with_mode(name, content, 0o600)
    }

    fn with_mode(&self, name: &str, content: &str, mode: u32) -> String {
        let path = self.path(name);
        fs::write(&path, content).expect("the file is written");
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("the mode is set");
        path
    }
}
