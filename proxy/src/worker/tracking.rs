//! CLIENT TRACKING: clients that cache are told what of it has changed.
//!
//! What a client reads travels like everything else, on connections that all share, and who has
//! read which key is noted here (or by which prefixes a client wants to be told). From each
//! primary one connection of this worker, its *watcher*, hears of every change of a key
//! (`CLIENT TRACKING ON BCAST`), whoever made it and whichever slots the node had at the time. So
//! nothing depends on the connection on which a key was read, or on what becomes of that; it costs
//! a node about a third of a microsecond a write for each worker with such clients (measured: 0.2
//! to 0.5), and nothing for reads, where tracking each connection's reads would cost the nodes
//! memory for each key and lose all of it with the connection.
//!
//! One message too many is allowed, one that is missing never:
//! - A key is noted when its read is sent. A message about it while the read is under way goes out
//!   at once and once more right behind the reply, which may have been read by the node before the
//!   change; and the key stays noted, because it may have been read after it.
//! - What is read from a node that is not watched is told to be invalid right behind the reply.
//! - When a watcher is lost, or a slot gets another owner, its keys are told to be invalid: all,
//!   if they are many. So is what the table has no room for.

mod delivery;
mod table;
mod watchers;

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};

use super::Worker;
use super::requests::Step;
use crate::command::{self, Flags, Keys, Row};
use crate::metrics::Outcome;
use crate::node::{ClientKey, Ticket, WHOLE};
use crate::resp::request::{Frame, Limits, Scanner};
use crate::resp::{Args, write};
use crate::session::{CommonQuestion, Invalid, Question, Target, Tracking, Wanted};
use crate::slot::Slot;
use crate::time::Moment;
use delivery::Reason;
use table::{Reader, Table};

/// What this worker knows of its clients that cache.
pub(super) struct Trackers {
    table: Table,
    clients: HashSet<ClientKey>,
    /// Those that are told by prefix.
    prefixes: BTreeMap<Box<[u8]>, Vec<ClientKey>>,
    /// Some keys may not be watched any more as they were when they were read.
    moved: bool,
    /// Keys may be written at nodes that are not watched: who is told by prefix is to be told all.
    blind: Option<Reason>,
    /// The number of the last watch.
    last_watch: u32,
    /// CLIENT TRACKING ON that waits for the watchers, by the number of its question, until when.
    starting: Vec<(u64, Moment)>,
    /// CLIENT TRACKING that waits for its target to be found, by the number of its question.
    wanted: HashMap<u64, Wanted>,
    /// Messages to clients of other workers that are under way: who is told by them, and whose
    /// they are.
    told: HashMap<u64, (ClientKey, u64)>,
    /// Clients for whose targets there are too many of those: they are told all, later.
    owed: HashSet<ClientKey>,
}

impl Trackers {
    pub(super) fn new(bytes_max: usize) -> Trackers {
        Trackers {
            table: Table::new(bytes_max),
            clients: HashSet::new(),
            prefixes: BTreeMap::new(),
            moved: false,
            blind: None,
            last_watch: 0,
            starting: Vec::new(),
            wanted: HashMap::new(),
            told: HashMap::new(),
            owed: HashSet::new(),
        }
    }

    /// No client of this worker tracks.
    pub(super) fn is_unused(&self) -> bool {
        self.clients.is_empty()
    }

    /// There is something to tell before this turn's output is written.
    pub(super) fn has_news(&self) -> bool {
        self.moved || self.blind.is_some()
    }
}

impl Worker {
    /// CLIENT TRACKING: at once, or once it is known whether the one who is to be told is there.
    pub(super) fn client_tracking(
        &mut self,
        index: u32,
        row: &'static Row,
        args: &Args<'_>,
    ) -> Step {
        if let Some(session) = self.clients.get(index) {
            session.last_command = Some(row.id);
        }
        let wanted = Wanted::of(args);
        if let Some(id) = wanted.redirect {
            self.trackers.wanted.insert(self.next_arrival, wanted);
            // Ids begin at 1.
            let question = CommonQuestion::Find { id: u64::try_from(id).unwrap_or(0) };
            return self.ask(index, row, Question::All(question));
        }
        match self.retrack(index, wanted, None) {
            Ok(true) => {
                if let Some(number) = self.hold_place(index, row) {
                    self.trackers.starting.push((number, self.now + watchers::PATIENCE));
                }
            }
            result => {
                let mut reply = Vec::new();
                let outcome = write_result(&result, &mut reply);
                self.cells.request_done(row.id.index(), outcome, 0);
                self.answer(index, |out| out.extend_from_slice(&reply));
            }
        }
        Step::Taken
    }

