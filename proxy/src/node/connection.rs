//! One connection to a node: the requests on it in order, which of their bytes were handed over,
//! and the bytes of all that are not answered yet, which is the copy that a retry needs.

use std::collections::VecDeque;
use std::time::Duration;

use super::{ClientKey, Fenced, Handshake, HandshakeStep, Identity, Mode, Ticket, Way};
use crate::resp::reply::Scanner;
use crate::resp::write;
use crate::scripts::Sha;
use crate::time::Moment;
pub use block::Block;
pub use expected::Expected;
pub use run::Run;

/// A buffer that grew beyond this is given back once it is empty (`clear()` never does).
const KEEP_CAPACITY: usize = 64 * 1024;

/// Answered bytes are moved out of the buffer's front only in pieces of at least this size.
const COMPACT_BYTES: usize = 64 * 1024;

const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// How far a connection has come.
#[derive(Debug)]
pub enum Phase {
    /// The driver was told to dial; nothing can be written yet.
    Dialing,
    /// The greeting was written or is being written; requests wait for its answers.
    Handshaking(Handshake),
    /// The greeting is over, but the node was suspect: requests wait until another node says who
    /// the primary is.
    Confirming {
        /// Since when.
        since: Moment,
    },
    /// Requests go out.
    Ready,
}

/// Who may use a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All clients of the worker.
    Shared,
    /// One request at a time: of its size, or because it must not share one.
    Dedicated,
    /// Nobody: the worker is subscribed on it, for all its clients.
    Subscriber,
    /// Nobody: it is there to see whether the node answers a greeting.
    Probe,
    /// Nobody: it hears of every change of a key.
    Watcher,
}

/// How the reply that is being read now travels on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// It is gathered whole, then delivered.
    Whole,
    /// It is large and its client still waits for an earlier reply: reading pauses.
    Waiting,
    /// It is large and passes through to its client as it comes.
    Flowing,
    /// Its client has gone: it is read and dropped.
    Discarding,
}

/// What becomes of the replies of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// They go to their clients.
    Pass,
    /// So they do, but the first success is waited for: some of its node's slots were away.
    Watch,
    /// It was suspect: they are held until another node says who the primary is.
    Hold,
}

/// One connection, open or being opened.
#[derive(Debug)]
pub struct Connection {
    /// The pool (the node) that it belongs to.
    pub pool: u16,
    /// Tells it from those that had its place in the worker's table before.
    pub serial: u64,
    /// Who may use it.
    pub kind: Kind,
    /// How far it has come.
    pub phase: Phase,
    /// Whose it is, with all that is on it, while it is lent to a client: it is closed when that
    /// one leaves.
    pub lent_to: Option<ClientKey>,
    /// It stays lent to that client when it has nothing to do.
    pub kept: bool,
    /// Nothing more is added; it is closed when all is answered. Set when a large reply takes it
    /// over, when its node leaves the cluster or changes its address.
    pub retiring: bool,
    /// How the reply at the head of the queue travels.
    pub stream: Stream,
    /// Since when reading is paused, if it is.
    pub paused_at: Moment,
    /// How long it was paused, before that, in the reply at the head while others waited behind
    /// it. Time and not progress: a client that takes a byte now and then holds up the others too.
    pub held_up: Duration,
    /// It may end in half a request ([`Connection::take_unsent`]): nothing more can be asked on it.
    pub cut: bool,
    /// The driver knows that there is something to write.
    pub dirty: bool,
    /// The driver was told not to read from it.
    pub read_paused: bool,
    /// Who answers, as the handshake learned it.
    pub identity: Identity,
    /// That in a byte, from the end of the handshake on.
    process: u8,
    /// Finds where the next reply ends.
    pub scanner: Scanner,
    /// The beginning of a reply whose rest is still to come.
    pub partial: Vec<u8>,
    /// What was read while reading was to pause: not looked at yet.
    pub unread: Vec<u8>,
    /// Its node answers nothing at all while requests are on it, not even a new connection's
    /// greeting. Nothing is written on it any more.
    pub suspect: bool,
    /// What becomes of its replies.
    pub replies: Replies,
    /// When something was last read from it, or handed over after a time without any request.
    pub heard: Moment,
    /// When the dial began.
    pub dialed_at: Moment,
    /// When the socket was open.
    pub connected_since: Moment,
    /// When the handshake was over.
    pub ready_since: Moment,
    queue: VecDeque<Expected>,
    /// How many entries of it are parts that were not told apart.
    runs: usize,
    /// The scripts of those entries of it that are loads.
    loading: VecDeque<Sha>,
    /// The bytes of all requests in `queue`, in order, from `answered` on.
    buffer: Vec<u8>,
    /// How much of `buffer` belongs to requests that are answered.
    answered: usize,
    /// How much of `buffer` was handed over to the kernel. Never below `answered`.
    sent: usize,
    greeting: Vec<u8>,
    greeting_sent: usize,
}

