//! Requests that block: BLPOP and its family, XREAD and XREADGROUP with BLOCK, and whatever else a
//! server flags so. They travel on connections of their own, with the time that is left, and end
//! with their client.
//!
//! While such a request blocks at a healthy node, no deadline of ours counts: what a node rejects
//! after an hour waits here as long as what has just come. While it waits here, its own time runs
//! on, and is answered as the server would once it is over.

use std::collections::BTreeMap;

use super::Worker;
use super::doubt::spans_of;
use super::health::SILENCE;
use super::lots::{Lot, Parked};
use crate::command::{Row, key_positions, resolve, timeout, with_time_left};
use crate::metrics::Outcome;
use crate::node::{ClientKey, Connection, Expected, Kind, Phase, Ticket};
use crate::resp::{Args, write};
use crate::session::{Away, Blocking, ClientEnd};
use crate::slot::Slot;
use crate::time::Moment;

/// Requests that wait here and whose own time is limited: when it is over, their number, and their
/// slot.
pub(super) type Timers = BTreeMap<(Moment, u64), Option<Slot>>;

/// Asked before what blocks is let out of a lot, in the place of a client.
pub(super) const NOBODY: ClientKey = ClientKey { index: u32::MAX, generation: 0 };

/// How often a node is told to unblock a client that it does not know as blocked yet.
const UNBLOCK_TRIES: u8 = 100;

/// A node was told to unblock a client of ours.
#[derive(Debug)]
pub(super) struct Unblock {
    client: ClientKey,
    /// The request that blocks, by its number.
    arrival: u64,
    with_error: bool,
    tries: u8,
    /// The serial number of the connection on which the node was told.
    told_on: u64,
}

impl Worker {
    /// This client's request may block for as long as it says.
    pub(super) fn note_blocking(&mut self, client: ClientKey, row: &Row, args: &Args<'_>) {
        let now = self.now;
        let timeout = timeout(row, args);
        let Some(session) = self.clients.find(client) else { return };
        let until = timeout.and_then(|timeout| Some(now + timeout.time?));
        let blocking = Blocking { since: now, timeout, until };
        if session.stateful.get_or_insert_default().blocking.replace(blocking).is_none() {
            self.cells.blocked_clients.add(1);
        }
    }

    fn blocking_of(&mut self, client: ClientKey) -> Option<Blocking> {
        self.clients.find(client)?.stateful.as_ref()?.blocking
    }

    /// When this request's own time is over, if it is limited.
    pub(super) fn blocks_until(&mut self, ticket: &Ticket) -> Option<Moment> {
        if !ticket.way.blocks() {
            return None;
        }
        self.blocking_of(ticket.client)?.until
    }

    /// The request as it is sent now: with the time that is left, once some of it has passed.
    /// `None` if there is none left: it was answered.
    pub(super) fn with_time_left(
        &mut self,
        ticket: &mut Ticket,
        frame: Vec<u8>,
    ) -> Option<Vec<u8>> {
        let Some(Blocking { since, timeout: Some(timeout), until: Some(until) }) =
            self.blocking_of(ticket.client)
        else {
            return Some(frame);
        };
        if since == self.now {
            return Some(frame);
        }
        if until <= self.now {
            self.time_is_over(ticket);
            return None;
        }
        let spans = spans_of(&self.settings.limits, &frame);
        if spans.is_empty() {
            return Some(frame);
        }
        let frame = with_time_left(&Args::new(&frame, &spans), timeout, until.since(self.now));
        if let Some(session) = self.clients.find(ticket.client) {
            session.in_flight_bytes += frame.len();
            session.in_flight_bytes = session.in_flight_bytes.saturating_sub(ticket.len as usize);
        }
        ticket.len = frame.len() as u32;
        Some(frame)
    }

    /// The answer of a server whose patience is over.
    fn time_is_over(&mut self, ticket: &Ticket) {
        if ticket.in_doubt {
            return self.give_up_unknown(ticket, "its time was over before it could be sent again");
        }
        let reply: &[u8] = if ticket.mode.is_resp3() { b"_\r\n" } else { b"*-1\r\n" };
        self.clients.settle(ticket, reply, Outcome::Ok, self.now);
    }

    /// A request that blocks has come back from a node: from now on it waits here, as if it had
    /// just come.
    pub(super) fn comes_back(&mut self, ticket: &mut Ticket) {
        if !ticket.way.blocks() {
            return;
        }
        if let Some(session) = self.clients.find(ticket.client) {
            ticket.patience = session.manners.patience;
            if std::mem::take(&mut ticket.diverted) {
                session.undivert(ticket.slot, ticket.arrival);
            }
        }
        ticket.received = self.now;
        ticket.arrival = self.next_arrival;
        self.next_arrival += 1;
    }