    /// The answer to the question of this number. Returns whether it is one of those here.
    pub(super) fn tracking_answered(&mut self, number: u64, reply: &[u8]) -> bool {
        if let Some((owner, id)) = self.trackers.told.remove(&number) {
            self.told_target(owner, id, reply);
            return true;
        }
        let Some(wanted) = self.trackers.wanted.remove(&number) else { return false };
        let client = self.asked.get(&number).map(|ticket| ticket.client);
        let Some(client) = client.filter(|&client| self.clients.find(client).is_some()) else {
            return false; // it has gone
        };
        let target = wanted.redirect.zip(place(reply));
        let target = target.map(|(id, client)| Target { id: id as u64, client });
        let result = self.retrack(client.index, wanted, target);
        if result == Ok(true) {
            self.trackers.starting.push((number, self.now + watchers::PATIENCE));
        } else {
            let mut reply = Vec::new();
            write_result(&result, &mut reply);
            self.settle_asked(number, &reply);
        }
        true
    }

    /// Changes what a client tracks. Returns whether it has to wait until all nodes are watched.
    fn retrack(
        &mut self,
        index: u32,
        wanted: Wanted,
        target: Option<Target>,
    ) -> Result<bool, Vec<u8>> {
        let Some(session) = self.clients.get(index) else { return Ok(false) };
        let client = ClientKey { index, generation: session.generation };
        let mut tracking = session.tracking().cloned();
        wanted.apply(&mut tracking, target)?;
        let is_on = tracking.is_some();
        self.set_tracking(client, tracking);
        if is_on {
            self.tend_watchers();
        }
        Ok(is_on && self.watchers_open())
    }

    fn set_tracking(&mut self, client: ClientKey, tracking: Option<Tracking>) {
        self.trackers.prefixes.retain(|_, clients| {
            clients.retain(|other| *other != client);
            !clients.is_empty()
        });
        for prefix in tracking.iter().flat_map(|tracking| tracking.prefixes()) {
            self.trackers.prefixes.entry(prefix.into()).or_default().push(client);
        }
        if tracking.is_some() {
            self.trackers.clients.insert(client);
        } else {
            self.trackers.clients.remove(&client);
        }
        self.cells.tracking_clients.set(self.trackers.clients.len() as u64);
        if let Some(stateful) = self.make_stateful(client.index) {
            stateful.tracking = tracking;
        }
        if let Some(session) = self.clients.get(client.index) {
            session.drop_state_if_over();
        }
    }

    /// A client tracks nothing any more: it has gone, or starts anew.
    pub(super) fn end_tracking(&mut self, index: u32) {
        let Some(session) = self.clients.get(index) else { return };
        if session.tracking().is_some() {
            let client = ClientKey { index, generation: session.generation };
            self.set_tracking(client, None);
        }
    }

    /// A request of a client that tracks was taken; `number` is its number, if it is under way.
    pub(super) fn tracked(&mut self, index: u32, args: &Args<'_>, number: u32) {
        let row = command::resolve(args).ok();
        let Some(session) = self.clients.get(index) else { return };
        let client = ClientKey { index, generation: session.generation };
        let Some(tracking) = session.stateful.as_mut().and_then(|all| all.tracking.as_mut()) else {
            return;
        };
        let notes = tracking.takes_reads();
        // What CACHING says of the next request it says of a whole transaction.
        if row.is_none_or(|row| !row.name.starts_with("client|") && row.name != "multi") {
            tracking.caching = false;
        }
        let is_under_way = session.flow.as_ref().is_some_and(|flow| flow.is_open(number));
        if let Some(row) = row
            && is_under_way
            && !row.flags.contains(Flags::NOT_KEY)
        {
            self.note(client, row, args, number, notes);
        }
    }

    /// As [`Worker::tracked`], for what a client said between MULTI and the end of that: a block of
    /// requests, which is sent as the request with this number. Nothing as long as it goes on.
    pub(super) fn tracked_block(&mut self, index: u32, block: &[u8], number: u32) {
        let Some(session) = self.clients.get(index) else { return };
        let client = ClientKey { index, generation: session.generation };
        let Some(stateful) = &mut session.stateful else { return };
        let (None, Some(tracking)) = (&stateful.transaction, &mut stateful.tracking) else {
            return;
        };
        let notes = tracking.takes_reads();
        tracking.caching = false;
        if session.flow.as_ref().is_none_or(|flow| !flow.is_open(number)) {
            return;
        }
        let limits = self.settings.limits;
        each_request(&limits, block, |args| {
            if let Ok(row) = command::resolve(args)
                && !row.flags.contains(Flags::NOT_KEY)
            {
                self.note(client, row, args, number, notes);
            }
        });
    }

