//! Other people's programs: found, installed once into `target/clients`, run within a deadline.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use testbed::{Output, Process};

/// Longer than any of them takes, short of a hang.
const RUN_DEADLINE: Duration = Duration::from_secs(60);

/// Some of it is the network's.
const INSTALL_DEADLINE: Duration = Duration::from_secs(90);

/// What a program needs is there, or the sentence that says what is missing.
pub(crate) type Installed<T> = std::result::Result<T, String>;

/// The repository's root.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace around the package")
}

/// The folder of the scripts and of what they ask for.
pub(crate) fn scripts() -> PathBuf {
    root().join("clients")
}

/// The value if it is there. Else says by name what is skipped, and why: past the harness, which
/// keeps what passing tests print. `SLOTWAY_TEST_CLIENTS=require` makes it a failure.
///
/// # Errors
/// It is missing and required.
pub(crate) fn or_skip<T>(what: &str, installed: Installed<T>) -> Result<Option<T>> {
    let missing = match installed {
        Ok(value) => return Ok(Some(value)),
        Err(missing) => missing,
    };
    if std::env::var("SLOTWAY_TEST_CLIENTS").is_ok_and(|value| value == "require") {
        bail!("{what} cannot be tried: {missing}");
    }
    let _ = writeln!(io::stderr(), "skipped: {what} against slotway: {missing}");
    Ok(None)
}

/// The program of this name on PATH.
pub(crate) fn program(name: &str) -> Installed<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|p| p.is_file());
    found.map(Command::new).ok_or_else(|| format!("there is no {name} on PATH"))
}

/// What it prints, on both streams.
///
/// # Errors
/// It ends with another code than 0, or not in time; the text is in the error.
pub(crate) fn run(name: &str, command: &Command) -> Result<String> {
    let (code, output) = run_for(name, command, RUN_DEADLINE)?;
    if code != 0 {
        bail!("{name} has ended with {code}:\n{output}");
    }
    Ok(output)
}

/// Its exit code (−1: ended by a signal), and what it prints.
///
/// # Errors
/// It does not end in time; the text is in the error.
fn run_for(name: &str, command: &Command, deadline: Duration) -> Result<(i32, String)> {
    let mut process = Process::start(name, command, Output::Kept)?;
    let status = process.wait(deadline).with_context(|| process.output())?;
    Ok((status.code().unwrap_or(-1), process.output()))
}

/// `python3` with the packages that `clients/python/<name>.txt` pins.
pub(crate) fn python(name: &str) -> Installed<Command> {
    let mut python = program("python3")?;
    let requirements = scripts().join("python").join(format!("{name}.txt"));
    let folder = install(&format!("python-{name}"), &requirements, |folder| {
        let mut pip = program("python3")?;
        pip.args(["-m", "pip", "install", "--require-hashes", "--no-compile", "--quiet"]);
        pip.args(["--disable-pip-version-check", "--timeout", "15", "--retries", "1"]);
        pip.arg("--target").arg(folder).arg("--requirement").arg(&requirements);
        // Somebody who wants no package outside of a virtual environment means other folders.
        pip.env("PIP_REQUIRE_VIRTUALENV", "0").env("PIP_USER", "0");
        Ok(pip)
    })?;
    python.env("PYTHONPATH", folder).env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(python)
}

/// A folder with the packages that `clients/node` pins, and its scripts beside them: Node.js looks
/// for packages from where the script lies.
pub(crate) fn node() -> Installed<PathBuf> {
    program("node")?;
    let from = scripts().join("node");
    let folder = install("node", &from.join("package-lock.json"), |folder| {
        for file in ["package.json", "package-lock.json"] {
            fs::copy(from.join(file), folder.join(file)).map_err(|error| error.to_string())?;
        }
        let mut npm = program("npm")?;
        npm.args(["ci", "--engine-strict", "--ignore-scripts", "--no-audit", "--no-fund"]);
        npm.args([
            "--fetch-timeout=15000",
            "--fetch-retries=1",
            "--fetch-retry-mintimeout=1000",
            "--loglevel=error",
        ]);
        npm.current_dir(folder);
        Ok(npm)
    })?;
    Ok(folder)
}

/// The folder `target/clients/<name>`, made by the command that `installer` gives, unless it is
/// there and was made from the same `manifest`.
fn install(
    name: &str,
    manifest: &Path,
    installer: impl FnOnce(&Path) -> Installed<Command>,
) -> Installed<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let in_words = |error: io::Error| format!("{name} cannot be installed: {error}");

    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("clients");
    let (folder, stamp) = (all.join(name), "installed-from");
    let manifest = fs::read(manifest).map_err(in_words)?;
    if fs::read(folder.join(stamp)).is_ok_and(|made_from| made_from == manifest) {
        return Ok(folder);
    }
    // Made aside, so that a run that is cut off leaves nothing that looks whole.
    let aside = all.join(format!("{name}.{}", std::process::id()));
    fs::create_dir_all(&aside).map_err(in_words)?;
    let done =
        installer(&aside).and_then(|command| match run_for(name, &command, INSTALL_DEADLINE) {
            Ok((0, _)) => Ok(()),
            Ok((_, output)) => Err(format!("it cannot be installed: {}", gist(&output))),
            Err(error) => {
                Err(format!("its installation takes too long: {}", gist(&error.to_string())))
            }
        });
    let done = done.and_then(|()| {
        fs::write(aside.join(stamp), &manifest).map_err(in_words)?;
        let _ = fs::remove_dir_all(&folder);
        fs::rename(&aside, &folder).map_err(in_words)
    });
    if done.is_err() {
        let _ = fs::remove_dir_all(&aside);
    }
    done.map(|()| folder)
}

/// The line of an installer's output that says what is wrong: its first error, else its last line.
fn gist(output: &str) -> &str {
    let error = output.lines().find(|line| line.contains("ERROR") || line.contains("npm error"));
    error.or_else(|| output.lines().rfind(|line| !line.trim().is_empty())).unwrap_or("no reason")
}