    /// When the own time of the first of those that wait here is over.
    pub(super) fn next_timer(&self) -> Option<Moment> {
        self.timers.first_key_value().map(|(&(until, _), _)| until)
    }

    /// Answers those that wait here and whose own time is over.
    pub(super) fn tick_timers(&mut self) {
        while let Some((&(until, arrival), &slot)) = self.timers.first_key_value()
            && until <= self.now
        {
            match self.take_parked(Away { slot, arrival }) {
                Some(parked) => {
                    let (ticket, _) = self.unpark(parked);
                    self.time_is_over(&ticket);
                }
                None => {
                    self.timers.pop_first();
                }
            }
        }
    }

    // ---- others do not wait for what blocks ----

    /// Who tries the way for those of a lot when this request's turn has come: itself, or if it
    /// blocks a question, and it goes on waiting in its lot, which it has just left.
    pub(super) fn who_tries(
        &mut self,
        parked: Parked,
        lot: impl FnOnce(&mut Worker) -> Option<&mut Lot>,
    ) -> (Ticket, Vec<u8>) {
        if !parked.ticket.way.blocks() {
            return self.unpark(parked);
        }
        let scout = self.scout_for(&parked);
        if let Some(lot) = lot(self) {
            lot.insert(parked);
        }
        scout
    }

    /// What is asked in the place of a request that blocks, to find out whether it would be
    /// executed: it has the same keys and is answered at once.
    fn scout_for(&self, parked: &Parked) -> (Ticket, Vec<u8>) {
        let (ticket, frame) = (&parked.ticket, &parked.frame);
        let spans = spans_of(&self.settings.limits, frame);
        let mut words: Vec<&[u8]> = vec![b"EXISTS"];
        let args = Args::new(frame, &spans);
        if !spans.is_empty()
            && let Ok(row) = resolve(&args)
        {
            key_positions(row, &args, |at| words.extend(args.get(at)));
        }
        if words.len() == 1 {
            words = vec![b"PING"];
        }
        let mut question = Vec::new();
        write::command(&mut question, &words);
        let scout = Ticket {
            arrival: ticket.arrival,
            len: question.len() as u32,
            slot: ticket.slot,
            pinned: ticket.pinned,
            reads_only: true,
            replayable: true,
            diverted: true,
            ..Ticket::new(NOBODY, ticket.mode, ticket.patience, ticket.command, self.now)
        };
        (scout, question)
    }

    // ---- healthy or not ----

    /// Whether this silent connection only waits for what blocks there: it is healthy as long as
    /// its node answers on the shared one, which is asked for nothing else than that if need be.
    pub(super) fn only_blocks(&mut self, index: u32) -> bool {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(index as usize) else { return false };
        let (pool, mut heard) = (connection.pool, connection.heard);
        if !connection.tickets_mut().any(|ticket| ticket.way.blocks()) {
            return false;
        }
        let Some(shared) = self.pools.get(usize::from(pool)).and_then(|node| node.shared) else {
            self.open(pool, Kind::Shared);
            return true;
        };
        let Some(other) = self.connections.get_mut(shared as usize) else { return false };
        if !matches!(other.phase, Phase::Ready) {
            return other.dialed_at + SILENCE > now;
        }
        if other.is_idle() {
            // Nothing was handed over behind what it was last heard with.
            heard = heard.max(other.heard);
            if heard + SILENCE <= now {
                other.push_own(&[b"PING"], |len| Expected::Own { len });
                self.touch(shared);
            }
        } // else it is silent itself, or not
        if let Some(connection) = self.connections.get_mut(index as usize) {
            connection.heard = heard;
        }
        true
    }

    // ---- CLIENT UNBLOCK ----

    /// Ends what the client with this id is blocked in. Returns whether it is.
    pub(super) fn unblock_client(&mut self, index: u32, with_error: bool) -> bool {
        let Some(session) = self.clients.get(index) else { return false };
        let client = ClientKey { index, generation: session.generation };
        if !session.is_blocking() {
            return false;
        }
        let mut any = false;
        // A WAIT may wait here for one shard and at the node of another.
        for away in session.unsettled.clone() {
            if let Some(parked) = self.take_parked(away) {
                let (ticket, _) = self.unpark(parked);
                self.end_unblocked(&ticket, with_error);
                any = true;
            }
        }
        for own in self.own_connections(client) {
            let connection = self.connections.get_mut(own as usize);
            let Some(ticket) = connection.and_then(|c| c.tickets_mut().next()) else { continue };
            let arrival = ticket.arrival;
            let unblock = Unblock { client, arrival, with_error, tries: 0, told_on: 0 };
            self.tell_unblock(unblock, own);
            any = true;
        }
        any
    }

