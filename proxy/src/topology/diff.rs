//! What changed between two snapshots, in sentences for the log.

use std::fmt;

use super::{Endpoint, Health, Node, NodeId, Role, SlotRange, State, Topology};
use crate::slot::Slot;

/// One change. Its `Display` is one line for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The first map.
    Learned {
        /// Shards that own slots.
        shards: usize,
        /// Nodes in all.
        nodes: usize,
        /// Slots with an owner.
        slots: usize,
    },
    /// Every reachable seed shows nodes never seen before: the old map was dropped. A warning.
    Replaced {
        /// Shards of the new cluster.
        shards: usize,
        /// Nodes of the new cluster.
        nodes: usize,
    },
    /// Slots have another owner, or none, or one again.
    Owner {
        /// The slots, as ranges in order.
        slots: Vec<SlotRange>,
        /// The owner before.
        from: Option<Endpoint>,
        /// The owner now.
        to: Option<Endpoint>,
    },
    /// A node joined.
    Added {
        /// Its id.
        id: NodeId,
        /// Its address.
        endpoint: Endpoint,
        /// Its role.
        role: Role,
    },
    /// A node left.
    Gone {
        /// Its id.
        id: NodeId,
        /// Its last address.
        endpoint: Endpoint,
    },
    /// A node is dialled at another address.
    Moved {
        /// Its id.
        id: NodeId,
        /// The address before.
        from: Endpoint,
        /// The address now.
        to: Endpoint,
    },
    /// A node has another role.
    Role {
        /// Its address.
        endpoint: Endpoint,
        /// Its new role.
        role: Role,
    },
    /// A replica copies another primary.
    Follows {
        /// The replica's address.
        endpoint: Endpoint,
        /// Its new primary's address, if known.
        primary: Option<Endpoint>,
    },
    /// The other nodes see a node in another health. A warning when it failed.
    Health {
        /// Its address.
        endpoint: Endpoint,
        /// Its new health.
        health: Health,
    },
    /// The cluster as a whole changed its state. A warning when it is down.
    State {
        /// The new state.
        state: State,
    },
}

impl Change {
    /// Whether somebody should look.
    pub fn is_warning(&self) -> bool {
        matches!(
            self,
            Change::Replaced { .. }
                | Change::Owner { to: None, .. }
                | Change::Health { health: Health::Failed, .. }
                | Change::State { state: State::Fail }
        )
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Learned { shards, nodes, slots } => {
                let all = Slot::COUNT;
                write!(
                    f,
                    "cluster map learned: {shards} shards, {nodes} nodes, {slots} of {all} slots owned"
                )
            }
            Change::Replaced { shards, nodes } => write!(
                f,
                "the cluster was replaced: every seed that answers shows nodes never seen before; \
                 starting anew with {shards} shards, {nodes} nodes"
            ),
            Change::Owner { slots, from, to } => {
                write!(f, "slots {}", SlotRange::text(slots))?;
                match (from, to) {
                    (Some(from), Some(to)) => write!(f, ": primary changed from {from} to {to}"),
                    (None, Some(to)) => write!(f, ": now owned by {to}"),
                    (Some(from), None) => write!(f, ": no longer owned, before by {from}"),
                    (None, None) => f.write_str(": not owned"),
                }
            }
            Change::Added { id, endpoint, role } => {
                write!(f, "{} {endpoint} ({}) joined", role.as_str(), id.short())
            }
            Change::Gone { id, endpoint } => write!(f, "node {endpoint} ({}) left", id.short()),
            Change::Moved { id, from, to } => {
                write!(f, "node {} moved from {from} to {to}", id.short())
            }
            Change::Role { endpoint, role } => {
                write!(f, "node {endpoint} is a {} now", role.as_str())
            }
            Change::Follows { endpoint, primary: Some(primary) } => {
                write!(f, "replica {endpoint} copies {primary} now")
            }
            Change::Follows { endpoint, primary: None } => {
                write!(f, "replica {endpoint} copies no known primary now")
            }
            Change::Health { endpoint, health } => {
                write!(f, "the cluster sees node {endpoint} as {}", health.as_str())
            }
            Change::State { state: State::Ok } => f.write_str("the cluster says that it serves"),
            Change::State { state: State::Fail } => f.write_str("the cluster says that it is down"),
            Change::State { state: State::Unknown } => {
                f.write_str("the cluster no longer tells its state")
            }
        }
    }
}

impl Topology {
    /// What a newer snapshot changed, the most telling first: owners, then state, then nodes.
    pub fn diff(&self, newer: &Topology) -> Vec<Change> {
        if self.is_empty() && !newer.is_empty() {
            let (shards, nodes) = (newer.shards().len(), newer.nodes().len());
            return vec![Change::Learned { shards, nodes, slots: newer.slots_covered() }];
        }
        let mut changes = owner_changes(self, newer);
        if self.state != newer.state {
            changes.push(Change::State { state: newer.state });
        }
        for (_, node) in newer.nodes() {
            match self.node_by_id(&node.id) {
                Some(before) => node_changes(self.node(before), node, newer, &mut changes),
                None => {
                    let (id, endpoint, role) = (node.id, node.endpoint.clone(), node.role);
                    changes.push(Change::Added { id, endpoint, role });
                }
            }
        }
        for (_, node) in self.nodes().filter(|(_, n)| newer.node_by_id(&n.id).is_none()) {
            changes.push(Change::Gone { id: node.id, endpoint: node.endpoint.clone() });
        }
        changes
    }
}

