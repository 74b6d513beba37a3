//! The snapshot itself: which node owns which slot, and what is known of each node.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::{Equivalent, HashMap};

use super::{Endpoint, NodeId};
use crate::slot::Slot;

/// A node's place in one snapshot. It means nothing in another one: carry a [`NodeId`] over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(u16);

impl NodeIndex {
    /// The place as an index, below `nodes().len()` of its snapshot.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A shard's place in one snapshot. It means nothing in another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardIndex(u16);

impl ShardIndex {
    /// The place as an index, below `shards().len()` of its snapshot.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What a node does in its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Owns slots, or could.
    Primary,
    /// Copies a primary.
    Replica,
}

impl Role {
    /// `primary` or `replica`.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Replica => "replica",
        }
    }
}

/// How a node feels, as the others say; better first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// Nothing is known against it.
    Online,
    /// It loads its data, or has not caught up with its primary for the first time.
    Loading,
    /// The node that was asked cannot reach it (`fail?`).
    Suspect,
    /// A majority cannot reach it (`fail`).
    Failed,
}

impl Health {
    /// The word for logs and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Online => "online",
            Health::Loading => "loading",
            Health::Suspect => "suspect",
            Health::Failed => "failed",
        }
    }
}

/// What the cluster says of itself (`cluster_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It serves.
    Ok,
    /// It refuses keyed commands, at least at the nodes that were asked.
    Fail,
    /// It was not asked, or may not be.
    Unknown,
}

impl State {
    /// The word for logs and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Fail => "fail",
            State::Unknown => "unknown",
        }
    }
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its identity, which stays when its address changes.
    pub id: NodeId,
    /// Where to dial: a name or an address, after the address map.
    pub endpoint: Endpoint,
    /// Every form that a redirect may name it by, before and after the address map, `endpoint`
    /// included.
    pub announced: Vec<Endpoint>,
    /// Its role: primary whenever it owns a slot.
    pub role: Role,
    /// The primary that it copies; `None` for primaries, and where nobody says.
    pub follows: Option<NodeId>,
    /// How it feels.
    pub health: Health,
    /// Its availability zone, where the servers tell (Valkey 9.1).
    pub zone: Option<Arc<str>>,
    /// Its config epoch (a replica's is its primary's); 0 when unknown.
    pub config_epoch: u64,
    /// Its last known view is older than this map: of some slot it knew an older epoch.
    pub behind: bool,
    /// Its shard; `None` for a primary without slots (one that imports its first ones, or a
    /// former one that is down) and its replicas. Set by [`Draft::finish`].
    pub shard: Option<ShardIndex>,
}

impl Node {
    /// An online node that is named by its endpoint alone.
    pub fn new(id: NodeId, endpoint: Endpoint, role: Role) -> Node {
        Node {
            id,
            announced: vec![endpoint.clone()],
            endpoint,
            role,
            follows: None,
            health: Health::Online,
            zone: None,
            config_epoch: 0,
            behind: false,
            shard: None,
        }
    }
}

/// A primary that owns slots, and its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The owner of the slots.
    pub primary: NodeIndex,
    /// Its replicas, failed ones included.
    pub replicas: Vec<NodeIndex>,
    /// The slots it owns: ranges in order, which neither touch nor overlap.
    pub ranges: Vec<SlotRange>,
    /// The config epoch its ownership was learned at; 0 when unknown.
    pub config_epoch: u64,
}

impl Shard {
    /// How many slots it owns: at least 1.
    pub fn slots(&self) -> usize {
        self.ranges.iter().map(|r| r.last.index() - r.first.index() + 1).sum()
    }
}

/// Slots from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRange {
    /// First slot.
    pub first: Slot,
    /// Last slot.
    pub last: Slot,
}

