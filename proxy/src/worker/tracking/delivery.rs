//! What clients that cache are told.

use hashbrown::HashMap;

use super::table::Reader;
use crate::node::ClientKey;
use crate::resp::reply::{count_line, value_len};
use crate::resp::write;
use crate::session::{Closing, CommonQuestion, Invalid, Question, Target};
use crate::slot::Slot;
use crate::worker::{Action, Worker};

/// A push that tells that all that a client has is invalid.
const ALL: &[u8] = b">2\r\n$10\r\ninvalidate\r\n_\r\n";

/// Where more keys than these bytes become invalid at once for one client, all do.
const KEYS_BYTES_MAX: usize = 16 * 1024;

/// Messages to clients of other workers that may be under way. Above it their targets are told
/// all, once there are fewer.
const TOLD_MAX: usize = 1024;

/// Why a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// A node says that the keys were written, have expired or were evicted.
    Written,
    /// A node says that all its keys are gone.
    Flushed,
    /// A watcher was lost.
    ConnectionLost,
    /// A slot has another owner.
    OwnerChanged,
    /// It was read from a node that is not watched.
    NotWatched,
    /// The table is full.
    TableFull,
}

impl Worker {
    /// What a watcher says unasked.
    pub(in crate::worker) fn watcher_says(&mut self, push: &[u8]) {
        let Some(payload) = push.strip_prefix(b">2\r\n$10\r\ninvalidate\r\n") else {
            return self.cells.pushes_swallowed.add(1);
        };
        let Some(keys) = strings(payload) else {
            return self.tell_everybody(Reason::Flushed);
        };
        for key in &keys {
            self.tell_readers(key);
        }
        self.tell_by_prefix(&keys);
    }

    /// A key has changed: its readers are told. Those whose reads are under way stay readers.
    fn tell_readers(&mut self, key: &[u8]) {
        let mut readers: smallvec::SmallVec<[Reader; 8]> = smallvec::SmallVec::new();
        let clients = &mut self.clients;
        self.trackers.table.told(key, |reader| {
            readers.push(reader);
            let flow = clients.find(reader.client).and_then(|session| session.flow.as_ref());
            flow.is_some_and(|flow| flow.is_open(reader.number))
        });
        if !readers.is_empty() {
            let invalid = Invalid::key(key);
            for reader in readers {
                self.invalidate(reader.client, Some(reader.number), &invalid, Reason::Written);
            }
        }
    }

    fn tell_by_prefix(&mut self, keys: &[&[u8]]) {
        if self.trackers.prefixes.is_empty() {
            return;
        }
        let mut told = Vec::new();
        for (prefix, clients) in &self.trackers.prefixes {
            let covered = || keys.iter().filter(|key| key.starts_with(prefix));
            let count = covered().count();
            if count > 0 {
                let invalid =
                    Invalid::keys(count, |out| covered().for_each(|key| write::bulk(out, key)));
                told.push((invalid, clients.clone()));
            }
        }
        for (invalid, clients) in told {
            for client in clients {
                let last = self.last_under_way(client);
                self.invalidate(client, last, &invalid, Reason::Written);
            }
        }
    }

    /// All that track are told that all they have is invalid.
    fn tell_everybody(&mut self, reason: Reason) {
        self.trackers.table.clear();
        for client in self.trackers.clients.iter().copied().collect::<Vec<_>>() {
            let last = self.last_under_way(client);
            self.invalidate(client, last, &Invalid::All, reason);
        }
    }

    /// Tells what is not sure any more: keys whose slot has another owner, or whose owner is not
    /// watched any more, since they were read.
    pub(in crate::worker) fn tell_doubts(&mut self) {
        let blind = self.trackers.blind.take();
        let reason = blind.unwrap_or(Reason::OwnerChanged);
        if std::mem::take(&mut self.trackers.moved) {
            self.tell_moved(reason);
        }
        if let Some(reason) = blind {
            let by_prefix = self.trackers.prefixes.values().flatten();
            let mut clients: Vec<ClientKey> = by_prefix.copied().collect();
            clients.sort_unstable_by_key(|client| client.index);
            clients.dedup();
            for client in clients {
                let last = self.last_under_way(client);
                self.invalidate(client, last, &Invalid::All, reason);
            }
        }
    }

    fn tell_moved(&mut self, reason: Reason) {
        let mut concerned: HashMap<ClientKey, (usize, Vec<u8>)> = HashMap::new();
        let mut table = std::mem::replace(&mut self.trackers.table, super::Table::new(0));
        table.retain(|key, reader| {
            let stands = self.watch_of(Slot::of_key(key)) == reader.watch;
            if !stands {
                let (count, keys) = concerned.entry(reader.client).or_default();
                *count += 1;
                if keys.len() <= KEYS_BYTES_MAX {
                    write::bulk(keys, key);
                }
            }
            stands
        });
        self.trackers.table = table;
        for (client, (count, keys)) in concerned {
            let invalid = match keys.len() {
                0..=KEYS_BYTES_MAX => Invalid::keys(count, |out| out.extend_from_slice(&keys)),
                _ => Invalid::All,
            };
            let last = self.last_under_way(client);
            self.invalidate(client, last, &invalid, reason);
        }
    }

    /// The last request of this client that is under way.
    fn last_under_way(&mut self, client: ClientKey) -> Option<u32> {
        let flow = self.clients.find(client)?.flow.as_ref()?;
        (flow.in_flight() > 0).then(|| flow.next_number().wrapping_sub(1))
    }