/// What was on a connection that is no more.
#[derive(Debug)]
pub struct Lost {
    /// In order: the request, its bytes, and whether they had been handed over whole.
    pub requests: Vec<(Ticket, Vec<u8>, bool)>,
}

impl Connection {
    /// A connection that the driver is about to dial.
    pub fn dialing(pool: u16, kind: Kind, now: Moment) -> Connection {
        Connection {
            pool,
            serial: 0,
            kind,
            phase: Phase::Dialing,
            lent_to: None,
            kept: false,
            retiring: false,
            cut: false,
            stream: Stream::Whole,
            paused_at: now,
            held_up: Duration::ZERO,
            dirty: false,
            read_paused: false,
            identity: Identity::default(),
            process: 0,
            scanner: Scanner::default(),
            partial: Vec::new(),
            unread: Vec::new(),
            dialed_at: now,
            suspect: false,
            replies: Replies::Pass,
            heard: now,
            connected_since: now,
            ready_since: now,
            queue: VecDeque::new(),
            runs: 0,
            loading: VecDeque::new(),
            buffer: Vec::new(),
            answered: 0,
            sent: 0,
            greeting: Vec::new(),
            greeting_sent: 0,
        }
    }

    /// The socket is open: say hello, change to `mode`, and have what is left of `to_fence`
    /// killed.
    pub fn greet(
        &mut self,
        credentials: Option<(&[u8], &[u8])>,
        mode: Mode,
        to_fence: Vec<Fenced>,
    ) {
        self.greeting.clear();
        self.greeting_sent = 0;
        let handshake = Handshake::start(credentials, mode, to_fence, &mut self.greeting);
        self.phase = Phase::Handshaking(handshake);
    }

    /// One answer to the greeting, which may be followed by more to say; `None` if nothing was
    /// being said.
    pub fn greeted(&mut self, reply: &[u8]) -> Option<HandshakeStep> {
        match &mut self.phase {
            Phase::Handshaking(handshake) => Some(handshake.reply(reply, &mut self.greeting)),
            _ => None,
        }
    }

    /// Has more killed before the greeting is over. Returns whether there is anything to wait for.
    pub fn fence_too(&mut self, more: Vec<Fenced>) -> bool {
        match &mut self.phase {
            Phase::Handshaking(handshake) => handshake.fence_too(more, &mut self.greeting),
            _ => false,
        }
    }

    /// Has what is left of a lost connection killed in front of whatever is queued from now on.
    pub fn push_kill(&mut self, lost: &Fenced) {
        let id = lost.client_id.to_string();
        self.push_own(&[b"CLIENT", b"KILL", b"ID", id.as_bytes()], |len| Expected::Abandoned {
            len,
        });
    }

    /// Queues a request of ours, of so many bytes, behind all others.
    pub fn push_own(&mut self, words: &[&[u8]], expected: impl FnOnce(u32) -> Expected) {
        let start = self.buffer.len();
        write::command(&mut self.buffer, words);
        self.queue.push_back(expected((self.buffer.len() - start) as u32));
    }