/// Who owns which slot, and what is known of the nodes: one moment, never changed.
#[derive(Clone, Debug)]
pub struct Topology {
    /// Counts the snapshots: 0 for the empty one, and one more whenever anything differs.
    pub revision: u64,
    /// What the cluster says of itself.
    pub state: State,
    /// The highest cluster epoch seen; 0 when unknown.
    pub current_epoch: u64,
    nodes: Vec<Node>,
    shards: Vec<Shard>,
    /// Shard of each slot, [`NONE`] where nobody owns it. Always [`Slot::COUNT`] long.
    owners: Box<[u16]>,
    covered: usize,
    by_id: HashMap<NodeId, NodeIndex>,
    by_name: HashMap<Endpoint, NodeIndex>,
}

/// No shard.
const NONE: u16 = u16::MAX;

impl Topology {
    /// The map before anything is known.
    pub fn empty() -> Topology {
        Draft::default().finish()
    }

    /// The shard that owns a slot, or `None` when nobody does.
    #[inline]
    pub fn shard_of(&self, slot: Slot) -> Option<ShardIndex> {
        match self.owners[slot.index()] {
            NONE => None,
            shard => Some(ShardIndex(shard)),
        }
    }

    /// The primary of the shard that owns a slot, or `None` when nobody does.
    #[inline]
    pub fn primary_of(&self, slot: Slot) -> Option<NodeIndex> {
        Some(self.shard(self.shard_of(slot)?).primary)
    }

    /// A shard of this snapshot.
    ///
    /// # Panics
    /// May panic for an index of another snapshot.
    #[inline]
    pub fn shard(&self, shard: ShardIndex) -> &Shard {
        &self.shards[shard.index()]
    }

    /// A node of this snapshot.
    ///
    /// # Panics
    /// May panic for an index of another snapshot.
    #[inline]
    pub fn node(&self, node: NodeIndex) -> &Node {
        &self.nodes[node.index()]
    }

    /// All nodes, those without slots and those that are down included, in the order of their
    /// ids.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (NodeIndex, &Node)> {
        self.nodes.iter().enumerate().map(|(at, node)| (NodeIndex(narrow(at)), node))
    }

    /// All shards, in the order of their first slots.
    pub fn shards(&self) -> impl ExactSizeIterator<Item = (ShardIndex, &Shard)> {
        self.shards.iter().enumerate().map(|(at, shard)| (ShardIndex(narrow(at)), shard))
    }

    /// The primaries that own slots, one of each shard.
    pub fn primaries(&self) -> impl ExactSizeIterator<Item = NodeIndex> {
        self.shards.iter().map(|shard| shard.primary)
    }

    /// The node that anything announced by this name, before or after the address map.
    pub fn node_by_endpoint(&self, host: &str, port: u16) -> Option<NodeIndex> {
        self.by_name.get(&Name { host, port }).copied()
    }

    /// The node with this id.
    pub fn node_by_id(&self, id: &NodeId) -> Option<NodeIndex> {
        self.by_id.get(id).copied()
    }

    /// How many slots have an owner.
    pub fn slots_covered(&self) -> usize {
        self.covered
    }

    /// Whether every slot has an owner.
    pub fn is_complete(&self) -> bool {
        self.covered == Slot::COUNT
    }

    /// Whether no node is known.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The config epoch at which a slot's owner was learned: 0 when nobody owns it, or when the
    /// servers do not tell.
    pub fn epoch_of(&self, slot: Slot) -> u64 {
        self.shard_of(slot).map_or(0, |shard| self.shard(shard).config_epoch)
    }

    /// Whether what a node says of a slot may be older than this map: a redirect of such a node
    /// teaches nothing. The owner of a slot is never behind there, because its epoch is its own.
    pub fn is_behind(&self, node: &NodeId, slot: Slot) -> bool {
        let index = self.node_by_id(node);
        index.is_some_and(|index| self.node(index).behind && self.primary_of(slot) != Some(index))
    }

    /// Whether both say the same, whatever their revisions.
    pub fn same_content(&self, other: &Topology) -> bool {
        self.state == other.state
            && self.current_epoch == other.current_epoch
            && self.nodes == other.nodes
            && self.shards == other.shards
    }
}

