//! What is measured: a server without a proxy, the proxies people know, and slotway.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::backends::Backends;
use crate::process::{self, Process};
use crate::wire::Connection;

/// How long a proxy may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(20);

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
}

impl Kind {
    /// All kinds, in the order of a round.
    pub const ALL: [Kind; 5] =
        [Kind::Direct, Kind::Nutcracker, Kind::Haproxy, Kind::Slotway, Kind::SlotwayTwo];

    /// Its name in options, tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Direct => "direct",
            Kind::Nutcracker => "nutcracker",
            Kind::Haproxy => "haproxy",
            Kind::Slotway => "slotway",
            Kind::SlotwayTwo => "slotway-2",
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
        }
    }

    /// Whether it is slotway, which needs the cluster.
    pub fn is_slotway(self) -> bool {
        matches!(self, Kind::Slotway | Kind::SlotwayTwo)
    }

    /// The program it runs, or why there is none.
    pub fn program(self, slotway: &Path) -> Result<Option<PathBuf>, String> {
        match self {
            Kind::Direct => Ok(None),
            Kind::Nutcracker | Kind::Haproxy => process::installed(self.name())
                .map(Some)
                .ok_or_else(|| format!("not installed (apt-get install {})", self.name())),
            Kind::Slotway | Kind::SlotwayTwo if slotway.is_file() => Ok(Some(slotway.to_owned())),
            Kind::Slotway | Kind::SlotwayTwo => Err(format!("{} is not there", slotway.display())),
        }
    }
}

/// The servers that the targets share.
#[derive(Debug)]
pub struct Stage {
    /// For direct, nutcracker and haproxy; the first of them holds every key.
    pub standalone: Backends,
    /// For slotway; absent when slotway is not measured.
    pub cluster: Option<Backends>,
    /// Where configurations and logs go.
    pub folder: PathBuf,
    /// The slotway to run.
    pub slotway: PathBuf,
}

/// A target that serves.
#[derive(Debug)]
pub struct Target {
    /// What it is.
    pub kind: Kind,
    /// Where clients connect.
    pub address: SocketAddr,
    /// None for a server without a proxy.
    proxy: Option<Process>,
    /// The servers its requests end at.
    pub node_pids: Vec<u32>,
}

impl Target {
    /// Starts a target before the servers of `stage`, and waits until it answers.
    pub fn start(kind: Kind, stage: &Stage) -> Result<Self> {
        let program = kind.program(&stage.slotway).map_err(anyhow::Error::msg)?;
        let Some(program) = program else {
            let (address, pid) = stage.first_standalone();
            return Ok(Target { kind, address, proxy: None, node_pids: vec![pid] });
        };
        let address = process::free_address()?;
        let mut command = Command::new(program);
        let node_pids = match kind {
            Kind::Nutcracker => stage.nutcracker(&mut command, address)?,
            Kind::Haproxy => stage.haproxy(&mut command, address)?,
            Kind::Slotway => stage.slotway(&mut command, address, 1)?,
            Kind::SlotwayTwo => stage.slotway(&mut command, address, 2)?,
            Kind::Direct => unreachable!("a server without a proxy has no program"),
        };
        let log = format!("{}-{}", kind.name(), address.port());
        let mut proxy = Process::spawn(&log, &stage.folder, &mut command)?;
        proxy.wait_until(START_LIMIT, || serves(address))?;
        Ok(Target { kind, address, proxy: Some(proxy), node_pids })
    }

    /// The proxy's process id; none for a server without a proxy.
    pub fn proxy_pid(&self) -> Option<u32> {
        self.proxy.as_ref().map(Process::pid)
    }

    /// Fails, with the end of its log, if the proxy has ended.
    pub fn check(&mut self) -> Result<()> {
        self.proxy.as_mut().map_or(Ok(()), Process::check)
    }
}

/// Whether reads of several keys, on different nodes most likely, are answered.
fn serves(address: SocketAddr) -> bool {
    let ask = || -> Result<()> {
        let mut connection = Connection::open(address)?;
        for key in ["a", "b", "c", "d"] {
            connection.ask(&["STRLEN", key])?;
        }
        Ok(())
    };
    ask().is_ok()
}

impl Stage {
    fn first_standalone(&self) -> (SocketAddr, u32) {
        (self.standalone.addresses()[0], self.standalone.pids()[0])
    }

    fn nutcracker(&self, command: &mut Command, address: SocketAddr) -> Result<Vec<u32>> {
        let servers: String = self
            .standalone
            .addresses()
            .iter()
            .fold(String::new(), |list, it| list + &format!("    - {it}:1\n"));
        let settings = format!(
            "bench:\n  listen: {address}\n  hash: fnv1a_64\n  distribution: ketama\n  redis: true\n  \
             preconnect: true\n  server_connections: 1\n  auto_eject_hosts: false\n  backlog: 4096\n  \
             servers:\n{servers}"
        );
        let file = self.write(&format!("nutcracker-{}.yml", address.port()), &settings)?;
        let statistics = process::free_address()?;
        command
            .arg("--conf-file")
            .arg(file)
            .args(["--stats-addr", "127.0.0.1"])
            .args(["--stats-port", &statistics.port().to_string()])
            .args(["--output", "/dev/stderr"])
            .arg("--pid-file")
            .arg(self.folder.join(format!("nutcracker-{}.pid", address.port())));
        Ok(self.standalone.pids())
    }

    fn haproxy(&self, command: &mut Command, address: SocketAddr) -> Result<Vec<u32>> {
        let (server, pid) = self.first_standalone();
        let settings = format!(
            "global\n  nbthread 1\n  maxconn {HAPROXY_CONNECTIONS}\n\
             defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
             listen bench\n  bind {address} backlog 4096\n  server one {server}\n"
        );
        let file = self.write(&format!("haproxy-{}.cfg", address.port()), &settings)?;
        command.arg("-db").arg("-f").arg(file);
        Ok(vec![pid])
    }

    fn slotway(
        &self,
        command: &mut Command,
        address: SocketAddr,
        workers: usize,
    ) -> Result<Vec<u32>> {
        let cluster = self.cluster.as_ref().context("slotway without a cluster")?;
        let seeds: Vec<String> = cluster.addresses().iter().map(ToString::to_string).collect();
        command
            .args(["--seeds", &seeds.join(","), "--listen", &address.to_string()])
            .args(["--workers", &workers.to_string()])
            .args(["--admin", &process::free_address()?.to_string()]);
        Ok(cluster.pids())
    }

    fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let file = self.folder.join(name);
        fs::write(&file, content).with_context(|| format!("cannot write {file:?}"))?;
        Ok(file)
    }
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
}