    /// The node itself unblocks the client, so that nothing is taken for it behind its back. If it
    /// cannot be told, the connection is closed.
    fn tell_unblock(&mut self, mut unblock: Unblock, own: u32) {
        let Some(connection) = self.connections.get_mut(own as usize) else { return };
        // If it is answered meanwhile: the next one there would be unblocked in its place.
        connection.retiring = true;
        let (pool, id) = (connection.pool, connection.identity.client_id);
        let shared = self.pools.get(usize::from(pool)).and_then(|node| node.shared);
        let shared = shared.filter(|&shared| {
            let shared = self.connections.get(shared as usize);
            shared.is_some_and(|shared| matches!(shared.phase, Phase::Ready) && !shared.suspect)
        });
        let (Some(shared), Some(id)) = (shared, id) else {
            return self.break_unblocked(&unblock);
        };
        let Some(connection) = self.connections.get_mut(shared as usize) else { return };
        let id = id.to_string();
        let how: &[u8] = if unblock.with_error { b"ERROR" } else { b"TIMEOUT" };
        let about = unblock.arrival;
        let ask = |len| Expected::Question { about, len };
        connection.push_own(&[b"CLIENT", b"UNBLOCK", id.as_bytes(), how], ask);
        unblock.told_on = connection.serial;
        self.unblocks.push(unblock);
        self.touch(shared);
    }

    /// What nodes were told on connections that are no more they are told again.
    pub(super) fn repeat_unblocks(&mut self) {
        let connections = &self.connections;
        let is_lost = |unblock: &mut Unblock| {
            !connections.iter().any(|(_, connection)| connection.serial == unblock.told_on)
        };
        let lost: Vec<Unblock> = self.unblocks.extract_if(.., is_lost).collect();
        for unblock in lost {
            let Some(own) = self.where_blocked(&unblock) else { continue };
            let pool = self.connections.get(own as usize).map(|connection| connection.pool);
            match pool.and_then(|pool| self.ready_shared(pool)) {
                Some(_) => self.tell_unblock(unblock, own),
                None => self.unblocks.push(unblock), // it is opened
            }
        }
    }

    /// A node has said whether it has unblocked the client of this request. Returns whether it was
    /// asked for that.
    pub(super) fn unblock_answered(&mut self, about: u64, answer: &[u8]) -> bool {
        let Some(at) = self.unblocks.iter().position(|unblock| unblock.arrival == about) else {
            return false;
        };
        let mut unblock = self.unblocks.swap_remove(at);
        match answer.first() {
            Some(b':') if answer != b":0\r\n" => {}
            // Its request is not there yet, or is answered already.
            Some(b':') if unblock.tries < UNBLOCK_TRIES => {
                unblock.tries += 1;
                if let Some(own) = self.where_blocked(&unblock) {
                    self.tell_unblock(unblock, own);
                }
            }
            _ => self.break_unblocked(&unblock),
        }
        true
    }

    /// The connection that still carries it.
    fn where_blocked(&mut self, unblock: &Unblock) -> Option<u32> {
        self.own_connections(unblock.client).into_iter().find(|&own| {
            let connection = self.connections.get_mut(own as usize);
            let mut tickets = connection.into_iter().flat_map(Connection::tickets_mut);
            tickets.any(|ticket| ticket.arrival == unblock.arrival)
        })
    }

    /// The node cannot be told: the connection is closed, and what is left of it there killed
    /// before the client's next request can come.
    fn break_unblocked(&mut self, unblock: &Unblock) {
        let Some(own) = self.where_blocked(unblock) else { return };
        let connection = self.connections.get(own as usize);
        if let Some((pool, lost)) = connection.and_then(|c| Some((c.pool, c.left_behind()?))) {
            self.leave_behind(pool, lost);
        }
        if let Some(ticket) = self.end_own_at(own) {
            // If slotway ends, nothing is said that is not known.
            self.end_unblocked(&ticket, unblock.with_error || self.draining);
        }
    }

    fn end_unblocked(&mut self, ticket: &Ticket, with_error: bool) {
        if with_error && self.draining {
            self.drop_client(ticket.client.index, ClientEnd::Drained);
        } else if with_error {
            let reply = b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n";
            self.clients.settle(ticket, reply, Outcome::ServerError, self.now);
        } else {
            self.time_is_over(ticket);
        }
    }
}
