//! One child process: started so that it cannot outlive us, signalled, waited for.

use crate::output::{Kept, Output};
use crate::wait::wait_for;
use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{LazyLock, OnceLock};
use std::thread;
use std::time::Duration;

/// A child process that ends with its handle, and with this process.
///
/// Dropping the handle kills it. When this process is killed and drops nothing, the kernel kills it:
/// it is started under `setpriv --pdeathsig KILL` (util-linux, on every Debian and Ubuntu); without
/// that program only dropping remains. It is the leader of a process group of its own, so that
/// Ctrl-C at the terminal reaches us alone and the order of shutting down is ours.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    kept: Kept,
    exited: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` (its program, arguments, environment and folder; not its streams: standard
    /// input is empty). `name` is what messages call it.
    ///
    /// # Errors
    /// The program does not exist or cannot be run.
    pub fn start(name: &str, command: &Command, output: Output) -> Result<Process> {
        let program = find_program(Path::new(command.get_program()))
            .with_context(|| format!("cannot start {name}"))?;
        let mut command = guarded(&program, command);
        command.stdin(Stdio::null()).process_group(0);
        if output == Output::Kept {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        let mut child = spawn(command).with_context(|| format!("cannot start {name}"))?;
        let kept = Kept::default();
        if let Some(stdout) = child.stdout.take() {
            kept.collect(stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            kept.collect(stderr);
        }
        Ok(Process { name: name.to_owned(), child, kept, exited: None })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far, if that is [`Output::Kept`]; the end of it, when it is much.
    pub fn output(&self) -> String {
        self.kept.text()
    }

    /// How it ended; `None` while it runs.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.exited.is_none() {
            self.exited = self.child.try_wait().ok().flatten();
            if self.exited.is_some() {
                self.kept.settle();
            }
        }
        self.exited
    }

    /// Sends it `signal`.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        // Asked first: the id of a child that was waited for may belong to somebody else by now.
        if let Some(status) = self.exited() {
            bail!("{} has ended already ({status})", self.name);
        }
        let pid = i32::try_from(self.pid()).context("a process id beyond all bounds")?;
        kill(Pid::from_raw(pid), signal)
            .with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// It still runs after `deadline`.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("{} (process {}) to end", self.name, self.pid());
        wait_for(&what, deadline, || self.exited().ok_or_else(|| anyhow!("it still runs")))
    }

    /// Kills it (SIGKILL) if it runs, and waits until it is gone.
    pub fn kill(&mut self) {
        if self.exited().is_none() {
            // It may end by itself at this moment, and then there is nothing to kill.
            let _ = self.child.kill();
            self.exited = self.child.wait().ok();
            self.kept.settle();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program that `program` means: itself if it is a path, else the first of that name on PATH.
///
/// # Errors
/// There is no such file; the sentence says what was looked for.
pub(crate) fn find_program(program: &Path) -> Result<PathBuf> {
    if program.components().count() > 1 {
        return program
            .is_file()
            .then(|| program.to_owned())
            .ok_or_else(|| anyhow!("there is no file {}", program.display()));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| anyhow!("there is no {} on PATH", program.display()))
}

/// `command` as it must be run to end with us.
fn guarded(program: &Path, command: &Command) -> Command {
    static SETPRIV: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let setpriv = find_program(Path::new("setpriv")).ok()?;
        // Tried once: other makes of it (busybox) do not know the option.
        let mut trial = Command::new(&setpriv);
        trial.args(["--pdeathsig", "KILL", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
        trial.status().ok()?.success().then_some(setpriv)
    });
    let mut guarded = match &*SETPRIV {
        Some(setpriv) => {
            let mut guarded = Command::new(setpriv);
            guarded.args(["--pdeathsig", "KILL"]).arg(program);
            guarded
        }
        None => Command::new(program),
    };
    guarded.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => guarded.env(name, value),
            None => guarded.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        guarded.current_dir(folder);
    }
    guarded
}

/// Starts `command` from a thread that lives as long as this process does.
///
/// The signal on the parent's death is bound to the *thread* that forked, and a test runs on a
/// thread that ends with it, whatever it may have handed on.
fn spawn(command: Command) -> io::Result<Child> {
    type Job = (Command, SyncSender<io::Result<Child>>);
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, inbox) = channel::<Job>();
        thread::spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        });
        jobs
    });
    let (reply, answer) = sync_channel(1);
    let gone = |_| io::Error::other("the thread that starts processes has gone");
    spawner.send((command, reply)).map_err(|_| gone(()))?;
    answer.recv().map_err(|_| gone(()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start("a shell", &command, Output::Kept).unwrap()
    }

    #[test]
    fn output_and_exit_code_are_seen() {
        let mut process = shell("echo out; echo err >&2; exit 7");
        assert_eq!(process.wait(Duration::from_secs(5)).unwrap().code(), Some(7));
        assert!(process.output().contains("out\n") && process.output().contains("err\n"));
        assert!(process.signal(Signal::SIGTERM).is_err(), "it has ended");
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let process = shell("exec sleep 1000");
        let folder = PathBuf::from(format!("/proc/{}", process.pid()));
        assert!(folder.exists());
        drop(process);
        assert!(!folder.exists());
    }

    #[test]
    fn a_process_outlives_the_thread_that_asked_for_it() {
        let asking = thread::spawn(|| {
            let process = shell("exec sleep 1000");
            let name = format!("/proc/{}/comm", process.pid());
            // Until then it has not told the kernel yet whose death it wants to hear of.
            crate::wait_until("the sleep to run", Duration::from_secs(5), || {
                std::fs::read_to_string(&name).is_ok_and(|name| name == "sleep\n")
            })
            .unwrap();
            process
        });
        let mut process = asking.join().unwrap();
        assert!(process.wait(Duration::from_millis(100)).is_err(), "{:?}", process.exited());
    }

    #[test]
    fn what_does_not_exist_is_named() {
        let error =
            Process::start("it", &Command::new("no-such-program"), Output::Kept).unwrap_err();
        assert_eq!(format!("{error:#}"), "cannot start it: there is no no-such-program on PATH");
    }
}