/// What a [`Topology`] is made of.
#[derive(Clone, Debug)]
pub struct Draft {
    /// See [`Topology::revision`].
    pub revision: u64,
    /// See [`Topology::state`].
    pub state: State,
    /// See [`Topology::current_epoch`].
    pub current_epoch: u64,
    /// The nodes, in any order; of two with one id the first counts, and at most 65,534 do.
    pub nodes: Vec<Node>,
    /// Owner and config epoch of each slot in order, at most [`Slot::COUNT`]. An owner that is
    /// not among the nodes is none.
    pub owners: Vec<Option<(NodeId, u64)>>,
}

impl Default for Draft {
    fn default() -> Draft {
        let nodes = Vec::new();
        Draft { revision: 0, state: State::Unknown, current_epoch: 0, nodes, owners: vec![] }
    }
}

impl Draft {
    /// Gives a range of slots to an owner.
    pub fn own(&mut self, first: Slot, last: Slot, owner: NodeId, config_epoch: u64) {
        self.owners.resize(Slot::COUNT, None);
        for slot in first.index()..=last.index() {
            self.owners[slot] = Some((owner, config_epoch));
        }
    }

    /// The snapshot: owners become primaries, shards are formed, names are looked up.
    pub fn finish(self) -> Topology {
        let mut nodes = self.nodes;
        nodes.sort_by_key(|node| node.id);
        nodes.dedup_by_key(|node| node.id);
        nodes.truncate(usize::from(NONE));
        let by_id: HashMap<NodeId, NodeIndex> =
            nodes.iter().enumerate().map(|(at, n)| (n.id, NodeIndex(narrow(at)))).collect();
        let (shards, owners) = form_shards(&mut nodes, &by_id, &self.owners);
        let covered = owners.iter().filter(|shard| **shard != NONE).count();
        let by_name = names(&nodes);
        Topology {
            revision: self.revision,
            state: self.state,
            current_epoch: self.current_epoch,
            nodes,
            shards,
            owners,
            covered,
            by_id,
            by_name,
        }
    }
}

/// The shards in the order of their first slots, and the shard of each slot.
fn form_shards(
    nodes: &mut [Node],
    by_id: &HashMap<NodeId, NodeIndex>,
    owned: &[Option<(NodeId, u64)>],
) -> (Vec<Shard>, Box<[u16]>) {
    let mut shards: Vec<Shard> = Vec::new();
    let mut owners = vec![NONE; Slot::COUNT].into_boxed_slice();
    for node in nodes.iter_mut() {
        node.shard = None;
    }
    for (number, owner) in (0u16..).zip(owned.iter().take(Slot::COUNT)) {
        let (Some((id, epoch)), Some(slot)) = (owner, Slot::new(number)) else { continue };
        let Some(&primary) = by_id.get(id) else { continue };
        let node = &mut nodes[primary.index()];
        let at = *node.shard.get_or_insert_with(|| {
            (node.role, node.follows) = (Role::Primary, None);
            shards.push(Shard { primary, replicas: vec![], ranges: vec![], config_epoch: 0 });
            ShardIndex(narrow(shards.len() - 1))
        });
        let shard = &mut shards[at.index()];
        shard.config_epoch = shard.config_epoch.max(*epoch);
        match shard.ranges.last_mut() {
            Some(range) if range.last.number() + 1 == number => range.last = slot,
            _ => shard.ranges.push(SlotRange { first: slot, last: slot }),
        }
        owners[slot.index()] = at.0;
    }
    for at in 0..nodes.len() {
        let primary = nodes[at].follows.and_then(|id| by_id.get(&id)).map(|p| p.index());
        let shard = primary.and_then(|primary| nodes[primary].shard);
        if let (Role::Replica, Some(shard)) = (nodes[at].role, shard) {
            nodes[at].shard = Some(shard);
            shards[shard.index()].replicas.push(NodeIndex(narrow(at)));
        }
    }
    (shards, owners)
}

