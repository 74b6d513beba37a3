//! What a client with something under way owns: bytes read and not understood yet, the ring of
//! its requests, replies that came early, bytes to write. An idle client owns none of it: its
//! flow goes back to the worker's shelf, so that 9,000 idle connections cost no buffers.

use std::collections::VecDeque;

use crate::slot::Slot;
use follow::Aside;

/// Held replies are moved together when at least this much of their memory is dead.
const COMPACT_BYTES: usize = 64 * 1024;

/// In the place of a node connection's index: the large reply is here, with the request of several
/// parts of the index beside this bit.
pub const MERGED: u32 = 1 << 31;

/// One request of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Its reply has not come.
    Waiting,
    /// Its reply has not come, and its client does not want it.
    Muted,
    /// Its reply came before an earlier one: it is kept in `held`, from `start` on.
    Held {
        /// First byte in `held`.
        start: u32,
        /// Length in bytes.
        len: u32,
    },
    /// Its reply is large and waits in the node connection of this index for its turn, or
    /// passes through from there now.
    Large {
        /// Index of the node connection; or see [`MERGED`].
        connection: u32,
        /// Its client does not want it.
        muted: bool,
    },
}

impl Entry {
    /// A reply that is not wanted is empty, and held nowhere: `held` may be emptied before its turn.
    fn held(start: u32, len: u32) -> Entry {
        Entry::Held { start: if len == 0 { 0 } else { start }, len }
    }
}

/// The memory of one client that has something under way.
#[derive(Debug, Default)]
pub struct Flow {
    /// Bytes that were read and not understood yet: the beginning of a request, or what came
    /// while the client had to wait.
    pub input: Vec<u8>,
    /// Slots with an unanswered write, where those go one at a time.
    pub writes: Vec<Slot>,
    /// Requests in the ring that have several parts.
    pub gathers: u32,
    ring: VecDeque<Entry>,
    /// The number of the request at the front of the ring. It only grows, and stays when the
    /// flow goes from client to client.
    first: u32,
    /// Replies that came early. Entries point into it.
    held: Vec<u8>,
    /// How many bytes of `held` entries point to.
    held_live: usize,
    /// Messages that are no replies and wait for a request's turn. In the order of the ring, at
    /// most one for each request.
    asides: VecDeque<Aside>,
    /// Bytes of those.
    aside_bytes: usize,
    out: Vec<u8>,
    written: usize,
}

/// A reply for a request that is not in the ring: a bug of ours, never to be papered over.
#[derive(Debug, PartialEq, Eq)]
pub struct Misplaced;

impl Flow {
    /// Puts a request at the end of the ring and returns its number.
    #[inline]
    pub fn push(&mut self) -> u32 {
        let sequence = self.first.wrapping_add(self.ring.len() as u32);
        self.ring.push_back(Entry::Waiting);
        sequence
    }

    /// As [`Flow::push`], for a request whose reply the client does not want: it has its turn, and
    /// nothing of it goes out.
    pub fn push_muted(&mut self) -> u32 {
        let sequence = self.push();
        if let Some(entry) = self.ring.back_mut() {
            *entry = Entry::Muted;
        }
        sequence
    }

    /// Requests without a complete reply in `out`.
    #[inline]
    pub fn in_flight(&self) -> usize {
        self.ring.len()
    }

    /// Settles a request: its reply goes out if its turn has come, else it is held. Returns
    /// whether bytes were added to the output.
    ///
    /// # Errors
    /// [`Misplaced`] if no such request waits; nothing was changed then.
    #[inline]
    pub fn settle(&mut self, sequence: u32, reply: &[u8]) -> Result<bool, Misplaced> {
        let index = sequence.wrapping_sub(self.first) as usize;
        let reply = match self.ring.get(index) {
            Some(Entry::Waiting) => reply,
            Some(Entry::Muted) => &[],
            _ => return Err(Misplaced),
        };
        if index == 0 {
            self.out.extend_from_slice(reply);
            self.advance();
            return Ok(true);
        }
        let start = self.held.len() as u32;
        self.held.extend_from_slice(reply);
        self.held_live += reply.len();
        self.ring[index] = Entry::held(start, reply.len() as u32);
        Ok(false)
    }

    /// Answers a request that never left: `write` appends its reply to the right place. Returns
    /// whether bytes were added to the output.
    pub fn answer(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        if self.ring.is_empty() {
            write(&mut self.out);
            return true;
        }
        let start = self.held.len();
        write(&mut self.held);
        let len = self.held.len() - start;
        self.held_live += len;
        self.ring.push_back(Entry::held(start as u32, len as u32));
        false
    }

    /// Adds a message that is no reply. It goes out behind all replies that have come already, or
    /// have begun to, and never inside one; wanted or not (CLIENT REPLY is about replies). Returns
    /// whether bytes were added to the output.
    pub fn interject(&mut self, message: &[u8]) -> bool {
        let has_come = |entry: &Entry| matches!(entry, Entry::Held { .. } | Entry::Large { .. });
        let come = self.ring.iter().rposition(has_come).map(|index| index as u32);
        // A large reply that was lost has not come any more, but what waits for its turn does.
        let promised = self.asides.back().map(|aside| aside.number.wrapping_sub(self.first));
        let Some(index) = come.max(promised) else {
            self.out.extend_from_slice(message);
            return true;
        };
        self.aside_bytes += message.len();
        let number = self.first.wrapping_add(index);
        if self.asides.back().is_none_or(|last| last.number != number) {
            self.asides.push_back(Aside::behind(number));
        }
        if let Some(last) = self.asides.back_mut() {
            last.push(message);
        }
        false
    }

