//! Requests that are written where they go out from, because they are made of pieces of others.

use super::{Connection, Expected};
use crate::node::Ticket;

impl Connection {
    /// As [`Connection::push`], for a request that `write` appends. Returns its length in bytes.
    #[inline]
    pub fn push_with(&mut self, mut ticket: Ticket, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let start = self.buffer.len();
        write(&mut self.buffer);
        let len = self.buffer.len() - start;
        (ticket.len, ticket.process) = (len as u32, self.process);
        self.queue.push_back(Expected::Request(ticket));
        len
    }
}