/// Every name that a node goes by. Where two claim one (a node that took over the address of
/// another, which is still listed as failed), the one that is better off has it.
fn names(nodes: &[Node]) -> HashMap<Endpoint, NodeIndex> {
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    order.sort_by_key(|&at| (nodes[at].health, nodes[at].shard.is_none()));
    let mut names = HashMap::new();
    for at in order {
        for name in std::iter::once(&nodes[at].endpoint).chain(&nodes[at].announced) {
            names.entry_ref(name).or_insert(NodeIndex(narrow(at)));
        }
    }
    names
}

/// An index that [`Draft::finish`] keeps below [`NONE`].
fn narrow(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(NONE)
}

/// Looks an endpoint up without owning its host. Hashes as [`Endpoint`] does: host, then port.
#[derive(Hash)]
struct Name<'a> {
    host: &'a str,
    port: u16,
}

impl Equivalent<Endpoint> for Name<'_> {
    fn equivalent(&self, key: &Endpoint) -> bool {
        self.port == key.port && *self.host == *key.host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> NodeId {
        NodeId::parse(digit.to_string().repeat(40).as_bytes()).unwrap()
    }

    fn slot(number: u16) -> Slot {
        Slot::new(number).unwrap()
    }

    fn node(digit: char, port: u16) -> Node {
        Node::new(id(digit), Endpoint::new("127.0.0.1", port), Role::Primary)
    }

    #[test]
    fn slots_lead_to_their_shard_and_its_primary() {
        let mut draft = Draft::default();
        let mut replica = node('c', 7002);
        (replica.role, replica.follows) = (Role::Replica, Some(id('b')));
        draft.nodes = vec![replica, node('b', 7001), node('a', 7000), node('d', 7003)];
        draft.own(slot(0), slot(9), id('b'), 4);
        draft.own(slot(10), slot(10), id('a'), 5);
        draft.own(slot(11), slot(12), id('b'), 4);
        draft.own(slot(16383), slot(16383), id('e'), 9);
        let topology = draft.finish();

        let primary = |number| topology.primary_of(slot(number)).map(|n| topology.node(n).id);
        assert_eq!(primary(0), Some(id('b')));
        assert_eq!(primary(10), Some(id('a')));
        assert_eq!(primary(12), Some(id('b')));
        assert_eq!(primary(13), None);
        assert_eq!(primary(16383), None, "its owner is not a known node");
        assert_eq!((topology.slots_covered(), topology.is_complete()), (13, false));
        assert_eq!((topology.epoch_of(slot(0)), topology.epoch_of(slot(13))), (4, 0));

        let shard = topology.shard(topology.shard_of(slot(0)).unwrap());
        assert_eq!((shard.slots(), shard.ranges.len()), (12, 2));
        let replicas: Vec<_> = shard.replicas.iter().map(|n| topology.node(*n).id).collect();
        assert_eq!(replicas, [id('c')]);
        assert_eq!(topology.primaries().len(), 2);
        let slotless = topology.node(topology.node_by_id(&id('d')).unwrap());
        assert_eq!((slotless.shard, slotless.role), (None, Role::Primary));
    }

    #[test]
    fn a_node_is_found_by_every_name_and_a_living_one_before_a_dead_one() {
        let mut draft = Draft::default();
        let mut dead = node('a', 7000);
        dead.health = Health::Failed;
        let mut alive = node('b', 7000);
        alive.announced.push(Endpoint::new("node-b.example", 7000));
        draft.nodes = vec![dead, alive];
        let topology = draft.finish();
        let found = |host, port| topology.node_by_endpoint(host, port).map(|n| topology.node(n).id);
        assert_eq!(found("127.0.0.1", 7000), Some(id('b')));
        assert_eq!(found("node-b.example", 7000), Some(id('b')));
        assert_eq!(found("node-b.example", 7001), None);
        assert_eq!(found("", 7000), None);
    }

    #[test]
    fn the_empty_map_owns_nothing() {
        let topology = Topology::empty();
        assert_eq!((topology.revision, topology.slots_covered()), (0, 0));
        assert!(topology.is_empty() && !topology.is_complete());
        assert_eq!(topology.shard_of(slot(16383)), None);
    }
}
