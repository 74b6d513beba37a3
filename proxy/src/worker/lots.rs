//! The parking lots: where requests wait that no node has executed, and how they leave again.
//!
//! Waiting belongs to what is waited for, a node or a slot, not to the request: one tries, its
//! success lets the others follow in the order in which they were read. So the attempts at a
//! node do not grow with the number that waits. Everything is bounded in requests and bytes; at
//! the bound the newest is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use smallvec::SmallVec;

use super::pool::Gate;
use super::{Deadlines, NO_POOL, WishReason, Worker};
use crate::node::{Backoff, ClientKey, Patience, Ticket, Trial};
use crate::session::{ClientEnd, Closing};
use crate::slot::Slot;
use crate::time::Moment;

/// How often the map is asked for while requests wait for a node; the discovery has a pace of its
/// own.
const WISH_INTERVAL: Duration = Duration::from_millis(40);

/// A request that waits.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) ticket: Ticket,
    pub(super) frame: Vec<u8>,
    /// It waits for a connection to a node that takes its slot over: ASKING goes before it.
    pub(super) asking: bool,
    /// When its own time is over, if it blocks and that is limited.
    pub(super) until: Option<Moment>,
}

/// Requests that wait for the same thing, in the order in which they were read.
#[derive(Debug, Default)]
pub(super) struct Lot {
    /// By `arrival`: any of them can be taken out without looking at the others, because ten
    /// thousand clients may leave at once while they all wait.
    waiting: BTreeMap<u64, Parked>,
    /// The same ones by how long they wait, and then by when they were read: of each patience the
    /// first is the first whose time is over.
    due: BTreeSet<(Patience, Moment, u64)>,
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
    /// Puts a request at its place in the order of reading.
    pub(super) fn insert(&mut self, parked: Parked) {
        self.due.insert(due(&parked.ticket));
        self.waiting.insert(parked.ticket.arrival, parked);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn pop(&mut self) -> Option<Parked> {
        let (_, parked) = self.waiting.pop_first()?;
        self.due.remove(&due(&parked.ticket));
        Some(parked)
    }

    /// When the time of the next is over, and which it is.
    fn next_deadline(&self, deadlines: &Deadlines) -> Option<(Moment, u64)> {
        let oldest_of_each = std::iter::successors(self.due.first(), |(patience, ..)| {
            self.due.range((patience.next()?, Moment::default(), 0)..).next()
        });
        oldest_of_each
            .map(|&(patience, received, arrival)| (received + deadlines.of(patience), arrival))
            .min()
    }

    /// Takes in all of another lot.
    pub(super) fn absorb(&mut self, mut other: Lot) {
        self.waiting.append(&mut other.waiting);
        self.due.append(&mut other.due);
    }

    /// Takes out all that `pick` chooses.
    pub(super) fn take_out(&mut self, pick: impl Fn(&Ticket) -> bool) -> Lot {
        let all = std::mem::take(&mut self.waiting);
        let (waiting, rest) = all.into_iter().partition(|(_, parked)| pick(&parked.ticket));
        self.waiting = rest;
        let mut taken = Lot { waiting, ..Lot::default() };
        for lot in [self, &mut taken] {
            lot.due = lot.tickets().map(due).collect();
        }
        taken
    }

    /// Takes out the request with this number.
    pub(super) fn remove(&mut self, arrival: u64) -> Option<Parked> {
        let parked = self.waiting.remove(&arrival)?;
        self.due.remove(&due(&parked.ticket));
        Some(parked)
    }

    /// All of them, the one that was read first before the others.
    pub(super) fn tickets(&self) -> impl Iterator<Item = &Ticket> {
        self.waiting.values().map(|parked| &parked.ticket)
    }

    /// The oldest one's time of reading.
    pub(super) fn oldest(&self) -> Option<Moment> {
        self.tickets().next().map(|ticket| ticket.received)
    }

    /// The next to try: the first behind the one that tried last that has no earlier one of the
    /// same client before it; from the front again after the last.
    fn pop_next_to_try(&mut self) -> Option<Parked> {
        // Looking far for fairness would cost time in a long queue; the front is fair enough.
        let mut seen: SmallVec<[ClientKey; 64]> = SmallVec::new();
        let mut next = *self.waiting.first_key_value()?.0;
        for (&arrival, parked) in self.waiting.iter().take(64) {
            let client = parked.ticket.client;
            if seen.contains(&client) {
                continue;
            }
            if arrival > self.tried {
                next = arrival;
                break;
            }
            seen.push(client);
        }
        self.tried = next;
        self.remove(next)
    }
}

fn due(ticket: &Ticket) -> (Patience, Moment, u64) {
    (ticket.patience, ticket.received, ticket.arrival)
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
            && let Some(session) = self.clients.find(ticket.client)
        {
            ticket.diverted = true;
            session.divert(ticket.slot, ticket.arrival);
        }
        if ticket.is_block() {
            self.clients.mark_dirty(ticket.client.index); // what was held back for it
        }
        self.call_back_later(ticket);
    }

