//! A slotway process: started on free ports, watched, ended.

use crate::output::{Output, last_lines};
use crate::ports::Port;
use crate::process::Process;
use crate::report;
use crate::server::connect;
use crate::tcp::Peer;
use crate::wait::wait_for;
use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sys::signal::Signal;
use redis::Connection;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A running slotway; killed when this is dropped, and if the test fails, the end of its log is
/// printed first.
#[derive(Debug)]
pub struct Proxy {
    listen: Port,
    admin: Option<Port>,
    process: Mutex<Process>,
}

impl Proxy {
    /// Prepares one for the cluster that `seeds` belong to.
    pub fn builder<S: Into<String>>(seeds: impl IntoIterator<Item = S>) -> Builder {
        Builder {
            seeds: seeds.into_iter().map(Into::into).collect(),
            binary: None,
            args: Vec::new(),
            envs: Vec::new(),
            workers: 1,
            log_level: "info".to_owned(),
            admin: true,
            first_ports: None,
            output: Output::Kept,
        }
    }

    /// The address for clients: `127.0.0.1:<port>`.
    pub fn addr(&self) -> String {
        self.listen.addr()
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.listen.number()
    }

    /// The address of its admin pages.
    ///
    /// # Panics
    /// It was started without them ([`Builder::admin`]).
    pub fn admin_addr(&self) -> String {
        self.admin.as_ref().expect("a proxy with admin pages").addr()
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// A new connection to it; reading and writing give up after 10 s.
    ///
    /// # Errors
    /// It does not answer.
    pub fn client(&self) -> Result<Connection> {
        connect(&self.addr(), None, CLIENT_TIMEOUT)
    }

    /// A new raw connection to it.
    ///
    /// # Errors
    /// It does not accept.
    pub fn peer(&self) -> Result<Peer> {
        Peer::connect(&self.addr())
    }

    /// Asks for one of its admin pages, `/metrics` for example: the status code and the body.
    ///
    /// # Errors
    /// It does not answer, or not in HTTP.
    ///
    /// # Panics
    /// As [`Proxy::admin_addr`].
    pub fn http_get(&self, path: &str) -> Result<(u16, String)> {
        http_get(&self.admin_addr(), path)
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process().output()
    }

    /// How it ended; `None` while it runs.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.process().exited()
    }

    /// Sends it `signal`: SIGTERM without waiting, SIGSTOP, …
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process().signal(signal)
    }

    /// Waits for its end and returns its exit code; −1 if a signal ended it.
    ///
    /// # Errors
    /// It still runs after `deadline`.
    pub fn wait(&self, deadline: Duration) -> Result<i32> {
        // Asked again and again, not held: others may want to look at it or to signal it meanwhile.
        let status = wait_for("slotway to end", deadline, || {
            self.exited().ok_or_else(|| anyhow!("it still runs"))
        })?;
        Ok(status.code().unwrap_or(-1))
    }

    /// Ends it in order (SIGTERM) and returns its exit code; −1 if a signal ended it.
    ///
    /// # Errors
    /// It has ended already, or still runs after 30 s.
    pub fn terminate(&self) -> Result<i32> {
        self.signal(Signal::SIGTERM)?;
        self.wait(EXIT_DEADLINE)
    }

    /// Kills it (SIGKILL).
    pub fn kill(&self) {
        self.process().kill();
    }

    /// Waits until it is ready to serve: `/readyz` of its admin pages answers 200, or without those
    /// PING on its client port is answered.
    ///
    /// # Errors
    /// It has ended, or is not ready in time; the end of its log is in the error.
    pub fn wait_ready(&self, deadline: Duration) -> Result<()> {
        let ready = wait_for("slotway to be ready", deadline, || {
            if let Some(status) = self.exited() {
                return Ok(Err(anyhow!("it has ended ({status})")));
            }
            if self.admin.is_some() {
                let (status, body) = self.http_get("/readyz")?;
                ensure!(status == 200, "/readyz says {status}: {}", body.trim());
            } else {
                redis::cmd("PING").exec(&mut connect(&self.addr(), None, CLIENT_TIMEOUT)?)?;
            }
            Ok(Ok(()))
        });
        ready.and_then(|ended| ended).with_context(|| match self.log().as_str() {
            // Inherited output was seen already.
            "" => "slotway does not serve".to_owned(),
            log => format!("slotway does not serve; it logged:\n{}", last_lines(log, LOG_LINES)),
        })
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if report::wanted() {
            let log = self.log();
            eprintln!("---- slotway on {}, its log's end:\n{}", self.addr(), last_lines(&log, 60));
        }
    }
}

/// The settings of a [`Proxy`].
#[derive(Debug)]
pub struct Builder {
    seeds: Vec<String>,
    binary: Option<PathBuf>,
    args: Vec<String>,
    envs: Vec<(String, String)>,
    workers: usize,
    log_level: String,
    admin: bool,
    first_ports: Option<(u16, u16)>,
    output: Output,
}

