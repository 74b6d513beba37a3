//! Arrays of all shards that are too large to be gathered (KEYS): they flow to the client one
//! behind the other, at its pace, each from the connection that it comes on.
//!
//! How many elements there are in all has to be said first, and is known once each part has said
//! how many it has. Until then a large part waits in its connection, of which reading pauses, as
//! it does for any large reply whose turn has not come. While nothing was passed on, a part that
//! is lost is asked for again.

use super::{Gather, Part};
use crate::metrics::Outcome;
use crate::node::{Connection, Expected, Stream, Ticket, WHOLE};
use crate::resp::{reply, write};
use crate::routing::{Merge, elements};
use crate::worker::settle::Clients;
use crate::worker::{Action, Worker};

/// How far a reply that flows to its client has come: a joined one of which a part is large, or a
/// merged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// Something is not known yet, or nothing is large.
    No,
    /// It is the client's reply to come, from the connections of its parts.
    Waits,
    /// Its beginning was passed on: nothing can be asked again.
    Flows,
    /// It is whole, and this much of it was passed on.
    Merged(usize),
}

impl Joined {
    pub(super) fn is_merged(self) -> bool {
        matches!(self, Joined::Merged(_))
    }
}

/// A part that waits in its connection, or passes through from there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Large {
    /// Index of the connection.
    connection: u32,
    /// `*` or `~`.
    tag: u8,
    /// Its elements.
    count: usize,
}

const TOO_FAR_APART: &[u8] =
    b"-OVERLOADED not executed: a part of its reply held up others for large-stall\r\n";

impl Gather {
    /// What is to be written in front of the first large part: the number of all elements, and
    /// those of the small parts. `None` if a part has none to give.
    fn beginning(&self) -> Option<Vec<u8>> {
        let (mut total, mut tag, mut bodies) = (0, b'*', Vec::new());
        for part in &self.parts {
            let (count, body) = match part.large {
                Some(large) => {
                    tag = large.tag;
                    (large.count, &[][..])
                }
                None if part.left_out => (0, &[][..]),
                None if part.outcome == Some(Outcome::Ok) => elements(self.reply_of(part)).ok()?,
                None => return None,
            };
            total += count;
            bodies.push(body);
        }
        let mut out = Vec::new();
        write::array_header(&mut out, total);
        out[0] = tag;
        bodies.into_iter().for_each(|body| out.extend_from_slice(body));
        Some(out)
    }

    fn first_large(&self) -> Option<u32> {
        self.parts.iter().find_map(|part| part.large).map(|large| large.connection)
    }
}

/// Takes the large ones back, as if each had come and been empty. Gives their connections.
pub(super) fn take_large(parts: &mut [Part]) -> Vec<u32> {
    let take = |part: &mut Part| {
        let large = part.large.take()?;
        part.outcome = Some(Outcome::Ok);
        Some(large.connection)
    };
    parts.iter_mut().filter_map(take).collect()
}

impl Clients {
    /// What this is a part of.
    pub(super) fn gather_of(&mut self, ticket: &Ticket) -> Option<&mut Gather> {
        let is_part = ticket.part != WHOLE;
        let gather = self.gathers.get_mut(ticket.sequence as usize).filter(|_| is_part)?;
        (gather.whole.client == ticket.client).then_some(gather)
    }

    /// A large reply has begun on this connection: if it is a part of a joined one, its first line
    /// is taken off, and the rest waits there for its turn. Returns whether it is.
    pub(in crate::worker) fn join_large(
        &mut self,
        index: u32,
        connection: &mut Connection,
    ) -> bool {
        let Some(Expected::Request(ticket)) = connection.head() else { return false };
        let (sequence, number) = (ticket.sequence, usize::from(ticket.part));
        let Some(gather) = self.gather_of(ticket) else { return false };
        let Some(&tag @ (b'*' | b'~')) = connection.partial.first() else { return false };
        let Some((count, start)) = reply::count_line(&connection.partial) else { return false };
        let Some(part) = gather.parts.get_mut(number) else { return false };
        if gather.merge != Merge::Join || !gather.whole.reads_only || part.outcome.is_some() {
            return false;
        }
        part.large = Some(Large { connection: index, tag, count });
        gather.open -= 1;
        if gather.open == 0 {
            self.news.gathered.push(sequence);
        }
        connection.partial.drain(..start);
        true
    }
}

impl Worker {
    /// All parts are there, or have said how many elements they have. If some are large they make
    /// the client's next large reply. Returns whether they do.
    pub(super) fn begin_join(&mut self, index: u32) -> bool {
        let Some(gather) = self.clients.gathers.get_mut(index as usize) else { return false };
        if gather.merge != Merge::Join {
            return false;
        }
        let Some(first) = gather.first_large() else { return false };
        let (client, sequence) = (gather.whole.client, gather.whole.sequence);
        if gather.beginning().is_none() {
            let large = take_large(&mut gather.parts);
            self.discard_parts(index, large);
            return false;
        }
        gather.joined = Joined::Waits;
        let flow = self.clients.find(client).and_then(|session| session.flow.as_mut());
        if flow.and_then(|flow| flow.begin_large(sequence, first).ok()) == Some(true) {
            self.begin_flowing(first, client.index);
        }
        true
    }

