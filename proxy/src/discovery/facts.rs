//! What is learned of the servers beside the map, and matters to everybody who talks to them.

use std::time::Duration;

use hashbrown::HashMap;

use super::commands::Kind;
use crate::topology::{NodeId, ServerVersion, Topology};

/// What is known of the cluster's servers as a whole. Unknown until a node was asked, and where
/// nodes do not permit the question. It gets sharper while more nodes are asked, a few a second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// The oldest server of the cluster, by the version of Redis that it is compatible with.
    pub server_version: Option<ServerVersion>,
    /// Names of the servers in use (`redis`, `valkey`), in order, each once.
    pub server_names: Vec<String>,
    /// The largest `cluster-node-timeout` of the nodes.
    pub node_timeout: Option<Duration>,
    /// The smallest `proto-max-bulk-len` of the nodes, in bytes.
    pub bulk_bytes_max: Option<u64>,
    /// The smallest `cluster-databases` of the nodes. `None` as well where some have no such
    /// option: those know database 0 alone.
    pub databases: Option<u64>,
    /// How many nodes these facts are from.
    pub nodes: usize,
}

/// What one node told of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeFacts {
    pub(super) version: Option<ServerVersion>,
    pub(super) node_timeout: Option<Duration>,
    pub(super) bulk_bytes_max: Option<u64>,
    pub(super) databases: Option<u64>,
    /// How many commands it has.
    pub(super) commands: Option<u64>,
}

/// What the nodes told, each for itself.
#[derive(Debug, Default)]
pub(super) struct KnownFacts(HashMap<NodeId, NodeFacts>);

impl KnownFacts {
    pub(super) fn learn(&mut self, node: NodeId, facts: NodeFacts) {
        self.0.insert(node, facts);
    }

    pub(super) fn has(&self, node: &NodeId) -> bool {
        self.0.contains_key(node)
    }

    /// Forgets nodes that have left, so that this never outgrows the map.
    pub(super) fn retain(&mut self, topology: &Topology) {
        self.0.retain(|id, _| topology.node_by_id(id).is_some());
    }

    /// Of each node that has told it: its version and how many commands it has.
    pub(super) fn kinds(&self) -> impl Iterator<Item = (&NodeId, Kind)> {
        self.0.iter().filter_map(|(id, facts)| {
            let ServerVersion { name, version, .. } = facts.version.as_ref()?;
            Some((id, (format!("{name} {version}"), facts.commands?)))
        })
    }

    pub(super) fn of_cluster(&self) -> ClusterFacts {
        let versions = || self.0.values().filter_map(|facts| facts.version.as_ref());
        let mut server_names: Vec<String> = versions().map(|v| v.name.clone()).collect();
        server_names.sort_unstable();
        server_names.dedup();
        let key = |v: &&ServerVersion| (v.redis_release(), v.version.clone(), v.name.clone());
        ClusterFacts {
            server_version: versions().min_by_key(key).cloned(),
            server_names,
            node_timeout: self.0.values().filter_map(|facts| facts.node_timeout).max(),
            bulk_bytes_max: self.0.values().filter_map(|facts| facts.bulk_bytes_max).min(),
            databases: self.0.values().map(|facts| facts.databases).min().flatten(),
            nodes: self.0.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(name: &str, version: &str, redis_version: &str) -> Option<ServerVersion> {
        let [name, version, redis_version] = [name, version, redis_version].map(String::from);
        Some(ServerVersion { name, version, redis_version })
    }

    #[test]
    fn the_strictest_node_decides() {
        let mut known = KnownFacts::default();
        assert_eq!(known.of_cluster(), ClusterFacts::default());
        let table = [
            ("a", version("valkey", "8.1.1", "7.2.4"), Some(15), None, Some(16)),
            ("b", version("redis", "7.0.15", "7.0.15"), Some(5), Some(1 << 29), Some(4)),
            ("c", None, None, Some(1 << 20), Some(16)),
        ];
        for (digit, version, seconds, bulk_bytes_max, databases) in table {
            let id = NodeId::parse(digit.repeat(40).as_bytes()).unwrap();
            let node_timeout = seconds.map(Duration::from_secs);
            known.learn(
                id,
                NodeFacts { version, node_timeout, bulk_bytes_max, databases, commands: None },
            );
        }
        let facts = known.of_cluster();
        assert_eq!(facts.server_version, version("redis", "7.0.15", "7.0.15"));
        assert_eq!(facts.server_names, ["redis", "valkey"]);
        assert_eq!(facts.node_timeout, Some(Duration::from_secs(15)));
        assert_eq!((facts.bulk_bytes_max, facts.nodes), (Some(1 << 20), 3));
        assert_eq!(facts.databases, Some(4));
        known.learn(NodeId::parse("d".repeat(40).as_bytes()).unwrap(), NodeFacts::default());
        assert_eq!(known.of_cluster().databases, None, "one that has no such option");
        known.retain(&Topology::empty());
        assert_eq!(known.of_cluster(), ClusterFacts::default());
    }
}
