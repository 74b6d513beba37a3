//! What a driver tells about node connections: they open, answer, take what is written, break.

use std::time::Duration;

use super::blocking::NOBODY;
use super::doubt::is_doubtful;
use super::pool::{Gate, Pool};
use super::{WishReason, Worker};
use crate::metrics::Outcome;
use crate::node::{Expected, Fenced, Kind as Use, Mode, Phase, Replies, Stream, Ticket, Trial};
use crate::resp::reply::{Kind, Progress};
use crate::time::Moment;

/// A connection that breaks earlier than this after its handshake counts as a failed dial: a
/// node that accepts and closes must not be dialed as fast as it does so.
const SHORT_LIFE: Duration = Duration::from_secs(1);

impl Worker {
    /// The driver has opened this connection.
    pub fn node_connected(&mut self, index: u32, now: Moment) {
        self.now = now;
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let credentials = (self.around.credentials)();
        let credentials = credentials.as_ref();
        connection.connected_since = now;
        let Some(node) = self.pools.get(usize::from(connection.pool)) else { return };
        let (mode, to_fence) = match connection.kind {
            // Nothing is sent on it that could overtake what a lost connection has left.
            Use::Watcher => (Mode::BASE.with_resp3(true), Vec::new()),
            _ => (node.mode, node.left_behind.clone()),
        };
        let credentials = credentials.map(|c| (c.user.as_bytes(), c.password.as_slice()));
        connection.greet(credentials, mode, to_fence);
        self.touch(index);
    }

    /// What can be written to a node now.
    #[inline]
    pub fn node_output(&self, index: u32) -> &[u8] {
        self.connections.get(index as usize).map_or(&[], |connection| connection.output())
    }

    /// The kernel accepted this many bytes of [`Worker::node_output`].
    #[inline]
    pub fn node_wrote(&mut self, index: u32, len: usize) {
        self.cells.node_bytes_out.add(len as u64);
        if let Some(connection) = self.connections.get_mut(index as usize) {
            connection.wrote(len, self.now);
        }
    }

    /// Whether the driver may read from this connection.
    #[inline]
    pub fn reads_node(&self, index: u32) -> bool {
        self.connections.get(index as usize).is_some_and(|connection| !connection.read_paused)
    }

    /// Bytes were read from a node.
    pub fn node_bytes(&mut self, index: u32, bytes: &[u8], now: Moment) {
        self.now = now;
        self.cells.node_bytes_in.add(bytes.len() as u64);
        let mut of_parts = 0;
        if let Some(connection) = self.connections.get_mut(index as usize) {
            connection.heard = now;
            // Once a read: in the loop over replies a look for parts would cost each GET too.
            let has_runs = connection.has_runs();
            if connection.suspect | connection.lent_to.is_some() {
                self.heard_at_last(index);
            }
            if has_runs {
                of_parts = self.take_parts(index, bytes);
            }
        }
        self.read_replies(index, &bytes[of_parts..]);
    }

    /// Something was read from a connection on which it was waited for longer than others are.
    #[cold]
    fn heard_at_last(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let now = self.now;
        // That it blocked is no latency.
        connection.tickets_mut().filter(|t| t.way.blocks()).for_each(|t| t.received = now);
        if connection.suspect {
            self.heard_again(index);
        }
    }

    /// The loop over the replies in a read. The fast path is a reply that is whole in `chunk` and
    /// no error: it is found in place and copied once, into its client's output.
    pub(super) fn read_replies(&mut self, index: u32, mut chunk: &[u8]) {
        let Some(serial) = self.connections.get(index as usize).map(|c| c.serial) else { return };
        while !chunk.is_empty() {
            let Some(connection) = self.connections.get_mut(index as usize) else { return };
            if connection.serial != serial {
                return; // it was closed over a reply, and its successor has its place
            }
            if connection.stream != Stream::Whole {
                let used = self.stream_bytes(index, chunk);
                chunk = &chunk[used..];
                continue;
            }
            match connection.scanner.feed(chunk) {
                Progress::Complete { used, kind } => {
                    let (reply, rest) = chunk.split_at(used);
                    chunk = rest;
                    if connection.partial.is_empty() {
                        self.reply(index, kind, reply);
                    } else {
                        let mut whole = std::mem::take(&mut connection.partial);
                        whole.extend_from_slice(reply);
                        self.reply(index, kind, &whole);
                        if let Some(connection) = self.connections.get_mut(index as usize)
                            && connection.serial == serial
                        {
                            connection.partial = whole;
                            connection.clear_partial();
                        }
                    }
                }
                Progress::More => {
                    connection.partial.extend_from_slice(chunk);
                    let announced =
                        connection.partial.len() as u64 + connection.scanner.missing_bytes();
                    if announced > self.settings.large_reply as u64 {
                        self.begin_large_reply(index);
                    }
                    return;
                }
                Progress::Bad(why) => return self.bad_node(index, &why.to_string()),
            }
        }
    }

