//! One connection to each primary that hears of every change of a key there, while a client of
//! this worker tracks.

use std::time::Duration;

use super::delivery::Reason;
use crate::node::{Connection, Expected, Kind as Use, Phase};
use crate::resp::reply::Kind;
use crate::slot::Slot;
use crate::worker::{Action, Worker};

/// How long CLIENT TRACKING ON waits for nodes that are not watched yet. What is read from those
/// that take longer is not good for the cache until they are.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// A watcher that is lost earlier than this is not opened again at once.
const SHORT_LIFE: Duration = Duration::from_secs(1);

impl Worker {
    /// Opens the watchers that are missing, asks the others whether they are there, and closes
    /// those that are not wanted.
    pub(in crate::worker) fn tend_watchers(&mut self) {
        let primaries: Vec<u16> = match self.trackers.is_unused() {
            true => Vec::new(),
            false => {
                let nodes = self.topology.primaries().map(|node| self.topology.node(node).id);
                nodes.filter_map(|id| self.pool_of(&id)).collect()
            }
        };
        let has_one = self.pools.iter().filter(|(_, node)| node.watcher.is_some());
        for pool in has_one.map(|(index, _)| index as u16).collect::<Vec<_>>() {
            if !primaries.contains(&pool) {
                self.close_watcher(pool);
            }
        }
        for pool in primaries {
            let Some(node) = self.pools.get(usize::from(pool)) else { continue };
            match node.watcher {
                None => {
                    self.open(pool, Use::Watcher);
                }
                // It would not be noticed that the node is away, because nothing is asked of it.
                Some(watcher) if node.watch != 0 => self.ask_watcher(watcher, &[b"PING"]),
                Some(_) => {}
            }
        }
        if self.trackers.is_unused() {
            self.trackers.table.clear();
        }
        self.cells.tracking_keys.set(self.trackers.table.len() as u64);
        self.end_starting();
    }

    fn ask_watcher(&mut self, index: u32, words: &[&[u8]]) {
        if let Some(connection) = self.connections.get_mut(index as usize)
            && connection.is_idle()
        {
            connection.push_own(words, |len| Expected::Abandoned { len });
            self.touch(index);
        }
    }

    /// The greeting of a watcher is over.
    pub(in crate::worker) fn watcher_greeted(&mut self, index: u32) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let Phase::Handshaking(handshake) = &mut connection.phase else { return };
        connection.identity = std::mem::take(&mut handshake.identity);
        let node = self.pools.get(usize::from(connection.pool));
        let found = connection.identity.node_id.as_deref();
        if found.is_some_and(|id| node.is_none_or(|node| id != node.id.as_str())) {
            return self.drop_connection(index, true); // another node answers at this address
        }
        connection.ready(now);
        self.ask_watcher(index, &[b"CLIENT", b"TRACKING", b"ON", b"BCAST"]);
    }

    /// A watcher was answered: what it was asked first is to tell every change, what it is asked
    /// later is only whether it is there.
    pub(in crate::worker) fn watcher_answered(&mut self, index: u32, kind: Kind, reply: &[u8]) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        connection.pop();
        let Some(node) = self.pools.get_mut(usize::from(connection.pool)) else { return };
        if node.watch != 0 {
            return;
        }
        if kind == Kind::Error {
            if !std::mem::replace(&mut node.refusal_logged, true) {
                let error = String::from_utf8_lossy(reply.trim_ascii_end()).into_owned();
                tracing::warn!(
                    node = %node.endpoint, %error,
                    "the node does not tell what changes: clients that cache get nothing from it \
                     that they may keep"
                );
            }
            return self.drop_connection(index, true);
        }
        self.trackers.last_watch = self.trackers.last_watch.wrapping_add(1).max(1);
        node.watch = self.trackers.last_watch;
        self.end_starting();
    }

    /// A watcher's connection is no more.
    pub(in crate::worker) fn watcher_lost(
        &mut self,
        index: u32,
        connection: &Connection,
        close: bool,
    ) {
        if close {
            self.outbox.push(Action::CloseNode { connection: index });
        }
        let pool = connection.pool;
        let was_up = self.pools.get(usize::from(pool)).is_some_and(|node| node.watch != 0);
        self.forget_connection(index, connection);
        if was_up && self.now.since(connection.ready_since) >= SHORT_LIFE {
            self.tend_watchers();
        }
        self.end_starting();
    }

    /// Nothing of what this node's watcher may still have to say is waited for.
    pub(in crate::worker) fn close_watcher(&mut self, pool: u16) {
        if let Some(watcher) = self.pools.get(usize::from(pool)).and_then(|node| node.watcher) {
            self.close_connection(watcher);
        }
    }

    /// A watcher is out of its pool: what it watched is not watched any more.
    pub(in crate::worker) fn unwatch(&mut self, pool: u16) {
        let Some(node) = self.pools.get_mut(usize::from(pool)) else { return };
        node.watcher = None;
        if std::mem::take(&mut node.watch) != 0 {
            self.trackers.moved = true;
            self.trackers.blind = Some(Reason::ConnectionLost);
        }
    }

    /// The slots went to these nodes before.
    pub(in crate::worker) fn note_owners(&mut self, before: &[u16; Slot::COUNT]) {
        let changed = before.iter().zip(self.routes.iter()).filter(|(before, now)| before != now);
        let mut owners: Vec<u16> = changed.map(|(_, now)| *now).collect();
        owners.dedup();
        for owner in owners {
            self.note_owner(owner);
        }
    }

    /// A slot goes to this node from now on.
    pub(in crate::worker) fn note_owner(&mut self, pool: u16) {
        if self.trackers.is_unused() {
            return;
        }
        self.trackers.moved = true;
        if self.pools.get(usize::from(pool)).is_none_or(|node| node.watch == 0) {
            self.trackers.blind.get_or_insert(Reason::OwnerChanged);
        }
    }

    /// Some watcher is being opened.
    pub(super) fn watchers_open(&self) -> bool {
        self.pools.iter().any(|(_, node)| node.watcher.is_some() && node.watch == 0)
    }

    /// Answers those that wait for the watchers, if they are there or have taken too long.
    pub(super) fn end_starting(&mut self) {
        let (now, open) = (self.now, self.watchers_open());
        let over: Vec<(u64, _)> =
            self.trackers.starting.extract_if(.., |(_, until)| !open || *until <= now).collect();
        for (number, _) in over {
            self.settle_asked(number, b"+OK\r\n");
        }
    }
}