impl Builder {
    /// The program; a test of the proxy's crate passes `env!("CARGO_BIN_EXE_slotway")`. Without it:
    /// `SLOTWAY_BIN`, else the one that was built beside the running program.
    pub fn binary(mut self, path: impl AsRef<Path>) -> Builder {
        self.binary = Some(path.as_ref().to_owned());
        self
    }

    /// Adds an argument to its command line.
    pub fn arg(mut self, arg: impl Into<String>) -> Builder {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments to its command line.
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Builder {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable for it.
    pub fn env(mut self, name: &str, value: &str) -> Builder {
        self.envs.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How many workers. Default 1.
    pub fn workers(mut self, count: usize) -> Builder {
        self.workers = count;
        self
    }

    /// `--log-level`. Default `info`.
    pub fn log_level(mut self, level: &str) -> Builder {
        level.clone_into(&mut self.log_level);
        self
    }

    /// Whether it has admin pages. Default yes.
    pub fn admin(mut self, on: bool) -> Builder {
        self.admin = on;
        self
    }

    /// Listens on the first free ports from these on, the first for clients, the second for the
    /// admin pages. Default: any.
    pub fn first_ports(mut self, listen: u16, admin: u16) -> Builder {
        self.first_ports = Some((listen, admin));
        self
    }

    /// Where its log goes. Default: it is kept, and shown when a test fails.
    pub fn output(mut self, output: Output) -> Builder {
        self.output = output;
        self
    }

    /// Starts it; it is ready to serve when this returns.
    ///
    /// # Errors
    /// There is no program, or it ends or is not ready in 20 s: the end of its log is in the error.
    pub fn start(self) -> Result<Proxy> {
        let proxy = self.launch()?;
        proxy.wait_ready(READY_DEADLINE)?;
        Ok(proxy)
    }

    /// Starts it without waiting: for a start that is meant to fail, or to take long.
    ///
    /// # Errors
    /// There is no program.
    pub fn launch(self) -> Result<Proxy> {
        let (listen, admin) = match self.first_ports {
            Some((listen, admin)) => (Port::first_free_from(listen)?, Port::first_free_from(admin)),
            None => (Port::free()?, Port::free()),
        };
        let admin = self.admin.then_some(admin).transpose()?;
        let binary = match self.binary {
            Some(path) => path,
            None => find_slotway()?,
        };
        let mut command = Command::new(binary);
        command.args(["--seeds", &self.seeds.join(",")]);
        command.args(["--listen", &listen.addr()]);
        command.args(["--workers", &self.workers.to_string(), "--log-level", &self.log_level]);
        if let Some(admin) = &admin {
            command.args(["--admin", &admin.addr()]);
        }
        command.args(&self.args).envs(self.envs);
        let process = Process::start("slotway", &command, self.output)?;
        Ok(Proxy { listen, admin, process: Mutex::new(process) })
    }
}

/// The slotway program that belongs to the running one: `SLOTWAY_BIN`, else the one beside it (a
/// test runs in `target/<profile>/deps`, other programs in `target/<profile>`).
fn find_slotway() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SLOTWAY_BIN").filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    let exe = std::env::current_exe().context("cannot tell where the running program is")?;
    let beside = exe.ancestors().skip(1).take(2).map(|folder| folder.join("slotway"));
    match beside.into_iter().find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => bail!(
            "slotway is not built: run `cargo build -p slotway` with the profile of {}, \
             or name a program in SLOTWAY_BIN",
            exe.display()
        ),
    }
}

fn http_get(addr: &str, path: &str) -> Result<(u16, String)> {
    let mut peer = Peer::connect(addr)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    peer.send(request.as_bytes())?;
    let response = String::from_utf8_lossy(&peer.read_to_end()?).into_owned();
    let (head, body) = response.split_once("\r\n\r\n").context("no HTTP response")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body)? } else { body.to_owned() };
    Ok((status.context("no HTTP status")?, body))
}

/// A chunked body without its chunk sizes.
fn unchunk(mut chunks: &str) -> Result<String> {
    let mut body = String::new();
    loop {
        let (size, rest) = chunks.split_once("\r\n").context("a chunk without its size")?;
        let size = usize::from_str_radix(size.trim(), 16).context("the size of a chunk")?;
        if size == 0 {
            return Ok(body);
        }
        body.push_str(rest.get(..size).context("a chunk that is cut off")?);
        chunks = rest.get(size + 2..).context("a chunk that is cut off")?;
    }
}

const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

const READY_DEADLINE: Duration = Duration::from_secs(20);

/// Beyond the time that it gives to its clients by default when it drains.
const EXIT_DEADLINE: Duration = Duration::from_secs(30);

const LOG_LINES: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_body_is_put_together() {
        assert_eq!(unchunk("3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n").unwrap(), "abcd");
        assert!(unchunk("3\r\nab").is_err() && unchunk("").is_err());
    }

    #[test]
    fn a_proxy_that_ends_at_once_is_reported_with_its_log() {
        let error = Proxy::builder(["127.0.0.1:1"]).binary("/bin/ls").start().unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("it has ended") && text.contains("--seeds"), "{text}");
    }
}