    /// The turn of the large reply on this connection has come: what goes before its own bytes.
    pub(in crate::worker) fn joined_beginning(&mut self, index: u32) -> Vec<u8> {
        let connection = self.connections.get(index as usize);
        let Some(Expected::Request(ticket)) = connection.and_then(Connection::head) else {
            return Vec::new();
        };
        let Some(gather) = self.clients.gather_of(ticket) else { return Vec::new() };
        if gather.joined == Joined::Flows {
            return Vec::new();
        }
        gather.joined = Joined::Flows;
        let beginning = gather.beginning().unwrap_or_default();
        gather.replies = Vec::new();
        beginning
    }

    /// A part has been passed on to its end: the next one follows, or the reply is whole.
    pub(in crate::worker) fn end_joined_part(&mut self, ticket: &Ticket) {
        let client = ticket.client;
        self.clients.after_settling(ticket);
        let Some(gather) = self.clients.gather_of(ticket) else { return };
        if let Some(part) = gather.parts.get_mut(usize::from(ticket.part)) {
            part.large = None;
        }
        let next = gather.first_large();
        let whole = match next {
            Some(_) => None,
            None => self.clients.gathers.try_remove(ticket.sequence as usize),
        };
        let Some(session) = self.clients.find(client) else { return };
        let Some(flow) = &mut session.flow else { return };
        if let Some(next) = next {
            flow.relay_large(next);
            return self.begin_flowing(next, client.index);
        }
        flow.gathers = flow.gathers.saturating_sub(1);
        flow.end_large();
        session.window.learn(self.settings.large_reply, self.settings.requests_max);
        self.clients.mark_dirty(client.index);
        if let Some(Gather { whole, .. }) = whole {
            let latency_us = self.now.micros_since(whole.received);
            self.cells.request_done(whole.command.index(), Outcome::Ok, latency_us);
            self.clients.after_settling(&Ticket { strict: false, ..whole });
        }
        self.next_large(client);
    }

    /// Whether the large reply that waits on this connection cannot be asked for again, because
    /// the reply that it is a part of has begun to flow.
    pub(in crate::worker) fn has_flowed(&mut self, connection: &Connection) -> bool {
        let Some(Expected::Request(ticket)) = connection.head() else { return false };
        self.clients.gather_of(ticket).is_some_and(|gather| gather.joined == Joined::Flows)
    }

    /// A large reply that waited was lost with its connection, or is given up: its place waits
    /// again.
    pub(in crate::worker) fn forget_large(&mut self, ticket: &Ticket) {
        let mut sequence = ticket.sequence;
        if ticket.part != WHOLE {
            let Some(gather) = self.clients.gather_of(ticket) else { return };
            let part = gather.parts.get_mut(usize::from(ticket.part));
            if part.and_then(|part| part.large.take()).is_some() {
                gather.open += 1;
            }
            if std::mem::replace(&mut gather.joined, Joined::No) == Joined::No {
                return;
            }
            sequence = gather.whole.sequence;
        }
        if let Some(flow) = self.clients.find(ticket.client).and_then(|s| s.flow.as_mut()) {
            flow.forget_large(sequence);
        }
    }

    /// A part that waits holds up others behind it. As long as nothing of the reply was passed on
    /// its client can be told; returns whether it is.
    pub(in crate::worker) fn give_up_join(&mut self, index: u32) -> bool {
        let Some(connection) = self.connections.get_mut(index as usize) else { return false };
        let Some(Expected::Request(ticket)) = connection.head() else { return false };
        let waits = |gather: &mut Gather| gather.joined != Joined::Flows;
        if !self.clients.gather_of(ticket).is_some_and(waits) {
            return false;
        }
        for (ticket, _) in self.take_head(index) {
            self.forget_large(&ticket);
            self.clients.settle(&ticket, TOO_FAR_APART, Outcome::Overloaded, self.now);
        }
        self.discard_reply(index);
        true
    }

    /// The replies of these parts are not wanted any more.
    pub(super) fn discard_parts(&mut self, gather: u32, connections: Vec<u32>) {
        for index in connections {
            let connection = self.connections.get(index as usize);
            let is_its_own = |head: &Expected| match head {
                Expected::Request(ticket) => ticket.part != WHOLE && ticket.sequence == gather,
                _ => false,
            };
            if connection.and_then(Connection::head).is_some_and(is_its_own) {
                for (ticket, _) in self.take_head(index) {
                    self.clients.after_settling(&ticket);
                }
                self.discard_reply(index);
            }
        }
    }

    /// Takes the request off whose reply is being read: the reply is dropped when it has come.
    fn take_head(&mut self, index: u32) -> Vec<(Ticket, Vec<u8>)> {
        let Some(connection) = self.connections.get_mut(index as usize) else { return Vec::new() };
        let Some(Expected::Request(head)) = connection.head() else { return Vec::new() };
        let arrival = head.arrival;
        connection.abandon(|ticket| ticket.arrival == arrival)
    }

    /// The large reply on this connection is read and dropped.
    pub(in crate::worker) fn discard_reply(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        connection.stream = Stream::Discarding;
        connection.partial = Vec::new();
        let unread = connection.unpause(self.now);
        self.outbox.push(Action::ReadNode { connection: index });
        self.read_replies(index, &unread);
    }
}
