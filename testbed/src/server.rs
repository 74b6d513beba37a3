//! One Redis or Valkey server: its settings, its process, and a control connection to it.

use crate::nodes_conf::{self, NODES_CONF};
use crate::output::{Output, last_lines};
use crate::ports::Port;
use crate::process::{Process, find_program};
use crate::wait::wait_for;
use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sys::signal::Signal;
use redis::{Cmd, Connection, FromRedisValue, IntoConnectionInfo, RedisConnectionInfo};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What makes a server: the same for all nodes of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) program: PathBuf,
    /// Lines of the configuration file, in order: a later one wins.
    pub(crate) options: Vec<(String, String)>,
    /// Set for clients and between nodes, and used by our own connections.
    pub(crate) password: Option<String>,
    pub(crate) cluster: bool,
}

impl Recipe {
    /// The server under test and settings for tests: nothing on disk, nothing delayed.
    pub(crate) fn new(cluster: bool) -> Recipe {
        let program = std::env::var_os("SLOTWAY_TEST_SERVER")
            .filter(|path| !path.is_empty())
            .map_or_else(|| PathBuf::from("redis-server"), PathBuf::from);
        let options = [
            ("bind", "127.0.0.1"),
            ("save", ""),
            ("appendonly", "no"),
            // A replica that asks for a full copy gets it at once, not after 5 s.
            ("repl-diskless-sync-delay", "0"),
        ];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Recipe { program, options, password: None, cluster }
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.options.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn version(&self) -> Result<ServerVersion> {
        ServerVersion::of(&self.program)
    }

    fn config(&self, port: u16, folder: &Path) -> Result<String> {
        let mut lines = vec![
            format!("port {port}"),
            format!("dir {}", folder.display()),
            "daemonize no".to_owned(),
            // To standard output, where we read it.
            "logfile \"\"".to_owned(),
        ];
        if self.cluster {
            lines.push("cluster-enabled yes".to_owned());
            lines.push(format!("cluster-config-file {NODES_CONF}"));
        }
        if self.version()?.at_least(7, 0) {
            // DEBUG SLEEP, DEBUG RELOAD and the like are made for tests.
            lines.push("enable-debug-command yes".to_owned());
            if self.cluster {
                // Who belongs to which shard is the test's decision: a replica must not wander to
                // a shard without one, nor a primary that gave its last slot away become one.
                lines.push("cluster-allow-replica-migration no".to_owned());
            }
        }
        if let Some(password) = &self.password {
            let password = password.replace('\\', "\\\\").replace('"', "\\\"");
            lines.push(format!("requirepass \"{password}\""));
            lines.push(format!("masterauth \"{password}\""));
        }
        for (name, value) in &self.options {
            // The value is written as it is, because some directives take several words.
            let value = if value.is_empty() { "\"\"" } else { value };
            lines.push(format!("{name} {value}"));
        }
        Ok(lines.join("\n") + "\n")
    }
}

/// One server on its reserved port; everything may be called from several threads.
pub(crate) struct Server {
    recipe: Recipe,
    port: Port,
    folder: PathBuf,
    state: Mutex<State>,
    /// Our own connection to it, opened on first use, dropped when it fails.
    control: Mutex<Option<Connection>>,
}

#[derive(Debug)]
struct State {
    process: Process,
    frozen: bool,
}

impl Server {
    /// Starts a server on `port`, or on another free one when somebody was quicker to take it; it
    /// answers when this returns. Its files go to a folder named by the port inside `folder`.
    pub(crate) fn start(recipe: &Recipe, port: Port, folder: &Path) -> Result<Server> {
        Server::launch(recipe, port, folder)?.into_ready()
    }

    /// As [`Server::start`], but not waiting: several servers come up side by side when each is
    /// launched before the first [`Server::into_ready`].
    pub(crate) fn launch(recipe: &Recipe, port: Port, folder: &Path) -> Result<Server> {
        let folder = folder.join(port.number().to_string());
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let config = folder.join("server.conf");
        fs::write(&config, recipe.config(port.number(), &folder)?)
            .with_context(|| format!("cannot write {}", config.display()))?;
        let state = State { process: run(recipe, &folder, &port)?, frozen: false };
        let recipe = recipe.clone();
        Ok(Server { recipe, port, folder, state: Mutex::new(state), control: Mutex::new(None) })
    }

    pub(crate) fn into_ready(mut self) -> Result<Server> {
        for _ in 0..PORT_TRIES {
            match self.wait_ready() {
                Ok(()) => return Ok(self),
                Err(_) if self.port_was_taken() => {
                    let port =
                        if self.recipe.cluster { Port::free_with_bus()? } else { Port::free()? };
                    let parent = self.folder.parent().unwrap_or(&self.folder);
                    self = Server::launch(&self.recipe, port, parent)?;
                }
                Err(error) => return Err(error),
            }
        }
        bail!("{PORT_TRIES} free ports in a row were taken before the server could listen on them")
    }

