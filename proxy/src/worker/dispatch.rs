//! The slow way of a request to a node: for all that cannot go straight, because its node has
//! no connection yet, because it was rejected, lost or parked before, or because it is large.

use super::modes::TOO_MANY_MODES;
use super::pool::Gate;
use super::{Action, NO_POOL, WishReason, Worker};
use crate::node::{Connection, Kind, Phase, Ticket, Trial, Way};
use crate::routing::{AfterBlock, GiveUp, Outcome as Fate, Situation, Verdict};

const LOST: &str = "the node's connection was lost";

impl Worker {
    /// Routes a request from scratch and sends it, or lets it wait.
    pub(super) fn dispatch(&mut self, ticket: Ticket, frame: Vec<u8>) {
        if ticket.is_watched() {
            return self.null_exec(&ticket);
        }
        let base = self.pool_for(&ticket);
        if ticket.pinned != NO_POOL {
            if self.pools.get(usize::from(base)).is_none_or(|node| !node.listed) {
                return self.give_up_waiting(&ticket, "its node has left the cluster");
            }
            if self.is_for_all_nodes(&ticket) && self.is_gone(base) {
                return self.give_up_waiting(&ticket, "its node has failed");
            }
        }
        self.dispatch_for(base, ticket, frame, false);
    }

    /// The node (its base pool) for a request, by its slot if it has one: `NO_POOL` if there is
    /// none.
    #[inline(always)]
    pub(super) fn pool_for(&mut self, ticket: &Ticket) -> u16 {
        match ticket.slot {
            Some(slot) => self.routes[slot.index()],
            None if ticket.pinned != NO_POOL => ticket.pinned,
            None => self.any_primary(ticket.mode),
        }
    }

    /// Sends a request to the node with this base pool, in its own mode, or lets it wait.
    pub(super) fn dispatch_for(&mut self, base: u16, ticket: Ticket, frame: Vec<u8>, asking: bool) {
        if base == NO_POOL {
            self.outbox.wish(WishReason::NoOwner);
            return self.park_at_slot("no node is known to own the slot", ticket, frame);
        }
        match self.in_mode(base, ticket.mode) {
            Some(pool) => self.dispatch_to(pool, ticket, frame, asking),
            None => {
                self.abandon_trial(base, &ticket);
                self.refuse_overloaded(&ticket, TOO_MANY_MODES);
            }
        }
    }

    /// Sends a request to the node of this pool, with ASKING before it if so told, or lets it wait
    /// there.
    pub(super) fn dispatch_to(&mut self, pool: u16, ticket: Ticket, frame: Vec<u8>, asking: bool) {
        self.outdated.remove(&ticket.arrival);
        if self.clients.has_earlier_away(&ticket) {
            self.abandon_trial(pool, &ticket);
            return self.park_behind(ticket, frame);
        }
        let Some(node) = self.pools.get_mut(usize::from(pool)) else {
            return self.park_at_slot("its node has left the cluster", ticket, frame);
        };
        if !node.is_open() && ticket.trial != Trial::Node {
            if asking {
                // The node that takes the slot over is away: again from the owner.
                return self.park_at_slot(
                    "the node that takes the slot over is away",
                    ticket,
                    frame,
                );
            }
            return self.park_at_node(pool, ticket, frame);
        }
        let waits = ticket.way == Way::Barrier || (ticket.way.blocks() && ticket.slot.is_none());
        if !ticket.reads_only && !waits && !ticket.is_of_node() {
            let base = node.base;
            self.clients.note_write(ticket.client.index, base);
        }
        if !self.trackers.is_unused() {
            self.note_detour(pool, &ticket, &frame);
        }
        if frame.len() > self.settings.large_request || ticket.way.is_own() {
            return self.dispatch_own(pool, ticket, frame, asking);
        }
        let Some(shared) = self.ready_shared(pool) else {
            self.abandon_trial(pool, &ticket);
            if asking {
                let trouble = "the node that takes the slot over is being connected";
                return self.park_at_slot(trouble, ticket, frame);
            }
            return self.park_at_node(pool, ticket, frame);
        };
        let Some(connection) = self.connections.get_mut(shared as usize) else { return };
        if connection.unsent_bytes() > self.settings.park_max_bytes {
            self.abandon_trial(pool, &ticket);
            return self.refuse_overloaded(&ticket, "too much is queued at a node that is slow");
        }
        if ticket.names_scripts() {
            self.load_scripts(shared, &frame);
        }
        let Some(connection) = self.connections.get_mut(shared as usize) else { return };
        if asking {
            connection.push_asking(ticket, &frame);
        } else {
            connection.push(ticket, &frame);
        }
        self.touch(shared);
        if let Some(node) = self.pools.get(usize::from(pool)) {
            node.cells.requests_total.add(1);
        }
    }

    /// The node's shared connection if requests can go out on it; else it is opened. Nothing is
    /// queued on a connection that is not ready: in its lot a request keeps to its deadline, to
    /// the bounds, and to the map.
    pub(super) fn ready_shared(&mut self, pool: u16) -> Option<u32> {
        let Some(shared) = self.pools.get(usize::from(pool))?.shared else {
            self.open(pool, Kind::Shared);
            return None;
        };
        let connection = self.connections.get(shared as usize)?;
        matches!(connection.phase, Phase::Ready).then_some(shared)
    }

