//! What the tests stand on: a cluster that those share which harm neither it nor one another, and
//! slotway processes before it.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context, Result};
use testbed::{Cluster, Node, Proxy, ProxyBuilder};

/// Longer than anything here takes, short of a hang.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A slotway of this build, not started yet.
pub(crate) fn slotway<S: Into<String>>(seeds: impl IntoIterator<Item = S>) -> ProxyBuilder {
    Proxy::builder(seeds).binary(env!("CARGO_BIN_EXE_slotway"))
}

/// The cluster of 3 primaries for all tests that leave its shape as it is. It ends with the last
/// test that has it at the moment.
pub(crate) fn shared() -> Result<Arc<Cluster>> {
    static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cluster) = shared.upgrade() {
        return Ok(cluster);
    }
    let cluster = Arc::new(Cluster::builder().primaries(3).replicas(0).start()?);
    *shared = Arc::downgrade(&cluster);
    Ok(cluster)
}

/// The primaries with the slots that they own.
pub(crate) fn owners(cluster: &Cluster, shards: usize) -> Result<Vec<(Node, Vec<u16>)>> {
    (0..shards)
        .map(|number| {
            let shard = cluster.shard(number);
            Ok((shard.primary()?, shard.slots()?))
        })
        .collect()
}

/// The number behind `series` (name and labels, as printed) on the page of metrics; 0 if it is not
/// there: series appear with their first count.
pub(crate) fn metric(proxy: &Proxy, series: &str) -> Result<u64> {
    let (_, page) = proxy.http_get("/metrics")?;
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(Ok(0), |number| number.parse().with_context(|| format!("{series} {number}")))
}

/// The sum of all series that begin with `name`.
pub(crate) fn metric_sum(proxy: &Proxy, name: &str) -> Result<u64> {
    let (_, page) = proxy.http_get("/metrics")?;
    let lines = page.lines().filter(|line| line.starts_with(name));
    lines
        .map(|line| {
            let number = line.rsplit(' ').next().unwrap_or_default();
            number.parse::<u64>().with_context(|| line.to_owned())
        })
        .sum()
}
