//! Large values have their own way, so that one client's size or slowness is nobody else's:
//! a large reply makes its connection its client's own and passes through as it comes; a large
//! request is read only against a budget, and travels on a connection of its own.

use std::time::Duration;

use super::lots::Parked;
use super::{Action, Worker};
use crate::metrics::Outcome;
use crate::node::{ClientKey, Expected, Kind, Stream, Ticket, Trial};
use crate::resp::reply::{self, Progress};
use crate::resp::write;
use crate::session::ClientEnd;
use crate::time::Moment;

/// Reading a large reply pauses while its client has more than this still to take.
const STREAM_AHEAD_BYTES: usize = 256 * 1024;

/// Clients in the middle of sending a large request, and the budget that they share.
#[derive(Debug, Default)]
pub(super) struct LargeReads {
    /// Who, with the moment at which it is ended if nothing comes.
    reading: Vec<(ClientKey, Moment)>,
    /// Bytes taken of the budget.
    taken: usize,
}

impl LargeReads {
    /// This client has sent its large request whole: it is not watched any more.
    pub(super) fn finished(&mut self, client: ClientKey) {
        self.reading.retain(|(other, _)| *other != client);
    }

    /// Nobody reads and nothing is taken.
    #[cfg(test)]
    pub(super) fn is_unused(&self) -> bool {
        self.reading.is_empty() && self.taken == 0
    }
}

impl Worker {
    // ---- requests ----

    /// The request that this client is sending is not complete. If it is large, its announced
    /// bytes are taken of the budget, or the client waits until there are some.
    pub(super) fn partial_request(&mut self, index: u32) {
        // What its last one took, if that was settled in this turn, is not this one's.
        while let Some(client) = self.clients.take_large_done() {
            self.release_large_read(client);
        }
        let Some(session) = self.clients.get(index) else { return };
        // A claim can become a few bytes smaller when the next header is there.
        let announced = session.scanner.announced_bytes().max(session.large_bytes);
        if announced <= self.settings.large_request {
            return;
        }
        let key = ClientKey { index, generation: session.generation };
        let more = announced.saturating_sub(session.large_bytes);
        if announced > self.settings.large_requests_max_bytes {
            return self.refuse_too_large(index);
        }
        let free = self.settings.large_requests_max_bytes - self.large_reads.taken;
        let fits = more <= free;
        if fits {
            session.large_bytes = announced;
            self.large_reads.taken += more;
        } else {
            session.blocked = true;
        }
        // Who holds bytes must go on. Who holds none and waits is not read, so that sending
        // nothing is no fault of its own: it waits as long as any other request.
        let patience = match session.large_bytes {
            0 => self.settings.mask_deadline,
            _ => self.settings.large_stall,
        };
        let end = self.now + patience;
        match self.large_reads.reading.iter_mut().find(|(other, _)| *other == key) {
            Some((_, known)) if fits => *known = end,
            Some(_) => {}
            None => self.large_reads.reading.push((key, end)),
        }
    }

    fn refuse_too_large(&mut self, index: u32) {
        let max = self.settings.large_requests_max_bytes;
        self.refuse_large(index, &format!("the request has more than {max} bytes"));
    }

    /// Nothing more of this request is read, so the client is closed with it.
    fn refuse_large(&mut self, index: u32, bound: &str) {
        self.cells.request_done(usize::MAX, Outcome::Overloaded, 0);
        self.answer(index, |out| {
            write::error(out, format!("OVERLOADED not executed: {bound}"));
        });
        self.end_client(index, ClientEnd::Slow);
    }

    /// This client's large request is over, or the client is: its bytes go back to the budget.
    pub(super) fn release_large_read(&mut self, client: ClientKey) {
        self.large_reads.reading.retain(|(other, _)| *other != client);
        let Some(session) = self.clients.find(client) else { return };
        let bytes = std::mem::take(&mut session.large_bytes);
        if bytes > 0 {
            self.large_reads.taken = self.large_reads.taken.saturating_sub(bytes);
            let waiting: Vec<u32> =
                self.large_reads.reading.iter().map(|(other, _)| other.index).collect();
            for index in waiting {
                self.clients.unblock(index);
            }
        }
    }

    /// A large request was understood. If it was answered on the spot, its bytes go back.
    pub(super) fn release_unsent_large(&mut self, index: u32) {
        if let Some(session) = self.clients.get(index)
            && !session.large_request
        {
            let key = ClientKey { index, generation: session.generation };
            self.release_large_read(key);
        }
    }

