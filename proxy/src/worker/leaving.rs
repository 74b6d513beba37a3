//! How requests leave the parking lots: all in one order, at a pace that neither the node that
//! has just come back nor the clients of other shards suffer from.

use std::time::Duration;

use super::Worker;
use super::lots::{Lot, Parked};
use super::pool::Gate;
use crate::node::{ClientKey, Connection, Ticket, Trial};
use crate::session::Away;
use crate::slot::Slot;
use crate::time::Moment;

/// So many leave at once, and again after each [`PACE`]: a hundred thousand in a second, which is
/// about what one node executes.
const AT_ONCE: usize = 128;
const PACE: Duration = Duration::from_millis(1);

/// Requests that have left their lots and are still to be sent.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    pub(super) lot: Lot,
    /// When the present measure of [`AT_ONCE`] began.
    since: Moment,
    gone: usize,
}

impl Leaving {
    /// Whether one more may go now; counts it.
    fn may_go(&mut self, now: Moment) -> bool {
        if self.since + PACE <= now {
            self.since = now;
            self.gone = 0;
        }
        let may = self.gone < AT_ONCE;
        self.gone += usize::from(may);
        may
    }

    /// When the next may go, if any wait.
    pub(super) fn next(&self) -> Option<Moment> {
        (!self.lot.is_empty()).then_some(self.since + PACE)
    }
}

impl Worker {
    /// The node serves (again): all that wait for it follow, in order.
    pub(super) fn open_gate(&mut self, pool: u16) {
        let Some(node) = self.pools.get_mut(usize::from(pool)) else { return };
        node.gate = Gate::Open;
        node.backoff.reset();
        let circuit = node.circuit_open.take();
        if circuit.is_some() {
            tracing::info!(node = %node.endpoint, "the node serves again");
        }
        node.refusal_logged = false;
        let lot = std::mem::take(&mut node.lot);
        self.release(lot);
        self.note_open(pool, circuit);
    }

    /// The slot is served (again): all that wait for it are sent.
    pub(super) fn open_slot(&mut self, slot: Slot) {
        if let Some(lot) = self.lots.remove(&slot) {
            self.release(lot);
            self.end_waits();
        }
    }

    /// All of a lot leave it.
    pub(super) fn release(&mut self, lot: Lot) {
        self.leaving.lot.absorb(lot);
        self.let_go();
    }

    /// Those that leave are sent, as many as the pace allows.
    pub(super) fn let_go(&mut self) {
        while !self.leaving.lot.is_empty()
            && self.leaving.may_go(self.now)
            && let Some(parked) = self.leaving.lot.pop()
        {
            let (ticket, frame) = self.unpark(parked);
            self.dispatch(ticket, frame);
        }
    }

    /// Takes back what is queued on any connection, was not handed over, and is chosen by `pick`,
    /// which is told the base pool of the node. Each comes with its pool.
    pub(super) fn call_back(
        &mut self,
        pick: impl Fn(u16, &Ticket) -> bool,
    ) -> Vec<(u16, Ticket, Vec<u8>)> {
        let (mut taken, mut emptied) = (Vec::new(), Vec::new());
        for (index, connection) in &mut self.connections {
            if connection.unsent_bytes() == 0 {
                continue;
            }
            let pool = connection.pool;
            let base = self.pools.get(usize::from(pool)).map_or(pool, |node| node.base);
            let before = taken.len();
            let called_back = connection.call_back(|ticket| pick(base, ticket));
            taken.extend(called_back.into_iter().map(|(ticket, frame)| (pool, ticket, frame)));
            if taken.len() > before && connection.is_idle() {
                emptied.push(index as u32);
            }
        }
        // One that carried a large request is free for the next.
        for index in emptied {
            self.after_extra(index);
        }
        taken
    }

