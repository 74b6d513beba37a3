//! WATCH: only the connection on which it was said knows what is watched, so that its client keeps
//! one for itself until EXEC, DISCARD or UNWATCH, and the transaction goes there.
//!
//! Whatever happens to that connection, or to the slot, before EXEC was handed over, EXEC is
//! answered with null, which every client handles as a lost optimistic lock (failure-masking
//! contract, §3, class T). WATCH itself is masked as a read is: it changes no data.

use super::requests::Step;
use super::{NO_POOL, Worker};
use crate::command::{self, KeysInSlots, Row};
use crate::metrics::Outcome;
use crate::node::{ClientKey, Connection, Expected, Mode, Phase, Ticket, Way};
use crate::resp::reply::Kind;
use crate::resp::{Args, write};
use crate::routing::{AfterBlock, Outcome as Fate, Situation, after_block, verdict};
use crate::session::Watch;
use crate::slot::Slot;

/// Said of keys that are not in the slot of those that are watched already.
const OTHER_SLOT: &str =
    "CROSSSLOT Keys in request don't hash to the same slot as the watched ones";

/// The serial number of no connection: they begin at 1.
const NO_CONNECTION: u64 = 0;

impl Worker {
    /// WATCH outside of a transaction.
    pub(super) fn watch_keys(&mut self, index: u32, row: &'static Row, args: &Args<'_>) -> Step {
        let KeysInSlots::One(slot) = command::slot(row, args) else {
            return self.refuse_cross_slot(index, row);
        };
        let watched = self.watched_slot(index);
        if watched.is_some_and(|watched| watched != slot) {
            return self.say_error(index, row, OTHER_SLOT);
        }
        let Some(session) = self.clients.get_with_flow(index) else { return Step::Taken };
        if session.in_flight() > 0 {
            session.blocked = true;
            return Step::Later;
        }
        session.last_command = Some(row.id);
        let key = ClientKey { index, generation: session.generation };
        let state = session.stateful.get_or_insert_default();
        let new = Watch { slot, keys: 0, connection: None, asking: false };
        state.watch.get_or_insert(new).keys += args.len() - 1;
        let muted = session.take_mute();
        let Some(flow) = &mut session.flow else { return Step::Taken };
        let ticket = Ticket {
            sequence: if muted { flow.push_muted() } else { flow.push() },
            len: args.frame().len() as u32,
            arrival: self.next_arrival,
            slot: Some(slot),
            replayable: true,
            reads_only: true,
            way: Way::Kept,
            ..Ticket::new(key, session.mode, session.manners.patience, row.id, self.now)
        };
        self.next_arrival += 1;
        session.in_flight_bytes += args.frame().len();
        self.send_alone(index, ticket, args.frame());
        Step::Taken
    }

    /// The slot of what this client watches. A WATCH that was refused is forgotten.
    pub(super) fn watched_slot(&mut self, index: u32) -> Option<Slot> {
        let stateful = self.stateful(index)?;
        stateful.watch.take_if(|watch| watch.connection.is_none());
        let slot = stateful.watch.as_ref().map(|watch| watch.slot);
        if slot.is_none() {
            self.drop_state_if_over(index);
        }
        slot
    }

    /// Something was answered on this connection. If it was WATCH, its keys are watched here and
    /// nowhere else, also if the connection is to be closed now: then EXEC is null. If it was EXEC,
    /// its end is counted.
    pub(super) fn note_watching(&mut self, index: u32, kind: Kind) {
        let Some(connection) = self.connections.get(index as usize) else { return };
        match kind {
            Kind::Null if connection.kept => self.cells.transactions_null.add(1),
            Kind::Array if connection.kept => self.cells.transactions_executed.add(1),
            _ => {} // to WATCH
        }
        if connection.kept
            && let (Some(client), serial) = (connection.lent_to, connection.serial)
        {
            self.goes_on_watching(client, serial);
        }
    }

    /// The connection that a client keeps has nothing to do. Returns whether it goes on keeping it,
    /// because it watches something there.
    pub(super) fn goes_on_watching(&mut self, client: ClientKey, serial: u64) -> bool {
        let stateful = self.clients.find(client).and_then(|s| s.stateful.as_deref_mut());
        let watch = stateful.and_then(|stateful| stateful.watch.as_mut());
        watch.is_some_and(|watch| {
            if *watch.connection.get_or_insert(serial) != serial {
                // No connection knows of all keys, even if the slot comes back to the first.
                watch.connection = Some(NO_CONNECTION);
            }
            true
        })
    }

