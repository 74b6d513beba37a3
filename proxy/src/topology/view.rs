//! A view: what one node said about the whole cluster, put together from its several answers.

use std::sync::Arc;

use hashbrown::HashMap;
use thiserror::Error;

use super::endpoint::{is_host, without_brackets};
use super::reply::{Frame, integer, text};
use super::{Endpoint, Health, NodeId, Role, State, info, nodes, shards, slots};
use crate::slot::Slot;

/// What one node said.
#[derive(Clone, Debug)]
pub struct View {
    /// The address it was asked at, which is also what "the host that answered" means in it.
    pub asked: Endpoint,
    /// Whether that address is one of the seeds.
    pub seed: bool,
    /// Who answered; `None` when neither CLUSTER MYID nor CLUSTER NODES was permitted.
    pub myself: Option<NodeId>,
    /// What it thinks of the cluster as a whole.
    pub state: State,
    /// The highest epoch it has heard of: how new its view is; 0 when unknown.
    pub current_epoch: u64,
    /// Whether `config_epoch` of its nodes is known (CLUSTER NODES was permitted).
    pub epochs_known: bool,
    /// The nodes it knows, each once, those without slots included.
    pub nodes: Vec<Seen>,
    /// Who owns what, in the order of the slots. No slot is in two of them.
    pub owned: Vec<Owned>,
}

/// A node as another one sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its id.
    pub id: NodeId,
    /// The address the answering node would have clients use, before the address map. `None`
    /// when it gave none that could be dialled.
    pub dial: Option<Endpoint>,
    /// Every form it was named by, `dial` included; at most [`Seen::NAMES_MAX`].
    pub names: Vec<Endpoint>,
    /// Its role.
    pub role: Role,
    /// The primary that it is a replica of.
    pub follows: Option<NodeId>,
    /// How it feels.
    pub health: Health,
    /// Its availability zone.
    pub zone: Option<Arc<str>>,
    /// Its config epoch (a replica's is its primary's); 0 when unknown.
    pub config_epoch: u64,
}

impl Seen {
    /// Most forms kept of one node: IP, name and preferred form, each before and after the
    /// address map, with room for nodes that differ in what they prefer.
    pub const NAMES_MAX: usize = 16;
}

/// A range of slots and its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owned {
    /// First slot of the range.
    pub first: Slot,
    /// Last slot of the range, included.
    pub last: Slot,
    /// The primary that owns it.
    pub owner: NodeId,
}

/// The answers a view is made of, as decoded. Those that were not asked for are `None`; an error
/// reply counts as none, unless the view cannot be made without it.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// To CLUSTER MYID.
    pub my_id: Option<Frame>,
    /// To CLUSTER INFO.
    pub info: Option<Frame>,
    /// To CLUSTER SLOTS.
    pub slots: Option<Frame>,
    /// To CLUSTER SHARDS (7.0 and later).
    pub shards: Option<Frame>,
    /// To CLUSTER NODES.
    pub nodes: Option<Frame>,
}

/// Why a node's answers make no view.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ViewError {
    /// A standalone server.
    #[error("is not a cluster node; slotway needs cluster mode")]
    NotACluster,
    /// It is loading its data and answers nothing else meanwhile.
    #[error("is not ready: {0}")]
    NotReady(String),
    /// It refused to say who owns the slots.
    #[error("refused to give its map: {0}")]
    Refused(String),
    /// An answer that does not have its form.
    #[error("gave a malformed answer to {what}: {why}")]
    Malformed {
        /// The question.
        what: &'static str,
        /// What is wrong with the answer.
        why: &'static str,
    },
}

impl ViewError {
    pub(super) fn malformed(what: &'static str, why: &'static str) -> ViewError {
        ViewError::Malformed { what, why }
    }

    /// The error that this error reply stands for.
    pub fn from_reply(error: &str) -> ViewError {
        // Texts of others go into our log: short, and without line breaks or colours.
        let clipped = error.chars().filter(|c| !c.is_control()).take(200).collect();
        match error.split(' ').next() {
            Some("LOADING" | "MASTERDOWN") => ViewError::NotReady(clipped),
            _ if error.contains("cluster support disabled") => ViewError::NotACluster,
            _ => ViewError::Refused(clipped),
        }
    }
}

