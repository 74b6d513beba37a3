//! The table of clients, and how a request of theirs is settled.

use std::sync::Arc;

use slab::Slab;

use super::Settings;
use super::gather::Gather;
use crate::metrics::{Outcome, WorkerCells};
use crate::node::{ClientKey, Ticket, WHOLE};
use crate::session::{ClientEnd, Closing, Flow, Manners, Session, Special};
use crate::time::Moment;

/// Flows kept for the next busy client. More clients than this at once in flight pay an
/// allocation each, which does not show; what is kept is memory that an idle process holds.
const SHELF_FLOWS: usize = 128;

/// Buffers of a flow on the shelf are at most this large: 128 × 3 × 4 KiB in all.
const SHELF_BUFFER_BYTES: usize = 4 * 1024;

/// Flows that wait for the next busy client. Boxed, because they move between here and sessions
/// all the time, and a session has room for a pointer only.
#[allow(clippy::vec_box)]
type Shelf = Vec<Box<Flow>>;

/// All clients of a worker.
pub(super) struct Clients {
    table: Slab<Session>,
    shelf: Shelf,
    /// Clients with something to write.
    dirty: Vec<u32>,
    /// Clients whose output is past its bound.
    overfull: Vec<u32>,
    pub(super) news: News,
    /// Requests of several parts.
    pub(super) gathers: Slab<Gather>,
    next_generation: u32,
    requests_max: u16,
    pub(super) output_pause: usize,
    pub(super) output_max: usize,
    pub(super) cells: Arc<WorkerCells>,
}

impl Clients {
    pub(super) fn new(cells: Arc<WorkerCells>, settings: &Settings) -> Clients {
        Clients {
            table: Slab::new(),
            shelf: Vec::new(),
            dirty: Vec::new(),
            overfull: Vec::new(),
            news: News::new(Arc::clone(&cells)),
            gathers: Slab::new(),
            next_generation: 0,
            requests_max: settings.requests_max,
            output_pause: settings.output_pause,
            output_max: settings.output_max,
            cells,
        }
    }

    pub(super) fn insert(&mut self, id: u64, manners: Manners) -> u32 {
        self.next_generation = self.next_generation.wrapping_add(1);
        let session = Session::new(self.next_generation, id, manners, self.requests_max);
        self.table.insert(session) as u32
    }

    /// Takes a client out of the table; its flow goes back to the shelf.
    pub(super) fn remove(&mut self, index: u32) -> Session {
        let mut session = self.table.remove(index as usize);
        if session.is_blocking() {
            self.cells.blocked_clients.sub(1);
        }
        if let Some(flow) = session.flow.take() {
            if flow.gathers > 0 {
                self.forget_gathers(ClientKey { index, generation: session.generation });
            }
            self.shelve(flow);
        }
        session
    }

    #[inline]
    pub(super) fn get(&mut self, index: u32) -> Option<&mut Session> {
        self.table.get_mut(index as usize)
    }

    /// A request of this client that does more than read goes to the shard of this base pool.
    #[inline]
    pub(super) fn note_write(&mut self, index: u32, base: u16) {
        if let Some(session) = self.table.get_mut(index as usize) {
            session.written.note(base);
        }
    }

    /// The client of this key, if it is still there.
    #[inline]
    pub(super) fn find(&mut self, key: ClientKey) -> Option<&mut Session> {
        let session = self.table.get_mut(key.index as usize)?;
        (session.generation == key.generation).then_some(session)
    }

    /// Gives back the room of many clients that have gone.
    pub(super) fn shrink(&mut self) {
        if self.table.capacity() > 1024 && self.table.len() < self.table.capacity() / 4 {
            self.table.shrink_to_fit();
            self.dirty.shrink_to(256);
            self.news.resumable.shrink_to(256);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn indices(&self) -> Vec<u32> {
        self.table.iter().map(|(index, _)| index as u32).collect()
    }

    /// The client's flow, taken from the shelf if it has none.
    #[inline]
    pub(super) fn flow<'a>(shelf: &mut Shelf, session: &'a mut Session) -> &'a mut Flow {
        session.flow.get_or_insert_with(|| shelf.pop().unwrap_or_default())
    }

    /// A client together with its flow.
    #[inline]
    pub(super) fn get_with_flow(&mut self, index: u32) -> Option<&mut Session> {
        let session = self.table.get_mut(index as usize)?;
        Self::flow(&mut self.shelf, session);
        Some(session)
    }

    /// Gives an idle client's flow back.
    #[inline]
    pub(super) fn rest(&mut self, index: u32) {
        if let Some(session) = self.table.get_mut(index as usize)
            && session.flow.as_ref().is_some_and(|flow| flow.is_idle())
            && let Some(flow) = session.flow.take()
        {
            self.shelve(flow);
        }
    }