    pub(crate) fn addr(&self) -> String {
        self.port.addr()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.state().process.pid()
    }

    pub(crate) fn log(&self) -> String {
        self.state().process.output()
    }

    /// It runs and is not frozen: an answer can be expected.
    pub(crate) fn is_live(&self) -> bool {
        let mut state = self.state();
        !state.frozen && state.process.exited().is_none()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state().process.exited().is_none()
    }

    /// A new connection for a test; reading and writing give up after 10 s.
    pub(crate) fn connect(&self) -> Result<Connection> {
        connect(&self.addr(), self.recipe.password.as_deref(), CLIENT_TIMEOUT)
    }

    /// Runs `command` on the control connection.
    pub(crate) fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connection = match control.take() {
            Some(connection) => connection,
            None => connect(&self.addr(), self.recipe.password.as_deref(), CONTROL_TIMEOUT)?,
        };
        let result = command.query(&mut connection);
        // After a timeout the late answer would be taken for that of the next command.
        if !result.as_ref().is_err_and(|error| error.is_io_error() || error.is_timeout()) {
            *control = Some(connection);
        }
        result.with_context(|| format!("{} answered {}", self.addr(), words(command)))
    }

    /// The value of `field` in INFO; `None` when it has no such field.
    pub(crate) fn info(&self, field: &str) -> Result<Option<String>> {
        let info: String = self.query(redis::cmd("INFO").arg("everything"))?;
        let mut lines = info.lines().filter_map(|line| line.split_once(':'));
        Ok(lines.find(|(name, _)| *name == field).map(|(_, value)| value.to_owned()))
    }

    pub(crate) fn kill(&self) {
        let mut state = self.state();
        state.process.kill();
        state.frozen = false;
        self.forget_connection();
    }

    /// Ends it with this signal, after which it is expected to end in order.
    pub(crate) fn end(&self, signal: Signal) -> Result<ExitStatus> {
        let mut state = self.state();
        // A stopped process does not see the signal before it continues.
        if std::mem::take(&mut state.frozen) {
            state.process.signal(Signal::SIGCONT)?;
        }
        state.process.signal(signal)?;
        let status = state.process.wait(EXIT_DEADLINE)?;
        self.forget_connection();
        Ok(status)
    }

    pub(crate) fn freeze(&self) -> Result<()> {
        let mut state = self.state();
        state.process.signal(Signal::SIGSTOP)?;
        state.frozen = true;
        Ok(())
    }

    pub(crate) fn thaw(&self) -> Result<()> {
        let mut state = self.state();
        state.process.signal(Signal::SIGCONT)?;
        state.frozen = false;
        Ok(())
    }

    /// Ends it (SIGTERM) if it runs, and starts it again in the same place.
    pub(crate) fn restart(&self) -> Result<()> {
        if self.state().process.exited().is_none() {
            self.end(Signal::SIGTERM)?;
        }
        nodes_conf::mend(&self.folder)?;
        self.state().process = run(&self.recipe, &self.folder, &self.port)?;
        self.wait_ready()
    }

    /// Waits until the process that we started, and no other on the same port, answers and has
    /// loaded its data.
    fn wait_ready(&self) -> Result<()> {
        let what = format!("the server on {} to answer", self.addr());
        let ready = wait_for(&what, READY_DEADLINE, || {
            if let Some(status) = self.state().process.exited() {
                return Ok(Err(anyhow!("it has ended ({status})")));
            }
            let pid = self.info("process_id")?;
            ensure!(pid == Some(self.pid().to_string()), "process {pid:?} answers");
            ensure!(self.info("loading")?.as_deref() == Some("0"), "it is loading its data");
            Ok(Ok(()))
        });
        ready.and_then(|ended| ended).with_context(|| {
            format!("the server on {} wrote:\n{}", self.addr(), last_lines(&self.log(), LOG_LINES))
        })
    }

