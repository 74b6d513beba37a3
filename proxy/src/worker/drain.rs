//! The end of a worker: what was promised is finished, and what cannot be is said.

use super::Worker;
use super::lots::Lot;
use crate::node::{Stream, Ticket};
use crate::session::ClientEnd;
use crate::time::Moment;

const ENDS: &str = "slotway ends";

impl Worker {
    /// Stops taking in anything new: clients without anything under way are closed now, the
    /// others once what they were promised is answered.
    pub fn drain(&mut self, now: Moment) {
        self.now = now;
        self.draining = true;
        for index in self.clients.indices() {
            // What blocks may do so for ever: that ends as at a server that ends.
            match self.clients.get(index) {
                Some(session) if session.is_blocking() => {
                    self.drop_client(index, ClientEnd::Drained)
                }
                _ => self.end_client(index, ClientEnd::Drained),
            }
        }
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