    fn shelve(&mut self, mut flow: Box<Flow>) {
        if self.shelf.len() < SHELF_FLOWS {
            flow.recycle(SHELF_BUFFER_BYTES);
            self.shelf.push(flow);
        }
    }

    /// Settles a request with the reply that its client gets, byte for byte. If the client has
    /// gone, the reply is dropped.
    #[inline]
    pub(super) fn settle(&mut self, ticket: &Ticket, reply: &[u8], outcome: Outcome, now: Moment) {
        if ticket.part != WHOLE {
            return self.settle_part(ticket, reply, outcome);
        }
        let latency_us = now.micros_since(ticket.received);
        self.cells.request_done(ticket.command.index(), outcome, latency_us);
        let Some(session) = self.table.get_mut(ticket.client.index as usize) else {
            return self.cells.stale_replies_dropped.add(1);
        };
        if session.generation != ticket.client.generation {
            return self.cells.stale_replies_dropped.add(1);
        }
        session.window.learn(reply.len(), self.requests_max);
        let Some(flow) = &mut session.flow else {
            misplaced(session);
            return self.news.resumable.push(ticket.client.index);
        };
        let Ok(grown) = flow.settle(ticket.sequence, reply) else {
            misplaced(session);
            return self.news.resumable.push(ticket.client.index);
        };
        if flow.reply_bytes() > self.output_max {
            self.overfull.push(ticket.client.index);
        }
        if grown && !session.dirty {
            session.dirty = true;
            self.dirty.push(ticket.client.index);
        }
        session.in_flight_bytes = session.in_flight_bytes.saturating_sub(ticket.len as usize);
        self.news.settled(session, ticket);
    }

    /// The bookkeeping when a request is settled otherwise than by [`Clients::settle`].
    pub(super) fn after_settling(&mut self, ticket: &Ticket) {
        if let Some(session) = self.table.get_mut(ticket.client.index as usize)
            && session.generation == ticket.client.generation
        {
            if ticket.part == WHOLE {
                let bytes = ticket.len as usize;
                session.in_flight_bytes = session.in_flight_bytes.saturating_sub(bytes);
            }
            self.news.settled(session, ticket);
        }
    }

    /// A client whose output grew past its bound: it does not read.
    pub(super) fn take_overfull(&mut self) -> Option<u32> {
        while let Some(index) = self.overfull.pop() {
            let flow = self.table.get(index as usize).and_then(|session| session.flow.as_ref());
            if flow.is_some_and(|flow| flow.reply_bytes() > self.output_max) {
                return Some(index);
            }
        }
        None
    }

    /// A message for a client that is no reply, in RESP2; `push` is it in RESP3, made by the first
    /// that speaks it. One that does not read is closed as one that does not read its replies.
    #[inline]
    pub(super) fn interject(&mut self, key: ClientKey, message: &[u8], push: &mut Vec<u8>) {
        let Some(session) = self.table.get_mut(key.index as usize) else { return };
        if session.generation != key.generation || session.closing != Closing::No {
            return;
        }
        let mut message = message;
        if session.mode.is_resp3() {
            if push.is_empty() {
                push.extend_from_slice(message);
                push[0] = b'>';
            }
            message = push;
        }
        let flow = Self::flow(&mut self.shelf, session);
        let grown = flow.interject(message);
        if flow.reply_bytes() > self.output_max {
            self.overfull.push(key.index);
        }
        if grown && !session.dirty {
            session.dirty = true;
            self.dirty.push(key.index);
        }
    }

    /// Something was added to a client's output.
    #[inline]
    pub(super) fn mark_dirty(&mut self, index: u32) {
        if let Some(session) = self.table.get_mut(index as usize)
            && !session.dirty
        {
            session.dirty = true;
            self.dirty.push(index);
        }
    }

    /// A message was added to what a client gets; `grown`: to its output.
    pub(super) fn note_output(&mut self, index: u32, grown: bool) {
        let flow = self.table.get(index as usize).and_then(|session| session.flow.as_ref());
        if flow.is_some_and(|flow| flow.reply_bytes() > self.output_max) {
            self.overfull.push(index);
        }
        if grown {
            self.mark_dirty(index);
        }
    }

    /// Something that this client may have waited for has happened.
    pub(super) fn unblock(&mut self, index: u32) {
        if let Some(session) = self.table.get_mut(index as usize)
            && session.blocked
        {
            session.blocked = false;
            self.news.resumable.push(index);
        }
    }