    /// The front was settled: takes it off, and all behind it whose replies are there already.
    fn advance(&mut self) {
        self.pop();
        while let Some(Entry::Held { start, len }) = self.ring.front().copied() {
            let (start, len) = (start as usize, len as usize);
            self.out.extend_from_slice(&self.held[start..start + len]);
            self.held_live -= len;
            self.pop();
        }
        if self.held_live == 0 {
            self.held.clear();
        } else if self.held.len() - self.held_live >= COMPACT_BYTES
            && self.held_live < self.held.len() / 2
        {
            self.compact();
        }
    }

    /// The reply of the front is out: what was to follow it does.
    #[inline(always)]
    fn pop(&mut self) {
        self.ring.pop_front();
        if !self.asides.is_empty() {
            self.follow_front();
        }
        self.first = self.first.wrapping_add(1);
    }

    #[cold]
    fn follow_front(&mut self) {
        if self.asides.front().is_some_and(|aside| aside.number == self.first)
            && let Some(Aside { bytes, .. }) = self.asides.pop_front()
        {
            self.aside_bytes -= bytes.len();
            self.out.extend_from_slice(&bytes);
        }
    }

    fn compact(&mut self) {
        let mut kept = Vec::with_capacity(self.held_live);
        for entry in &mut self.ring {
            if let Entry::Held { start, len } = *entry {
                *entry = Entry::held(kept.len() as u32, len);
                let from = start as usize;
                kept.extend_from_slice(&self.held[from..from + len as usize]);
            }
        }
        self.held = kept;
    }

    /// A large reply has begun for this request: its bytes will come through `connection`.
    /// Returns whether its turn has come.
    ///
    /// # Errors
    /// [`Misplaced`] if no such request waits.
    pub fn begin_large(&mut self, sequence: u32, connection: u32) -> Result<bool, Misplaced> {
        let index = sequence.wrapping_sub(self.first) as usize;
        match self.ring.get_mut(index) {
            Some(entry @ (Entry::Waiting | Entry::Muted)) => {
                *entry = Entry::Large { connection, muted: *entry == Entry::Muted };
            }
            _ => return Err(Misplaced),
        }
        Ok(index == 0)
    }

    /// The large reply of this request was lost before any of it was passed on: it waits again.
    pub fn forget_large(&mut self, sequence: u32) {
        let index = sequence.wrapping_sub(self.first) as usize;
        if let Some(entry) = self.ring.get_mut(index)
            && let Entry::Large { muted, .. } = *entry
        {
            *entry = if muted { Entry::Muted } else { Entry::Waiting };
        }
    }

    /// The reply at the front goes on from another node connection.
    pub fn relay_large(&mut self, next: u32) {
        if let Some(Entry::Large { connection, .. }) = self.ring.front_mut() {
            *connection = next;
        }
    }

    /// The node connection whose large reply is at the front of the ring.
    #[inline]
    pub fn large_front(&self) -> Option<u32> {
        match self.ring.front() {
            Some(Entry::Large { connection, .. }) => Some(*connection),
            _ => None,
        }
    }

    /// Passes on a piece of the large reply at the front.
    pub fn pass(&mut self, piece: &[u8]) {
        if !matches!(self.ring.front(), Some(Entry::Large { muted: true, .. })) {
            self.out.extend_from_slice(piece);
        }
    }

    /// The large reply at the front has been passed on to its end.
    pub fn end_large(&mut self) {
        debug_assert!(self.large_front().is_some());
        self.advance();
    }

    /// What can be written to the client now.
    #[inline]
    pub fn output(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// The kernel accepted this many bytes of [`Flow::output`].
    #[inline]
    pub fn wrote(&mut self, len: usize) {
        self.written += len;
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        } else if self.written >= COMPACT_BYTES && self.written >= self.out.len() / 2 {
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    /// Bytes of replies and messages that wait for the client or for an earlier reply.
    #[inline]
    pub fn reply_bytes(&self) -> usize {
        self.out.len() - self.written + self.held_live + self.aside_bytes
    }

    /// Nothing is under way: the flow can go back to the shelf.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.ring.is_empty() && self.out.is_empty() && self.input.is_empty()
    }

    /// Makes a flow fit for another client: forgets everything, and gives back buffers larger
    /// than `keep` bytes. The numbering goes on, so that no number is used twice.
    pub fn recycle(&mut self, keep: usize) {
        self.first = self.first.wrapping_add(self.ring.len() as u32);
        self.ring.clear();
        self.held_live = 0;
        if self.asides.capacity() > 0 {
            self.asides = VecDeque::new();
        }
        self.aside_bytes = 0;
        self.written = 0;
        self.writes = Vec::new();
        self.gathers = 0;
        for buffer in [&mut self.input, &mut self.held, &mut self.out] {
            buffer.clear();
            buffer.shrink_to(keep);
        }
        self.ring.shrink_to(keep / size_of::<Entry>());
    }
}

mod follow;
#[cfg(test)]
mod tests;
