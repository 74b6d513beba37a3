//! Large requests have their own way, so that one client's size or slowness is nobody else's: a
//! large request is read only against a budget, and travels on a connection of its own.

use super::Worker;
use crate::metrics::Outcome;
use crate::node::{ClientKey, Kind, Phase, Stream, Ticket, Trial};
use crate::resp::write;
use crate::session::{ClientEnd, Special};
use crate::time::Moment;

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
            && !session.special.has(Special::LARGE_REQUEST)
        {
            let key = ClientKey { index, generation: session.generation };
            self.release_large_read(key);
        }
    }

    /// A large request is complete. It is alone: nothing of its client is in flight before it,
    /// and nothing follows before it is settled.
    pub(super) fn large_request(&mut self, index: u32, ticket: Ticket, frame: &[u8]) {
        if frame.len() > self.settings.large_request {
            self.cells.large_requests.add(1);
        }
        if let Some(session) = self.clients.get(index) {
            session.special.set(Special::LARGE_REQUEST, true);
            let key = ClientKey { index, generation: session.generation };
            self.large_reads.reading.retain(|(other, _)| *other != key);
        }
        self.dispatch(ticket, frame.to_vec());
    }

    /// Gives a large request a connection of its own, or lets it wait for one.
    pub(super) fn dispatch_large(&mut self, pool: u16, ticket: Ticket, frame: Vec<u8>) {
        let Some(node) = self.pools.get_mut(usize::from(pool)) else { return };
        match node.idle.pop() {
            Some((free, _)) => {
                node.cells.requests_total.add(1);
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
                    self.dial_for_large(pool);
                }
            }
        }
    }

    /// A connection beside the shared one may have become free: the next large request takes it.
    /// If the node is away, they wait with the others.
    pub(super) fn feed_large_queue(&mut self, pool: u16) {
        while let Some(node) = self.pools.get_mut(usize::from(pool))
            && (!node.idle.is_empty() || !node.is_open())
            && let Some(parked) = node.large_queue.pop()
        {
            let (ticket, frame) = self.unpark(parked);
            self.dispatch(ticket, frame);
        }
        for pool in self.pools_of_node(pool) {
            self.dial_for_large(pool);
        }
    }

    /// Opens connections for the large requests that wait, as many as there may be.
    fn dial_for_large(&mut self, pool: u16) {
        let Some(node) = self.pools.get(usize::from(pool)) else { return };
        let is_coming = |&&index: &&u32| {
            let connection = self.connections.get(index as usize);
            connection.is_some_and(|c| {
                c.kind == Kind::Dedicated && !c.retiring && !matches!(c.phase, Phase::Ready)
            })
        };
        let coming = node.extra.iter().filter(is_coming).count();
        let wanted = node.large_queue.len().saturating_sub(coming);
        let mut free = self.extras_free(pool);
        if wanted > 0 && free == 0 && self.close_idle_extra_of_twins(pool) {
            free = 1;
        }
        for _ in 0..wanted.min(free) {
            self.open(pool, Kind::Dedicated);
        }
    }

    /// Connections beside the shared ones are counted over all pools of a node: closes one that
    /// has nothing to do in another pool. Returns whether there was one.
    fn close_idle_extra_of_twins(&mut self, pool: u16) -> bool {
        let mut others = self.pools_of_node(pool).into_iter().filter(|&other| other != pool);
        let idle = others.find_map(|other| self.pools.get(usize::from(other))?.idle.first());
        idle.copied().is_some_and(|(index, _)| self.close_connection(index).is_some())
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
        let stalled_replies: Vec<(u32, ClientKey)> = self
            .connections
            .iter()
            .filter(|(_, c)| c.held_up_until(stall).is_some_and(|until| until <= now))
            .filter_map(|(index, c)| Some((index as u32, c.head_client()?)))
            .collect();
        for (index, client) in stalled_replies {
            if self.clients.find(client).is_some() && !self.give_up_join(index) {
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