    /// One whole reply.
    #[inline]
    pub(super) fn reply(&mut self, index: u32, kind: Kind, reply: &[u8]) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        if let Phase::Handshaking(_) = connection.phase {
            return self.handshake_reply(index, kind, reply);
        }
        if connection.kind == Use::Subscriber {
            return self.upstream_frame(index, kind, reply);
        }
        if kind == Kind::Push && connection.kind == Use::Watcher {
            return self.watcher_says(reply);
        }
        if kind == Kind::Push {
            return self.cells.pushes_swallowed.add(1);
        }
        if kind == Kind::Error && connection.kind == Use::Dedicated {
            // More may follow an error whose words broke the line (see `Way::Apart`).
            connection.retiring = true;
        }
        match connection.head() {
            Some(Expected::Request(ticket))
                if kind != Kind::Error
                    && ticket.trial == Trial::No
                    && connection.replies == Replies::Pass =>
            {
                self.clients.settle(ticket, reply, Outcome::Ok, self.now);
                connection.drop_head(ticket.len);
                if connection.retiring || connection.kind == Use::Dedicated {
                    self.note_watching(index, kind);
                    self.after_extra(index);
                }
            }
            Some(Expected::Request(_)) if connection.replies == Replies::Hold => {
                self.hold(index, kind, reply);
            }
            Some(Expected::Request(ticket))
                if kind == Kind::Error && !connection.cut && is_doubtful(ticket, reply) =>
            {
                self.ask_back(index, reply);
            }
            Some(Expected::Request(_)) => self.odd_reply(index, kind, reply),
            Some(Expected::Block(_)) => self.block_reply(index, kind, reply),
            Some(Expected::Barrier { .. }) if kind == Kind::Error => self.barrier_refused(index),
            Some(Expected::Asking | Expected::Own { .. } | Expected::Barrier { .. }) => {
                connection.pop();
                self.after_extra(index);
            }
            Some(Expected::Load { .. }) => {
                connection.pop_load();
                self.after_extra(index);
            }
            Some(Expected::Abandoned { .. }) if connection.kind == Use::Watcher => {
                self.watcher_answered(index, kind, reply);
            }
            Some(Expected::Abandoned { .. }) => {
                connection.pop();
                self.cells.stale_replies_dropped.add(1);
                self.after_extra(index);
            }
            Some(&Expected::Question { about, .. }) => self.answered_back(index, about, reply),
            Some(Expected::Run(_)) => self.reply_to_part(index, kind, reply),
            None if connection.has_runs() => self.reply_to_part(index, kind, reply),
            None => self.bad_node(index, "it sent a reply that nobody asked for"),
        }
    }

    /// A reply that may be that to the first of several parts.
    #[cold]
    fn reply_to_part(&mut self, index: u32, kind: Kind, reply: &[u8]) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        if connection.single_out() {
            self.reply(index, kind, reply);
        } else {
            self.bad_node(index, "it sent a reply that nobody asked for");
        }
    }

    /// A reply that is an error, the answer to a request that tried the way for others, or one
    /// after a loss.
    pub(super) fn odd_reply(&mut self, index: u32, kind: Kind, reply: &[u8]) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let pool = connection.pool;
        let frame = connection.head_frame().to_vec();
        let Some(Expected::Request(ticket)) = connection.pop() else { return };
        if kind == Kind::Error {
            self.error_reply(pool, ticket, frame, reply);
        } else {
            let (trial, slot) = (ticket.trial, ticket.slot);
            if ticket.client != NOBODY {
                self.clients.settle(&ticket, reply, Outcome::Ok, self.now);
            }
            self.note_success(index, &ticket);
            self.note_watching(index, kind);
            self.trial_back(trial, pool, slot, true);
        }
        self.after_extra(index);
    }

    /// The connection could not be opened, or broke, or the node closed it.
    pub fn node_lost(&mut self, index: u32, now: Moment) {
        self.now = now;
        self.drop_connection(index, false);
    }

    /// A node sent what cannot be understood: which reply belongs to whom is not guessed.
    #[cold]
    pub(super) fn bad_node(&mut self, index: u32, why: &str) {
        if let Some(connection) = self.connections.get(index as usize)
            && let Some(node) = self.pools.get(usize::from(connection.pool))
        {
            tracing::warn!(node = %node.endpoint, why, "bad bytes from a node; its connection is closed");
        }
        self.drop_connection(index, true);
    }

    /// Takes a broken connection away and settles what was on it by what is known of each
    /// request. `close` tells the driver to close the socket, which it has not done itself.
    pub(super) fn drop_connection(&mut self, index: u32, close: bool) {
        let Some(connection) = self.connections.try_remove(index as usize) else { return };
        let pool = connection.pool;
        match connection.kind {
            Use::Probe => return self.probe_failed(index, &connection, close),
            Use::Subscriber => return self.upstream_lost(index, &connection, close),
            Use::Watcher => return self.watcher_lost(index, &connection, close),
            Use::Shared | Use::Dedicated => {}
        }
        self.note_lost(&connection, close);
        let ready = matches!(connection.phase, Phase::Ready);
        let short = self.now.since(connection.ready_since) < SHORT_LIFE;
        if close {
            self.outbox.push(super::Action::CloseNode { connection: index });
        }
        if let Some(node) = self.pools.get(usize::from(pool)) {
            let counter = if ready { &node.cells.lost } else { &node.cells.dial_failures };
            counter.add(1);
            let trying = matches!(node.gate, Gate::Closed { trying: true, .. });
            if !ready || short || trying {
                let trouble = if ready {
                    "its node closes connections"
                } else {
                    "its node cannot be reached"
                };
                self.shut_gate(pool, trouble);
            }
        }
        self.outbox.wish(WishReason::ConnectionLost);
        if let Some(lost) = connection.left_behind() {
            self.leave_behind(pool, lost);
        }
        let waited = connection.stream == Stream::Waiting;
        let large = (connection.stream == Stream::Flowing
            || (waited && self.has_flowed(&connection)))
        .then(|| connection.head_client());
        self.forget_connection(index, &connection);
        self.end_doubts(|doubt| doubt.connection == connection.serial);
        for (at, (ticket, frame, sent)) in connection.lose().requests.into_iter().enumerate() {
            if at == 0 && waited && large.is_none() {
                self.forget_large(&ticket);
            }
            match (at, large.flatten()) {
                // A reply of which a part was passed on cannot be taken back.
                (0, Some(client)) if self.clients.find(client).is_some() => {
                    self.count_dropped(&ticket);
                    self.break_client(client.index);
                }
                _ => self.after_loss(pool, ticket, frame, sent),
            }
        }
        self.feed_own_queues(pool);
    }

    /// A connection was lost with requests that its process may still hold. Nothing that is sent
    /// to the node from now on may be executed before them: new connections have them killed in
    /// their greeting, the shared one, if it is open, in front of whatever is queued next, and the
    /// others are not used again. In all modes: a client may have changed to another one.
    pub(super) fn leave_behind(&mut self, pool: u16, lost: Fenced) {
        for pool in self.pools_of_node(pool) {
            self.leave_behind_in(pool, lost.clone());
        }
    }

    fn leave_behind_in(&mut self, pool: u16, lost: Fenced) {
        let Some(node) = self.pools.get_mut(usize::from(pool)) else { return };
        if node.left_behind.contains(&lost) {
            return;
        }
        let shared = node.shared;
        if let Some(shared) = shared
            && let Some(connection) = self.connections.get_mut(shared as usize)
            && matches!(connection.phase, Phase::Ready | Phase::Confirming { .. })
            && connection.identity.run_id.as_ref() == Some(&lost.run_id)
        {
            connection.push_kill(&lost);
            self.touch(shared);
        }
        if let Some(node) = self.pools.get_mut(usize::from(pool)) {
            node.leave_behind(lost);
        }
        self.retire_extra(pool);
    }

    /// Nothing more is added to the pool's shared connection; a new one is opened when needed.
    pub(super) fn retire_shared(&mut self, pool: u16) {
        let Some(node) = self.pools.get_mut(usize::from(pool)) else { return };
        let Some(shared) = node.shared.take() else { return };
        node.extra.push(shared);
        let Some(connection) = self.connections.get_mut(shared as usize) else { return };
        connection.retiring = true;
        if let Gate::Closed { trying, .. } = &mut node.gate
            && !matches!(connection.phase, Phase::Ready)
        {
            *trying = false; // its opening was the attempt
        }
        let mut in_flight: Vec<&mut Ticket> = connection.tickets_mut().collect();
        for ticket in &mut in_flight {
            if !ticket.diverted
                && let Some(slot) = ticket.slot
                && let Some(session) = self.clients.find(ticket.client)
            {
                ticket.diverted = true;
                session.divert(Some(slot), ticket.arrival);
            }
        }
        self.after_extra(shared);
    }

    /// The connections beside the shared one are closed as soon as they have nothing to do.
    pub(super) fn retire_extra(&mut self, pool: u16) {
        let Some(node) = self.pools.get_mut(usize::from(pool)) else { return };
        for &extra in &node.extra {
            if let Some(connection) = self.connections.get_mut(extra as usize) {
                connection.retiring = true;
            }
        }
        let idle: Vec<u32> = node.idle.drain(..).map(|(connection, _)| connection).collect();
        for connection in idle {
            self.close_connection(connection);
        }
    }

    /// Requests in flight to slots that have another way from now on: their clients send nothing
    /// further there before these are settled, or it would overtake them.
    pub(super) fn divert_in_flight(&mut self, moved: impl Fn(crate::slot::Slot) -> bool) {
        for (_, connection) in &mut self.connections {
            for ticket in connection.tickets_mut() {
                if !ticket.diverted
                    && let Some(slot) = ticket.slot
                    && moved(slot)
                    && let Some(session) = self.clients.find(ticket.client)
                {
                    ticket.diverted = true;
                    session.divert(Some(slot), ticket.arrival);
                }
            }
        }
    }

    /// The base pool of the node with this identity.
    pub(super) fn pool_of(&self, id: &crate::topology::NodeId) -> Option<u16> {
        let is_it = |node: &Pool| node.id == *id && node.mode.is_base();
        self.pools.iter().find(|(_, node)| is_it(node)).map(|(index, _)| index as u16)
    }
}