    /// The way of slots has changed: what is queued on the connection of another node than their
    /// owner, and not handed over, goes to the owner. In a partition that node may be one that was
    /// replaced, and whatever it would acknowledge would be lost. `fell(node, slot)`: it was the
    /// owner just before.
    pub(super) fn call_back_moved(&mut self, fell: impl Fn(u16, Slot) -> bool) {
        let routes = self.routes.clone();
        let mut moved = self
            .call_back(|base, ticket| ticket.slot.is_some_and(|slot| routes[slot.index()] != base));
        moved.extend(self.call_back_halves(fell));
        moved.sort_unstable_by_key(|(_, ticket, _)| ticket.arrival);
        for (pool, mut ticket, frame) in moved {
            self.abandon_trial(pool, &ticket);
            ticket.trial = Trial::No;
            self.divert(&mut ticket);
            self.dispatch(ticket, frame);
        }
    }

    /// A request that a node has in part is not completed if the node has just lost the slot. Its
    /// connection ends there: nothing can follow half a request, so what is behind it is taken back
    /// as well. What came before it is still answered; nobody pays but by a new connection. (Only
    /// then, and not whenever the node is not the owner: one that was sent on with ASK would begin
    /// anew with each new map.)
    fn call_back_halves(
        &mut self,
        fell: impl Fn(u16, Slot) -> bool,
    ) -> Vec<(u16, Ticket, Vec<u8>)> {
        let fallen = |connection: &Connection| {
            connection.half_sent().is_some_and(|slot| fell(self.base_of(connection.pool), slot))
        };
        let halves = self.connections.iter().filter(|(_, connection)| fallen(connection));
        let halves: Vec<u32> = halves.map(|(index, _)| index as u32).collect();
        let mut taken = Vec::new();
        for index in halves {
            let Some(connection) = self.connections.get_mut(index as usize) else { continue };
            let (pool, serial) = (connection.pool, connection.serial);
            connection.retiring = true;
            if self.pools.get(usize::from(pool)).is_some_and(|node| node.shared == Some(index)) {
                self.retire_shared(pool);
            }
            let Some(connection) = self.connections.get_mut(index as usize) else { continue };
            let unsent = connection.take_unsent();
            taken.extend(unsent.into_iter().map(|(ticket, frame)| (pool, ticket, frame)));
            self.end_doubts(|doubt| doubt.connection == serial);
            self.after_extra(index);
        }
        taken
    }

    /// The topology has changed: those that wait for a slot, or for a node that is not the owner
    /// of theirs any more, leave.
    pub(super) fn reroute_parked(&mut self) {
        for (_, lot) in self.lots.drain() {
            self.leaving.lot.absorb(lot);
        }
        let routes = &self.routes;
        for (_, node) in &mut self.pools {
            let base = node.base;
            let moved =
                |ticket: &Ticket| ticket.slot.is_none_or(|slot| routes[slot.index()] != base);
            for lot in node.lots() {
                self.leaving.lot.absorb(lot.take_out(moved));
            }
        }
        self.let_go();
    }

    /// Takes a request out of wherever it waits.
    pub(super) fn take_parked(&mut self, Away { slot, arrival }: Away) -> Option<Parked> {
        let lots = self.lots.get_mut(&slot.unwrap_or_default()).into_iter();
        let of_nodes = self.pools.iter_mut().map(|(_, node)| node);
        let others = [&mut self.behind, &mut self.leaving.lot];
        let mut lots = lots.chain(of_nodes.flat_map(|node| node.lots())).chain(others);
        lots.find_map(|lot| lot.remove(arrival))
    }

    /// Forgets what waits for a client that has gone; returns whether there was anything. Its
    /// place among the client's replies stays open, so the client has to be closed then.
    pub(super) fn drop_parked(&mut self, client: ClientKey) -> bool {
        let Some(session) = self.clients.find(client) else { return false };
        let away = session.unsettled.clone();
        let parked = |away| self.take_parked(away);
        let dropped: Vec<Parked> = away.into_iter().filter_map(parked).collect();
        let any = !dropped.is_empty();
        for parked in dropped {
            let (ticket, _) = self.unpark(parked);
            self.count_dropped(&ticket);
        }
        any
    }
}
