//! Requests leave a connection otherwise than by a reply.

use super::{Connection, Expected, Lost};
use crate::node::Ticket;
use crate::slot::Slot;

impl Connection {
    /// The slot of the request that was handed over in part only, if there is one.
    pub fn half_sent(&self) -> Option<Slot> {
        let mut end = self.buffer.len();
        for expected in self.queue.iter().rev() {
            let start = end - expected.len();
            if start < self.sent {
                return match expected {
                    Expected::Request(ticket) if self.sent < end => ticket.slot,
                    Expected::Run(run) if self.sent < end => run.half_of(self.sent - start),
                    _ => None,
                };
            }
            end = start;
        }
        None
    }

    /// Takes back the requests of which the last byte was not handed over, with their bytes.
    /// Nothing may be written on the connection after this: it may end in half a request.
    pub fn take_unsent(&mut self) -> Vec<(Ticket, Vec<u8>)> {
        self.tell_parts_apart();
        self.cut = true;
        let mut taken = Vec::new();
        let mut end = self.buffer.len();
        while let Some(last) = self.queue.back()
            && end > self.sent
        {
            let start = end - last.len();
            if let Some(Expected::Request(ticket)) = self.queue.pop_back() {
                taken.push((ticket, self.buffer[start..end].to_vec()));
                if let Some(Expected::Block(_)) = self.queue.back() {
                    self.queue.pop_back();
                }
            }
            end = start;
        }
        self.buffer.truncate(self.sent);
        taken.reverse();
        taken
    }

    /// Takes back the requests that `pick` chooses, with their bytes, if not even the first byte
    /// was handed over. The connection stays in use.
    pub fn call_back(&mut self, pick: impl Fn(&Ticket) -> bool) -> Vec<(Ticket, Vec<u8>)> {
        self.tell_parts_apart();
        let mut taken = Vec::new();
        let mut start = self.answered;
        let mut at = 0;
        // Where what goes with the request at hand begins, and how many entries of the queue it
        // is: an `ASKING`, the replies of a transaction, or both. A script that is loaded stays: others
        // may count on it.
        let mut with = None;
        while let Some(expected) = self.queue.get(at) {
            let end = start + expected.len();
            let (whole, entries) = with.unwrap_or((start, 0));
            let chosen = match expected {
                Expected::Asking | Expected::Block(_) => {
                    with = Some((whole, entries + 1));
                    (start, at) = (end, at + 1);
                    continue;
                }
                Expected::Request(ticket) => whole >= self.sent && pick(ticket),
                _ => false,
            };
            if chosen && let Some(Expected::Request(ticket)) = self.queue.remove(at) {
                taken.push((ticket, self.buffer[start..end].to_vec()));
                self.queue.drain(at - entries..at);
                at -= entries;
                self.buffer.drain(whole..end);
                start = whole;
            } else {
                (start, at) = (end, at + 1);
            }
            with = None;
        }
        taken
    }

    /// Takes the requests that `pick` chooses out of the queue, with their bytes; their replies
    /// are dropped if they come.
    pub fn abandon(&mut self, pick: impl Fn(&Ticket) -> bool) -> Vec<(Ticket, Vec<u8>)> {
        self.tell_parts_apart();
        let mut taken = Vec::new();
        let mut start = self.answered;
        for expected in &mut self.queue {
            let end = start + expected.len();
            if let Expected::Request(ticket) = expected
                && pick(ticket)
            {
                let abandoned = Expected::Abandoned { len: ticket.len };
                if let Expected::Request(ticket) = std::mem::replace(expected, abandoned) {
                    taken.push((ticket, self.buffer[start..end].to_vec()));
                }
            }
            start = end;
        }
        taken
    }

    /// The connection is no more: what was on it, told apart by what was handed over.
    pub fn lose(mut self) -> Lost {
        self.tell_parts_apart();
        let mut start = self.answered;
        let mut requests = Vec::with_capacity(self.queue.len());
        for expected in self.queue {
            let end = start + expected.len();
            if let Expected::Request(ticket) = expected {
                requests.push((ticket, self.buffer[start..end].to_vec(), end <= self.sent));
            }
            start = end;
        }
        Lost { requests }
    }
}
