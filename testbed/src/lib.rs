//! Real Redis and Valkey clusters for tests, benches and the demo: started from server processes
//! in temporary folders on free loopback ports, then killed, frozen, failed over and reshaped.
//!
//! ```no_run
//! use std::time::Duration;
//! use testbed::{Cluster, FailoverKind, Proxy};
//!
//! # fn main() -> anyhow::Result<()> {
//! let cluster = Cluster::builder().primaries(3).replicas(1).start()?;
//! let proxy = Proxy::builder(cluster.seeds()).start()?;
//! let mut client = proxy.client()?;
//! redis::cmd("SET").arg("a").arg(1).exec(&mut client)?;
//!
//! let primary = cluster.primary_of(testbed::key_slot("a"))?;
//! cluster.kill(&primary)?;
//! cluster.wait_ok(Duration::from_secs(20))?; // a replica has taken over, all nodes agree
//! let replica = cluster.shard(1).replica()?;
//! cluster.failover(&replica, FailoverKind::Normal)?;
//! # Ok(())
//! # }
//! ```
//!
//! Everything is blocking and uses `std` alone, so that it can be used from any test. A
//! [`Cluster`] and its [`Node`]s may be shared between threads (load in one, faults in another).
//!
//! The server is `redis-server` from PATH, or the program named by `SLOTWAY_TEST_SERVER`; Redis 7.0
//! and later and Valkey 8 and later work. Tests skip what a version lacks by asking
//! [`ServerVersion::of_default_server`].
//!
//! A test that fails by a panic shows the end of every log. One that fails by returning an error
//! drops its cluster in the same way as one that succeeds: set `SLOTWAY_TEST_LOGS=1` (`make test`
//! does), then every handle prints them when it is dropped, and the test harness shows that for
//! failed tests only.
//!
//! Nothing stays behind: dropping a handle kills its processes and removes its folder, also while
//! a panic unwinds (then the last lines of every log are printed first); when the test process
//! itself is killed, the kernel kills the servers (see [`Process`]) and the next test process
//! removes the folders.

mod wait;
mod report;
mod slots;
mod ports;
mod folder;
mod output;
mod process;
mod nodes_conf;
mod server;
mod cluster;
mod standalone;
mod proxy;
mod tcp;
mod link;
mod scripted;
mod shared;
pub mod audit;

pub use cluster::{
    Builder as ClusterBuilder, Cluster, FailoverKind, Migration, Node, NodeView, Role, Shard, View,
};
pub use link::Link;
pub use output::Output;
pub use ports::Port;
pub use process::Process;
pub use proxy::{Builder as ProxyBuilder, Proxy};
pub use redis;
pub use scripted::{Answer, ScriptedNode};
pub use server::ServerVersion;
pub use shared::Shared;
pub use slots::{SLOTS, key_in_slot, key_slot};
pub use standalone::{Builder as StandaloneBuilder, Standalone};
pub use tcp::Peer;
pub use wait::{wait_for, wait_until};
