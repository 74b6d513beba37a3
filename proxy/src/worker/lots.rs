//! The parking lots: where requests wait that no node has executed, and how they leave again.
//!
//! Waiting belongs to what is waited for, a node or a slot, not to the request: one tries, its
//! success lets the others follow in the order in which they were read. So the attempts at a
//! node do not grow with the number that waits. Everything is bounded in requests and bytes; at
//! the bound the newest is refused.

use std::collections::VecDeque;

use super::pool::Gate;
use super::{NO_POOL, WishReason, Worker};
use crate::metrics::Outcome;
use crate::node::{Backoff, ClientKey, Ticket, Trial};
use crate::resp::write;
use crate::session::{ClientEnd, Closing};
use crate::slot::Slot;
use crate::time::Moment;

/// A request that waits.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) ticket: Ticket,
    pub(super) frame: Vec<u8>,
}

/// Requests that wait for the same thing, in the order in which they were read.
#[derive(Debug, Default)]
pub(super) struct Lot {
    waiting: VecDeque<Parked>,
    /// When the next of them may try, for a slot. (For a node its gate knows.)
    pub(super) next_try: Moment,
    pub(super) backoff: Backoff,
    /// The one that tried last: the next to try is another one, so that a request that cannot
    /// succeed yet does not stand in the way of those that can.
    pub(super) tried: u64,
    /// One is trying now.
    pub(super) trying: bool,
    /// What they wait for, in words.
    pub(super) trouble: &'static str,
}

impl Lot {
    /// Puts a request at its place in the order of reading. Nearly always that is the end.
    pub(super) fn insert(&mut self, parked: Parked) {
        let arrival = parked.ticket.arrival;
        let at = self.waiting.partition_point(|other| other.ticket.arrival < arrival);
        self.waiting.insert(at, parked);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn pop(&mut self) -> Option<Parked> {
        self.waiting.pop_front()
    }

    /// The oldest one's time of reading.
    pub(super) fn oldest(&self) -> Option<Moment> {
        self.waiting.front().map(|parked| parked.ticket.received)
    }

    /// The next to try: the first behind the one that tried last that has no earlier one of the
    /// same client before it; from the front again after the last.
    fn pop_next_to_try(&mut self) -> Option<Parked> {
        let is_first_of_client = |at: usize| {
            let client = self.waiting[at].ticket.client;
            !self.waiting.iter().take(at).any(|other| other.ticket.client == client)
        };
        // Looking far for fairness would cost time in a long queue; the front is fair enough.
        let near = self.waiting.len().min(64);
        let at = (0..near)
            .find(|&at| self.waiting[at].ticket.arrival > self.tried && is_first_of_client(at))
            .unwrap_or(0);
        let parked = self.waiting.remove(at)?;
        self.tried = parked.ticket.arrival;
        Some(parked)
    }

    pub(super) fn remove_client(&mut self, client: ClientKey) -> Vec<Parked> {
        let mut removed = Vec::new();
        let kept = std::mem::take(&mut self.waiting).into_iter().filter_map(|parked| {
            if parked.ticket.client == client {
                removed.push(parked);
                None
            } else {
                Some(parked)
            }
        });
        self.waiting = kept.collect();
        removed
    }
}

/// How much waits, over all lots of the worker.
#[derive(Debug, Default)]
pub(super) struct Parking {
    requests: usize,
    bytes: usize,
}

impl Worker {
    /// A request of this client and slot left the straight way: the client sends nothing further
    /// to the slot before it is settled.
    pub(super) fn divert(&mut self, ticket: &mut Ticket) {
        if !ticket.diverted
            && let Some(slot) = ticket.slot
            && let Some(session) = self.clients.find(ticket.client)
        {
            ticket.diverted = true;
            session.divert(slot);
        }
    }

    /// Lets a request wait for its node.
    pub(super) fn park_at_node(&mut self, pool: u16, mut ticket: Ticket, frame: Vec<u8>) {
        if std::mem::replace(&mut ticket.trial, Trial::No) == Trial::Slot {
            self.trial_back(Trial::Slot, pool, ticket.slot, false);
        }
        let Some(node) = self.pools.get(usize::from(pool)) else {
            return self.park_at_slot("its node has left the cluster", ticket, frame);
        };
        let trouble = node.trouble;
        if let Some(parked) = self.admit(trouble, ticket, frame)
            && let Some(node) = self.pools.get_mut(usize::from(pool))
        {
            node.lot.insert(parked);
        }
    }

    /// Lets a request wait for its slot.
    pub(super) fn park_at_slot(
        &mut self,
        trouble: &'static str,
        mut ticket: Ticket,
        frame: Vec<u8>,
    ) {
        // Requests without keys wait with those of slot 0: any answer of the cluster serves them.
        let slot = ticket.slot.unwrap_or_default();
        let back_from_trial = std::mem::replace(&mut ticket.trial, Trial::No) == Trial::Slot;
        if back_from_trial {
            self.trial_back(Trial::Slot, NO_POOL, ticket.slot, false);
        }
        let Some(parked) = self.admit(trouble, ticket, frame) else { return };
        let random = (self.around.random)();
        let now = self.now;
        let lot = self.lots.entry(slot).or_default();
        lot.trouble = trouble;
        if lot.is_empty() && !lot.trying && !back_from_trial {
            lot.next_try = now + lot.backoff.delay(random);
        }
        lot.insert(parked);
    }

