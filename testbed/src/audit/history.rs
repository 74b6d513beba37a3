//! What the clients of an audit did and what they were told.

use super::wire::{Reply, request};
use std::sync::Arc;
use std::time::Duration;

/// A key, shared by all operations on it.
pub type Key = Arc<str>;

/// One operation. Its token stands in no other operation of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A register is written.
    Set {
        /// The register.
        key: Key,
        /// Its new value.
        token: String,
    },
    /// A register is read.
    Get {
        /// The register.
        key: Key,
    },
    /// INCR, or INCRBY when it is more than one.
    Incr {
        /// The counter.
        key: Key,
        /// How much is added.
        by: i64,
    },
    /// A script that increments a counter and gives the token back beside its new value.
    Script {
        /// The counter.
        key: Key,
        /// What comes back.
        token: String,
    },
    /// RPUSH.
    Push {
        /// The list.
        key: Key,
        /// The element.
        token: String,
    },
    /// SADD.
    Member {
        /// The set.
        key: Key,
        /// The member.
        token: String,
    },
    /// APPEND of the token and a semicolon.
    Append {
        /// The string.
        key: Key,
        /// What is appended.
        token: String,
    },
    /// MSET of the same value to two registers of one slot.
    SetBoth {
        /// The two.
        keys: [Key; 2],
        /// The new value of both.
        token: String,
    },
    /// MGET of them.
    GetBoth {
        /// The two.
        keys: [Key; 2],
    },
    /// MSET of registers in several slots, each to a value of its own.
    SetOver {
        /// The registers and their new values.
        pairs: Vec<(Key, String)>,
    },
    /// MGET of registers in several slots.
    GetOver {
        /// The registers.
        keys: Vec<Key>,
    },
    /// PING with an argument.
    Ping {
        /// The argument.
        token: String,
    },
    /// A read-only script that answers an error with the token in it.
    Fail {
        /// A key that says where the script runs.
        key: Key,
        /// What comes back.
        token: String,
    },
}

impl What {
    /// The bytes to send.
    pub fn request(&self) -> Vec<u8> {
        match self {
            What::Set { key, token } => request(&["SET", key, token]),
            What::Get { key } => request(&["GET", key]),
            What::Incr { key, by: 1 } => request(&["INCR", key]),
            What::Incr { key, by } => request(&["INCRBY", key, &by.to_string()]),
            What::Script { key, token } => request(&["EVAL", COUNT, "1", key, token]),
            What::Push { key, token } => request(&["RPUSH", key, token]),
            What::Member { key, token } => request(&["SADD", key, token]),
            What::Append { key, token } => request(&["APPEND", key, &format!("{token};")]),
            What::SetBoth { keys: [one, other], token } => {
                request(&["MSET", one, token, other, token])
            }
            What::GetBoth { keys: [one, other] } => request(&["MGET", one, other]),
            What::SetOver { pairs } => {
                let pairs = pairs.iter().flat_map(|(key, token)| [&**key, token]);
                request(&["MSET"].into_iter().chain(pairs).collect::<Vec<_>>())
            }
            What::GetOver { keys } => {
                let keys = keys.iter().map(|key| &**key);
                request(&["MGET"].into_iter().chain(keys).collect::<Vec<_>>())
            }
            What::Ping { token } => request(&["PING", token]),
            What::Fail { key, token } => request(&["EVAL_RO", FAIL, "1", key, token]),
        }
    }

    /// It changes nothing: a result of it is never unknown.
    pub fn is_read(&self) -> bool {
        matches!(
            self,
            What::Get { .. }
                | What::GetBoth { .. }
                | What::GetOver { .. }
                | What::Ping { .. }
                | What::Fail { .. }
        )
    }

    /// Its command, for tables.
    pub fn name(&self) -> &'static str {
        match self {
            What::Set { .. } => "SET",
            What::Get { .. } => "GET",
            What::Incr { .. } => "INCR",
            What::Script { .. } => "EVAL",
            What::Push { .. } => "RPUSH",
            What::Member { .. } => "SADD",
            What::Append { .. } => "APPEND",
            What::SetBoth { .. } => "MSET",
            What::GetBoth { .. } => "MGET",
            What::SetOver { .. } => "MSET over slots",
            What::GetOver { .. } => "MGET over slots",
            What::Ping { .. } => "PING",
            What::Fail { .. } => "EVAL_RO",
        }
    }

    /// The key that says where it goes; none for what goes nowhere or to several slots.
    pub fn key(&self) -> Option<&Key> {
        match self {
            What::Set { key, .. }
            | What::Get { key }
            | What::Incr { key, .. }
            | What::Script { key, .. }
            | What::Push { key, .. }
            | What::Member { key, .. }
            | What::Append { key, .. }
            | What::Fail { key, .. } => Some(key),
            What::SetBoth { keys, .. } | What::GetBoth { keys } => Some(&keys[0]),
            What::SetOver { .. } | What::GetOver { .. } | What::Ping { .. } => None,
        }
    }

    /// The token that it leaves in the servers' data and files.
    pub fn written_token(&self) -> Option<&str> {
        match self {
            What::Set { token, .. }
            | What::Push { token, .. }
            | What::Member { token, .. }
            | What::Append { token, .. }
            | What::SetBoth { token, .. } => Some(token),
            _ => None,
        }
    }
}

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
}

/// What a key was before the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A counter with this value.
    Count(i64),
    /// A string of so many dots.
    Pad(usize),
}

/// What the error of [`What::Fail`] begins with.
pub(super) const ASKED_FOR: &str = "AUDIT ";

const COUNT: &str = "return {redis.call('INCR', KEYS[1]), ARGV[1]}";

const FAIL: &str = "return redis.error_reply('AUDIT ' .. ARGV[1])";