    /// A large request is complete. It is alone: nothing of its client is in flight before it,
    /// and nothing follows before it is settled.
    pub(super) fn large_request(&mut self, index: u32, ticket: Ticket, frame: &[u8]) {
        self.cells.large_requests.add(1);
        if let Some(session) = self.clients.get(index) {
            session.large_request = true;
            let key = ClientKey { index, generation: session.generation };
            self.large_reads.reading.retain(|(other, _)| *other != key);
        }
        self.dispatch(ticket, frame.to_vec());
    }

    /// Gives a large request a connection of its own, or lets it wait for one.
    pub(super) fn dispatch_large(&mut self, pool: u16, ticket: Ticket, frame: Vec<u8>) {
        let Some(node) = self.pools.get_mut(usize::from(pool)) else { return };
        let free = match node.idle.pop() {
            Some((idle, _)) => Some(idle),
            None if node.extra.len() < self.settings.dedicated_max => {
                Some(self.open(pool, Kind::Dedicated))
            }
            None => None,
        };
        match free {
            Some(free) => {
                if let Some(node) = self.pools.get(usize::from(pool)) {
                    node.cells.requests_total.add(1);
                }
                if let Some(connection) = self.connections.get_mut(free as usize) {
                    connection.adopt(ticket, frame);
                }
                self.touch(free);
            }
            None => {
                self.abandon_trial(pool, &ticket);
                let ticket = Ticket { trial: Trial::No, ..ticket };
                let trouble = "all connections for large requests to its node are taken";
                if let Some(parked) = self.admit(trouble, ticket, frame)
                    && let Some(node) = self.pools.get_mut(usize::from(pool))
                {
                    node.large_queue.trouble = trouble;
                    node.large_queue.insert(parked);
                }
            }
        }
    }

    /// A connection beside the shared one may have become free: the next large request takes it.
    pub(super) fn feed_large_queue(&mut self, pool: u16) {
        let dedicated_max = self.settings.dedicated_max;
        while let Some(node) = self.pools.get_mut(usize::from(pool))
            && (!node.idle.is_empty() || node.extra.len() < dedicated_max)
            && let Some(parked) = node.large_queue.pop()
        {
            let (ticket, frame): (Ticket, Vec<u8>) = self.unpark(parked as Parked);
            self.dispatch(ticket, frame);
        }
    }

    /// Whether this connection carries one large request at a time.
    pub(super) fn is_dedicated(&self, index: u32) -> bool {
        self.connections.get(index as usize).is_some_and(|c| c.kind == Kind::Dedicated)
    }

    /// After a reply on a connection that is not the shared one: what only finished is closed,
    /// what carried a large request is free for the next.
    pub(super) fn after_extra(&mut self, index: u32) {
        let Some(connection) = self.connections.get(index as usize) else { return };
        if !connection.is_idle() || connection.stream != Stream::Whole {
            return;
        }
        let (pool, now) = (connection.pool, self.now);
        let listed = self.pools.get(usize::from(pool)).is_some_and(|node| node.listed);
        if connection.retiring || (connection.kind == Kind::Dedicated && !listed) {
            self.close_connection(index);
            self.feed_large_queue(pool);
        } else if connection.kind == Kind::Dedicated
            && let Some(node) = self.pools.get_mut(usize::from(pool))
        {
            node.idle.push((index, now));
            self.feed_large_queue(pool);
        }
    }

    /// Closes connections that only finished what they had and have nothing left. Nearly always
    /// [`Worker::after_extra`] has done so; but what was on one can also end otherwise than by its
    /// own reply (taken back, abandoned), and a place that is never given back is one less for
    /// large requests.
    pub(super) fn close_finished(&mut self) {
        let finished: Vec<u32> = self
            .connections
            .iter()
            .filter(|(_, c)| c.retiring && c.is_idle() && c.stream == Stream::Whole)
            .map(|(index, _)| index as u32)
            .collect();
        for index in finished {
            self.after_extra(index);
        }
    }

    // ---- replies ----