    /// What a process that lives on may still hold of this connection, once it is lost: something
    /// was handed over and not answered, and we know who has it.
    pub fn left_behind(&self) -> Option<Fenced> {
        if self.sent == self.answered {
            return None;
        }
        let (client_id, run_id) = (self.identity.client_id?, self.identity.run_id.clone()?);
        Some(Fenced { client_id, run_id })
    }

    /// The handshake is over: requests may go out.
    pub fn ready(&mut self, now: Moment) {
        self.phase = Phase::Ready;
        self.process = self.identity.process();
        self.ready_since = now;
        self.greeting = Vec::new();
        self.greeting_sent = 0;
    }

    /// Queues a request behind all others. `frame` is one canonical array of `ticket.len` bytes,
    /// or all those of a transaction.
    pub fn push(&mut self, ticket: Ticket, frame: &[u8]) {
        if ticket.is_block() {
            self.expect_block(frame);
        }
        self.push_plain(ticket, frame);
    }

    /// As [`Connection::push`], for what is no transaction.
    #[inline]
    pub fn push_plain(&mut self, mut ticket: Ticket, frame: &[u8]) {
        debug_assert!(ticket.len as usize == frame.len());
        ticket.process = self.process;
        self.buffer.extend_from_slice(frame);
        self.queue.push_back(Expected::Request(ticket));
    }

    /// Queues `ASKING` and a request, adjacent: the flag holds for the next command only.
    pub fn push_asking(&mut self, ticket: Ticket, frame: &[u8]) {
        self.buffer.extend_from_slice(ASKING);
        self.queue.push_back(Expected::Asking);
        self.push(ticket, frame);
    }

    /// Takes a request over, without copying it unless something goes before it. The connection
    /// must have nothing but scripts for it.
    pub fn adopt(&mut self, mut ticket: Ticket, frame: Vec<u8>, asking: bool) {
        // Lines that its errors break lie deep in the reply: they cannot be told from others.
        self.retiring |= ticket.way == Way::Apart && ticket.is_block();
        if !self.queue.is_empty() {
            debug_assert!(self.queue.iter().all(|before| matches!(before, Expected::Load { .. })));
            return match asking {
                true => self.push_asking(ticket, &frame),
                false => self.push(ticket, &frame),
            };
        }
        debug_assert!(self.buffer.len() == self.answered);
        self.answered = 0;
        self.sent = 0;
        if asking {
            self.queue.push_back(Expected::Asking);
        }
        ticket.process = self.process;
        if ticket.is_block() {
            self.expect_block(&frame);
        }
        self.queue.push_back(Expected::Request(ticket));
        self.buffer = frame;
        if asking {
            self.buffer.splice(0..0, ASKING.iter().copied());
        }
    }

    /// What can be written now; empty while dialing.
    #[inline]
    pub fn output(&self) -> &[u8] {
        match self.phase {
            Phase::Ready => &self.buffer[self.sent..],
            Phase::Handshaking(_) => &self.greeting[self.greeting_sent..],
            Phase::Dialing | Phase::Confirming { .. } => &[],
        }
    }

    /// The kernel accepted this many bytes of [`Connection::output`].
    #[inline]
    pub fn wrote(&mut self, len: usize, now: Moment) {
        match self.phase {
            Phase::Ready => {
                if self.sent == self.answered {
                    self.heard = now;
                }
                self.sent += len;
            }
            Phase::Handshaking(_) => self.greeting_sent += len,
            Phase::Dialing | Phase::Confirming { .. } => {}
        }
        debug_assert!(self.sent <= self.buffer.len());
    }

    /// Bytes that were queued and not handed over.
    #[inline]
    pub fn unsent_bytes(&self) -> usize {
        self.buffer.len() - self.sent
    }

    /// Those bytes.
    #[cfg(test)]
    pub fn unsent(&self) -> &[u8] {
        &self.buffer[self.sent..]
    }