impl View {
    /// Puts the answers of the node at `asked` together. Errors when it gave no map, or one that
    /// does not have its form; what it only refused to say is unknown in the view.
    pub fn read(asked: &Endpoint, seed: bool, answers: &Answers) -> Result<View, ViewError> {
        let map = [&answers.nodes, &answers.slots, &answers.shards];
        if map.iter().all(|answer| permitted(answer).is_none()) {
            let refusal = [&answers.my_id].into_iter().chain(map).find_map(error_text);
            return Err(ViewError::from_reply(refusal.unwrap_or("it gave none")));
        }
        let mut draft = Draft::default();
        if let Some(id) = permitted(&answers.my_id).and_then(text) {
            let id = NodeId::parse(id.as_bytes())
                .ok_or(ViewError::malformed("CLUSTER MYID", "no id"))?;
            draft.myself(id);
        }
        // In this order: the first that speaks of ownership decides it.
        if let Some(reply) = permitted(&answers.nodes) {
            draft.epochs_known = true;
            nodes::read(reply, asked, &mut draft)?;
        }
        if let Some(reply) = permitted(&answers.slots) {
            slots::read(reply, asked, &mut draft)?;
            draft.slots_known = true;
        }
        if let Some(reply) = permitted(&answers.shards) {
            shards::read(reply, asked, &mut draft)?;
        }
        let (state, current_epoch) = match permitted(&answers.info) {
            Some(reply) => info::cluster_info(reply)?,
            None => (State::Unknown, 0),
        };
        Ok(draft.finish(asked, seed, state, current_epoch))
    }

    /// How many slots it knows an owner of.
    pub fn slots_covered(&self) -> usize {
        self.owned.iter().map(|o| o.last.index() - o.first.index() + 1).sum()
    }

    /// Whether it can stand for the cluster by itself: the node does not think that the cluster
    /// is down, and knows an owner of every slot.
    pub fn is_good(&self) -> bool {
        self.state != State::Fail && self.slots_covered() == Slot::COUNT
    }

    /// Whether two nodes name the same owner for every slot that both know one of.
    pub fn agrees_with(&self, other: &View) -> bool {
        let (mut mine, mut theirs) = (self.owned.iter().peekable(), other.owned.iter().peekable());
        while let (Some(a), Some(b)) = (mine.peek(), theirs.peek()) {
            let overlap = a.first <= b.last && b.first <= a.last;
            if overlap && a.owner != b.owner {
                return false;
            }
            // The one that ends first cannot overlap anything further.
            if a.last <= b.last {
                mine.next()
            } else {
                theirs.next()
            };
        }
        true
    }
}

/// Which answer a fact comes from, the one that decides first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Nodes,
    Slots,
    Shards,
}

/// A view that is being put together.
#[derive(Default)]
pub(super) struct Draft {
    epochs_known: bool,
    slots_known: bool,
    myself: Option<NodeId>,
    nodes: Vec<DraftNode>,
    index: HashMap<NodeId, usize>,
    owned: Vec<Owned>,
    owned_by: Option<Source>,
    taken: Option<Box<[bool]>>,
}

struct DraftNode {
    seen: Seen,
    role_from: Option<Source>,
    dial_from: Option<Source>,
    listed: bool,
}

impl Draft {
    /// Most nodes of a view: no cluster is near it, and a reply may claim anything.
    const NODES_MAX: usize = 16_384;

    pub(super) fn seen(&mut self, id: NodeId) -> Result<(), ViewError> {
        if self.index.contains_key(&id) {
            return Ok(());
        }
        if self.nodes.len() == Self::NODES_MAX {
            return Err(ViewError::malformed("CLUSTER NODES", "more than 16384 nodes"));
        }
        self.index.insert(id, self.nodes.len());
        let seen = Seen {
            id,
            dial: None,
            names: Vec::new(),
            role: Role::Replica,
            follows: None,
            health: Health::Online,
            zone: None,
            config_epoch: 0,
        };
        self.nodes.push(DraftNode { seen, role_from: None, dial_from: None, listed: false });
        Ok(())
    }

    pub(super) fn myself(&mut self, id: NodeId) {
        self.myself.get_or_insert(id);
    }

    pub(super) fn role(&mut self, from: Source, id: NodeId, role: Role, follows: Option<NodeId>) {
        let Some(node) = self.get(id) else { return };
        if node.role_from.is_none_or(|earlier| earlier == from) {
            node.role_from = Some(from);
            (node.seen.role, node.seen.follows) = (role, follows);
        }
    }

    pub(super) fn epoch(&mut self, id: NodeId, epoch: u64) {
        if let Some(node) = self.get(id) {
            node.seen.config_epoch = epoch;
        }
    }

    /// The worst that any answer says.
    pub(super) fn health(&mut self, id: NodeId, health: Health) {
        if let Some(node) = self.get(id) {
            node.seen.health = node.seen.health.max(health);
        }
    }

    pub(super) fn zone(&mut self, id: NodeId, zone: Option<&str>) {
        let zone = zone.filter(|zone| !zone.is_empty() && zone.len() <= 256);
        if let (Some(node), Some(zone)) = (self.get(id), zone) {
            node.seen.zone = Some(zone.into());
        }
    }