    /// There is something to write on a node connection.
    pub(super) fn touch(&mut self, index: u32) {
        if let Some(connection) = self.connections.get_mut(index as usize)
            && !connection.dirty
            && !matches!(connection.phase, Phase::Dialing)
        {
            connection.dirty = true;
            self.outbox.dirty_nodes.push(index);
        }
    }

    /// Opens a connection to a node and has it dialed.
    pub(super) fn open(&mut self, pool: u16, kind: Kind) -> u32 {
        self.last_serial += 1;
        let mut connection = Connection::dialing(pool, kind, self.now);
        connection.serial = self.last_serial;
        let index = self.connections.insert(connection) as u32;
        if let Some(node) = self.pools.get_mut(usize::from(pool)) {
            match kind {
                Kind::Shared => node.shared = Some(index),
                Kind::Dedicated => node.extra.push(index),
                Kind::Subscriber => node.upstream = Some(index),
                Kind::Probe => node.probe = Some(index),
                Kind::Watcher => node.watcher = Some(index),
            }
            node.cells.connections.add(1);
            node.cells.dials.add(1);
            let endpoint = node.endpoint.clone();
            self.outbox.push(Action::Dial { connection: index, endpoint });
        }
        index
    }

    /// Closes a connection that has nothing on it, or whose requests were taken off.
    pub(super) fn close_connection(&mut self, index: u32) -> Option<Connection> {
        let connection = self.connections.try_remove(index as usize)?;
        self.outbox.push(Action::CloseNode { connection: index });
        self.forget_connection(index, &connection);
        self.end_doubts(|doubt| doubt.connection == connection.serial);
        Some(connection)
    }

    /// Takes a connection that is no more out of its pool.
    pub(super) fn forget_connection(&mut self, index: u32, connection: &Connection) {
        self.forget_lent(connection);
        let pool = usize::from(connection.pool);
        let Some(node) = self.pools.get_mut(pool) else { return };
        node.cells.connections.sub(1);
        if node.shared == Some(index) {
            node.shared = None;
        }
        if node.upstream == Some(index) {
            node.upstream = None;
        }
        if node.probe == Some(index) {
            node.probe = None;
        }
        let was_watcher = node.watcher == Some(index);
        node.extra.retain(|&other| other != index);
        node.idle.retain(|&(other, _)| other != index);
        if was_watcher {
            self.unwatch(connection.pool);
        }
        self.remove_if_dead(connection.pool);
    }

    /// A request that was lost with its connection: again, or the truth about it.
    pub(super) fn after_loss(&mut self, pool: u16, mut ticket: Ticket, frame: Vec<u8>, sent: bool) {
        if sent && ticket.replayable && self.clients.find(ticket.client).is_none() {
            // Nobody is there to read it once more.
            self.trial_back(ticket.trial, pool, ticket.slot, false);
            return self.count_dropped(&ticket);
        }
        let fate = if sent { Fate::Unknown } else { Fate::NotSent };
        let situation = Situation {
            replayable: ticket.replayable,
            forgeable: ticket.forgeable,
            target_known: false,
            target_tried: false,
        };
        match Worker::what_next(&fate, &ticket, situation) {
            AfterBlock::NullExec => self.null_exec(&ticket),
            AfterBlock::As(Verdict::GiveUp(GiveUp::Unknown)) => {
                self.trial_back(ticket.trial, pool, ticket.slot, false);
                self.give_up_unknown(&ticket, LOST);
            }
            _ => {
                self.comes_back(&mut ticket);
                ticket.in_doubt |= sent && !ticket.reads_only;
                let counter = if sent && ticket.reads_only {
                    &self.cells.replays_read_replayed
                } else if sent {
                    &self.cells.replays_unknown
                } else {
                    &self.cells.replays_not_sent
                };
                counter.add(1);
                self.count_resent(pool);
                self.divert(&mut ticket);
                match ticket.trial {
                    Trial::Slot => self.park_at_slot(LOST, ticket, frame),
                    // If it tried for its node, the node's gate was shut when the connection
                    // was lost, or another one has opened it since.
                    Trial::Node | Trial::No => {
                        ticket.trial = Trial::No;
                        self.dispatch(ticket, frame);
                    }
                }
            }
        }
    }

    /// A request that was meant for this node will be sent again, there or elsewhere.
    pub(super) fn count_resent(&self, pool: u16) {
        if let Some(node) = self.pools.get(usize::from(pool)) {
            node.cells.resent.add(1);
        }
    }

    /// A request that was to try the way will not: another one will, after a while.
    pub(super) fn abandon_trial(&mut self, pool: u16, ticket: &Ticket) {
        match ticket.trial {
            Trial::No => {}
            Trial::Node => self.shut_gate(pool, "the node does not serve yet"),
            Trial::Slot => self.trial_back(Trial::Slot, pool, ticket.slot, false),
        }
    }

    /// A node is away or does not serve: those that come wait, one tries again later.
    pub(super) fn shut_gate(&mut self, pool: u16, trouble: &'static str) {
        let random = (self.around.random)();
        let now = self.now;
        if let Some(node) = self.pools.get_mut(usize::from(pool)) {
            let was_open = node.is_open();
            let already_shut = matches!(node.gate, Gate::Closed { trying: false, .. });
            if !already_shut {
                let delay = node.backoff.delay(random);
                node.close_gate(trouble, now, delay);
                node.lot.trouble = trouble;
                self.note_away(pool, trouble);
                if was_open {
                    self.hurry_questions(pool);
                }
            }
        }
    }
}
