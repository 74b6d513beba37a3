//! What an error of a node means for its request: the client's reply, or another attempt.

use super::blocking::NOBODY;
use super::diary::What;
use super::{NO_POOL, WishReason, Worker};
use crate::metrics::Outcome;
use crate::node::{Ticket, Trial};
use crate::routing::{
    AfterBlock, Outcome as Fate, Place, Rejection, Situation, Verdict, outcome_of_error,
    outcome_of_exec,
};
use crate::slot::Slot;
use crate::topology::Redirect;

/// A request is sent around at most so often before it waits.
const HOPS_MAX: u8 = 4;

impl Worker {
    /// An error: the client's, or the beginning of another attempt.
    pub(super) fn error_reply(&mut self, pool: u16, ticket: Ticket, frame: Vec<u8>, reply: &[u8]) {
        let fate = fate_of(&ticket, reply);
        self.after_error(pool, ticket, frame, reply, &fate);
    }

    /// An error of which it is known what it says.
    pub(super) fn after_error(
        &mut self,
        pool: u16,
        mut ticket: Ticket,
        frame: Vec<u8>,
        reply: &[u8],
        fate: &Fate<'_>,
    ) {
        let outdated = self.outdated.contains(&ticket.arrival);
        let target = match fate {
            Fate::Rejected(Rejection::Ask(to)) if !outdated => self.target(pool, to),
            Fate::Rejected(Rejection::Moved(to) | Rejection::Ask(to)) => {
                let by_map = self.newer_owner(pool, to.slot, outdated);
                self.target(pool, to).map(|named| by_map.unwrap_or(named))
            }
            _ => None,
        };
        let base = self.base_of(pool);
        let tried = !outdated
            && (target == Some(base) || target == Some(ticket.previous) || ticket.hops >= HOPS_MAX);
        let situation = Situation {
            replayable: ticket.replayable,
            forgeable: ticket.forgeable,
            target_known: target.is_some(),
            target_tried: tried,
        };
        let next = Worker::what_next(fate, &ticket, situation);
        if let Fate::Rejected(rejection) = fate {
            self.comes_back(&mut ticket);
            self.note_rejection(pool, rejection, target, outdated);
        }
        let AfterBlock::As(verdict) = next else { return self.null_exec(&ticket) };
        if let Fate::Rejected(_) = fate {
            self.count_resent(pool);
        }
        // Whatever is not a refusal of the node as a whole shows that the node is there.
        let trial = ticket.trial;
        let node_serves = !matches!(verdict, Verdict::Park(Place::Node));
        if trial == Trial::Node {
            ticket.trial = Trial::No;
        }
        match verdict {
            Verdict::Deliver if ticket.in_doubt => {
                // It is about this attempt; the one before may have been executed.
                self.trial_back(ticket.trial, pool, ticket.slot, true);
                self.give_up_unknown(&ticket, "sent again, it was answered with an error");
            }
            Verdict::Deliver if self.ends_unanswered(&ticket, reply) => {}
            Verdict::Deliver => {
                self.note_exec(&ticket);
                if ticket.client != NOBODY {
                    self.clients.settle(&ticket, reply, Outcome::ServerError, self.now);
                }
                self.trial_back(ticket.trial, pool, ticket.slot, true);
            }
            Verdict::Follow { asking } => {
                self.count_replay(fate);
                self.divert(&mut ticket);
                ticket.hops += 1;
                ticket.previous = base;
                match target {
                    Some(target) => self.dispatch_for(target, ticket, frame, asking),
                    None => self.dispatch(ticket, frame),
                }
            }
            Verdict::Park(Place::Slot) => {
                self.count_replay(fate);
                self.park_at_slot("the slot is on its way to another node", ticket, frame);
            }
            Verdict::Park(Place::Node) => {
                self.count_replay(fate);
                self.shut_gate(pool, trouble(fate));
                self.park_at_node(pool, ticket, frame);
            }
            Verdict::Resend => {
                self.count_replay(fate);
                self.dispatch(ticket, frame);
            }
            Verdict::GiveUp(_) => {
                self.trial_back(ticket.trial, pool, ticket.slot, true);
                self.give_up_unknown(&ticket, "its redirect leads nowhere new");
            }
        }
        // Last, because those that it lets out came later than this one.
        if trial == Trial::Node && node_serves {
            self.open_gate(pool);
        }
    }

    /// The owner of a slot by the map, if the node that says MOVED was left behind, or may have said
    /// it before the map came (`outdated`): what it names may be an owner of long ago, and in a
    /// partition one that still takes writes.
    fn newer_owner(&self, answered_by: u16, slot: Slot, outdated: bool) -> Option<u16> {
        let node = self.pools.get(usize::from(answered_by))?;
        let owner = self.topology.primary_of(slot).map(|owner| self.topology.node(owner).id);
        let owner = owner.and_then(|owner| self.pool_of(&owner)).unwrap_or(NO_POOL);
        let is_newer = owner != self.base_of(answered_by);
        let is_older = outdated || (is_newer && self.topology.is_behind(&node.id, slot));
        (is_older && owner != NO_POOL).then_some(owner)
    }

    /// The base pool of the node that a redirect names, if a view of a known node lists it.
    pub(super) fn target(&self, answered_by: u16, redirect: &Redirect<'_>) -> Option<u16> {
        let from = &self.pools.get(usize::from(answered_by))?.endpoint;
        let node = redirect.node(&self.topology, from)?;
        self.pool_of(&self.topology.node(node).id)
    }

