//! Large requests have their own way, so that one client's size or slowness is nobody else's: a
//! large request is read only against a budget, and travels on a connection of its own (see
//! [`own_connections`](super::own_connections)).

use super::Worker;
use crate::metrics::Outcome;
use crate::node::{ClientKey, Ticket};
use crate::resp::write;
use crate::session::{ClientEnd, Session, Special};
use crate::time::Moment;

/// Clients in the middle of sending a large request, and the budget that they share.
#[derive(Debug, Default)]
pub(super) struct LargeReads {
    /// Who, with the moment at which it is ended if nothing comes.
    reading: Vec<(ClientKey, Moment)>,
    /// Bytes taken of the budget.
    taken: usize,
    /// Those of them that transactions have taken, which may be half of the budget at most: who
    /// queues and does nothing must not keep others from sending.
    queued: usize,
}

impl LargeReads {
    /// This client has sent its large request whole: it is not watched any more.
    pub(super) fn finished(&mut self, client: ClientKey) {
        self.reading.retain(|(other, _)| *other != client);
    }

    /// How much of the budget is left.
    fn free(&self, max: usize) -> usize {
        max.saturating_sub(self.taken)
    }

    /// Takes so many bytes more for a transaction. Returns whether there were some.
    pub(super) fn queue(&mut self, bytes: usize, max: usize) -> bool {
        let fits = bytes <= self.free(max) && self.queued + bytes <= max / 2;
        if fits {
            self.taken += bytes;
            self.queued += bytes;
        }
        fits
    }

    /// So many bytes that a transaction has taken are on their way now, or to be given back.
    pub(super) fn unqueue(&mut self, bytes: usize) {
        self.queued = self.queued.saturating_sub(bytes);
    }

    /// This client holds bytes, and is ended at that moment if nothing comes.
    pub(super) fn watch(&mut self, client: ClientKey, end: Moment) {
        match self.reading.iter_mut().find(|(other, _)| *other == client) {
            Some((_, known)) => *known = end,
            None => self.reading.push((client, end)),
        }
    }

    /// Nobody reads and nothing is taken.
    #[cfg(test)]
    pub(super) fn is_unused(&self) -> bool {
        self.reading.is_empty() && self.taken == 0 && self.queued == 0
    }
}

impl Worker {
    /// The request that this client is sending is not complete. If it is large, its announced
    /// bytes are taken of the budget, or the client waits until there are some.
    pub(super) fn partial_request(&mut self, index: u32) {
        // What its last one took, if that was settled in this turn, is not this one's.
        while let Some(client) = self.clients.take_large_done() {
            self.release_large_read(client);
        }
        let Some(session) = self.clients.get(index) else { return };
        if session.special.has(Special::ALONE) {
            // Whatever is taken is that of the request before, which has come whole: that nothing
            // more of this one comes is no fault.
            session.blocked = true;
            return;
        }
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
        let free = self.large_reads.free(self.settings.large_requests_max_bytes);
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
            0 => self.settings.deadlines.of(session.manners.patience),
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
        self.large_reads.finished(client);
        let Some(session) = self.clients.find(client) else { return };
        if session.taken_by_transaction() > self.settings.large_request {
            self.large_reads.watch(client, self.now + self.settings.large_stall);
        }
        let bytes = std::mem::take(&mut session.large_bytes);
        self.give_back_large(bytes);
    }

    /// So many bytes go back to the budget: who waits for some may go on.
    pub(super) fn give_back_large(&mut self, bytes: usize) {
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
            && !session.special.has(Special::ALONE)
        {
            let key = ClientKey { index, generation: session.generation };
            self.release_large_read(key);
        }
    }

    /// A request that goes on a connection of its own is complete. It is alone: nothing of its
    /// client is in flight before it, and nothing follows before it is settled.
    pub(super) fn send_alone(&mut self, index: u32, ticket: Ticket, frame: &[u8]) {
        if frame.len() > self.settings.large_request {
            self.cells.large_requests.add(1);
        }
        if let Some(session) = self.clients.get(index) {
            session.special.set(Special::ALONE, true);
            let key = ClientKey { index, generation: session.generation };
            self.large_reads.finished(key);
        }
        self.dispatch(ticket, frame.to_vec());
    }

    pub(super) fn next_large_event(&self) -> Option<Moment> {
        let stall = self.settings.large_stall;
        let reads = self.large_reads.reading.iter().map(|&(_, end)| end);
        let connection = |&index: &u32| self.connections.get(index as usize);
        let paused = self.paused.iter().filter_map(connection);
        let replies = paused.filter_map(|c| c.held_up_until(stall));
        reads.chain(replies).chain(self.next_idle_event()).min()
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
            let holds =
                |session: &mut Session| session.large_bytes + session.taken_by_transaction();
            match self.clients.find(client).map(holds) {
                Some(0) => {
                    self.large_reads.finished(client);
                    self.refuse_large(client.index, "too many large requests are under way");
                }
                Some(_) => self.close_slow(client.index),
                None => self.release_large_read(client),
            }
        }
        let connections = &self.connections;
        self.paused.retain(|&index| {
            connections.get(index as usize).is_some_and(|connection| connection.read_paused)
        });
        let stalled_replies: Vec<(u32, ClientKey)> = self
            .paused
            .iter()
            .filter_map(|&index| Some((index, self.connections.get(index as usize)?)))
            .filter(|(_, c)| c.held_up_until(stall).is_some_and(|until| until <= now))
            .filter_map(|(index, c)| Some((index, c.head_client()?)))
            .collect();
        for (index, client) in stalled_replies {
            if self.clients.find(client).is_some() && !self.give_up_join(index) {
                self.close_slow(client.index);
            }
        }
        self.close_idle_extras();
    }
}
