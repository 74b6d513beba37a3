//! The end of a worker: what was promised is finished, and what cannot be is said.

use super::Worker;
use super::lots::Lot;
use crate::node::{Stream, Ticket};
use crate::session::ClientEnd;
use crate::time::Moment;

const ENDS: &str = "slotway ends";

impl Worker {
    /// Stops taking in anything new: clients without anything under way are closed now, the
    /// others once what they were promised is answered. Who is in a transaction was promised its
    /// EXEC.
    pub fn drain(&mut self, now: Moment) {
        self.now = now;
        self.draining = true;
        for index in self.clients.indices() {
            let Some(session) = self.clients.get(index) else { continue };
            if let Some(blocking) = session.stateful.as_ref().and_then(|state| state.blocking) {
                self.end_blocked(index, blocking.until.is_some());
            } else if !self.is_in_transaction(index) {
                self.end_client(index, ClientEnd::Drained);
            } else {
                // That it watches something is else no reason to look at its requests.
                self.make_stateful(index);
            }
        }
    }

    /// What blocks may do so for ever. Its node is told first, so that nothing is taken for who
    /// does not get it any more: what was taken in time is delivered, before its connection is
    /// closed. Else it is told that its time is over, which is the case for every client that has
    /// set a time sooner or later, and which says that nothing was taken. Who has set none does not
    /// expect that: its connection is closed without a word, as by a server that ends, upon which
    /// clients ask again elsewhere. An error would end workers of job queues.
    fn end_blocked(&mut self, index: u32, has_time: bool) {
        if self.unblock_client(index, !has_time) {
            self.end_client(index, ClientEnd::Drained);
        } else {
            self.drop_client(index, ClientEnd::Drained);
        }
    }

    /// A request that blocked came to nothing because its node was told so. Returns whether its
    /// client is closed without an answer to it.
    pub(super) fn ends_unanswered(&mut self, ticket: &Ticket, reply: &[u8]) -> bool {
        let ends = self.draining
            && ticket.way.blocks()
            && reply.starts_with(b"-UNBLOCKED client")
            && self.clients.find(ticket.client).is_some();
        if ends {
            self.drop_client(ticket.client.index, ClientEnd::Drained);
        }
        ends
    }

    /// A request of a client with a state was taken: if that was what it was still promised, it is
    /// over.
    pub(super) fn ends_with_transaction(&mut self, index: u32) {
        if self.draining && !self.is_in_transaction(index) {
            self.end_client(index, ClientEnd::Drained);
        }
    }

    fn is_in_transaction(&mut self, index: u32) -> bool {
        let stateful = self.stateful(index);
        stateful.is_some_and(|stateful| stateful.transaction.is_some() || stateful.watch.is_some())
    }

    /// The time for that is over: whoever still waits is told what became of its requests, as far
    /// as the kernel takes it at once. A reply that is passing through stays unfinished.
    pub fn cut_off(&mut self, now: Moment) {
        self.now = now;
        let mut waiting: Vec<Lot> = self.lots.drain().map(|(_, lot)| lot).collect();
        waiting.push(std::mem::take(&mut self.behind));
        waiting.push(std::mem::take(&mut self.leaving.lot));
        for (_, node) in &mut self.pools {
            waiting.extend(node.lots().map(std::mem::take));
        }
        for mut lot in waiting {
            while let Some(parked) = lot.pop() {
                let (ticket, _) = self.unpark(parked);
                self.give_up_waiting(&ticket, ENDS);
            }
        }
        self.cut_off_subscribing(ENDS);
        let (mut unsent, mut sent) = (Vec::new(), Vec::new());
        for (_, connection) in &mut self.connections {
            let passing = (connection.stream != Stream::Whole)
                .then(|| connection.tickets_mut().next().map(|ticket| ticket.arrival))
                .flatten();
            unsent.extend(connection.take_unsent());
            sent.extend(connection.abandon(|ticket| Some(ticket.arrival) != passing));
        }
        for (ticket, _) in unsent {
            self.give_up_waiting(&ticket, ENDS);
        }
        let held = std::mem::take(&mut self.held).into_iter().map(|held| held.ticket);
        let doubts = std::mem::take(&mut self.doubts).into_iter().map(|doubt| doubt.ticket);
        let sent: Vec<Ticket> =
            sent.into_iter().map(|(ticket, _)| ticket).chain(held).chain(doubts).collect();
        for ticket in sent {
            if ticket.reads_only {
                self.give_up_waiting(&ticket, ENDS);
            } else {
                self.give_up_unknown(&ticket, ENDS);
            }
        }
        self.settle_turn();
    }
}