    /// Counts a rejection and learns from it.
    pub(super) fn note_rejection(
        &mut self,
        pool: u16,
        rejection: &Rejection<'_>,
        target: Option<u16>,
        outdated: bool,
    ) {
        let node = self.pools.get(usize::from(pool));
        let (cells, mut redirect) = (&self.cells, None);
        match rejection {
            Rejection::Moved(to) => {
                cells.redirects_moved.add(1);
                redirect = Some("MOVED");
                if let Some(node) = node {
                    node.cells.moved.add(1);
                }
                match target {
                    Some(target) if self.routes[to.slot.index()] == target => {}
                    Some(target) => {
                        let by_map = self.newer_owner(pool, to.slot, outdated) == Some(target);
                        let behind = node.is_some_and(|n| self.topology.is_behind(&n.id, to.slot));
                        if by_map || !behind {
                            self.routes[to.slot.index()] = target;
                            self.note_owner(target);
                            self.divert_in_flight(|slot| slot == to.slot);
                        }
                        self.outbox.wish(WishReason::Moved);
                        self.watch_node(target);
                    }
                    None => self.outbox.wish(WishReason::UnknownNode),
                }
            }
            Rejection::Ask(_) => {
                cells.redirects_ask.add(1);
                redirect = Some("ASK");
                if let Some(node) = node {
                    node.cells.ask.add(1);
                }
                if target.is_none() {
                    self.outbox.wish(WishReason::UnknownNode);
                }
            }
            Rejection::TryAgain => {
                cells.redirects_tryagain.add(1);
                redirect = Some("TRYAGAIN");
                if let Some(node) = node {
                    node.cells.tryagain.add(1);
                }
            }
            Rejection::SlotNotServed => {
                cells.redirects_clusterdown.add(1);
                self.outbox.wish(WishReason::NoOwner);
            }
            Rejection::ClusterDown => {
                cells.redirects_clusterdown.add(1);
                self.outbox.wish(WishReason::NotServing);
            }
            Rejection::Loading => {
                cells.redirects_loading.add(1);
                self.outbox.wish(WishReason::NotServing);
            }
            Rejection::MasterDown => {
                cells.redirects_masterdown.add(1);
                self.outbox.wish(WishReason::NotServing);
            }
            Rejection::ReadOnly | Rejection::Unblocked => {
                cells.redirects_readonly.add(1);
                self.outbox.wish(WishReason::NotServing);
            }
            Rejection::NoScript => {}
            Rejection::NoAuth => {
                // The handshake is repeated on a new connection; this one only finishes.
                self.retire_shared(pool);
                self.retire_extra(pool);
            }
        }
        if let Some(kind) = redirect {
            self.tally(What::Redirect(kind), pool, target);
        }
    }

    /// A request that a node rejected is sent again.
    fn count_replay(&self, fate: &Fate<'_>) {
        let cells = &self.cells;
        let counter = match fate {
            Fate::Rejected(Rejection::Moved(_)) => &cells.replays_moved,
            Fate::Rejected(Rejection::Ask(_)) => &cells.replays_ask,
            Fate::Rejected(Rejection::TryAgain) => &cells.replays_tryagain,
            Fate::Rejected(Rejection::SlotNotServed | Rejection::ClusterDown) => {
                &cells.replays_clusterdown
            }
            Fate::Rejected(Rejection::Loading) => &cells.replays_loading,
            Fate::Rejected(Rejection::MasterDown) => &cells.replays_masterdown,
            Fate::Rejected(Rejection::ReadOnly | Rejection::Unblocked) => &cells.replays_readonly,
            Fate::Rejected(Rejection::NoAuth) => &cells.replays_noauth,
            Fate::Rejected(Rejection::NoScript) => &cells.replays_noscript,
            _ => return,
        };
        counter.add(1);
    }
}

/// Whether this error says that the request was not executed, if it is to be believed at all.
pub(super) fn is_rejection(ticket: &Ticket, reply: &[u8]) -> bool {
    matches!(fate_of(ticket, reply), Fate::Rejected(_))
}

/// What this error says of its request.
fn fate_of<'a>(ticket: &Ticket, reply: &'a [u8]) -> Fate<'a> {
    if ticket.is_block() {
        outcome_of_exec(text(reply), [], ticket.slot)
    } else {
        outcome_of_error(text(reply), ticket.slot, ticket.forgeable, ticket.reads_only)
    }
}

/// What an error says, without what makes it a reply.
pub(super) fn text(reply: &[u8]) -> &[u8] {
    reply.strip_prefix(b"-").unwrap_or(reply).trim_ascii_end()
}

/// What a rejection says about the node, in words.
fn trouble(fate: &Fate<'_>) -> &'static str {
    match fate {
        Fate::Rejected(Rejection::ClusterDown) => "its node says that the cluster is down",
        Fate::Rejected(Rejection::Loading) => "its node is loading its data",
        Fate::Rejected(Rejection::MasterDown) => "its node has lost its primary",
        Fate::Rejected(Rejection::ReadOnly) => "its node was demoted",
        Fate::Rejected(Rejection::NoAuth) => "its node does not know who slotway is",
        _ => "its node does not serve",
    }
}
