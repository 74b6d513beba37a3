//! The cluster, the proxy before it, and what the nodes say of blocked clients.

use std::time::Duration;

use anyhow::Result;
use testbed::{Cluster, Node, Proxy, ProxyBuilder, wait_until};

/// Longer than anything takes, short of a hang.
pub(crate) const DEADLINE: Duration = Duration::from_secs(40);

/// Three shards with a replica each, of which the primary is missed after 2 s.
pub(crate) fn cluster() -> Result<Cluster> {
    Cluster::builder().node_timeout(Duration::from_secs(2)).start()
}

pub(crate) fn slotway(cluster: &Cluster) -> ProxyBuilder {
    Proxy::builder(cluster.seeds()).binary(env!("CARGO_BIN_EXE_slotway")).workers(1)
}

/// How many clients are blocked at this node.
pub(crate) fn blocked_at(node: &Node) -> Result<usize> {
    let list: String = node.query(redis::cmd("CLIENT").arg("LIST"))?;
    let is_blocked = |line: &&str| {
        let flags = line.split(' ').find_map(|field| field.strip_prefix("flags="));
        flags.is_some_and(|flags| flags.contains('b'))
    };
    Ok(list.lines().filter(is_blocked).count())
}

/// Waits until so many are.
pub(crate) fn blocks_at(node: &Node, count: usize) -> Result<()> {
    let what = format!("{count} blocked clients at {}", node.addr());
    wait_until(&what, DEADLINE, || blocked_at(node).is_ok_and(|blocked| blocked == count))
}