    fn port_was_taken(&self) -> bool {
        let log = self.log();
        !self.is_live()
            && (log.contains("Address already in use") || log.contains("Failed listening on port"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_connection(&self) {
        *self.control.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({}, process {})", self.addr(), self.pid())
    }
}

/// The make and version of a server program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerVersion {
    /// It is Valkey, else Redis.
    pub valkey: bool,
    /// The first number of its version.
    pub major: u32,
    /// The second number of its version.
    pub minor: u32,
}

impl ServerVersion {
    /// That of the server that tests use: `SLOTWAY_TEST_SERVER`, else `redis-server` on PATH.
    ///
    /// # Errors
    /// There is none, or it does not say its version.
    pub fn of_default_server() -> Result<ServerVersion> {
        Recipe::new(false).version()
    }

    /// It is this version or a later one; the makes count apart (Valkey 8.0 follows Redis 7.2).
    pub fn at_least(&self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }

    fn of(program: &Path) -> Result<ServerVersion> {
        let program = find_server(program)?;
        let output = Command::new(&program)
            .arg("--version")
            .output()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ServerVersion::parse(&text)
            .with_context(|| format!("{} --version says {text:?}", program.display()))
    }

    /// From `Redis server v=7.0.15 sha=…`, with any words before the version.
    fn parse(text: &str) -> Result<ServerVersion> {
        let numbers = text.split_whitespace().find_map(|word| word.strip_prefix("v="));
        let mut numbers = numbers.context("no version in it")?.split('.').map(str::parse);
        let mut next = || numbers.next().and_then(Result::ok).context("no version in it");
        let valkey = text.to_lowercase().contains("valkey");
        Ok(ServerVersion { valkey, major: next()?, minor: next()? })
    }
}

/// Connects to a server or a proxy; `timeout` bounds connecting, each read and each write.
pub(crate) fn connect(addr: &str, password: Option<&str>, timeout: Duration) -> Result<Connection> {
    let mut settings = RedisConnectionInfo::default();
    if let Some(password) = password {
        settings = settings.set_password(password);
    }
    let info = format!("redis://{addr}/").into_connection_info()?.set_redis_settings(settings);
    let connection = redis::Client::open(info)?
        .get_connection_with_timeout(timeout)
        .with_context(|| format!("cannot connect to {addr}"))?;
    connection.set_read_timeout(Some(timeout))?;
    connection.set_write_timeout(Some(timeout))?;
    Ok(connection)
}

fn run(recipe: &Recipe, folder: &Path, port: &Port) -> Result<Process> {
    let mut command = Command::new(find_server(&recipe.program)?);
    command.arg(folder.join("server.conf")).current_dir(folder);
    Process::start(&format!("the server on {}", port.addr()), &command, Output::Kept)
}

fn find_server(program: &Path) -> Result<PathBuf> {
    find_program(program).context(
        "no server to test against: install redis-server, or name one in SLOTWAY_TEST_SERVER",
    )
}

/// A command as a person would type it, for messages.
fn words(command: &Cmd) -> String {
    let words = command.args_iter().map(|arg| match arg {
        redis::Arg::Simple(word) => String::from_utf8_lossy(word).into_owned(),
        _ => "…".to_owned(),
    });
    let words: Vec<_> = words.take(8).collect();
    format!("to {}", words.join(" "))
}

const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

/// Shorter than what a test waits for: a node may be frozen while it is asked.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(2);

/// A server that loads its data may take its time.
const READY_DEADLINE: Duration = Duration::from_secs(30);

/// Beyond the 10 s that a primary waits at its end for replicas that lag (`shutdown-timeout`).
const EXIT_DEADLINE: Duration = Duration::from_secs(15);

const PORT_TRIES: usize = 10;

const LOG_LINES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_servers_print() {
        for (text, valkey, major, minor) in [
            ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", false, 7, 0),
            ("Valkey server v=8.1.1 sha=00000000:0 malloc=jemalloc-5.3.0", true, 8, 1),
            ("Server v=9.1.2 sha=0 (valkey)", true, 9, 1),
        ] {
            let expected = ServerVersion { valkey, major, minor };
            assert_eq!(ServerVersion::parse(text).unwrap(), expected, "{text}");
        }
        assert!(ServerVersion::parse("hello v=x").is_err());
        let version = ServerVersion { valkey: false, major: 7, minor: 2 };
        assert!(version.at_least(7, 0) && version.at_least(6, 9) && !version.at_least(8, 0));
    }

    #[test]
    fn a_later_option_wins_and_an_empty_one_is_quoted() {
        let mut recipe = Recipe::new(true);
        recipe.set("appendonly", "yes");
        let config = recipe.config(7000, Path::new("/somewhere")).unwrap();
        assert!(config.contains("\nsave \"\"\n"), "{config}");
        assert!(config.rfind("appendonly yes") > config.rfind("appendonly no"), "{config}");
    }

    #[test]
    fn a_server_that_refuses_its_settings_says_why() {
        let mut recipe = Recipe::new(false);
        recipe.set("no-such-option", "1");
        let folder = crate::folder::Folder::new().unwrap();
        let error =
            Server::start(&recipe, Port::free().unwrap(), folder.path()).map(|_| ()).unwrap_err();
        assert!(format!("{error:#}").contains("no-such-option"), "{error:#}");
    }

    #[test]
    fn a_port_that_was_taken_meanwhile_is_left_for_another() {
        // Two owners of one number, as when another program binds it after we looked.
        let port = Port::free().unwrap();
        let number = port.number();
        let listener = std::net::TcpListener::bind(("127.0.0.1", number)).unwrap();
        std::thread::spawn(move || listener.incoming().for_each(drop));
        let folder = crate::folder::Folder::new().unwrap();
        let server = Server::start(&Recipe::new(false), port, folder.path()).unwrap();
        assert_ne!(server.port(), number);
        assert_eq!(server.query::<String>(&redis::cmd("PING")).unwrap(), "PONG");
    }
}
