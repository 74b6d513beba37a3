//! What INFO and HELLO tell of the process: gathered when somebody asks.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

use crate::discovery::Handle;
use crate::metrics::Registry;
use crate::session::Facts;

/// Where the facts come from.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) handle: Handle,
    pub(super) registry: Arc<Registry>,
    /// The start of the process.
    pub(super) started: Instant,
    pub(super) run_id: Arc<str>,
    /// The port of the first listener.
    pub(super) tcp_port: u16,
    pub(super) clients_max: usize,
}

impl Source {
    /// As they are now.
    pub(super) fn facts(&self) -> Facts {
        let summary = self.registry.summary();
        let cluster = self.handle.facts();
        let server = cluster.server_version.clone();
        let valkey = server.as_ref().filter(|server| server.name == "valkey");
        let [cpu_user, cpu_system] = cpu();
        Facts {
            databases: cluster.databases,
            valkey_version: valkey.map(|server| server.version.clone()),
            server_version: server.map_or_else(|| "7.0.0".into(), |server| server.redis_version),
            process_id: std::process::id(),
            run_id: self.run_id.to_string(),
            tcp_port: self.tcp_port,
            unix_time: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            uptime_seconds: self.started.elapsed().as_secs(),
            connected_clients: summary.clients,
            blocked_clients: summary.blocked_clients,
            clients_max: self.clients_max,
            connections_total: summary.clients_total,
            connections_refused: self.registry.process.clients_refused.get(),
            commands_processed: summary.requests_total,
            bytes_in: summary.client_bytes_in,
            bytes_out: summary.client_bytes_out,
            cpu_user,
            cpu_system,
        }
    }
}

/// The time of the processors that the process took: by itself, and in the kernel.
fn cpu() -> [Duration; 2] {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Default::default() };
    [usage.user_time(), usage.system_time()]
        .map(|time| Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or(0)))
}
