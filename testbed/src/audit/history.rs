//! What the clients of an audit did and what they were told.

use super::what::{ASKED_FOR, What};
use super::wire::Reply;
use std::sync::Arc;
use std::time::Duration;

/// A key, shared by all operations on it.
pub type Key = Arc<str>;

/// How an operation ended for its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered by something that is no error of a proxy, or by the error that was asked for.
    Acked(Reply),
    /// `CLUSTERDOWN not executed …` or `OVERLOADED not executed …`.
    Refused(String),
    /// `UNKNOWNRESULT …`.
    Unknown(String),
    /// Any other error.
    Error(String),
    /// The connection was closed before the answer.
    Closed,
    /// No answer until the end of the run and the time after it.
    Unanswered,
}

impl Outcome {
    /// What a reply says.
    pub fn of(reply: Reply) -> Outcome {
        match reply {
            Reply::Error(text) if text.starts_with("UNKNOWNRESULT ") => Outcome::Unknown(text),
            Reply::Error(text)
                if text.starts_with("CLUSTERDOWN not executed: ")
                    || text.starts_with("OVERLOADED not executed: ") =>
            {
                Outcome::Refused(text)
            }
            Reply::Error(text) if !text.starts_with(ASKED_FOR) => Outcome::Error(text),
            reply => Outcome::Acked(reply),
        }
    }

    /// What all replies to one operation say: the error of the last of a block counts, if those
    /// before it are in order, and any error of what is read one by one.
    pub(super) fn of_all(what: &What, mut replies: Vec<Reply>) -> Outcome {
        if replies.len() == 1 {
            return Outcome::of(replies.remove(0));
        }
        let is_error = |reply: &Reply| reply.error().is_some();
        let error = match what {
            What::Look { .. } => replies.iter().position(is_error),
            _ if is_queued(&replies[..replies.len() - 1]) => replies.iter().rposition(is_error),
            _ => None,
        };
        match error {
            Some(at) => Outcome::of(replies.remove(at)),
            None => Outcome::Acked(Reply::Array(replies)),
        }
    }

    /// It may have been executed, or not.
    pub fn is_open(&self) -> bool {
        // An error that nobody expects says nothing about what was done.
        matches!(
            self,
            Outcome::Unknown(_) | Outcome::Closed | Outcome::Unanswered | Outcome::Error(_)
        )
    }

    /// It was answered as done.
    pub fn is_acked(&self) -> bool {
        matches!(self, Outcome::Acked(_))
    }
}

/// An operation with its times, counted from the beginning of the run.
#[derive(Clone, Debug)]
pub struct Op {
    /// The connection that sent it.
    pub client: usize,
    /// The shard that all requests of this connection go to; none for one that uses them all.
    pub shard: Option<usize>,
    /// What was sent.
    pub what: What,
    /// When.
    pub sent: Duration,
    /// When its answer, or the end of the connection, was read.
    pub replied: Duration,
    /// The answer.
    pub outcome: Outcome,
}

impl Op {
    /// From sending to the answer.
    pub fn latency(&self) -> Duration {
        self.replied.saturating_sub(self.sent)
    }
}

/// Everything that the clients of a run did, each client's operations in the order of sending.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// All operations.
    pub ops: Vec<Op>,
    /// What a counter or a string began with.
    pub bases: Vec<(Key, Base)>,
    /// The messages that subscribers got, each subscriber's in their order.
    pub heard: Vec<Heard>,
    /// Replies that nobody had asked for, and whose connection they came on.
    pub surplus: Vec<(usize, Reply)>,
}

impl History {
    /// How many operations of this [name](What::name) were done: acknowledged, and not with null.
    pub fn done(&self, name: &str) -> usize {
        let is_null = |reply: &Reply| match reply {
            Reply::Array(replies) => replies.last() == Some(&Reply::Nil),
            reply => *reply == Reply::Nil,
        };
        let done = |op: &&Op| matches!(&op.outcome, Outcome::Acked(reply) if !is_null(reply));
        self.ops.iter().filter(|op| op.what.name() == name).filter(done).count()
    }
}

/// A message that a subscriber got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Who got it.
    pub client: usize,
    /// The channel.
    pub channel: Key,
    /// The message.
    pub token: String,
}

impl Heard {
    /// The message that a reply is.
    pub(super) fn of(client: usize, reply: &Reply) -> Option<Heard> {
        let Reply::Array(words) = reply else { return None };
        let [kind, channel, token] = &words[..] else { return None };
        let is_message = matches!(kind.bulk()?, "message" | "smessage");
        let (channel, token) = (channel.bulk()?.into(), token.bulk()?.to_owned());
        is_message.then_some(Heard { client, channel, token })
    }
}

/// MULTI and what was queued behind it were answered as they must be.
pub(super) fn is_queued(replies: &[Reply]) -> bool {
    let [multi, queued @ ..] = replies else { return false };
    let is_queued = |reply: &Reply| matches!(reply, Reply::Simple(text) if text == "QUEUED");
    multi.is_ok() && queued.iter().all(is_queued)
}

/// What a key was before the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A counter with this value.
    Count(i64),
    /// A string of so many dots.
    Pad(usize),
}
