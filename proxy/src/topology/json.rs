//! The snapshot as JSON, for the admin page.

use serde_json::{Value, json};

use super::{Node, Shard, Topology};

/// The whole snapshot: `revision`, `state`, `current_epoch`, `slots_covered`, `shards` (slot
/// ranges, primary, replicas) and `other_nodes` (those that belong to no shard).
pub fn json(topology: &Topology) -> Value {
    let shards: Vec<Value> = topology.shards().map(|(_, s)| shard(topology, s)).collect();
    let others = topology.nodes().filter(|(_, n)| n.shard.is_none());
    let others: Vec<Value> = others.map(|(_, n)| node(n)).collect();
    json!({
        "revision": topology.revision,
        "state": topology.state.as_str(),
        "current_epoch": topology.current_epoch,
        "slots_covered": topology.slots_covered(),
        "shards": shards,
        "other_nodes": others,
    })
}

fn shard(topology: &Topology, shard: &Shard) -> Value {
    let ranges = shard.ranges.iter().map(|r| json!([r.first.number(), r.last.number()]));
    let replicas = shard.replicas.iter().map(|&replica| node(topology.node(replica)));
    json!({
        "slots": ranges.collect::<Vec<_>>(),
        "slot_count": shard.slots(),
        "config_epoch": shard.config_epoch,
        "primary": node(topology.node(shard.primary)),
        "replicas": replicas.collect::<Vec<_>>(),
    })
}

fn node(node: &Node) -> Value {
    let announced = node.announced.iter().map(ToString::to_string);
    json!({
        "id": node.id.as_str(),
        "endpoint": node.endpoint.to_string(),
        "announced": announced.collect::<Vec<_>>(),
        "role": node.role.as_str(),
        "health": node.health.as_str(),
        "zone": node.zone.as_deref(),
        "config_epoch": node.config_epoch,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::Slot;
    use crate::topology::{Draft, Endpoint, NodeId, Role};

    #[test]
    fn every_node_is_shown_once() {
        let id = |digit: &str| NodeId::parse(digit.repeat(40).as_bytes()).unwrap();
        let at = |port| Endpoint::new("::1", port);
        let mut replica = Node::new(id("b"), at(7001), Role::Replica);
        replica.follows = Some(id("a"));
        let mut draft = Draft { revision: 7, ..Draft::default() };
        draft.nodes = vec![
            Node::new(id("a"), at(7000), Role::Primary),
            replica,
            Node::new(id("c"), at(7002), Role::Primary),
        ];
        draft.own(Slot::new(5).unwrap(), Slot::new(8).unwrap(), id("a"), 3);
        let value = json(&draft.finish());
        assert_eq!(value["revision"], 7);
        assert_eq!(value["shards"][0]["slots"], json!([[5, 8]]));
        assert_eq!(value["shards"][0]["primary"]["endpoint"], "[::1]:7000");
        assert_eq!(value["shards"][0]["replicas"][0]["role"], "replica");
        assert_eq!(value["other_nodes"].as_array().unwrap().len(), 1);
        assert_eq!(value["other_nodes"][0]["id"], id("c").as_str());
    }
}
