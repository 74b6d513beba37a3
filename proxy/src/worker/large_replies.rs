//! Large replies have their own way, so that one client's size or slowness is nobody else's: a
//! large reply makes its connection its client's own and passes through as it comes.

use std::time::Duration;

use super::gather::TOO_LARGE;
use super::{Action, Worker};
use crate::metrics::Outcome;
use crate::node::{ClientKey, Expected, Kind as Use, Replies, Stream, Trial, WHOLE};
use crate::resp::reply::{self, Progress};
use crate::session::{ClientEnd, MERGED};

/// Reading a large reply pauses while its client has more than this still to take.
pub(super) const STREAM_AHEAD_BYTES: usize = 256 * 1024;

impl Worker {
    /// The reply at the head of this connection is large: from now on the connection is its
    /// client's own.
    pub(super) fn begin_large_reply(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        connection.single_out();
        if connection.replies == Replies::Hold {
            // Replies of a node that was suspect are held, and this one is too large for that.
            return self.drop_connection(index, true);
        }
        if connection.kind == Use::Subscriber {
            return self.large_message(index);
        }
        match connection.scanner.kind() {
            // One for each key that a node has changed at once: it is read whole.
            Some(reply::Kind::Push)
                if connection.kind == Use::Watcher
                    && connection.partial.len() <= self.settings.output_max =>
            {
                return;
            }
            Some(reply::Kind::Push) => return self.bad_node(index, "it sends a large push"),
            // A line, and so bounded; what it says has to be understood.
            _ if matches!(connection.partial.first(), Some(b'-' | b'+')) => return,
            _ => {}
        }
        let joined = self.clients.join_large(index, connection);
        if let Some(Expected::Request(ticket)) = connection.head()
            && ticket.part != WHOLE
            && !joined
        {
            // Gathered like the others as long as there is room, and dropped if there is not.
            let announced = connection.partial.len() as u64 + connection.scanner.missing_bytes();
            if !self.clients.has_room_for(ticket, announced) {
                connection.stream = Stream::Discarding;
                connection.partial = Vec::new();
            }
            return;
        }
        let asked = matches!(connection.head(), Some(Expected::Request(_)));
        let (pool, serial) = (connection.pool, connection.serial);
        let Some(ticket) = connection.tickets_mut().next().filter(|_| asked) else {
            return self.bad_node(index, "it sends a large reply that nobody asked for");
        };
        // What it tried for the others has succeeded. To wait for the end would be a circle if
        // its turn came only after one of those.
        let trial = std::mem::replace(&mut ticket.trial, Trial::No);
        self.cells.large_replies.add(1);
        let (client, sequence, slot) = (ticket.client, ticket.sequence, ticket.slot);
        // What its node was asked is answered behind it, and it may have to wait for just that.
        self.end_doubts(|doubt| doubt.connection == serial);
        let its_turn = match self.clients.find(client).and_then(|s| s.flow.as_mut()) {
            Some(_) if joined => Some(false),
            Some(flow) => flow.begin_large(sequence, index).ok(),
            None => None,
        };
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        match its_turn {
            None => {
                connection.stream = Stream::Discarding;
                connection.partial = Vec::new();
            }
            Some(turn) => {
                connection.stream = if turn { Stream::Flowing } else { Stream::Waiting };
                if !turn {
                    connection.pause(self.now);
                    self.paused.push(index);
                }
            }
        }
        if let Some(node) = self.pools.get(usize::from(pool))
            && node.shared == Some(index)
            && self.extras_free(pool) > 0
        {
            self.retire_shared(pool);
        }
        if its_turn == Some(true) {
            self.begin_flowing(index, client.index);
        }
        self.trial_back(trial, pool, slot, true);
    }

    /// The turn of a large reply has come: what was gathered of it goes to its client.
    pub(super) fn begin_flowing(&mut self, index: u32, client: u32) {
        let before = self.joined_beginning(index);
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        connection.stream = Stream::Flowing;
        let partial = std::mem::take(&mut connection.partial);
        if let Some(flow) = self.clients.get(client).and_then(|session| session.flow.as_mut()) {
            flow.pass(&before);
            flow.pass(&partial);
        }
        self.clients.mark_dirty(client);
        self.pace_large(index, client);
    }

    /// Takes bytes of a large reply; returns how many of `chunk` were used.
    pub(super) fn stream_bytes(&mut self, index: u32, chunk: &[u8]) -> usize {
        let Some(connection) = self.connections.get_mut(index as usize) else {
            return chunk.len();
        };
        if connection.read_paused {
            connection.unread.extend_from_slice(chunk);
            return chunk.len();
        }
        let discarding = connection.stream == Stream::Discarding;
        let client = connection.head_client();
        let (used, over) = match connection.scanner.feed(chunk) {
            Progress::Complete { used, .. } => (used, true),
            Progress::More => (chunk.len(), false),
            Progress::Bad(why) => {
                self.bad_node(index, &why.to_string());
                return chunk.len();
            }
        };
        if let Some(client) = client
            && !discarding
            && let Some(flow) = self.clients.find(client).and_then(|s| s.flow.as_mut())
        {
            flow.pass(&chunk[..used]);
            self.clients.mark_dirty(client.index);
        }
        if over {
            self.end_large_reply(index, discarding);
        } else if let Some(client) = client
            && !discarding
        {
            self.pace_large(index, client.index);
        }
        used
    }