    /// Notes what a request reads, and has what it changes told right behind its reply.
    fn note(
        &mut self,
        client: ClientKey,
        row: &'static Row,
        args: &Args<'_>,
        number: u32,
        notes: bool,
    ) {
        let runs_code = row.may_forge_errors();
        let reads = row.flags.contains(Flags::READONLY) || runs_code;
        let writes = !row.flags.contains(Flags::READONLY);
        if row.keys == Keys::Asked && reads {
            return self.invalidate(client, Some(number), &Invalid::All, Reason::NotWatched);
        }
        let mut keys = Vec::new();
        command::key_positions(row, args, |at| keys.extend(args.get(at)));
        let Some(session) = self.clients.find(client) else { return };
        let Some(tracking) = session.tracking() else { return };
        let covered = keys.iter().any(|key| tracking.covers(key));
        let (says_own, bcast) = (!tracking.noloop && tracking.redirect.is_none(), covered);
        for key in keys {
            let watch = self.watch_of(Slot::of_key(key));
            if writes && says_own && (bcast || self.trackers.table.has(key, client)) {
                self.invalidate_behind(client, number, &Invalid::key(key), Reason::Written);
            }
            if !reads || !(notes || bcast) {
                continue;
            }
            if watch == 0 {
                self.invalidate_behind(client, number, &Invalid::key(key), Reason::NotWatched);
            } else if notes && !self.remember(key, Reader { client, number, watch }) {
                self.invalidate_behind(client, number, &Invalid::key(key), Reason::TableFull);
            }
        }
    }

    /// Notes a reader of a key; others may have to go. Returns whether there is room.
    fn remember(&mut self, key: &[u8], reader: Reader) -> bool {
        if self.trackers.table.note(key, reader) {
            return true;
        }
        for (key, readers) in self.trackers.table.make_room() {
            let invalid = Invalid::key(&key);
            for reader in readers {
                self.invalidate(reader.client, Some(reader.number), &invalid, Reason::TableFull);
            }
        }
        self.trackers.table.note(key, reader)
    }

    /// A request, or a part of one, is about to be sent to this node, perhaps long after it was
    /// noted and not to the one that owned its slot then: if the node is not watched, what is read
    /// there is no longer good.
    pub(super) fn note_detour(&mut self, pool: u16, ticket: &Ticket, frame: &[u8]) {
        let client = ticket.client;
        let is_watched =
            self.pools.get(usize::from(self.base_of(pool))).is_some_and(|n| n.watch != 0);
        if is_watched || !self.trackers.clients.contains(&client) {
            return;
        }
        let number = match ticket.part {
            WHOLE => Some(ticket.sequence),
            _ => self.clients.gathers.get(ticket.sequence as usize).map(|g| g.whole.sequence),
        };
        let Some(number) = number else { return };
        let mut keys: Vec<Vec<u8>> = Vec::new();
        each_request(&self.settings.limits, frame, |args| {
            if let Ok(row) = command::resolve(args) {
                command::key_positions(row, args, |at| {
                    keys.extend(args.get(at).map(<[u8]>::to_vec))
                });
            }
        });
        if !keys.is_empty() {
            let invalid = Invalid::keys(keys.len(), |out| {
                keys.iter().for_each(|key| write::bulk(out, key));
            });
            self.invalidate_behind(client, number, &invalid, Reason::NotWatched);
        }
    }

    /// The watch under which this slot's keys are; 0 if they are not watched.
    fn watch_of(&self, slot: Slot) -> u32 {
        self.pools.get(usize::from(self.routes[slot.index()])).map_or(0, |node| node.watch)
    }
}

/// Each of the requests in a frame: one, or those of a transaction.
fn each_request(limits: &Limits, mut frame: &[u8], mut tell: impl FnMut(&Args<'_>)) {
    let mut spans = Vec::new();
    while let Frame::Request { len } = Scanner::default().scan(frame, limits, &mut spans) {
        tell(&Args::new(&frame[..len], &spans));
        frame = &frame[len..];
    }
}

/// A client's place, as [`CommonQuestion::Find`] is answered.
fn place(reply: &[u8]) -> Option<ClientKey> {
    let (index, generation) = str::from_utf8(reply).ok()?.split_once(' ')?;
    Some(ClientKey { index: index.parse().ok()?, generation: generation.parse().ok()? })
}

fn write_result(result: &Result<bool, Vec<u8>>, reply: &mut Vec<u8>) -> Outcome {
    match result {
        Ok(_) => {
            write::simple(reply, "OK");
            Outcome::Ok
        }
        Err(text) => {
            write::error(reply, text);
            if text.starts_with(b"OVERLOADED ") { Outcome::Overloaded } else { Outcome::Refused }
        }
    }
}
