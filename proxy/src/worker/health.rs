//! Nodes that are silent: frozen, cut off, or only slow.
//!
//! A connection on which requests wait and nothing comes is no proof: a script may run for long,
//! writes may be paused. So a second connection is opened, and only if its greeting is not
//! answered either is the node suspect (failure-masking contract, §5). Then nothing more is sent
//! to it, what was not handed over goes another way, and what was waits: for the reply, for the
//! failover, or for the deadline. A pause of a few seconds is masked entirely.

use std::time::Duration;

use super::rejections::is_rejection;
use super::{NO_POOL, WishReason, Worker};
use crate::metrics::Outcome;
use crate::node::{Connection, Expected, Kind as Use, Phase, Replies, Stream, Ticket, Trial, Way};
use crate::resp::reply::Kind;
use crate::time::Moment;
use crate::topology::NodeId;

/// How long a connection may be silent before the node is asked on another one, and how long
/// that one may be silent.
pub(super) const SILENCE: Duration = Duration::from_secs(1);

const REPLACED: &str = "its node went silent and was replaced";

/// A reply of a node that was suspect when it was sent or just before.
#[derive(Debug)]
pub(super) struct Held {
    pool: u16,
    /// The node: it may leave before, and another one may get the place of its pool.
    node: Option<NodeId>,
    pub(super) ticket: Ticket,
    frame: Vec<u8>,
    kind: Kind,
    reply: Vec<u8>,
    /// When it was read.
    since: Moment,
}

impl Worker {
    /// Looks for silent connections; called about twice a second.
    pub(super) fn watch_health(&mut self) {
        self.ask_silent_nodes();
        self.judge_probes();
        self.end_suspense();
        self.end_overdue_unsent();
        if !self.held.is_empty() || self.connections.iter().any(|(_, c)| c.suspect) {
            // The election may come at any time, and nobody tells us of it.
            self.outbox.wish(WishReason::NotServing);
        }
    }

    fn ask_silent_nodes(&mut self) {
        let now = self.now;
        let silent: Vec<(u32, u16)> = self
            .connections
            .iter()
            .filter(|(_, c)| matches!(c.phase, Phase::Ready) && !c.suspect && !c.read_paused)
            .filter(|(_, c)| c.awaits_replies() && c.heard + SILENCE <= now)
            .filter(|(_, c)| c.kind != Use::Subscriber)
            .map(|(index, c)| (index as u32, c.pool))
            .collect();
        for (index, pool) in silent {
            if self.only_blocks(index) {
                continue;
            }
            if self.pools.get(usize::from(pool)).is_some_and(|node| node.probe.is_none()) {
                self.open(pool, Use::Probe);
            }
        }
    }

    fn judge_probes(&mut self) {
        let now = self.now;
        let unanswered: Vec<u32> = self
            .connections
            .iter()
            .filter(|(_, c)| c.kind == Use::Probe && c.dialed_at + SILENCE <= now)
            .map(|(index, _)| index as u32)
            .collect();
        for probe in unanswered {
            self.drop_connection(probe, true);
        }
    }

    /// The node lives: it is only slow with what it has.
    pub(super) fn probe_answered(&mut self, probe: u32) {
        let Some(connection) = self.close_connection(probe) else { return };
        let pool = connection.pool;
        for (_, connection) in &mut self.connections {
            if connection.pool == pool {
                connection.heard = self.now;
            }
        }
    }

    /// The node did not answer the probe, or could not be reached.
    pub(super) fn probe_failed(&mut self, probe: u32, connection: &Connection, close: bool) {
        let pool = connection.pool;
        if close {
            self.outbox.push(super::Action::CloseNode { connection: probe });
        }
        self.forget_connection(probe, connection);
        let now = self.now;
        let silent = self
            .connections
            .iter()
            .filter(|(_, c)| c.pool == pool && matches!(c.phase, Phase::Ready) && !c.suspect)
            .any(|(_, c)| c.awaits_replies() && c.heard + SILENCE <= now);
        if silent {
            self.suspect(pool);
        }
    }

