//! The Redis servers behind the proxies: three standalone ones, and a cluster of three primaries.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{self, Process};
use crate::wire::Connection;

/// How long a server may take until it answers, and the cluster until all agree.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Slots of a cluster.
const SLOTS: usize = 16384;

/// Some running `redis-server` processes.
#[derive(Debug)]
pub struct Backends {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    process: Process,
    address: SocketAddr,
    /// The port of the cluster bus; 0 for a standalone server.
    bus_port: u16,
}

impl Backends {
    /// Starts servers that know nothing of each other.
    pub fn standalone(count: usize, folder: &Path) -> Result<Self> {
        let nodes =
            (0..count).map(|index| Node::start(&format!("standalone-{index}"), folder, false));
        Ok(Backends { nodes: nodes.collect::<Result<_>>()? })
    }

    /// Starts a cluster of `count` primaries without replicas and waits until all of them say it is ok.
    pub fn cluster(count: usize, folder: &Path) -> Result<Self> {
        let nodes = (0..count).map(|index| Node::start(&format!("node-{index}"), folder, true));
        let mut nodes: Vec<Node> = nodes.collect::<Result<_>>()?;
        for (index, node) in nodes.iter().enumerate() {
            let first = index * SLOTS / count;
            let last = (index + 1) * SLOTS / count - 1;
            let mut connection = Connection::open(node.address)?;
            connection.ask(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()])?;
            for other in &nodes[..index] {
                let (ip, port) = (other.address.ip().to_string(), other.address.port().to_string());
                connection.ask(&["CLUSTER", "MEET", &ip, &port, &other.bus_port.to_string()])?;
            }
        }
        for node in &mut nodes {
            let address = node.address;
            node.process
                .wait_until(START_LIMIT, || agrees(address, count))
                .context("the cluster did not come together")?;
        }
        Ok(Backends { nodes })
    }

    /// Where they listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.address).collect()
    }

    /// Their process ids, in the order of [`Backends::addresses`].
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.process.pid()).collect()
    }
}

impl Node {
    fn start(name: &str, folder: &Path, cluster: bool) -> Result<Self> {
        let program = process::installed("redis-server")
            .context("redis-server is not installed (apt-get install redis-server)")?;
        let address = process::free_address()?;
        let bus_port = if cluster { process::free_address()?.port() } else { 0 };
        let mut command = Command::new(program);
        command
            .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
            .args(["--save", "", "--appendonly", "no", "--dbfilename", &format!("{name}.rdb")])
            // Room for the idle connections that haproxy passes through one to one.
            .args(["--maxclients", "12000", "--tcp-backlog", "4096"]);
        if cluster {
            command
                .args(["--cluster-enabled", "yes", "--cluster-port", &bus_port.to_string()])
                .args(["--cluster-config-file", &format!("{name}.conf")]);
        }
        let mut process = Process::spawn(name, folder, &mut command)?;
        let answers = || Connection::open(address).and_then(|mut c| c.ask(&["PING"])).is_ok();
        process.wait_until(START_LIMIT, answers)?;
        Ok(Node { process, address, bus_port })
    }
}

/// Whether a node sees all slots served and all `count` primaries.
fn agrees(address: SocketAddr, count: usize) -> bool {
    let ask = || Connection::open(address)?.ask(&["CLUSTER", "INFO"]);
    ask().is_ok_and(|info| {
        info.contains("cluster_state:ok")
            && info_field(&info, "cluster_slots_ok") == Some(SLOTS)
            && info_field(&info, "cluster_size") == Some(count)
    })
}

/// A number out of what INFO or CLUSTER INFO says.
fn info_field(info: &str, name: &str) -> Option<usize> {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_info_are_found_by_their_whole_name() {
        let info = "# Clients\r\nconnected_clients_x:9\r\nconnected_clients:12\r\n";
        assert_eq!(info_field(info, "connected_clients"), Some(12));
        assert_eq!(info_field(info, "clients"), None);
    }

    #[test]
    fn a_cluster_comes_together_and_ends_with_its_handle() {
        let folder = tempfile::tempdir().unwrap();
        let cluster = Backends::cluster(3, folder.path()).unwrap();
        let pids = cluster.pids();
        let mut owners = 0;
        for address in cluster.addresses() {
            // Exactly one of the nodes owns the slot of a key; the others redirect.
            owners +=
                usize::from(Connection::open(address).unwrap().ask(&["SET", "a", "1"]).is_ok());
        }
        assert_eq!(owners, 1);
        drop(cluster);
        assert!(pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
    }
}
