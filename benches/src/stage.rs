//! The servers behind the targets: standalone ones, and a cluster of primaries.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;
use testbed::{Cluster, Standalone};

/// Standalone servers behind nutcracker, and primaries of the cluster.
const SERVERS: usize = 3;

/// What every server is set to beyond the testbed's own settings: room for the idle connections
/// that haproxy passes through one to one, and for all of them to arrive at once.
const SETTINGS: [(&str, &str); 2] = [("maxclients", "12000"), ("tcp-backlog", "4096")];

/// The server's own default. The testbed's is short, for failovers; here, nodes that get no CPU
/// time for a while must not suspect one another.
const NODE_TIMEOUT: Duration = Duration::from_secs(15);

/// The servers that all targets share. Dropping it ends them.
#[derive(Debug)]
pub struct Stage {
    /// For direct, nutcracker and haproxy; the first of them holds every key.
    pub standalone: Vec<Standalone>,
    /// For slotway; absent when slotway is not measured.
    pub cluster: Option<Cluster>,
    /// Where configurations and recordings go.
    pub folder: TempDir,
    /// The slotway to run.
    pub slotway: PathBuf,
}

impl Stage {
    /// Starts all servers, the cluster only where it is needed.
    pub fn set_up(with_cluster: bool, slotway: PathBuf) -> Result<Self> {
        let standalone = (0..SERVERS).map(|_| {
            let builder = Standalone::builder();
            SETTINGS.iter().fold(builder, |it, (name, value)| it.config(name, value)).start()
        });
        let cluster = || {
            let builder = Cluster::builder().primaries(SERVERS).replicas(0);
            let builder = builder.node_timeout(NODE_TIMEOUT);
            SETTINGS.iter().fold(builder, |it, (name, value)| it.config(name, value)).start()
        };
        Ok(Stage {
            standalone: standalone.collect::<Result<_>>()?,
            cluster: with_cluster.then(cluster).transpose()?,
            folder: tempfile::Builder::new().prefix("slotway-bench-").tempdir()?,
            slotway,
        })
    }

    /// The process ids of all standalone servers.
    pub fn standalone_pids(&self) -> Vec<u32> {
        self.standalone.iter().map(Standalone::pid).collect()
    }
}