/// One change for all slots that went from one owner to another, however scattered.
fn owner_changes(old: &Topology, new: &Topology) -> Vec<Change> {
    let owner = |map: &Topology, slot| map.primary_of(slot).map(|n| map.node(n).id);
    let address =
        |map: &Topology, id: Option<NodeId>| Some(map.node(map.node_by_id(&id?)?).endpoint.clone());
    let mut moves: Vec<Handover> = Vec::new();
    for slot in (0..).map_while(Slot::new) {
        let (from, to) = (owner(old, slot), owner(new, slot));
        if from == to {
            continue;
        }
        let at = moves.iter().position(|m| (m.from, m.to) == (from, to)).unwrap_or_else(|| {
            moves.push(Handover { from, to, slots: Vec::new() });
            moves.len() - 1
        });
        match moves[at].slots.last_mut() {
            Some(range) if range.last.number() + 1 == slot.number() => range.last = slot,
            _ => moves[at].slots.push(SlotRange { first: slot, last: slot }),
        }
    }
    let change = |Handover { from, to, slots }| Change::Owner {
        slots,
        from: address(old, from),
        to: address(new, to),
    };
    moves.into_iter().map(change).collect()
}

/// Slots that went from one owner to another.
struct Handover {
    from: Option<NodeId>,
    to: Option<NodeId>,
    slots: Vec<SlotRange>,
}

fn node_changes(before: &Node, after: &Node, newer: &Topology, changes: &mut Vec<Change>) {
    let endpoint = || after.endpoint.clone();
    if before.endpoint != after.endpoint {
        let (from, to) = (before.endpoint.clone(), endpoint());
        changes.push(Change::Moved { id: after.id, from, to });
    }
    if before.role != after.role {
        changes.push(Change::Role { endpoint: endpoint(), role: after.role });
    } else if before.follows != after.follows {
        let primary = after.follows.and_then(|id| newer.node_by_id(&id));
        let primary = primary.map(|n| newer.node(n).endpoint.clone());
        changes.push(Change::Follows { endpoint: endpoint(), primary });
    }
    // One node's suspicion comes and goes with its own network: not worth a line.
    let settled = |health| if health == Health::Suspect { Health::Online } else { health };
    if settled(before.health) != settled(after.health) {
        changes.push(Change::Health { endpoint: endpoint(), health: after.health });
    }
}

impl SlotRange {
    /// `0-5460,5462 and 12 more ranges`: a line stays a line, however scattered the slots are.
    pub fn text(ranges: &[SlotRange]) -> String {
        const SHOWN_MAX: usize = 8;
        let one = |range: &SlotRange| match (range.first, range.last) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        };
        let shown: Vec<String> = ranges.iter().take(SHOWN_MAX).map(one).collect();
        match ranges.len().saturating_sub(SHOWN_MAX) {
            0 => shown.join(","),
            more => format!("{} and {more} more ranges", shown.join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Draft;

    fn id(digit: &str) -> NodeId {
        NodeId::parse(digit.repeat(40).as_bytes()).unwrap()
    }

    fn draft() -> Draft {
        let slot = |n| Slot::new(n).unwrap();
        let node = |digit, port, role| Node::new(id(digit), Endpoint::new("h", port), role);
        let mut draft = Draft { state: State::Ok, ..Draft::default() };
        draft.nodes = vec![
            node("a", 1, Role::Primary),
            node("b", 2, Role::Primary),
            node("c", 3, Role::Replica),
        ];
        draft.nodes[2].follows = Some(id("a"));
        draft.own(slot(0), slot(99), id("a"), 1);
        draft.own(slot(100), slot(16383), id("b"), 2);
        draft
    }

    fn lines(old: &Topology, new: &Topology) -> Vec<String> {
        old.diff(new).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_failover_is_told_in_a_few_lines() {
        let mut after = draft();
        after.own(Slot::new(0).unwrap(), Slot::new(99).unwrap(), id("c"), 3);
        after.nodes[0].role = Role::Replica;
        after.nodes[0].follows = Some(id("c"));
        after.nodes[0].health = Health::Failed;
        assert_eq!(
            lines(&draft().finish(), &after.finish()),
            [
                "slots 0-99: primary changed from h:1 to h:3",
                "node h:1 is a replica now",
                "the cluster sees node h:1 as failed",
                "node h:3 is a primary now",
            ]
        );
    }

    #[test]
    fn scattered_slots_make_one_line() {
        let mut after = draft();
        for number in (1..41).step_by(2) {
            after.own(Slot::new(number).unwrap(), Slot::new(number).unwrap(), id("b"), 3);
        }
        assert_eq!(
            lines(&draft().finish(), &after.finish()),
            ["slots 1,3,5,7,9,11,13,15 and 12 more ranges: primary changed from h:1 to h:2"]
        );
    }

    #[test]
    fn other_changes_are_told_too() {
        let mut after = draft();
        after.state = State::Fail;
        after.nodes[0].endpoint = Endpoint::new("h", 11);
        after.nodes[2] = Node::new(id("d"), Endpoint::new("h", 4), Role::Replica);
        after.owners[0] = None;
        let (old, new) = (draft().finish(), after.finish());
        assert_eq!(
            lines(&old, &new),
            [
                "slots 0: no longer owned, before by h:1",
                "the cluster says that it is down",
                "node aaaaaaaa moved from h:1 to h:11",
                "replica h:4 (dddddddd) joined",
                "node h:3 (cccccccc) left",
            ]
        );
        let warnings: Vec<bool> = old.diff(&new).iter().map(Change::is_warning).collect();
        assert_eq!(warnings, [true, true, false, false, false]);
        assert_eq!(old.diff(&old), []);
    }

    #[test]
    fn the_first_map_is_one_line() {
        let line = "cluster map learned: 2 shards, 3 nodes, 16384 of 16384 slots owned";
        assert_eq!(lines(&Topology::empty(), &draft().finish()), [line]);
    }
}
