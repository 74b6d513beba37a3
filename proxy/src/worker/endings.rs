//! The answers of ours to requests that do not get one of a node (failure-masking contract, §6).

use super::Worker;
use super::diary::What;
use crate::metrics::Outcome;
use crate::node::{Ticket, WHOLE};
use crate::resp::write;

impl Worker {
    /// The answer to a request that waited until its deadline: nothing of it was executed, unless
    /// an attempt before is in doubt. (Or to a part that the others answer without.)
    pub(super) fn give_up_waiting(&mut self, ticket: &Ticket, trouble: &'static str) {
        if ticket.in_doubt {
            return self.give_up_unknown(ticket, trouble);
        }
        if !self.leaves_out(ticket) {
            self.tally_slot(What::GaveUp, ticket.slot);
        }
        let mut reply = Vec::new();
        let waited = self.now.since(ticket.received).as_secs_f64();
        let text = match ticket.slot {
            Some(slot) => format!(
                "CLUSTERDOWN not executed: {trouble}, gave up after {waited:.1} s (slot {slot})"
            ),
            None => format!("CLUSTERDOWN not executed: {trouble}, gave up after {waited:.1} s"),
        };
        write::error(&mut reply, text);
        self.clients.settle(ticket, &reply, Outcome::NotExecuted, self.now);
    }

    /// The answer to a request that met a bound: nothing of it was executed, unless an attempt
    /// before is in doubt.
    pub(super) fn refuse_overloaded(&mut self, ticket: &Ticket, bound: &'static str) {
        if ticket.in_doubt {
            return self.give_up_unknown(ticket, bound);
        }
        let mut reply = Vec::new();
        write::error(&mut reply, format!("OVERLOADED not executed: {bound}"));
        self.clients.settle(ticket, &reply, Outcome::Overloaded, self.now);
    }

    pub(super) fn count_dropped(&self, ticket: &Ticket) {
        if ticket.part == WHOLE {
            let latency_us = self.now.micros_since(ticket.received);
            self.cells.request_done(ticket.command.index(), Outcome::Dropped, latency_us);
        }
    }

    /// The answer to a request that may have been executed and must not be sent again.
    pub(super) fn give_up_unknown(&mut self, ticket: &Ticket, why: &'static str) {
        self.cells.unknown_results.add(1);
        self.note_exec(ticket);
        self.tally_slot(What::Unknown(why), ticket.slot);
        let slot = ticket.slot.map_or_else(String::new, |slot| format!(" (slot {slot})"));
        let mut reply = Vec::new();
        write::error(
            &mut reply,
            format!(
                "UNKNOWNRESULT sent, reply lost: {why}{slot}; the command may have been executed"
            ),
        );
        self.clients.settle(ticket, &reply, Outcome::Unknown, self.now);
    }
}
