//! Parts of one request that were written one behind the other: one entry of the queue for all of
//! them, as long as nothing is to be said about one alone. Whatever looks at single requests has
//! them told apart first; then each has a ticket and is like any other.

use super::{Connection, Expected};
use crate::node::Ticket;
use crate::slot::Slot;

/// Parts of one request, in the order of their numbers.
#[derive(Debug)]
pub struct Run {
    /// The ticket of the next part to be answered, but that `len` is that of all that are left.
    ticket: Ticket,
    /// The slot of each part, and the length of its bytes.
    parts: Vec<(Slot, u32)>,
    /// How many of them are answered, or have been told apart.
    gone: usize,
}

impl Run {
    /// The ticket of the next part, but that `len` is that of all that are left.
    #[inline]
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// How many parts are left: at least one.
    #[inline]
    pub fn left(&self) -> usize {
        self.parts.len() - self.gone
    }

    /// So many parts are gone. Returns how many bytes they are.
    fn take(&mut self, count: usize) -> usize {
        let to = (self.gone + count).min(self.parts.len());
        let taken = &self.parts[self.gone..to];
        let len: u32 = taken.iter().map(|(_, len)| len).sum();
        self.ticket.part += taken.len() as u16;
        self.ticket.arrival += taken.len() as u64;
        self.ticket.len -= len;
        self.gone = to;
        self.ticket.slot = self.parts.get(to).map(|&(slot, _)| slot);
        len as usize
    }

    /// The next part, with a ticket of its own.
    fn single_out(&mut self) -> Ticket {
        let Ticket { part, arrival, slot, .. } = self.ticket;
        let len = self.take(1) as u32;
        Ticket { part, arrival, slot, len, ..self.ticket }
    }

    /// The slot of the part of which a part was handed over and a part not, if of what is left so
    /// many bytes were.
    pub(super) fn half_of(&self, mut sent: usize) -> Option<Slot> {
        for &(slot, len) in &self.parts[self.gone..] {
            if sent < len as usize {
                return (sent > 0).then_some(slot);
            }
            sent -= len as usize;
        }
        None
    }
}

impl Connection {
    /// Queues parts of a request, one behind the other. `ticket` is that of the first; `write`
    /// appends their bytes, and says the slot and the length of each: there must be one. Returns
    /// how many they are and the length of them all.
    #[inline]
    pub fn push_run(
        &mut self,
        mut ticket: Ticket,
        write: impl FnOnce(&mut Vec<u8>) -> Vec<(Slot, u32)>,
    ) -> (usize, usize) {
        let start = self.buffer.len();
        let parts = write(&mut self.buffer);
        let (count, len) = (parts.len(), self.buffer.len() - start);
        debug_assert!(count > 0);
        (ticket.len, ticket.process) = (len as u32, self.process);
        self.queue.push_back(Expected::Run(Box::new(Run { ticket, parts, gone: 0 })));
        self.runs += 1;
        (count, len)
    }

    /// Whether parts that were not told apart are on it.
    #[inline(always)]
    pub fn has_runs(&self) -> bool {
        self.runs > 0
    }

    /// The parts at the head of the queue, if all of them were handed over.
    #[inline]
    pub fn head_run(&self) -> Option<&Run> {
        match self.head()? {
            Expected::Run(run) => Some(run),
            _ => None,
        }
    }

    /// So many parts at the head are answered and settled.
    #[inline]
    pub fn drop_parts(&mut self, count: usize) {
        let Some(Expected::Run(run)) = self.queue.front_mut() else { return };
        let len = if count < run.left() {
            run.take(count)
        } else {
            let len = run.ticket.len as usize;
            self.queue.pop_front();
            self.runs -= 1;
            len
        };
        self.answer(len);
    }

    /// The first part at the head of the queue gets a ticket of its own, if parts are there.
    #[cold]
    pub fn single_out(&mut self) -> bool {
        let Some(Expected::Run(run)) = self.queue.front_mut() else { return false };
        let first = run.single_out();
        if run.left() == 0 {
            self.queue.pop_front();
            self.runs -= 1;
        }
        self.queue.push_front(Expected::Request(first));
        true
    }

    /// All parts get tickets of their own.
    pub(super) fn tell_parts_apart(&mut self) {
        if self.runs == 0 {
            return;
        }
        self.runs = 0;
        for expected in std::mem::take(&mut self.queue) {
            match expected {
                Expected::Run(mut run) => {
                    let singles = (0..run.left()).map(|_| Expected::Request(run.single_out()));
                    self.queue.extend(singles);
                }
                other => self.queue.push_back(other),
            }
        }
    }
}
