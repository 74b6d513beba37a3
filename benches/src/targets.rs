//! What is measured: a server without a proxy, the proxies people know, and slotway.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use testbed::{Output, Peer, Port, Process, wait_for};

use crate::host;
use crate::loads::{Action, Load, ONE_SLOT};
use crate::stage::Stage;

/// How long a proxy may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(20);

/// So much of what a proxy wrote is quoted when it has ended.
const LAST_LINES: usize = 6;

/// Client connections that haproxy allows. It takes two files a connection, and refuses to start
/// when that does not fit the limit of open files (20,000 where this was written).
const HAPROXY_CONNECTIONS: usize = 9_500;

/// Files a proxy may need: haproxy's two for each connection, and some of its own.
pub const OPEN_FILES_WANTED: u64 = 2 * HAPROXY_CONNECTIONS as u64 + 500;

/// A kind of target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// One standalone server, no proxy.
    Direct,
    /// nutcracker over the three standalone servers.
    Nutcracker,
    /// haproxy in TCP mode before one standalone server.
    Haproxy,
    /// slotway with one worker over the cluster.
    Slotway,
    /// slotway with two workers over the cluster.
    SlotwayTwo,
    /// slotway with one worker and `client-order = "strict"`.
    SlotwayStrict,
}

impl Kind {
    /// All kinds, in the order of a round.
    pub const ALL: [Kind; 6] = [
        Kind::Direct,
        Kind::Nutcracker,
        Kind::Haproxy,
        Kind::Slotway,
        Kind::SlotwayTwo,
        Kind::SlotwayStrict,
    ];

    /// Its name in options, tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Direct => "direct",
            Kind::Nutcracker => "nutcracker",
            Kind::Haproxy => "haproxy",
            Kind::Slotway => "slotway",
            Kind::SlotwayTwo => "slotway-2",
            Kind::SlotwayStrict => "slotway-strict",
        }
    }

    /// The kind of that name.
    pub fn by_name(name: &str) -> Option<Kind> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What it is made of, for the report.
    pub fn description(self) -> &'static str {
        match self {
            Kind::Direct => "one standalone redis-server, no proxy",
            Kind::Nutcracker => {
                "nutcracker over three standalone servers (ketama, one connection each)"
            }
            Kind::Haproxy => "haproxy, TCP mode, one thread, before one standalone server",
            Kind::Slotway => "slotway, 1 worker, metrics on, over a cluster of three primaries",
            Kind::SlotwayTwo => "slotway, 2 workers, metrics on, over the same cluster",
            Kind::SlotwayStrict => "slotway, 1 worker, client-order strict, over the same cluster",
        }
    }

    /// Whether it is slotway, which needs the cluster.
    pub fn is_slotway(self) -> bool {
        matches!(self, Kind::Slotway | Kind::SlotwayTwo | Kind::SlotwayStrict)
    }

    /// Whether it is measured under a load. The order of writes matters to nothing but writes, and
    /// a single slot to nothing that knows no slots.
    pub fn runs(self, load: &Load) -> bool {
        match self {
            Kind::Slotway => true,
            Kind::SlotwayStrict => load.action == Action::Set,
            _ => *load.keys != ONE_SLOT,
        }
    }

    /// The program it runs, or why there is none.
    pub fn program(self, slotway: &Path) -> Result<Option<PathBuf>, String> {
        match self {
            Kind::Direct => Ok(None),
            Kind::Nutcracker | Kind::Haproxy => host::installed(self.name())
                .map(Some)
                .ok_or_else(|| format!("not installed (apt-get install {})", self.name())),
            _ if slotway.is_file() => Ok(Some(slotway.to_owned())),
            _ => Err(format!("{} is not there", slotway.display())),
        }
    }
}

/// A target that serves.
#[derive(Debug)]
pub struct Target {
    /// What it is.
    pub kind: Kind,
    /// Where clients connect.
    pub address: SocketAddr,
    /// The servers its requests end at.
    pub node_pids: Vec<u32>,
    proxy: Proxy,
}

/// The process between clients and servers. Dropping it ends it.
#[derive(Debug)]
enum Proxy {
    None,
    Program {
        process: Process,
        /// Its own as long as it runs.
        _ports: [Port; 2],
    },
    Slotway(testbed::Proxy),
}

impl Target {
    /// Starts a target before the servers of `stage`, and waits until it answers.
    pub fn start(kind: Kind, stage: &Stage) -> Result<Self> {
        let program = kind.program(&stage.slotway).map_err(anyhow::Error::msg)?;
        let first = &stage.standalone[0];
        let (address, node_pids, proxy) = match (kind, program) {
            (Kind::Slotway, Some(program)) => stage.slotway(&program, 1, "pipelined")?,
            (Kind::SlotwayTwo, Some(program)) => stage.slotway(&program, 2, "pipelined")?,
            (Kind::SlotwayStrict, Some(program)) => stage.slotway(&program, 1, "strict")?,
            (Kind::Nutcracker, Some(program)) => stage.nutcracker(&program)?,
            (Kind::Haproxy, Some(program)) => stage.haproxy(&program)?,
            (_, Some(_) | None) => (first.addr(), vec![first.pid()], Proxy::None),
        };
        let address = address.parse().with_context(|| format!("{address} is no address"))?;
        Ok(Target { kind, address, node_pids, proxy })
    }