    /// A request that its client keeps a connection for goes out, with or without ASKING.
    pub(super) fn watches_by_asking(&mut self, client: ClientKey, asking: bool) {
        if let Some(session) = self.clients.find(client)
            && let Some(stateful) = &mut session.stateful
            && let Some(watch) = &mut stateful.watch
            && watch.connection.is_none()
        {
            watch.asking = asking;
        }
    }

    /// EXEC of a client that watches something: on the connection that it keeps, or not at all.
    pub(super) fn exec_watched(&mut self, ticket: Ticket, frame: Vec<u8>, apart: bool) {
        let client = ticket.client;
        let own = self.watching_connection(client, ticket.mode);
        if let Some(session) = self.clients.find(client)
            && let Some(stateful) = &mut session.stateful
        {
            stateful.watch = None;
        }
        let Some((own, asking)) = own else {
            self.null_exec(&ticket);
            return self.let_own_go(client, false);
        };
        if let Some(connection) = self.connections.get_mut(own as usize) {
            connection.retiring |= apart;
            let base = self.pools.get(usize::from(connection.pool)).map(|node| node.base);
            self.clients.note_write(client.index, base.unwrap_or(NO_POOL));
        }
        self.begin_own(own, ticket, frame, asking);
    }

    /// The connection on which this client watches, if nothing has happened to it and its node has
    /// the slot, and whether ASKING goes before what is sent there.
    fn watching_connection(&mut self, client: ClientKey, mode: Mode) -> Option<(u32, bool)> {
        let own = self.kept_connection(client)?;
        let watch = self.clients.find(client)?.stateful.as_ref()?.watch.as_ref()?;
        let connection = self.connections.get(own as usize)?;
        let node = self.pools.get(usize::from(connection.pool))?;
        let is_there = watch.asking || self.routes[watch.slot.index()] == node.base;
        let is_it = watch.connection == Some(connection.serial);
        (is_it && is_there && node.mode == mode && is_usable(connection))
            .then_some((own, watch.asking))
    }

    /// Nothing is watched any more: the connection is the next one's, once it has heard of it.
    pub(super) fn end_watch(&mut self, index: u32) {
        let Some(session) = self.clients.get(index) else { return };
        let client = ClientKey { index, generation: session.generation };
        let Some(stateful) = &mut session.stateful else { return };
        if stateful.watch.take().is_none() {
            return;
        }
        if let Some(own) = self.kept_connection(client)
            && let Some(connection) = self.connections.get_mut(own as usize)
        {
            let is_clean = is_usable(connection);
            if is_clean {
                connection.push_own(&[b"UNWATCH"], |len| Expected::Own { len });
            }
            self.let_own_go(client, is_clean);
            self.touch(own);
        }
        self.drop_state_if_over(index);
    }

    /// A transaction behind a WATCH has ended, neither with null nor by [`Worker::note_watching`].
    pub(super) fn note_exec(&self, ticket: &Ticket) {
        self.cells.transactions_executed.add(u64::from(ticket.is_watched()));
    }

    /// A transaction that cannot go on because its client watched something.
    pub(super) fn null_exec(&mut self, ticket: &Ticket) {
        self.cells.transactions_null.add(1);
        let mut reply = Vec::new();
        if ticket.mode.is_resp3() {
            write::null(&mut reply);
        } else {
            write::null_array(&mut reply);
        }
        self.clients.settle(ticket, &reply, Outcome::Ok, self.now);
        if let Some(own) = self.kept_connection(ticket.client)
            && let Some(connection) = self.connections.get_mut(own as usize)
        {
            // Closed when it has nothing to do: here, its reply may be just being read.
            connection.kept = false;
            connection.retiring = true;
        }
    }

    /// What is to be done with a request, or a transaction, now.
    pub(super) fn what_next(fate: &Fate<'_>, ticket: &Ticket, situation: Situation) -> AfterBlock {
        if ticket.is_block() {
            after_block(fate, ticket.is_watched(), situation)
        } else {
            AfterBlock::As(verdict(fate, situation))
        }
    }
}

/// Something can be sent on it now.
fn is_usable(connection: &Connection) -> bool {
    matches!(connection.phase, Phase::Ready)
        && connection.is_idle()
        && !connection.retiring
        && !connection.suspect
}
