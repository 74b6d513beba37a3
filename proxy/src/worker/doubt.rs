//! Errors that a script may have made up: their node is asked whether it means them
//! (failure-masking contract, §2, the trap), on the same connection, right behind the request.
//!
//! If it does, the request was refused before it was executed, and goes the way of all that are.
//! If not, or if it cannot be asked to the end, the error is the client's, unchanged. The request
//! was answered in any case: it is never taken for lost. Until it is settled, its client sends
//! nothing further to its slot.
//!
//! A connection that was suspect may end in half a request, so that nothing can be asked on it:
//! what was said there is the client's once the node is confirmed.

use super::Worker;
use super::pool::Gate;
use super::rejections::text;
use super::scripts::is_about_script;
use crate::command::{key_positions, resolve};
use crate::metrics::Outcome;
use crate::node::{Expected, Ticket, Trial};
use crate::resp::request::{Frame, Limits, Scanner};
use crate::resp::{Args, Span};
use crate::routing::{Outcome as Fate, Question, Rejection, agrees, outcome_of_error, question};
use crate::scripts::Sha;

/// An error about which its node was asked. There are at most as many as requests under way.
#[derive(Debug)]
pub(super) struct Doubt {
    /// The serial number of the connection that the question is on.
    pub(super) connection: u64,
    pub(super) pool: u16,
    pub(super) ticket: Ticket,
    pub(super) frame: Vec<u8>,
    pub(super) asks: Asks,
    pub(super) reply: Vec<u8>,
}

/// What the node was asked.
#[derive(Debug)]
pub(super) enum Asks {
    /// Whether it refuses for the same reason.
    State {
        question: Question,
        /// The request has more than one key.
        several: bool,
    },
    /// Whether it has the script.
    Script {
        sha: Sha,
        /// The script is loaded behind the question.
        leads: bool,
    },
}

impl Asks {
    /// Whether this script is loaded behind the question.
    pub(super) fn loads_script(&self, wanted: &Sha) -> bool {
        matches!(self, Asks::Script { sha, leads: true } if sha == wanted)
    }
}

/// Whether the node has to be asked about this error.
#[cold]
pub(super) fn is_doubtful(ticket: &Ticket, reply: &[u8]) -> bool {
    let said = text(reply);
    ticket.forgeable
        && !ticket.is_block()
        && (is_about_script(ticket, said)
            || (!ticket.reads_only && question(said, ticket.slot).is_some()))
}

impl Worker {
    /// A doubtful error was read from this connection, for the request at its head.
    pub(super) fn ask_back(&mut self, index: u32, reply: &[u8]) {
        if text(reply).starts_with(b"NOSCRIPT ") {
            return self.ask_for_script(index, reply);
        }
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let frame = connection.head_frame().to_vec();
        let Some(Expected::Request(mut ticket)) = connection.pop() else { return };
        let Some(question) = question(text(reply), ticket.slot) else { return };
        let about = ticket.arrival;
        let ask = |len| Expected::Question { about, len };
        let mut several = false;
        match question {
            Question::Ping => connection.push_own(&[b"PING"], ask),
            Question::ClusterInfo => connection.push_own(&[b"CLUSTER", b"INFO"], ask),
            Question::Exists => {
                let spans = spans_of(&self.settings.limits, &frame);
                let mut words: Vec<&[u8]> = vec![b"EXISTS"];
                if !spans.is_empty() {
                    let args = Args::new(&frame, &spans);
                    if let Ok(row) = resolve(&args) {
                        key_positions(row, &args, |at| words.extend(args.get(at)));
                    }
                }
                several = words.len() > 2;
                connection.push_own(&[b"ASKING"], |_| Expected::Asking);
                connection.push_own(&words, ask);
            }
        }
        let (pool, connection) = (connection.pool, connection.serial);
        self.divert(&mut ticket);
        let reply = reply.to_vec();
        let asks = Asks::State { question, several };
        self.doubts.push(Doubt { connection, pool, ticket, frame, asks, reply });
        self.touch(index);
    }

    /// The answer to a question about the request with this number.
    pub(super) fn answered_back(&mut self, index: u32, about: u64, answer: &[u8]) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        connection.pop();
        match self.doubts.iter().position(|doubt| doubt.ticket.arrival == about) {
            None if self.unblock_answered(about, answer) => {}
            None => self.cells.stale_replies_dropped.add(1),
            Some(at) => {
                let Some(agreed) = self.is_agreed(index, at, answer) else { return };
                let doubt = self.doubts.swap_remove(at);
                let said = text(&doubt.reply);
                if agreed {
                    let fate = match doubt.asks {
                        Asks::State { .. } => {
                            outcome_of_error(said, doubt.ticket.slot, false, false)
                        }
                        Asks::Script { .. } => Fate::Rejected(Rejection::NoScript),
                    };
                    self.after_error(doubt.pool, doubt.ticket, doubt.frame, &doubt.reply, &fate);
                } else {
                    self.error_reply(doubt.pool, doubt.ticket, doubt.frame, &doubt.reply);
                }
            }
        }
        self.after_extra(index);
    }

    /// Whether the answer says that the request was not executed; `None` if it is still open.
    fn is_agreed(&mut self, index: u32, at: usize, answer: &[u8]) -> Option<bool> {
        let doubt = self.doubts.get(at)?;
        match doubt.asks {
            Asks::State { question, several } => {
                let slot = doubt.ticket.slot;
                Some(agrees(question, text(&doubt.reply), answer, slot, several))
            }
            Asks::Script { .. } => self.was_missing(index, at, answer),
        }
    }

    /// These are not waited for any more: the errors stand as they were read.
    pub(super) fn end_doubts(&mut self, which: impl Fn(&Doubt) -> bool) {
        if self.doubts.is_empty() {
            return;
        }
        let ended: Vec<Doubt> = self.doubts.extract_if(.., |doubt| which(doubt)).collect();
        for Doubt { pool, ticket, reply, .. } in ended {
            self.clients.settle(&ticket, &reply, Outcome::ServerError, self.now);
            // It says nothing of the node as it is now: another one will try.
            if ticket.trial == Trial::Slot || self.is_tried(pool) {
                self.abandon_trial(pool, &ticket);
            }
        }
    }

    /// Whether one that waited for this node is to open its gate.
    fn is_tried(&self, pool: u16) -> bool {
        let node = self.pools.get(usize::from(pool));
        node.is_some_and(|node| matches!(node.gate, Gate::Closed { trying: true, .. }))
    }

    /// Nobody waits for a node's answer beyond the deadline of the request.
    pub(super) fn end_overdue_doubts(&mut self) {
        let (now, deadlines) = (self.now, self.settings.deadlines.clone());
        self.end_doubts(|doubt| deadlines.is_over(&doubt.ticket, now));
    }
}

/// Where the arguments of a whole request lie; nothing if it is none.
pub(super) fn spans_of(limits: &Limits, frame: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    match Scanner::default().scan(frame, limits, &mut spans) {
        Frame::Request { .. } => spans,
        _ => Vec::new(),
    }
}