    /// Counts a request into the parking, or refuses it: too late, or too many.
    pub(super) fn admit(
        &mut self,
        trouble: &str,
        mut ticket: Ticket,
        frame: Vec<u8>,
    ) -> Option<Parked> {
        let Some(session) = self.clients.find(ticket.client) else {
            self.cells.stale_replies_dropped.add(1);
            return None;
        };
        if session.closing != Closing::No && session.end == ClientEnd::Left {
            // Nobody is there to wait.
            self.count_dropped(&ticket);
            self.close_client(ticket.client.index, ClientEnd::Left);
            return None;
        }
        if ticket.received + self.settings.mask_deadline <= self.now {
            self.give_up_waiting(&ticket, trouble);
            return None;
        }
        if self.parking.requests >= self.settings.park_max_requests
            || self.parking.bytes + frame.len() > self.settings.park_max_bytes
        {
            self.cells.park_refused.add(1);
            self.refuse_overloaded(&ticket, "too many requests wait for nodes that are away");
            return None;
        }
        self.divert(&mut ticket);
        ticket.hops = 0;
        ticket.previous = NO_POOL;
        self.parking.requests += 1;
        self.parking.bytes += frame.len();
        self.show_parking();
        Some(Parked { ticket, frame })
    }

    /// A request leaves its lot, to be sent or given up.
    pub(super) fn unpark(&mut self, parked: Parked) -> (Ticket, Vec<u8>) {
        self.parking.requests = self.parking.requests.saturating_sub(1);
        self.parking.bytes = self.parking.bytes.saturating_sub(parked.frame.len());
        self.show_parking();
        (parked.ticket, parked.frame)
    }

    fn show_parking(&self) {
        self.cells.parked_requests.set(self.parking.requests as u64);
        self.cells.parked_bytes.set(self.parking.bytes as u64);
    }

    /// The answer to a request that waited until its deadline: nothing of it was executed.
    fn give_up_waiting(&mut self, ticket: &Ticket, trouble: &str) {
        let mut reply = Vec::new();
        let waited = self.now.since(ticket.received).as_secs_f64();
        let text = match ticket.slot {
            Some(slot) => format!(
                "CLUSTERDOWN not executed: {trouble}, gave up after {waited:.1} s (slot {slot})"
            ),
            None => format!("CLUSTERDOWN not executed: {trouble}, gave up after {waited:.1} s"),
        };
        write::error(&mut reply, text);
        self.clients.settle(ticket, &reply, Outcome::NotExecuted, self.now);
    }

    /// The answer to a request that met a bound: nothing of it was executed.
    pub(super) fn refuse_overloaded(&mut self, ticket: &Ticket, bound: &str) {
        let mut reply = Vec::new();
        write::error(&mut reply, format!("OVERLOADED not executed: {bound}"));
        self.clients.settle(ticket, &reply, Outcome::Overloaded, self.now);
    }

    /// The node serves (again): all that wait for it follow, in order.
    pub(super) fn open_gate(&mut self, pool: u16) {
        let Some(node) = self.pools.get_mut(usize::from(pool)) else { return };
        node.gate = Gate::Open;
        node.backoff.reset();
        node.refusal_logged = false;
        let lot = std::mem::take(&mut node.lot);
        self.release(lot);
    }

    /// The slot is served (again): all that wait for it are sent.
    pub(super) fn open_slot(&mut self, slot: Slot) {
        if let Some(lot) = self.lots.remove(&slot) {
            self.release(lot);
        }
    }

    pub(super) fn release(&mut self, mut lot: Lot) {
        while let Some(parked) = lot.pop() {
            let (ticket, frame) = self.unpark(parked);
            self.dispatch(ticket, frame);
        }
    }

    /// A request that was sent to try the way is back, by whatever way.
    pub(super) fn trial_back(
        &mut self,
        trial: Trial,
        pool: u16,
        slot: Option<Slot>,
        success: bool,
    ) {
        match trial {
            Trial::No => {}
            Trial::Node if success => self.open_gate(pool),
            Trial::Node => {}
            Trial::Slot if success => self.open_slot(slot.unwrap_or_default()),
            Trial::Slot => {
                let random = (self.around.random)();
                let now = self.now;
                if let Some(lot) = self.lots.get_mut(&slot.unwrap_or_default()) {
                    lot.trying = false;
                    lot.next_try = now + lot.backoff.delay(random);
                }
            }
        }
    }

