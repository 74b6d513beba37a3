//! One measurement: one load on one target, once.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::generator::Clients;
use crate::interrupt;
use crate::loads::Load;
use crate::targets::Target;
use crate::usage::{self, TICK_NS};

/// What one measurement came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Requests answered, all of them rightly.
    pub requests: u64,
    /// How long that took.
    pub elapsed: Duration,
    /// Median latency of a request as the client sees it.
    pub p50_us: f64,
    /// 99th percentile of the same.
    pub p99_us: f64,
    /// The proxy's CPU time per request; none without a proxy.
    pub proxy_us: Option<f64>,
    /// How much of the proxy's CPU time was in the kernel, 0 to 1, by ticks of 10 ms.
    pub proxy_kernel_share: Option<f64>,
    /// CPU time per request of all servers behind the target.
    pub nodes_us: f64,
    /// CPU time per request of the load generator.
    pub client_us: f64,
    /// Resident memory of the proxy right after the load, its connections still open.
    pub resident_bytes: Option<u64>,
    /// Cores that anything else on the machine kept busy meanwhile, the hypervisor's theft included.
    pub foreign_cores: f64,
}

impl Cell {
    /// Requests per second.
    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// CPU time per request of the proxy and the servers together.
    pub fn proxy_and_nodes_us(&self) -> f64 {
        self.proxy_us.unwrap_or(0.0) + self.nodes_us
    }

    /// The share of one core that the load generator used: near 1, it was the bottleneck.
    pub fn client_busy(&self) -> f64 {
        self.client_us * self.per_second() / 1e6
    }
}

/// Puts a target under a load: warms up, lets all replies arrive, then measures for `duration`.
///
/// The CPU counters are read when nothing is under way, so they belong to exactly the requests
/// that were counted.
pub fn measure(
    target: &mut Target,
    load: &Load,
    warm_up: Duration,
    duration: Duration,
) -> Result<Cell> {
    let outcome = run(target, load, warm_up, duration);
    if outcome.is_err() {
        // A proxy that died says more than the connections it broke, a moment later.
        interrupt::pause(Duration::from_millis(200))?;
    }
    let ended = target.check();
    ended.and(outcome).with_context(|| format!("{} on {}", load.name, target.kind.name()))
}

fn run(target: &Target, load: &Load, warm_up: Duration, duration: Duration) -> Result<Cell> {
    let mut clients = Clients::connect(target.address, load)?;
    clients.run(warm_up)?;
    let before = Counters::read(target)?;
    let outcome = clients.run(duration)?;
    let after = Counters::read(target)?;
    let resident = target.proxy_pid().map(usage::resident).transpose()?;

    let requests = outcome.requests as f64;
    let per_request_us = |before: u64, after: u64| (after - before) as f64 / 1e3 / requests;
    let has_proxy = target.proxy_pid().is_some();
    let (user, system) = (after.user - before.user, after.system - before.system);
    let known_ns = (after.proxy_ns + after.nodes_ns + after.client_ns)
        - (before.proxy_ns + before.nodes_ns + before.client_ns);
    let busy_ns = (after.machine_ticks - before.machine_ticks) * TICK_NS;
    let elapsed_ns = outcome.elapsed.as_nanos() as f64;
    Ok(Cell {
        requests: outcome.requests,
        elapsed: outcome.elapsed,
        p50_us: outcome.latency_ns.value_at_quantile(0.50) as f64 / 1e3,
        p99_us: outcome.latency_ns.value_at_quantile(0.99) as f64 / 1e3,
        proxy_us: has_proxy.then(|| per_request_us(before.proxy_ns, after.proxy_ns)),
        proxy_kernel_share: (user + system > 0)
            .then(|| system as f64 / (user + system) as f64)
            .filter(|_| has_proxy),
        nodes_us: per_request_us(before.nodes_ns, after.nodes_ns),
        client_us: per_request_us(before.client_ns, after.client_ns),
        resident_bytes: resident.map(|resident| resident.total_bytes),
        foreign_cores: (busy_ns as f64 - known_ns as f64).max(0.0) / elapsed_ns,
    })
}

/// CPU counters at one moment.
struct Counters {
    proxy_ns: u64,
    nodes_ns: u64,
    client_ns: u64,
    user: u64,
    system: u64,
    machine_ticks: u64,
}

impl Counters {
    fn read(target: &Target) -> Result<Self> {
        let proxy = target.proxy_pid();
        let (user, system) = proxy.map_or(Ok((0, 0)), usage::user_and_system_ticks)?;
        let machine = usage::machine()?;
        Ok(Counters {
            proxy_ns: proxy.map_or(Ok(0), usage::cpu_ns)?,
            nodes_ns: usage::cpu_ns_of_all(&target.node_pids)?,
            client_ns: usage::cpu_ns(std::process::id())?,
            user,
            system,
            machine_ticks: machine.busy_ticks + machine.stolen_ticks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::load_keys;
    use crate::loads::by_name;
    use crate::stage::Stage;
    use crate::targets::Kind;

    #[test]
    fn a_server_without_a_proxy_has_node_time_and_no_proxy_time() {
        let stage = Stage::set_up(false, "/nowhere/slotway".into()).unwrap();
        let load = by_name("c50-p16").unwrap();
        let mut target = Target::start(Kind::Direct, &stage).unwrap();
        load_keys(target.address, load.keys).unwrap();
        let short = Duration::from_millis(100);
        let cell = measure(&mut target, load, short, short).unwrap();
        assert!(cell.requests >= 50 * 16 && cell.elapsed >= short, "{cell:?}");
        assert_eq!((cell.proxy_us, cell.resident_bytes), (None, None));
        assert!(cell.nodes_us > 0.0 && cell.client_us > 0.0, "{cell:?}");
        assert!(cell.p50_us <= cell.p99_us, "{cell:?}");
        assert_eq!(cell.proxy_and_nodes_us(), cell.nodes_us);
    }
}