    fn end_large_reply(&mut self, index: u32, discarding: bool) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        connection.stream = Stream::Whole;
        connection.held_up = Duration::ZERO;
        let pool = connection.pool;
        if connection.kind == Use::Subscriber {
            return; // it was a message, and too large
        }
        let Some(Expected::Request(ticket)) = connection.pop() else {
            return self.after_extra(index); // given up meanwhile
        };
        if ticket.part != WHOLE && !discarding {
            self.after_extra(index);
            return self.end_joined_part(&ticket);
        }
        if ticket.part != WHOLE {
            // There was no room for it, and there is none for as much once more.
            self.clients.settle(&ticket, TOO_LARGE, Outcome::Overloaded, self.now);
            self.trial_back(ticket.trial, pool, ticket.slot, true);
            return self.after_extra(index);
        }
        self.note_exec(&ticket);
        let latency_us = self.now.micros_since(ticket.received);
        let outcome = if discarding { Outcome::Dropped } else { Outcome::Ok };
        self.cells.request_done(ticket.command.index(), outcome, latency_us);
        if let Some(session) = self.clients.find(ticket.client) {
            if let Some(flow) = &mut session.flow
                && !discarding
            {
                flow.end_large();
            }
            session.window.learn(self.settings.large_reply, self.settings.requests_max);
            self.clients.after_settling(&ticket);
            self.clients.mark_dirty(ticket.client.index);
        }
        self.after_extra(index);
        self.next_large(ticket.client);
    }

    /// Behind a large reply may stand another one, whose turn has come now.
    pub(super) fn next_large(&mut self, client: ClientKey) {
        let next = self
            .clients
            .find(client)
            .and_then(|session| session.flow.as_ref())
            .and_then(|flow| flow.large_front());
        if next.is_some_and(|connection| connection & MERGED != 0) {
            return self.pass_pieces(client.index);
        }
        if let Some(connection) = next
            && self
                .connections
                .get(connection as usize)
                .is_some_and(|c| c.stream == Stream::Waiting)
        {
            self.begin_flowing(connection, client.index);
        }
    }

    /// Reading from the node follows the speed of the client.
    fn pace_large(&mut self, index: u32, client: u32) {
        let ahead = self
            .clients
            .get(client)
            .and_then(|session| session.flow.as_ref())
            .map_or(0, |flow| flow.output().len());
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let pause = ahead > STREAM_AHEAD_BYTES;
        if pause == connection.read_paused {
            return;
        }
        if pause {
            connection.pause(self.now);
            self.paused.push(index);
        } else {
            let unread = connection.unpause(self.now);
            self.outbox.push(Action::ReadNode { connection: index });
            self.read_replies(index, &unread);
        }
    }

    /// The client took bytes of a large reply, or of what stood before it.
    pub(super) fn large_progress(&mut self, index: u32, client: u32) {
        if index & MERGED != 0 {
            return self.pass_pieces(client);
        }
        let Some(connection) = self.connections.get(index as usize) else { return };
        match connection.stream {
            Stream::Waiting => self.begin_flowing(index, client),
            Stream::Flowing => self.pace_large(index, client),
            Stream::Whole | Stream::Discarding => {}
        }
    }

    /// The client of these large replies has gone: they are read and dropped.
    pub(super) fn discard_large_of(&mut self, client: ClientKey) {
        let concerned: Vec<u32> = self
            .connections
            .iter()
            .filter(|(_, c)| matches!(c.stream, Stream::Waiting | Stream::Flowing))
            .filter(|(_, c)| c.head_client() == Some(client))
            .map(|(index, _)| index as u32)
            .collect();
        for index in concerned {
            self.discard_reply(index);
        }
    }

    /// A client that does not take its replies, or does not finish what it began.
    pub(super) fn close_slow(&mut self, index: u32) {
        self.drop_client(index, ClientEnd::Slow);
    }

    /// A client of whose reply a part is lost: it cannot be told, so it is closed.
    pub(super) fn break_client(&mut self, index: u32) {
        self.drop_client(index, ClientEnd::Broken);
    }

    pub(super) fn drop_client(&mut self, index: u32, why: ClientEnd) {
        let Some(session) = self.clients.get(index) else { return };
        let key = ClientKey { index, generation: session.generation };
        tracing::info!(client = session.id, ?why, "client closed");
        self.drop_parked(key);
        self.close_client(index, why);
    }
}
