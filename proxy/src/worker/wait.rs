//! WAIT and WAITAOF: whether what a client has written is on replicas, or on disks.
//!
//! A server answers that for the connection that it is asked on, and clients share theirs. So each
//! shard that the client has written to since is asked on a connection of its own, behind a write
//! that leaves nothing: whoever has that has all before it. The smallest number counts. A shard
//! whose primary has changed since then, or that cannot be asked, counts none: what was written
//! there may be lost.

use super::gather::How;
use super::requests::Step;
use super::{NO_POOL, Worker};
use crate::command::{Class, Row, timeout};
use crate::metrics::Outcome;
use crate::node::{Connection, Expected, Ticket, Way};
use crate::resp::{Args, canonical_integer};
use crate::routing::Merge;
use crate::session::Written;
use crate::slot::Slot;

/// Of a shard that cannot be asked.
const NOT_THERE: &[u8] = b"_\r\n";

/// The keys that are written and deleted begin so.
const RESERVED: &str = "slotway:wait:";

/// A WAIT that is under way.
#[derive(Debug)]
pub(super) struct Wait {
    /// The shards that are asked.
    shards: Written,
    /// How many are wanted.
    wanted: i64,
    /// A primary has changed meanwhile.
    lost: bool,
}

impl Worker {
    /// WAIT or WAITAOF. `None`: the client has written nothing, or asks for what a server refuses;
    /// any server answers that.
    pub(super) fn wait(&mut self, index: u32, row: &'static Row, args: &Args<'_>) -> Option<Step> {
        let session = self.clients.get(index)?;
        if session.in_flight() > 0 {
            session.blocked = true;
            return Some(Step::Later);
        }
        timeout(row, args)?;
        let wanted = canonical_integer(args.get(args.len() - 2)?)?;
        let written = session.written;
        let owners: Vec<u16> = self.shards().iter().map(|&(_, pool)| pool).collect();
        // A redirect says that these were replaced; the map will.
        let replaced = self.pools.iter().map(|(pool, _)| pool as u16);
        let replaced = replaced.filter(|pool| !owners.contains(pool) && written.has(*pool));
        let replaced: Vec<(u16, u16)> =
            replaced.filter_map(|pool| Some((pool, self.replaced_by(pool, &owners)?))).collect();
        let session = self.clients.get(index)?;
        for (from, to) in replaced {
            session.written.lose(from, &[to]);
        }
        session.written.keep_to(&owners);
        if session.written.take_loss() {
            self.cells.request_done(row.id.index(), Outcome::Ok, 0);
            self.answer(index, |out| out.extend_from_slice(nobody(row)));
            return Some(Step::Taken);
        }
        let written = session.written;
        let shards: Vec<u16> = owners.into_iter().filter(|&pool| written.has(pool)).collect();
        if shards.is_empty() {
            return None;
        }
        let wait = Wait { shards: written, wanted, lost: false };
        let parts = shards.iter().map(|_| None);
        let how = How::Wait(wait);
        let gather = self.begin_gather(index, row, Class::B, args, Merge::Min, how, parts)?;
        if let Some(gather) = self.clients.gathers.get_mut(gather as usize) {
            (gather.whole.way, gather.whole.reads_only) = (Way::Barrier, true);
            let client = gather.whole.client;
            self.note_blocking(client, row, args);
        }
        for (part, &pool) in shards.iter().enumerate() {
            self.send_part(gather, part as u16, None, pool, args.frame());
        }
        Some(Step::Taken)
    }

    /// Whether the node with this base pool owns any slot: where none is, nothing can be written.
    pub(super) fn has_slots(&self, base: u16) -> bool {
        base != NO_POOL && self.routes.contains(&base)
    }

    /// The answer to a WAIT of a shard that cannot be asked.
    pub(super) fn not_there(&mut self, ticket: &Ticket) {
        self.clients.settle(ticket, NOT_THERE, Outcome::Ok, self.now);
    }