    /// The node is suspect: nothing more goes to it before it answers a greeting.
    fn suspect(&mut self, pool: u16) {
        self.cells.suspects.add(1);
        if let Some(node) = self.pools.get(usize::from(pool)) {
            tracing::warn!(node = %node.endpoint, "the node does not answer; its requests wait");
        }
        self.outbox.wish(WishReason::ConnectionLost);
        self.drop_upstream(self.base_of(pool));
        self.close_watcher(self.base_of(pool));
        for pool in self.pools_of_node(pool) {
            self.suspect_in(pool);
        }
    }

    fn suspect_in(&mut self, pool: u16) {
        if let Some(node) = self.pools.get_mut(usize::from(pool)) {
            node.unconfirmed = true;
        }
        self.shut_gate(pool, "its node does not answer");
        // Those that happen to owe nothing are as good as the silent ones: what would be sent on
        // them goes to the same process, and must not be believed before it is confirmed.
        let is_ready = |c: &Connection| matches!(c.phase, Phase::Ready);
        let shared = self.pools.get(usize::from(pool)).and_then(|node| node.shared);
        if shared.and_then(|shared| self.connections.get(shared as usize)).is_some_and(is_ready) {
            self.retire_shared(pool);
        }
        self.retire_extra(pool);
        let ready: Vec<(u32, u64)> = self
            .connections
            .iter()
            .filter(|(_, c)| c.pool == pool && is_ready(c) && !c.suspect)
            .map(|(index, c)| (index as u32, c.serial))
            .collect();
        let (now, mut unsent) = (self.now, Vec::new());
        for (index, serial) in ready {
            let Some(connection) = self.connections.get_mut(index as usize) else { continue };
            if connection.serial != serial {
                continue;
            }
            if connection.stream != Stream::Whole {
                // In the middle of a large reply: nothing of it can be taken back or replaced.
                if !connection.read_paused && connection.heard + SILENCE <= now {
                    self.drop_connection(index, true);
                }
                continue;
            }
            connection.suspect = true;
            connection.replies = Replies::Hold;
            connection.retiring = true;
            unsent.extend(connection.take_unsent());
            if connection.is_idle() {
                // A part of a request at most: nothing will ever be answered here.
                self.drop_connection(index, true);
            }
        }
        for (ticket, frame) in unsent {
            self.after_loss(pool, ticket, frame, false);
        }
        // It may be that the map gives its slots to another node already.
        self.abandon_superseded();
    }

    /// Something was read from a connection that was suspect: the node is back.
    pub(super) fn heard_again(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        connection.suspect = false;
        let pool = connection.pool;
        if let Some(node) = self.pools.get_mut(usize::from(pool)) {
            tracing::info!(node = %node.endpoint, "the node answers again");
            node.try_soon(self.now);
        }
        self.outbox.wish(WishReason::Unconfirmed);
        self.note_heard(pool);
    }