    /// The proxy's process id; none for a server without a proxy.
    pub fn proxy_pid(&self) -> Option<u32> {
        match &self.proxy {
            Proxy::None => None,
            Proxy::Program { process, .. } => Some(process.pid()),
            Proxy::Slotway(slotway) => Some(slotway.pid()),
        }
    }

    /// Fails, with what it has written last, if the proxy has ended.
    pub fn check(&mut self) -> Result<()> {
        let (ended, output) = match &mut self.proxy {
            Proxy::None => return Ok(()),
            Proxy::Program { process, .. } => (process.exited(), process.output()),
            Proxy::Slotway(slotway) => (slotway.exited(), slotway.log()),
        };
        match ended {
            None => Ok(()),
            Some(status) => {
                let lines: Vec<&str> = output.lines().collect();
                let last = lines[lines.len().saturating_sub(LAST_LINES)..].join(" / ");
                bail!("{} has ended ({status}): {last}", self.kind.name());
            }
        }
    }
}

/// The address, the servers behind it, and the proxy.
type Started = (String, Vec<u32>, Proxy);

impl Stage {
    fn nutcracker(&self, program: &Path) -> Result<Started> {
        let ports = [Port::free()?, Port::free()?];
        let listen = ports[0].addr();
        let servers: String =
            self.standalone.iter().map(|server| format!("    - {}:1\n", server.addr())).collect();
        let settings = format!(
            "bench:\n  listen: {listen}\n  hash: fnv1a_64\n  distribution: ketama\n  redis: true\n  \
             preconnect: true\n  server_connections: 1\n  auto_eject_hosts: false\n  \
             backlog: 4096\n  servers:\n{servers}"
        );
        let mut command = Command::new(program);
        command
            .arg("--conf-file")
            .arg(self.write(&format!("nutcracker-{}.yml", ports[0].number()), &settings)?)
            .args(["--stats-addr", "127.0.0.1"])
            .args(["--stats-port", &ports[1].number().to_string()])
            .args(["--output", "/dev/stderr"])
            .arg("--pid-file")
            .arg(self.folder.path().join(format!("nutcracker-{}.pid", ports[0].number())));
        Ok((listen, self.standalone_pids(), run(Kind::Nutcracker, &command, ports)?))
    }

    fn haproxy(&self, program: &Path) -> Result<Started> {
        let ports = [Port::free()?, Port::free()?];
        let listen = ports[0].addr();
        let server = &self.standalone[0];
        let settings = format!(
            "global\n  nbthread 1\n  maxconn {HAPROXY_CONNECTIONS}\n\
             defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
             listen bench\n  bind {listen} backlog 4096\n  server one {}\n",
            server.addr()
        );
        let file = self.write(&format!("haproxy-{}.cfg", ports[0].number()), &settings)?;
        let mut command = Command::new(program);
        command.arg("-db").arg("-f").arg(file);
        Ok((listen, vec![server.pid()], run(Kind::Haproxy, &command, ports)?))
    }

    /// With its metrics on, which is the testbed's default.
    fn slotway(&self, program: &Path, workers: usize, order: &str) -> Result<Started> {
        let cluster = self.cluster.as_ref().context("slotway without a cluster")?;
        let builder = testbed::Proxy::builder(cluster.seeds()).binary(program);
        let proxy = builder.workers(workers).args(["--client-order", order]).start()?;
        let node_pids = cluster.nodes().iter().map(testbed::Node::pid).collect();
        Ok((proxy.addr(), node_pids, Proxy::Slotway(proxy)))
    }

    fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let file = self.folder.path().join(name);
        fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}

/// Starts a proxy and waits until reads through it are answered.
fn run(kind: Kind, command: &Command, ports: [Port; 2]) -> Result<Proxy> {
    let mut process = Process::start(kind.name(), command, Output::Kept)?;
    let address = ports[0].addr();
    let ready = wait_for(&format!("{} to serve", kind.name()), START_LIMIT, || {
        if let Some(status) = process.exited() {
            return Ok(Err(anyhow!("it has ended ({status})")));
        }
        let mut peer = Peer::connect(&address)?;
        // Several keys, so that each server behind it is asked most likely. None of them exists.
        for key in ["a", "b", "c", "d"] {
            peer.send_command(&["STRLEN", key])?;
            peer.expect(":0\r\n")?;
        }
        Ok(Ok(()))
    });
    ready.and_then(|ended| ended).with_context(|| process.output())?;
    Ok(Proxy::Program { process, _ports: ports })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_their_names() {
        assert!(Kind::ALL.iter().all(|kind| Kind::by_name(kind.name()) == Some(*kind)));
        assert_eq!(Kind::by_name("slot"), None);
    }

    #[test]
    fn a_slotway_that_was_not_built_is_said_in_words() {
        let why = Kind::Slotway.program(Path::new("/nowhere/slotway")).unwrap_err();
        assert_eq!(why, "/nowhere/slotway is not there");
    }

    #[test]
    fn a_proxy_that_ends_at_once_is_reported_with_its_words() {
        let ports = [Port::free().unwrap(), Port::free().unwrap()];
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo the disk is on fire; exit 3"]);
        let error = format!("{:#}", run(Kind::Haproxy, &shell, ports).unwrap_err());
        assert!(error.contains("the disk is on fire") && error.contains('3'), "{error}");
    }
}