    /// Queues a WAIT on a connection, behind the write that leaves nothing. Its node owns slots.
    /// Returns whether it did; else it was answered.
    pub(super) fn push_behind_barrier(&mut self, index: u32, ticket: Ticket, frame: &[u8]) -> bool {
        let base = ticket.pinned;
        let owned = |key: &String| self.routes[Slot::of_key(key.as_bytes()).index()] == base;
        // One of three of them with three shards; with a single slot, one of 16,384.
        let keys = (0..1_000_000).map(|n| format!("{RESERVED}{n}"));
        let Some(key) = { keys }.find(owned) else {
            self.not_there(&ticket);
            self.after_extra(index);
            return false;
        };
        let Some(connection) = self.connections.get_mut(index as usize) else { return false };
        let barrier = |len| Expected::Barrier { len };
        let key = key.as_bytes();
        let words: [&[&[u8]]; 4] = [&[b"MULTI"], &[b"SET", key, b""], &[b"DEL", key], &[b"EXEC"]];
        for words in words {
            connection.push_own(words, barrier);
        }
        connection.push(ticket, frame);
        true
    }

    /// The write in front of a WAIT was refused: nothing is known of this shard.
    pub(super) fn barrier_refused(&mut self, index: u32) {
        let Some(connection) = self.close_connection(index) else { return };
        let pool = connection.pool;
        for (ticket, ..) in Connection::lose(connection).requests {
            self.not_there(&ticket);
        }
        self.feed_own_queues(pool);
    }

    /// The way of slots has changed: who has written to a shard whose primary is another node now
    /// does not know what became of it; what only moved is waited for where it is now.
    pub(super) fn follow_writes(&mut self, before: &[u16; Slot::COUNT]) {
        let mut moves: Vec<(u16, u16)> = Vec::new();
        for (&from, &to) in before.iter().zip(self.routes.iter()) {
            if from != to && from != NO_POOL && moves.last() != Some(&(from, to)) {
                moves.push((from, to));
            }
        }
        moves.sort_unstable();
        moves.dedup();
        for moved in moves.chunk_by(|a, b| a.0 == b.0) {
            let from = moved[0].0;
            let to: Vec<u16> =
                moved.iter().map(|&(_, to)| to).filter(|&to| to != NO_POOL).collect();
            // A primary that has no slot left was replaced, or will be soon in the eyes of the
            // node that said so; that it was only emptied is not worth telling apart.
            if !self.routes.contains(&from) {
                self.lose_writes(from, &to);
                continue;
            }
            for index in self.clients.indices() {
                if let Some(session) = self.clients.get(index)
                    && session.written.has(from)
                {
                    to.iter().for_each(|&to| session.written.note(to));
                }
            }
        }
    }

    /// The primary with this base pool has started anew, or others (`to`) are in its place.
    pub(super) fn lose_writes(&mut self, pool: u16, to: &[u16]) {
        for index in self.clients.indices() {
            if let Some(session) = self.clients.get(index) {
                session.written.lose(pool, to);
            }
        }
        for (_, gather) in &mut self.clients.gathers {
            if let How::Wait(wait) = &mut gather.how
                && wait.shards.has(pool)
            {
                wait.lost = true;
            }
        }
    }

    /// All shards have said how many have what the client has written: the reply, if this is about
    /// that.
    pub(super) fn end_wait(&mut self, index: u32) {
        let Some(gather) = self.clients.gathers.get_mut(index as usize) else { return };
        let How::Wait(wait) = &gather.how else { return };
        let (lost, shards, wanted) = (wait.lost, wait.shards, wait.wanted);
        let (client, row) = (gather.whole.client, gather.row());
        if lost {
            return gather.put(nobody(row).to_vec(), Outcome::Ok);
        }
        let mut reply = Vec::new();
        let (outcome, _) = gather.conclude(&mut reply);
        // The last number: of the replicas, or the only one.
        let count = reply.rsplit(|&byte| byte == b':').next().unwrap_or_default();
        let count = canonical_integer(count.trim_ascii_end());
        if outcome == Outcome::Ok
            && count.is_some_and(|count| count >= wanted)
            && let Some(session) = self.clients.find(client)
        {
            session.written.settle(shards);
        }
    }
}

/// "None", as the reply to this command.
pub(super) fn nobody(row: &Row) -> &'static [u8] {
    if row.name == "wait" { b":0\r\n" } else { b"*2\r\n:0\r\n:0\r\n" }
}

/// What a shard has said, or none if it could not be asked. An error of the command itself is the
/// client's.
pub(super) fn counted<'a>(row: &Row, reply: &'a [u8], outcome: Outcome) -> (&'a [u8], Outcome) {
    match (outcome, reply.first()) {
        (Outcome::ServerError, _) => (reply, outcome),
        (Outcome::Ok, Some(b':')) if row.name == "wait" => (reply, outcome),
        (Outcome::Ok, Some(b'*')) if reply.starts_with(b"*2") => (reply, outcome),
        _ => (nobody(row), Outcome::Ok),
    }
}
