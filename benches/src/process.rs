//! Child processes that end when their handle is dropped, and the limits they inherit.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

/// A server or proxy that we started. Dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Process {
    /// How it is called in messages and in its log's name.
    name: String,
    child: Child,
    /// Where its standard output and error go; quoted when it fails to start.
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output in `folder/NAME.log`.
    ///
    /// It gets a process group of its own: Ctrl-C in a terminal then reaches only the bench, which
    /// ends its children in order instead of reporting that they all failed.
    pub fn spawn(name: &str, folder: &Path, command: &mut Command) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("cannot write {log:?}"))?;
        let child = command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}: {:?}", command.get_program()))?;
        Ok(Process { name: name.to_owned(), child, log })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails, with the end of its log, if it has exited.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = self.output()?;
            let tail: Vec<&str> = log.lines().rev().take(8).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            bail!("{} ended ({status}); its last lines:\n{}", self.name, tail.join("\n"));
        }
        Ok(())
    }

    /// Whether it has exited.
    pub fn ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// What it has printed so far, on either output.
    pub fn output(&self) -> Result<String> {
        let bytes = fs::read(&self.log).with_context(|| format!("cannot read {:?}", self.log))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Waits until it has exited by itself.
    pub fn wait_for_end(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !self.ended()? {
            if Instant::now() > deadline {
                bail!("{} did not end within {limit:?}", self.name);
            }
            pause(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// Asks `ready` every few milliseconds until it says yes; fails when the process ends or time is up.
    pub fn wait_until(&mut self, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !ready() {
            self.check()?;
            if Instant::now() > deadline {
                bail!("{} was not ready within {limit:?}", self.name);
            }
            pause(Duration::from_millis(20))?;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has been reaped already; there is nothing left to end then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Finds an installed program on `PATH` or in the folders where Debian puts daemons.
pub fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// A free loopback port below the range that the kernel gives to outgoing connections, so that no
/// client socket takes it between this call and the server's own bind.
pub fn free_address() -> Result<SocketAddr> {
    for _ in 0..1_000 {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, fastrand::u16(12_000..32_000)));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port on 127.0.0.1 between 12000 and 32000")
}

/// Raises the limit of open files as far as `wanted` or as allowed; gives what it is now.
/// Children inherit it.
pub fn raise_open_files(wanted: u64) -> Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= wanted {
        return Ok(soft);
    }
    // Above the hard limit only with privileges; without them the hard limit is what there is.
    if setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted.max(hard)).is_ok() {
        return Ok(wanted);
    }
    let reachable = wanted.min(hard);
    setrlimit(Resource::RLIMIT_NOFILE, reachable, hard)?;
    Ok(reachable)
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Turns SIGINT and SIGTERM into a flag that every wait and every load looks at, so that an
/// interrupted run still ends its children and removes its folder.
pub fn watch_signals() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = runtime.block_on(async {
        anyhow::Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    })?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        });
        INTERRUPTED.store(true, Ordering::Relaxed);
    })?;
    Ok(())
}

/// Fails once SIGINT or SIGTERM has arrived.
pub fn check_interrupt() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// Sleeps for `duration`, but not through an interrupt.
pub fn pause(duration: Duration) -> Result<()> {
    let deadline = Instant::now() + duration;
    loop {
        check_interrupt()?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(Duration::from_millis(100)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_process_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::spawn("sleeper", folder.path(), Command::new("sleep").arg("60"));
        let entry = format!("/proc/{}", process.as_ref().unwrap().pid());
        assert!(Path::new(&entry).exists());
        drop(process);
        assert!(!Path::new(&entry).exists());
    }

    #[test]
    fn a_process_that_ends_at_once_is_reported_with_its_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo the disk is on fire; exit 3"]);
        let mut process = Process::spawn("shell", folder.path(), &mut shell).unwrap();
        let error = process.wait_until(Duration::from_secs(20), || false).unwrap_err().to_string();
        assert!(error.contains("the disk is on fire") && error.contains("3"), "{error}");
    }
}