    /// Requests without a reply.
    #[inline]
    pub fn in_flight(&self) -> usize {
        let parts = |expected: &Expected| match expected {
            Expected::Run(run) => run.left(),
            _ => 1,
        };
        if self.has_runs() { self.queue.iter().map(parts).sum() } else { self.queue.len() }
    }

    /// Nothing is queued and nothing unanswered.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// What the reply that is read now answers; `None` if nobody asked: nothing is queued, or
    /// the request was not handed over whole yet.
    #[inline(always)]
    pub fn head(&self) -> Option<&Expected> {
        let head = self.queue.front()?;
        (self.answered + head.len() <= self.sent).then_some(head)
    }

    /// The client whose reply is read now.
    pub fn head_client(&self) -> Option<ClientKey> {
        match self.queue.front() {
            Some(Expected::Request(ticket)) => Some(ticket.client),
            Some(Expected::Run(run)) => Some(run.ticket().client),
            _ => None,
        }
    }

    /// The bytes of the request at the head of the queue.
    pub fn head_frame(&self) -> &[u8] {
        let len = self.queue.front().map_or(0, Expected::len);
        &self.buffer[self.answered..self.answered + len]
    }

    /// Takes the head off: its reply was read whole.
    pub fn pop(&mut self) -> Option<Expected> {
        let head = self.queue.pop_front()?;
        self.answer(head.len());
        Some(head)
    }

    /// As [`Connection::pop`], for a request of `len` bytes that was settled where it lies.
    #[inline]
    pub fn drop_head(&mut self, len: u32) {
        debug_assert!(matches!(self.queue.front(), Some(Expected::Request(_))));
        // There is nothing to drop in a ticket: told so that nobody looks for what else it may be.
        std::mem::forget(self.queue.pop_front());
        self.answer(len as usize);
    }

    /// So many bytes of requests at the head are answered.
    #[inline]
    fn answer(&mut self, len: usize) {
        self.answered += len;
        if self.answered == self.buffer.len() {
            self.buffer.clear();
            self.answered = 0;
            self.sent = 0;
            if self.buffer.capacity() > KEEP_CAPACITY {
                self.buffer = Vec::new();
            }
        } else if self.answered >= COMPACT_BYTES {
            self.compact();
        }
    }

    #[cold]
    fn compact(&mut self) {
        if self.answered >= self.buffer.len() / 2 {
            self.buffer.drain(..self.answered);
            self.sent -= self.answered;
            self.answered = 0;
        }
    }

    /// Reading pauses, because a client does not take its large reply as fast as it comes.
    pub fn pause(&mut self, now: Moment) {
        self.read_paused = true;
        self.paused_at = now;
    }

    /// Reading goes on. Returns what was read meanwhile.
    pub fn unpause(&mut self, now: Moment) -> Vec<u8> {
        self.read_paused = false;
        if self.in_flight() > 1 {
            self.held_up += now.since(self.paused_at);
        }
        std::mem::take(&mut self.unread)
    }

    /// When the client at the head will have held up those behind it for `limit`, if it goes on.
    pub fn held_up_until(&self, limit: Duration) -> Option<Moment> {
        let counts = self.read_paused && self.in_flight() > 1;
        counts.then(|| self.paused_at + limit.saturating_sub(self.held_up))
    }

    /// The requests in the queue, from the head.
    pub fn tickets_mut(&mut self) -> impl Iterator<Item = &mut Ticket> {
        self.tell_parts_apart();
        self.queue.iter_mut().filter_map(|expected| match expected {
            Expected::Request(ticket) => Some(ticket),
            _ => None,
        })
    }

    /// Requests were handed over that are not answered.
    #[inline]
    pub fn awaits_replies(&self) -> bool {
        self.sent > self.answered
    }

    /// Gives back the memory of a reply that was gathered in pieces.
    pub fn clear_partial(&mut self) {
        self.partial.clear();
        if self.partial.capacity() > KEEP_CAPACITY {
            self.partial = Vec::new();
        }
    }
}

mod block;
mod expected;
mod run;
mod taking;
#[cfg(test)]
mod tests;