    /// The topology has changed: whatever waits may have another way now.
    pub(super) fn reroute_parked(&mut self) {
        let slots: Vec<Slot> = self.lots.keys().copied().collect();
        for slot in slots {
            self.open_slot(slot);
        }
        let pools: Vec<usize> = self.pools.iter().map(|(index, _)| index).collect();
        for index in pools {
            let Some(node) = self.pools.get_mut(index) else { continue };
            let lot = std::mem::take(&mut node.lot);
            // Those whose node is still the same one and still closed park there again.
            self.release(lot);
        }
    }

    fn count_dropped(&self, ticket: &Ticket) {
        let latency_us = self.now.micros_since(ticket.received);
        self.cells.request_done(ticket.command.index(), Outcome::Dropped, latency_us);
    }

    /// Forgets what waits for a client that has gone; returns whether there was anything. Its
    /// place among the client's replies stays open, so the client has to be closed then.
    pub(super) fn drop_parked(&mut self, client: ClientKey) -> bool {
        let mut dropped = Vec::new();
        for (_, node) in &mut self.pools {
            dropped.extend(node.lot.remove_client(client));
            dropped.extend(node.large_queue.remove_client(client));
        }
        for lot in self.lots.values_mut() {
            dropped.extend(lot.remove_client(client));
        }
        let any = !dropped.is_empty();
        for parked in dropped {
            let (ticket, _) = self.unpark(parked);
            self.count_dropped(&ticket);
        }
        any
    }

    pub(super) fn next_parking_event(&self) -> Option<Moment> {
        if self.parking.requests == 0 {
            return None;
        }
        let deadline = |lot: &Lot| lot.oldest().map(|oldest| oldest + self.settings.mask_deadline);
        let nodes = self.pools.iter().flat_map(|(_, node)| {
            let next = match node.gate {
                Gate::Closed { next_try, trying: false } if !node.lot.is_empty() => Some(next_try),
                _ => None,
            };
            [next, deadline(&node.lot), deadline(&node.large_queue)]
        });
        let slots = self.lots.values().flat_map(|lot| {
            let next = (!lot.trying && !lot.is_empty()).then_some(lot.next_try);
            [next, deadline(lot)]
        });
        nodes.chain(slots).flatten().min()
    }

    /// Ends what waited too long, then lets one of each lot try whose time has come.
    pub(super) fn tick_parking(&mut self) {
        if self.parking.requests == 0 {
            return;
        }
        let pools: Vec<usize> = self.pools.iter().map(|(index, _)| index).collect();
        for index in pools {
            self.expire(|worker| worker.pools.get_mut(index).map(|node| &mut node.lot));
            self.expire(|worker| worker.pools.get_mut(index).map(|node| &mut node.large_queue));
            self.try_node(index as u16);
        }
        let slots: Vec<Slot> = self.lots.keys().copied().collect();
        for slot in slots {
            self.expire(|worker| worker.lots.get_mut(&slot));
            self.try_slot(slot);
        }
    }

    fn expire(&mut self, lot: impl Fn(&mut Worker) -> Option<&mut Lot>) {
        let (now, deadline) = (self.now, self.settings.mask_deadline);
        while let Some(waiting) = lot(self)
            && waiting.oldest().is_some_and(|oldest| oldest + deadline <= now)
            && let trouble = waiting.trouble
            && let Some(parked) = waiting.pop()
        {
            let (ticket, _) = self.unpark(parked);
            let trouble = if trouble.is_empty() { "its node is away" } else { trouble };
            self.give_up_waiting(&ticket, trouble);
        }
    }

    /// Lets one request try whether its node is back.
    fn try_node(&mut self, pool: u16) {
        loop {
            let now = self.now;
            let Some(node) = self.pools.get_mut(usize::from(pool)) else { return };
            match node.gate {
                Gate::Closed { next_try, trying: false } if next_try <= now => {}
                _ => return,
            }
            let Some(parked) = node.lot.pop() else { return };
            let (mut ticket, frame) = self.unpark(parked);
            let wanted = self.pool_for(ticket.slot);
            if wanted == pool {
                ticket.trial = Trial::Node;
                if let Some(node) = self.pools.get_mut(usize::from(pool)) {
                    node.gate = Gate::Closed { next_try: now, trying: true };
                }
                self.outbox.wish(WishReason::NotServing);
                return self.dispatch_to(pool, ticket, frame, false);
            }
            // Its slot has another owner by now, or it has no slot and may go to another node.
            self.dispatch_for(wanted, ticket, frame);
        }
    }

    /// Lets one request try whether its slot is served.
    fn try_slot(&mut self, slot: Slot) {
        let now = self.now;
        let Some(lot) = self.lots.get_mut(&slot) else { return };
        if lot.is_empty() && !lot.trying {
            self.lots.remove(&slot);
        } else if !lot.trying
            && lot.next_try <= now
            && let Some(parked) = lot.pop_next_to_try()
        {
            lot.trying = true;
            let (mut ticket, frame) = self.unpark(parked);
            ticket.trial = Trial::Slot;
            self.dispatch(ticket, frame);
        }
    }
}