    /// The reply at the head of this connection is large: from now on the connection is its
    /// client's own.
    pub(super) fn begin_large_reply(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        if connection.hold_replies {
            // Replies of a node that was suspect are held, and this one is too large for that.
            return self.drop_connection(index, true);
        }
        match connection.scanner.kind() {
            Some(reply::Kind::Push) => return self.bad_node(index, "it sends a large push"),
            // A line, and so bounded; what it says has to be understood.
            Some(reply::Kind::Error) if connection.partial.first() == Some(&b'-') => return,
            _ => {}
        }
        let asked = matches!(connection.head(), Some(Expected::Request(_)));
        let pool = connection.pool;
        let Some(ticket) = connection.tickets_mut().next().filter(|_| asked) else {
            return self.bad_node(index, "it sends a large reply that nobody asked for");
        };
        // What it tried for the others has succeeded. To wait for the end would be a circle if
        // its turn came only after one of those.
        let trial = std::mem::replace(&mut ticket.trial, Trial::No);
        self.cells.large_replies.add(1);
        let (client, sequence, slot) = (ticket.client, ticket.sequence, ticket.slot);
        let its_turn = match self.clients.find(client).and_then(|s| s.flow.as_mut()) {
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
                }
            }
        }
        if let Some(node) = self.pools.get(usize::from(pool))
            && node.shared == Some(index)
            && node.extra.len() < self.settings.dedicated_max
        {
            self.retire_shared(pool);
        }
        if its_turn == Some(true) {
            self.begin_flowing(index, client.index);
        }
        self.trial_back(trial, pool, slot, true);
    }

    /// The turn of a large reply has come: what was gathered of it goes to its client.
    fn begin_flowing(&mut self, index: u32, client: u32) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        connection.stream = Stream::Flowing;
        let partial = std::mem::take(&mut connection.partial);
        if let Some(flow) = self.clients.get(client).and_then(|session| session.flow.as_mut()) {
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
        let Some(Expected::Request(ticket)) = connection.pop() else { return };
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
        } else {
            let unread = connection.unpause(self.now);
            self.outbox.push(Action::ReadNode { connection: index });
            self.read_replies(index, &unread);
        }
    }

    /// The client took bytes of a large reply, or of what stood before it.
    pub(super) fn large_progress(&mut self, index: u32, client: u32) {
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
            let Some(connection) = self.connections.get_mut(index as usize) else { continue };
            connection.stream = Stream::Discarding;
            connection.partial = Vec::new();
            let unread = connection.unpause(self.now);
            self.outbox.push(Action::ReadNode { connection: index });
            self.read_replies(index, &unread);
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

    fn drop_client(&mut self, index: u32, why: ClientEnd) {
        let Some(session) = self.clients.get(index) else { return };
        let key = ClientKey { index, generation: session.generation };
        tracing::info!(client = session.id, ?why, "client closed");
        self.drop_parked(key);
        self.close_client(index, why);
    }

    // ---- time ----

    pub(super) fn next_large_event(&self) -> Option<Moment> {
        let stall = self.settings.large_stall;
        let reads = self.large_reads.reading.iter().map(|&(_, end)| end);
        let replies = self.connections.iter().filter_map(|(_, c)| c.held_up_until(stall));
        let idle = self
            .pools
            .iter()
            .flat_map(|(_, node)| &node.idle)
            .map(|&(_, since)| since + self.settings.node_idle_timeout);
        reads.chain(replies).chain(idle).min()
    }

    pub(super) fn tick_large(&mut self) {
        let (now, stall) = (self.now, self.settings.large_stall);
        let stalled_reads: Vec<ClientKey> = self
            .large_reads
            .reading
            .iter()
            .filter(|(_, end)| *end <= now)
            .map(|(client, _)| *client)
            .collect();
        for client in stalled_reads {
            match self.clients.find(client).map(|session| session.large_bytes) {
                Some(0) => {
                    self.large_reads.reading.retain(|(other, _)| *other != client);
                    self.refuse_large(client.index, "too many large requests are under way");
                }
                Some(_) => self.close_slow(client.index),
                None => self.release_large_read(client),
            }
        }
        let stalled_replies: Vec<ClientKey> = self
            .connections
            .iter()
            .filter(|(_, c)| c.held_up_until(stall).is_some_and(|until| until <= now))
            .filter_map(|(_, c)| c.head_client())
            .collect();
        for client in stalled_replies {
            if self.clients.find(client).is_some() {
                self.close_slow(client.index);
            }
        }
        self.close_idle_extras();
    }

    fn close_idle_extras(&mut self) {
        let (now, timeout) = (self.now, self.settings.node_idle_timeout);
        let idle: Vec<u32> = self
            .pools
            .iter()
            .flat_map(|(_, node)| &node.idle)
            .filter(|&&(_, since)| since + timeout <= now)
            .map(|&(index, _)| index)
            .collect();
        for index in idle {
            self.close_connection(index);
        }
    }
}
