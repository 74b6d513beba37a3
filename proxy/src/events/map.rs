//! What a new map tells, as events.

use super::Event;
use crate::topology::{Change, Endpoint, Role, SlotRange, Topology};

/// What changed from one map to the next, the most telling first.
pub fn map_events(before: &Topology, after: &Topology) -> Vec<Event> {
    let stays = |id| before.node_by_id(id).is_some();
    if !before.is_empty() && !after.nodes().any(|(_, node)| stays(&node.id)) {
        let (shards, nodes) = (after.shards().len(), after.nodes().len());
        return vec![Event::Map(Change::Replaced { shards, nodes })];
    }
    let event = |change| match change {
        Change::Owner { slots, from, to } => owner(before, after, &slots, from, to),
        other => Event::Map(other),
    };
    before.diff(after).into_iter().map(event).collect()
}

fn owner(
    before: &Topology,
    after: &Topology,
    slots: &[SlotRange],
    from: Option<Endpoint>,
    to: Option<Endpoint>,
) -> Event {
    let was_replica = |to: &Endpoint| {
        let index = after.node_by_endpoint(&to.host, to.port)?;
        let index = before.node_by_id(&after.node(index).id)?;
        Some(before.node(index).role == Role::Replica)
    };
    match (from, to) {
        (Some(from), Some(to)) if was_replica(&to) == Some(true) => {
            let shard = slots.first().and_then(|range| after.shard_of(range.first));
            let epoch = shard.map_or(0, |shard| after.shard(shard).config_epoch);
            Event::Failover { slots: SlotRange::text(slots), from, to, epoch }
        }
        (from, to) => {
            let count = |range: &SlotRange| range.last.index() - range.first.index() + 1;
            let slots = slots.iter().map(count).sum::<usize>() as u64;
            Event::SlotsMoved { slots, from, to }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::Slot;
    use crate::topology::{Draft, Node, NodeId};

    fn id(digit: &str) -> NodeId {
        NodeId::parse(digit.repeat(40).as_bytes()).unwrap()
    }

    fn draft() -> Draft {
        let node = |digit, port, role| Node::new(id(digit), Endpoint::new("h", port), role);
        let (a, b) = (node("a", 1, Role::Primary), node("b", 2, Role::Primary));
        let nodes = vec![a, b, node("c", 3, Role::Replica)];
        let mut draft = Draft { nodes, ..Draft::default() };
        draft.nodes[2].follows = Some(id("a"));
        draft.own(Slot::new(0).unwrap(), Slot::new(99).unwrap(), id("a"), 1);
        draft.own(Slot::new(100).unwrap(), Slot::new(16383).unwrap(), id("b"), 2);
        draft
    }

    fn lines(after: Draft) -> Vec<String> {
        map_events(&draft().finish(), &after.finish()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_replica_that_takes_over_is_a_failover_with_its_epoch() {
        let mut after = draft();
        after.own(Slot::new(0).unwrap(), Slot::new(99).unwrap(), id("c"), 7);
        let failover = "failover of slots 0-99: primary changed from h:1 to h:3 (config epoch 7)";
        assert_eq!(lines(after)[0], failover);
    }

    #[test]
    fn slots_that_go_to_another_primary_are_counted() {
        let mut after = draft();
        after.own(Slot::new(0).unwrap(), Slot::new(9).unwrap(), id("b"), 2);
        after.own(Slot::new(50).unwrap(), Slot::new(50).unwrap(), id("b"), 2);
        assert_eq!(lines(after), ["11 slots moved from h:1 to h:2"]);
        let mut orphaned = draft();
        orphaned.owners[..5].fill(None);
        assert_eq!(lines(orphaned), ["5 slots lost their owner, h:1"]);
    }

    #[test]
    fn a_cluster_of_strangers_is_another_cluster() {
        let nodes = vec![Node::new(id("d"), Endpoint::new("h", 1), Role::Primary)];
        let mut after = Draft { nodes, ..Draft::default() };
        after.own(Slot::new(0).unwrap(), Slot::new(16383).unwrap(), id("d"), 1);
        let lines = lines(after);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("the cluster was replaced"), "{lines:?}");
    }
}