    /// Later requests of the same client and slot that are queued somewhere and not handed over
    /// wait for this one (failure-masking contract, §1.4).
    fn call_back_later(&mut self, ticket: &Ticket) {
        let (client, slot, arrival) = (ticket.client, ticket.slot, ticket.arrival);
        if slot.is_none() || ticket.way.is_own() {
            return; // or it is alone
        }
        let later = self.call_back(|_, other| {
            other.client == client && other.slot == slot && other.arrival > arrival
        });
        for (pool, ticket, frame) in later {
            self.abandon_trial(pool, &ticket);
            self.park_behind(ticket, frame);
        }
    }

    /// Lets a request wait for its node.
    pub(super) fn park_at_node(&mut self, pool: u16, mut ticket: Ticket, frame: Vec<u8>) {
        let Some(node) = self.pools.get(usize::from(pool)) else {
            return self.park_at_slot("its node has left the cluster", ticket, frame);
        };
        let trouble = if node.is_open() { "its connection is being opened" } else { node.trouble };
        let is_known = node.circuit_open.is_some_and(|since| since <= ticket.received);
        let is_question = !node.is_open() && self.is_question(&ticket);
        if (is_known && !ticket.diverted) || is_question {
            self.settings.deadlines.hurry(&mut ticket);
        }
        if std::mem::replace(&mut ticket.trial, Trial::No) == Trial::Slot {
            self.trial_back(Trial::Slot, pool, ticket.slot, false);
        }
        if let Some(parked) = self.admit(trouble, ticket, frame) {
            self.note_parked(pool, &parked.ticket, trouble);
            let Some(node) = self.pools.get_mut(usize::from(pool)) else { return };
            node.lot.trouble = trouble;
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
        self.note_parked_at_slot(slot, &parked.ticket, trouble);
        let random = (self.around.random)();
        let now = self.now;
        let lot = self.lots.entry(slot).or_default();
        lot.trouble = trouble;
        if lot.is_empty() && !lot.trying && !back_from_trial {
            lot.next_try = now + lot.backoff.delay(random);
        }
        lot.insert(parked);
    }

    /// Lets a request wait for an earlier one of the same client and slot.
    pub(super) fn park_behind(&mut self, ticket: Ticket, frame: Vec<u8>) {
        let ticket = Ticket { trial: Trial::No, ..ticket };
        let trouble = "an earlier request of the same client waits";
        if let Some(parked) = self.admit(trouble, ticket, frame) {
            self.behind.trouble = trouble;
            self.behind.insert(parked);
        }
    }

    /// Counts a request into the parking, or refuses it: too late, or too many.
    pub(super) fn admit(
        &mut self,
        trouble: &'static str,
        mut ticket: Ticket,
        frame: Vec<u8>,
    ) -> Option<Parked> {
        if ticket.is_watched() {
            self.null_exec(&ticket);
            return None;
        }
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
        if self.settings.deadlines.is_over(&ticket, self.now) {
            self.give_up_waiting(&ticket, trouble);
            return None;
        }
        if self.parking.requests >= self.settings.park_max_requests
            || self.parking.bytes + self.weight(&frame) > self.settings.park_max_bytes
        {
            self.cells.park_refused.add(1);
            self.refuse_overloaded(&ticket, "too many requests wait for nodes that are away");
            return None;
        }
        // Before later ones are called back, which have to find their place behind it.
        self.parking.requests += 1;
        self.parking.bytes += self.weight(&frame);
        self.show_parking();
        self.divert(&mut ticket);
        ticket.hops = 0;
        ticket.previous = NO_POOL;
        let until = self.blocks_until(&ticket);
        if let Some(until) = until {
            self.timers.insert((until, ticket.arrival), ticket.slot);
        }
        Some(Parked { ticket, frame, asking: false, until })
    }

    /// What a request counts towards the bound in bytes: a large one is in the budget of large
    /// requests already.
    fn weight(&self, frame: &[u8]) -> usize {
        if frame.len() > self.settings.large_request { 0 } else { frame.len() }
    }

    /// A request leaves its lot, to be sent or given up.
    pub(super) fn unpark(&mut self, parked: Parked) -> (Ticket, Vec<u8>) {
        self.parking.requests = self.parking.requests.saturating_sub(1);
        self.parking.bytes = self.parking.bytes.saturating_sub(self.weight(&parked.frame));
        self.show_parking();
        if let Some(until) = parked.until {
            self.timers.remove(&(until, parked.ticket.arrival));
        }
        (parked.ticket, parked.frame)
    }

    fn show_parking(&self) {
        self.cells.parked_requests.set(self.parking.requests as u64);
        self.cells.parked_bytes.set(self.parking.bytes as u64);
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

    pub(super) fn next_parking_event(&self) -> Option<Moment> {
        if self.parking.requests == 0 {
            return None;
        }
        let deadline = |lot: &Lot| Some(lot.next_deadline(&self.settings.deadlines)?.0);
        let wish = self.pools.iter().any(|(_, node)| !node.lot.is_empty()).then_some(self.wish_at);
        let nodes = self.pools.iter().flat_map(|(_, node)| {
            let next = match node.gate {
                Gate::Closed { next_try, trying: false } if !node.lot.is_empty() => Some(next_try),
                _ => None,
            };
            let queues = [deadline(&node.brief_queue), deadline(&node.lent_queue)];
            [next, deadline(&node.lot), queues.into_iter().flatten().min()]
        });
        let slots = self.lots.values().flat_map(|lot| {
            let next = (!lot.trying && !lot.is_empty()).then_some(lot.next_try);
            [next, deadline(lot)]
        });
        let others = [
            deadline(&self.behind),
            deadline(&self.leaving.lot),
            self.leaving.next(),
            wish,
            self.next_timer(),
        ];
        nodes.chain(slots).chain(others).flatten().min()
    }

    /// Ends what waited too long, then lets one of each lot try whose time has come.
    pub(super) fn tick_parking(&mut self) {
        if self.parking.requests == 0 {
            return;
        }
        self.tick_timers();
        let waits = self.pools.iter().any(|(_, node)| !node.lot.is_empty());
        if waits && self.wish_at <= self.now {
            // A replica may be promoted at any time, and nobody tells us of it.
            self.wish_at = self.now + WISH_INTERVAL;
            self.outbox.wish(WishReason::NotServing);
        }
        let pools: Vec<usize> = self.pools.iter().map(|(index, _)| index).collect();
        for index in pools {
            if self.expire(|worker| worker.pools.get_mut(index).map(|node| &mut node.lot)) {
                self.open_circuit(index);
            }
            // Those that wait for a connection of their own have met a bound.
            let end = Worker::refuse_overloaded;
            self.expire_by(end, |worker| worker.pools.get_mut(index).map(|n| &mut n.brief_queue));
            self.expire_by(end, |worker| worker.pools.get_mut(index).map(|n| &mut n.lent_queue));
            self.try_node(index as u16);
        }
        self.expire(|worker| Some(&mut worker.behind));
        self.expire(|worker| Some(&mut worker.leaving.lot));
        self.let_go();
        let slots: Vec<Slot> = self.lots.keys().copied().collect();
        for slot in slots {
            self.expire(|worker| worker.lots.get_mut(&slot));
            self.try_slot(slot);
        }
    }

    /// Gives up what waited in this lot for too long. Returns whether any of it had waited for the
    /// whole `auto` deadline.
    fn expire(&mut self, lot: impl Fn(&mut Worker) -> Option<&mut Lot>) -> bool {
        self.expire_by(Worker::give_up_waiting, lot)
    }

    fn expire_by(
        &mut self,
        end: impl Fn(&mut Worker, &Ticket, &'static str),
        lot: impl Fn(&mut Worker) -> Option<&mut Lot>,
    ) -> bool {
        let (now, deadlines) = (self.now, self.settings.deadlines.clone());
        let mut whole_deadline = false;
        while let Some(waiting) = lot(self)
            && let Some((at, arrival)) = waiting.next_deadline(&deadlines)
            && at <= now
            && let Some(parked) = waiting.remove(arrival)
        {
            let trouble = waiting.trouble;
            let (ticket, _) = self.unpark(parked);
            whole_deadline |= ticket.patience == Patience::AUTO;
            let trouble = if trouble.is_empty() { "its node is away" } else { trouble };
            end(self, &ticket, trouble);
        }
        whole_deadline
    }

    /// A request has waited for this node for the whole `auto` deadline in vain: who comes later
    /// is told sooner. (A deadline of somebody's choice says nothing about the shard.)
    fn open_circuit(&mut self, pool: usize) {
        let now = self.now;
        if let Some(node) = self.pools.get_mut(pool)
            && node.circuit_open.is_none()
        {
            node.circuit_open = Some(now);
            tracing::warn!(
                node = %node.endpoint,
                "requests have waited a whole deadline for the node: later ones wait circuit-wait"
            );
            self.note_circuit(pool);
        }
    }

    /// Lets one request try whether its node is back.
    pub(super) fn try_node(&mut self, pool: u16) {
        loop {
            let now = self.now;
            let Some(node) = self.pools.get_mut(usize::from(pool)) else { return };
            match node.gate {
                Gate::Closed { next_try, trying: false } if next_try <= now => {}
                _ => return,
            }
            if node.lot.is_empty() {
                return;
            }
            if self.ready_shared(pool).is_none() {
                // To open the connection is the attempt.
                if let Some(node) = self.pools.get_mut(usize::from(pool)) {
                    node.gate = Gate::Closed { next_try: now, trying: true };
                }
                return self.outbox.wish(WishReason::NotServing);
            }
            let Some(node) = self.pools.get_mut(usize::from(pool)) else { return };
            let Some(parked) = node.lot.pop() else { return };
            let wanted = self.pool_for(&parked.ticket);
            if wanted != self.base_of(pool) {
                // Its slot has another owner by now, or it has no slot and may go to another node.
                let (ticket, frame) = self.unpark(parked);
                self.dispatch_for(wanted, ticket, frame, false);
                continue;
            }
            let (mut ticket, frame) = self.who_tries(parked, |worker| {
                worker.pools.get_mut(usize::from(pool)).map(|node| &mut node.lot)
            });
            ticket.trial = Trial::Node;
            if let Some(node) = self.pools.get_mut(usize::from(pool)) {
                node.gate = Gate::Closed { next_try: now, trying: true };
            }
            self.outbox.wish(WishReason::NotServing);
            return self.dispatch_to(pool, ticket, frame, false);
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
            let (mut ticket, frame) = self.who_tries(parked, |worker| worker.lots.get_mut(&slot));
            ticket.trial = Trial::Slot;
            self.dispatch(ticket, frame);
        }
    }
}