    /// Keeps a reply of a node that was suspect. It may have been replaced meanwhile, without
    /// knowing it yet: then what it acknowledges will be lost.
    pub(super) fn hold(&mut self, index: u32, kind: Kind, reply: &[u8]) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let (pool, frame) = (connection.pool, connection.head_frame().to_vec());
        let Some(Expected::Request(mut ticket)) = connection.pop() else { return };
        self.outbox.wish(WishReason::Unconfirmed);
        if kind == Kind::Error && is_rejection(&ticket, reply) {
            // True, whoever the primary is; where to go now is for others to say. Its gate is shut
            // until then.
            if ticket.trial == Trial::Node {
                ticket.trial = Trial::No;
            }
            self.outdated.insert(ticket.arrival);
            self.error_reply(pool, ticket, frame, reply);
            return self.after_extra(index);
        }
        if self.held_bytes + reply.len() > self.settings.output_max {
            self.end_unconfirmed(pool, ticket, frame, "too many replies of its node wait");
            return self.after_extra(index);
        }
        if ticket.way == Way::Kept && !ticket.is_block() {
            // This connection is closed, and what was watched on it with it: WATCH is said again.
            self.after_extra(index);
            return self.end_unconfirmed(pool, ticket, frame, REPLACED);
        }
        let node = self.pools.get(usize::from(pool)).map(|node| node.id);
        let (reply, since) = (reply.to_vec(), self.now);
        self.held_bytes += reply.len();
        self.held.push(Held { pool, node, ticket, frame, kind, reply, since });
        if self.topology.nodes().len() < 2 {
            self.deliver_held(|_| true); // nobody else could say
        }
        self.after_extra(index);
    }

    /// Other nodes were asked for the map after these moments, and what they said is in it: held
    /// replies of nodes that are still primary are delivered, of those that were replaced not.
    pub fn views_given(&mut self, looks: &[(NodeId, Moment)], now: Moment) {
        self.now = now;
        if !self.held.is_empty() {
            self.deliver_held(|held| {
                looks.iter().any(|&(by, at)| Some(by) != held.node && at > held.since)
            });
        }
        self.confirm_connections(looks);
    }

    fn deliver_held(&mut self, ripe: impl Fn(&Held) -> bool) {
        let (ripe, rest) = std::mem::take(&mut self.held).into_iter().partition(|h| ripe(h));
        self.held = rest;
        self.count_held();
        let ripe: Vec<Held> = ripe;
        for Held { pool, node, ticket, frame, kind, reply, .. } in ripe {
            let (trial, slot) = (ticket.trial, ticket.slot);
            // Asked of the map: a redirect of a node that is behind may have patched the route.
            let owner = slot.map(|slot| self.topology.primary_of(slot));
            let owner = owner.map(|owner| owner.map(|owner| self.topology.node(owner).id));
            let sent_on_by = self.pools.get(usize::from(ticket.previous)).map(|node| node.id);
            let replaced = |owner| owner != node && (owner != sent_on_by || !self.is_primary(node));
            if owner.is_some_and(|owner| owner.is_none() || replaced(owner)) {
                self.end_unconfirmed(pool, ticket, frame, REPLACED);
            } else if kind == Kind::Error {
                self.error_reply(pool, ticket, frame, &reply);
            } else {
                self.clients.settle(&ticket, &reply, Outcome::Ok, self.now);
                self.trial_back(trial, pool, slot, true);
            }
        }
    }

    /// Whether replies from this pool's connections are held.
    pub(super) fn has_held(&self, pool: u16) -> bool {
        self.held.iter().any(|held| held.pool == pool)
    }

    fn count_held(&mut self) {
        self.held_bytes = self.held.iter().map(|held| held.reply.len()).sum();
    }

    /// New connections to nodes that were suspect may be used if the node is still the primary.
    fn confirm_connections(&mut self, looks: &[(NodeId, Moment)]) {
        let confirming: Vec<(u32, u64, u16, Moment)> = self
            .connections
            .iter()
            .filter_map(|(index, c)| match c.phase {
                Phase::Confirming { since } => Some((index as u32, c.serial, c.pool, since)),
                _ => None,
            })
            .collect();
        for (index, serial, pool, since) in confirming {
            if self.connections.get(index as usize).is_none_or(|c| c.serial != serial) {
                continue; // closed over one before it
            }
            let Some(node) = self.pools.get_mut(usize::from(pool)) else { continue };
            let id = node.id;
            if !looks.iter().any(|&(by, asked_at)| by != id && asked_at > since) {
                continue;
            }
            node.unconfirmed = false;
            if self.is_primary(Some(id)) {
                self.begin_use(index);
            } else {
                self.drop_connection(index, true); // it was replaced
            }
        }
    }

    /// The map has changed: what waits for the reply of a suspect node that was replaced goes to
    /// the new owner if it changes nothing, and is unknown for ever if it may have.
    pub(super) fn abandon_superseded(&mut self) {
        let routes = self.routes.clone();
        for (index, pool) in self.suspects() {
            let base = self.base_of(pool);
            let node = self.pools.get(usize::from(pool)).map(|node| node.id);
            let may_ask = self.is_primary(node);
            // One that the owner sent on with ASK waits like those of the node's own slots.
            let sent_on = |ticket: &Ticket, owner: u16| may_ask && ticket.previous == owner;
            let moved = |ticket: &Ticket| {
                let owner = ticket.slot.map_or(NO_POOL, |slot| routes[slot.index()]);
                owner != base && (owner == NO_POOL || !sent_on(ticket, owner))
            };
            let Some(connection) = self.suspect_at(index) else { continue };
            let abandoned = connection.abandon(moved);
            // Nor does it keep others from trying whether the owner serves the slot.
            let tries = connection.tickets_mut().filter(|ticket| {
                let is_sent_on = sent_on(ticket, routes[ticket.slot.unwrap_or_default().index()]);
                is_sent_on && ticket.trial == Trial::Slot
            });
            let mut tried = Vec::new();
            for ticket in tries {
                ticket.trial = Trial::No;
                tried.push(ticket.slot);
            }
            for slot in tried {
                self.trial_back(Trial::Slot, pool, slot, false);
            }
            self.fence_abandoned(index, !abandoned.is_empty());
            for (ticket, frame) in abandoned {
                self.end_unconfirmed(pool, ticket, frame, REPLACED);
            }
        }
    }

    /// A request that may have been executed by a node that was replaced, or must be taken to be:
    /// what only reads is read elsewhere, of the others nothing is known.
    fn end_unconfirmed(&mut self, pool: u16, ticket: Ticket, frame: Vec<u8>, why: &'static str) {
        if ticket.replayable {
            self.after_loss(pool, ticket, frame, true);
        } else {
            self.trial_back(ticket.trial, pool, ticket.slot, false);
            self.give_up_unknown(&ticket, why);
        }
    }

    /// Requests that a silent process holds were given up: their clients go on, and what comes to
    /// the process next must not be overtaken by them. If nobody waits for anything on the
    /// connection any more, it is closed.
    fn fence_abandoned(&mut self, index: u32, any: bool) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let asked = self.doubts.iter().any(|doubt| doubt.connection == connection.serial);
        if !asked && connection.tickets_mut().next().is_none() {
            self.drop_connection(index, true);
        } else if any && let Some(left_behind) = connection.left_behind() {
            let pool = connection.pool;
            self.leave_behind(pool, left_behind);
        }
    }

    /// What has waited for a suspect node until its deadline is unknown for ever.
    fn end_suspense(&mut self) {
        let (now, deadlines) = (self.now, self.settings.deadlines.clone());
        let overdue = |held: &mut Held| deadlines.is_over_since(&held.ticket, held.since, now);
        let overdue: Vec<Held> = self.held.extract_if(.., overdue).collect();
        self.count_held();
        for Held { pool, ticket, .. } in overdue {
            self.end_waiting(pool, &ticket, "no other node says who the primary is");
        }
        for (index, pool) in self.suspects() {
            let Some(connection) = self.suspect_at(index) else { continue };
            let heard = connection.heard;
            let overdue = connection.abandon(|ticket| deadlines.is_over_since(ticket, heard, now));
            self.fence_abandoned(index, !overdue.is_empty());
            for (ticket, _) in overdue {
                self.end_waiting(pool, &ticket, "its node does not answer");
            }
        }
    }

    /// What a node that takes nothing was never handed is given up at its deadline like whatever
    /// waits elsewhere. (What it has in part waits like what it has whole: its connection would
    /// have to end there, and a large value may just take its time.)
    fn end_overdue_unsent(&mut self) {
        let (now, deadlines) = (self.now, self.settings.deadlines.clone());
        let overdue = self.call_back(|_, ticket| deadlines.is_over(ticket, now));
        for (pool, ticket, _) in overdue {
            self.abandon_trial(pool, &ticket);
            self.give_up_waiting(&ticket, "its node takes nothing");
        }
    }

    /// The deadline of a request that a silent node has. What only reads has changed nothing,
    /// executed or not.
    fn end_waiting(&mut self, pool: u16, ticket: &Ticket, why: &'static str) {
        self.trial_back(ticket.trial, pool, ticket.slot, false);
        if ticket.reads_only {
            self.give_up_waiting(ticket, why);
        } else {
            self.give_up_unknown(ticket, why);
        }
    }

    /// Whether this node is one by the map, with or without slots.
    fn is_primary(&self, id: Option<NodeId>) -> bool {
        self.topology.primaries().any(|node| Some(self.topology.node(node).id) == id)
    }

    /// The suspect connection in this place: it may have gone meanwhile, and another one be there.
    fn suspect_at(&mut self, index: u32) -> Option<&mut Connection> {
        self.connections.get_mut(index as usize).filter(|connection| connection.suspect)
    }

    fn suspects(&self) -> Vec<(u32, u16)> {
        let suspects = self.connections.iter().filter(|(_, c)| c.suspect);
        suspects.map(|(index, c)| (index as u32, c.pool)).collect()
    }
}