    /// The kernel accepted bytes of this client's output.
    #[inline]
    pub(super) fn wrote(&mut self, index: u32, len: usize) {
        let Some(session) = self.table.get_mut(index as usize) else { return };
        let Some(flow) = &mut session.flow else { return };
        flow.wrote(len);
        if session.blocked && flow.reply_bytes() <= self.output_pause / 2 {
            session.blocked = false;
            self.news.resumable.push(index);
        }
        if flow.is_idle() && session.closing == Closing::No {
            self.rest(index);
        }
    }

    pub(super) fn take_dirty(&mut self) -> Option<u32> {
        while let Some(index) = self.dirty.pop() {
            if let Some(session) = self.table.get_mut(index as usize)
                && session.dirty
            {
                session.dirty = false;
                return Some(index);
            }
        }
        None
    }

    pub(super) fn take_resumable(&mut self) -> Option<u32> {
        self.news.resumable.pop()
    }

    pub(super) fn take_next_up(&mut self) -> Option<u64> {
        self.news.next_up.pop()
    }

    /// Whether an earlier request of the same client and slot has left the straight way and is
    /// not settled: this one must not be sent before it is (failure-masking contract, §1.4).
    pub(super) fn has_earlier_away(&mut self, ticket: &Ticket) -> bool {
        ticket.diverted
            && ticket.slot.is_some()
            && self.find(ticket.client).is_some_and(|session| {
                let mut away = session.unsettled.iter();
                away.any(|away| away.slot == ticket.slot && away.arrival < ticket.arrival)
            })
    }

    pub(super) fn take_gathered(&mut self) -> Option<u32> {
        self.news.gathered.pop()
    }

    pub(super) fn take_large_done(&mut self) -> Option<ClientKey> {
        self.news.large_done.pop()
    }

    pub(super) fn has_work(&self) -> bool {
        !self.dirty.is_empty()
            || !self.overfull.is_empty()
            || !self.news.resumable.is_empty()
            || !self.news.next_up.is_empty()
            || !self.news.gathered.is_empty()
            || !self.news.large_done.is_empty()
    }
}

/// What has happened in this turn that concerns more than one client's own reply.
#[derive(Debug)]
pub(super) struct News {
    cells: Arc<WorkerCells>,
    /// Clients that had to wait and may be able to go on.
    resumable: Vec<u32>,
    /// Requests (by `arrival`) that may be sent now, if they waited for an earlier one.
    next_up: Vec<u64>,
    /// Requests of several parts of which all are settled.
    pub(super) gathered: Vec<u32>,
    /// Clients whose large request is settled: their bytes go back to the budget.
    large_done: Vec<ClientKey>,
}

impl News {
    fn new(cells: Arc<WorkerCells>) -> News {
        News {
            cells,
            resumable: Vec::new(),
            next_up: Vec::new(),
            gathered: Vec::new(),
            large_done: Vec::new(),
        }
    }

    /// The bookkeeping when a request is settled.
    #[inline(always)]
    fn settled(&mut self, session: &mut Session, ticket: &Ticket) {
        if ticket.strict
            | ticket.diverted
            | session.blocked
            | session.has_muted
            | !session.special.is_empty()
        {
            self.somebody_waits(session, ticket);
        }
    }

    /// It may be that somebody had to wait for what was settled.
    fn somebody_waits(&mut self, session: &mut Session, ticket: &Ticket) {
        if ticket.strict
            && let Some(flow) = &mut session.flow
            && let Some(at) = flow.writes.iter().position(|&slot| Some(slot) == ticket.slot)
        {
            flow.writes.swap_remove(at);
        }
        if ticket.diverted
            && let Some(next) = session.undivert(ticket.slot, ticket.arrival)
        {
            self.next_up.push(next);
        }
        if session.special.has(Special::ALONE) && ticket.part == WHOLE {
            session.special.set(Special::ALONE, false);
            if session.end_blocking() {
                self.cells.blocked_clients.sub(1);
            }
            self.large_done.push(ticket.client);
        }
        // A reply that is not wanted leaves nothing to write, after which it would be looked
        // whether the client is idle, or was waiting for its end.
        if session.blocked || session.has_muted {
            session.blocked = false;
            self.resumable.push(ticket.client.index);
        }
    }
}

/// A reply found no request to answer. Nothing like it may ever happen; if it does, the only
/// safe thing is to give this client no further reply at all.
#[cold]
fn misplaced(session: &mut Session) {
    tracing::error!(client = session.id, "a reply found no request; the client is closed (a bug)");
    session.closing = Closing::WhenAnswered;
    session.end = ClientEnd::Broken;
    if let Some(flow) = &mut session.flow {
        flow.recycle(0);
    }
}