    /// CLUSTER SLOTS names it, as it does with every replica that could serve.
    pub(super) fn listed(&mut self, id: NodeId) {
        if let Some(node) = self.get(id) {
            node.listed = true;
        }
    }

    /// Every form of a node's address. `preferred` is the endpoint in the form that the
    /// answering node prefers: nothing or `""` stand for the host that was asked, `?` for "a
    /// name, but it has none".
    #[allow(clippy::too_many_arguments)] // each is one field of the server's answer
    pub(super) fn address(
        &mut self,
        from: Source,
        id: NodeId,
        asked: &Endpoint,
        port: u16,
        preferred: Option<&str>,
        ip: Option<&str>,
        hostname: Option<&str>,
    ) -> Result<(), ViewError> {
        self.seen(id)?;
        let Some(node) = self.get(id) else { return Ok(()) };
        let endpoint = |host: &str| {
            let host = without_brackets(host);
            is_host(host).then(|| Endpoint::new(host, port))
        };
        let dial = match preferred {
            None | Some("") => Some(Endpoint { host: asked.host.clone(), port }),
            Some("?") => ip.and_then(endpoint),
            Some(host) => endpoint(host),
        };
        let forms = [dial.clone(), ip.and_then(endpoint), hostname.and_then(endpoint)];
        for name in forms.into_iter().flatten() {
            if node.seen.names.len() < Seen::NAMES_MAX && !node.seen.names.contains(&name) {
                node.seen.names.push(name);
            }
        }
        // CLUSTER NODES always shows the IP; the other two know what is preferred.
        let rank = |source| match source {
            Source::Slots => 0,
            Source::Shards => 1,
            Source::Nodes => 2,
        };
        if dial.is_some() && node.dial_from.is_none_or(|earlier| rank(from) < rank(earlier)) {
            node.dial_from = Some(from);
            node.seen.dial = dial;
        }
        Ok(())
    }

    pub(super) fn owns(
        &mut self,
        from: Source,
        first: Slot,
        last: Slot,
        owner: NodeId,
    ) -> Result<(), ViewError> {
        // CLUSTER NODES decides even where it names no owner at all.
        let decided = if self.epochs_known { Some(Source::Nodes) } else { self.owned_by };
        if decided.is_some_and(|source| source != from) {
            return Ok(());
        }
        self.owned_by = Some(from);
        let taken = self.taken.get_or_insert_with(|| vec![false; Slot::COUNT].into());
        let range = &mut taken[first.index()..=last.index()];
        if range.contains(&true) {
            return Err(ViewError::malformed("CLUSTER SLOTS", "a slot with two owners"));
        }
        range.fill(true);
        self.owned.push(Owned { first, last, owner });
        Ok(())
    }

    fn get(&mut self, id: NodeId) -> Option<&mut DraftNode> {
        let index = *self.index.get(&id)?;
        self.nodes.get_mut(index)
    }

    fn finish(mut self, asked: &Endpoint, seed: bool, state: State, current_epoch: u64) -> View {
        self.owned.sort_unstable_by_key(|owned| owned.first);
        let slots_known = self.slots_known;
        let owners: hashbrown::HashSet<NodeId> = self.owned.iter().map(|o| o.owner).collect();
        let nodes = self.nodes.into_iter().map(|node| {
            let mut seen = node.seen;
            // CLUSTER SLOTS leaves out replicas that have not caught up for the first time.
            let follows_an_owner = seen.follows.is_some_and(|id| owners.contains(&id));
            if slots_known && follows_an_owner && !node.listed && seen.health == Health::Online {
                seen.health = Health::Loading;
            }
            seen
        });
        View {
            asked: asked.clone(),
            seed,
            myself: self.myself,
            state,
            current_epoch,
            epochs_known: self.epochs_known,
            nodes: nodes.collect(),
            owned: self.owned,
        }
    }
}

/// A range of slots, when both numbers are slots in the right order.
pub(super) fn slot_range(first: Option<i64>, last: Option<i64>) -> Option<(Slot, Slot)> {
    let slot = |number: i64| Slot::new(u16::try_from(number).ok()?);
    let (first, last) = (slot(first?)?, slot(last?)?);
    (first <= last).then_some((first, last))
}

/// A port; `None` for 0, which servers write for "off".
pub(super) fn port_of(frame: Option<&Frame>) -> Option<u16> {
    frame.and_then(integer).and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

fn permitted(answer: &Option<Frame>) -> Option<&Frame> {
    answer.as_ref().filter(|frame| !matches!(frame, Frame::Error(_)))
}

fn error_text(answer: &Option<Frame>) -> Option<&str> {
    match answer {
        Some(Frame::Error(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