    /// Tells a client, or who is told in its place: now, and once more right behind the reply of
    /// the request of this number if that is under way.
    pub(super) fn invalidate(
        &mut self,
        client: ClientKey,
        number: Option<u32>,
        invalid: &Invalid,
        reason: Reason,
    ) {
        self.say(client, number, true, invalid, reason);
    }

    /// As [`Worker::invalidate`], only behind the reply: the client can have no copy from before.
    pub(super) fn invalidate_behind(
        &mut self,
        client: ClientKey,
        number: u32,
        invalid: &Invalid,
        reason: Reason,
    ) {
        self.say(client, Some(number), false, invalid, reason);
    }

    fn say(
        &mut self,
        client: ClientKey,
        number: Option<u32>,
        now: bool,
        invalid: &Invalid,
        reason: Reason,
    ) {
        let Some(session) = self.clients.find(client).filter(|s| s.closing == Closing::No) else {
            return;
        };
        let Some(tracking) = session.tracking() else { return };
        if let Some(target) = tracking.redirect {
            self.count_told(reason);
            return self.tell_target(client, target, invalid);
        }
        if !session.mode.is_resp3() {
            return; // nothing can be told to it
        }
        let mut push = Vec::new();
        invalid.write(true, &mut push);
        let Some(flow) =
            self.clients.get_with_flow(client.index).and_then(|session| session.flow.as_mut())
        else {
            return;
        };
        let grown = now && flow.interrupt(&push);
        if let Some(number) = number.filter(|&number| flow.is_open(number)) {
            flow.follow(number, &push, ALL);
        }
        self.clients.note_output(client.index, grown);
        self.count_told(reason);
    }

    /// Another client is told in the place of this one. That is on another connection, so nothing
    /// is in order with the replies: as on a server, the client must not keep what it was about
    /// to read when this came.
    fn tell_target(&mut self, owner: ClientKey, target: Target, invalid: &Invalid) {
        if self.deliver(target.id, target.client, invalid) {
            return;
        }
        if self.trackers.told.len() >= TOLD_MAX {
            self.trackers.owed.insert(owner);
            return;
        }
        let number = self.next_arrival;
        self.next_arrival += 1;
        self.trackers.told.insert(number, (owner, target.id));
        let (id, client) = (target.id, target.client);
        let question = CommonQuestion::Invalidate { id, client, invalid: invalid.clone() };
        self.outbox.push(Action::Ask {
            number,
            client: owner.index,
            question: Question::All(question),
        });
    }

    /// What became of a message to a client of another worker.
    pub(super) fn told_target(&mut self, owner: ClientKey, id: u64, reply: &[u8]) {
        if reply.starts_with(b":0") {
            self.target_gone(owner, id);
        }
        if self.trackers.told.len() < TOLD_MAX / 2 {
            for owner in std::mem::take(&mut self.trackers.owed) {
                let session = self.clients.find(owner);
                let target = session.and_then(|session| session.tracking()?.redirect);
                if let Some(target) = target {
                    self.tell_target(owner, target, &Invalid::All);
                }
            }
        }
    }

    /// Who was to be told has gone: the one in whose place it was is told that, if it can be.
    fn target_gone(&mut self, owner: ClientKey, id: u64) {
        let Some(session) = self.clients.find(owner) else { return };
        let tracking = session.stateful.as_mut().and_then(|all| all.tracking.as_mut());
        let Some(tracking) = tracking else { return };
        if tracking.redirect.is_none_or(|target| target.id != id) {
            return;
        }
        tracking.broken = true;
        if session.mode.is_resp3() {
            let mut push = b">2\r\n$21\r\ntracking-redir-broken\r\n".to_vec();
            write::integer(&mut push, id as i64);
            self.push_to(owner.index, &push);
        }
    }

    /// Tells a client of this worker in the place of another. Returns whether it is here.
    pub(in crate::worker) fn deliver(
        &mut self,
        id: u64,
        client: ClientKey,
        invalid: &Invalid,
    ) -> bool {
        let Some(session) = self.clients.find(client).filter(|session| session.id == id) else {
            return false;
        };
        let resp3 = session.mode.is_resp3();
        if resp3 || session.is_subscribed() {
            let mut message = Vec::new();
            invalid.write(resp3, &mut message);
            self.push_to(client.index, &message);
        }
        true
    }

    fn push_to(&mut self, index: u32, message: &[u8]) {
        if let Some(session) = self.clients.get_with_flow(index)
            && session.closing == Closing::No
            && let Some(flow) = &mut session.flow
        {
            let grown = flow.interrupt(message);
            self.clients.note_output(index, grown);
        }
    }

    fn count_told(&self, reason: Reason) {
        let cells = &self.cells;
        let counter = match reason {
            Reason::Written => &cells.invalidations_written,
            Reason::Flushed => &cells.invalidations_flushed,
            Reason::ConnectionLost => &cells.invalidations_connection_lost,
            Reason::OwnerChanged => &cells.invalidations_owner_changed,
            Reason::NotWatched => &cells.invalidations_not_watched,
            Reason::TableFull => &cells.invalidations_table_full,
        };
        counter.add(1);
    }
}

/// The strings of an array; `None` if it is none.
fn strings(array: &[u8]) -> Option<Vec<&[u8]>> {
    let (count, mut at) = count_line(array).filter(|_| array.starts_with(b"*"))?;
    let mut strings = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        let value = array.get(at..).filter(|value| value.starts_with(b"$"))?;
        let (len, (_, start)) = (value_len(value)?, count_line(value)?);
        strings.push(value.get(start..len.saturating_sub(2))?);
        at += len;
    }
    Some(strings)
}
