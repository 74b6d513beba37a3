//! Where slotway's time goes under a load, recorded by `perf`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use testbed::{Output, Process};

use crate::generator::Clients;
use crate::host;
use crate::loads::Load;
use crate::targets::Target;

/// Samples a second: not a divisor of the timer's frequency, so that it does not beat with it.
const FREQUENCY: &str = "1999";

/// Symbols below this share are left out.
const LEAST_PERCENT: &str = "0.3";

/// How long `perf` may take to read its recording.
const PERF_LIMIT: Duration = Duration::from_secs(20);

/// Records a proxy under a load and writes `profile-LOAD.txt` (or `profile-LOAD-TARGET.txt` for
/// another proxy than slotway) into `output`; gives the file.
///
/// Fails in words where `perf` is not installed or not allowed.
pub fn record(
    target: &Target,
    load: &Load,
    duration: Duration,
    work: &Path,
    output: &Path,
) -> Result<PathBuf> {
    let perf =
        host::installed("perf").context("perf is not installed (apt-get install linux-perf)")?;
    let pid = target.proxy_pid().context("there is no proxy to profile")?;
    let data = work.join(format!("perf-{}-{pid}.data", load.name));

    let mut clients = Clients::connect(target.address, load)?;
    clients.run(duration / 5)?;
    let mut command = Command::new(&perf);
    command.args(["record", "--quiet", "--freq", FREQUENCY, "--pid", &pid.to_string(), "--output"]);
    command.arg(&data).args(["--", "sleep", &duration.as_secs_f64().to_string()]);
    let mut recorder = Process::start("perf", &command, Output::Kept)?;
    while recorder.exited().is_none() {
        clients.run(duration / 10)?;
    }
    if !data.exists() {
        bail!("perf recorded nothing: {}", recorder.output());
    }

    let name = match target.kind.is_slotway() {
        true => format!("profile-{}.txt", load.name),
        false => format!("profile-{}-{}.txt", load.name, target.kind.name()),
    };
    let text = format!(
        "{} under: {}\n\nBy program or library\n\n{}\nBy symbol, from {LEAST_PERCENT} %\n\n{}",
        target.kind.description(),
        load.title,
        report(&perf, &data, "dso")?,
        report(&perf, &data, "symbol,dso")?,
    );
    fs::create_dir_all(output)?;
    let file = output.join(name);
    fs::write(&file, text).with_context(|| format!("cannot write {file:?}"))?;
    Ok(file)
}

/// The table of `perf report`, without its header.
fn report(perf: &Path, data: &Path, sort: &str) -> Result<String> {
    let mut command = Command::new(perf);
    command.args(["report", "--stdio", "--quiet", "--no-children", "--sort", sort]);
    command.args(["--percent-limit", LEAST_PERCENT, "--input"]).arg(data);
    let mut process = Process::start("perf report", &command, Output::Kept)?;
    process.wait(PERF_LIMIT)?;
    let text = process.output();
    // Trimmed of the columns for branches, which were not recorded, too.
    let lines = text.lines().map(|line| line.trim_end_matches([' ', '-']));
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(|line| format!("{line}\n")).collect())
}
