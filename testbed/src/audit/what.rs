//! What the clients of an audit send.

use super::history::Key;
use super::wire::request;
use std::time::Duration;

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
    /// MULTI, INCR of both counters, RPUSH, EXEC.
    Block {
        /// The counters, which nothing else increments.
        counters: [Key; 2],
        /// The list, to which others push too.
        list: Key,
        /// The element.
        token: String,
    },
    /// WATCH and GET of two accounts; the transfer that follows is of what was seen.
    Look {
        /// The two.
        accounts: [Key; 2],
    },
    /// MULTI, SET of both accounts, RPUSH of the token to the book, EXEC.
    Transfer {
        /// From the first to the second.
        accounts: [Key; 2],
        /// How much.
        amount: i64,
        /// What both have after it, if nobody came between.
        after: [i64; 2],
        /// Of all transfers between the accounts of one bank.
        book: Key,
        /// The entry in the book.
        token: String,
    },
    /// MULTI, GET of all accounts of a bank, EXEC.
    Sum {
        /// All of them.
        accounts: Vec<Key>,
    },
    /// RPUSH to a list that others take from.
    Offer {
        /// The list.
        queue: Key,
        /// The element.
        token: String,
    },
    /// BLPOP with [`TAKE`] as its timeout.
    Take {
        /// The list.
        queue: Key,
    },
    /// SUBSCRIBE, or SSUBSCRIBE.
    Subscribe {
        /// The channel.
        channel: Key,
        /// It is a shard channel.
        shard: bool,
    },
    /// PUBLISH, or SPUBLISH.
    Publish {
        /// The channel.
        channel: Key,
        /// It is a shard channel.
        shard: bool,
        /// The message.
        token: String,
    },
    /// PING of a client that is subscribed.
    Alive {
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
            What::Block { counters: [one, other], list, token } => {
                block(&[&["INCR", one], &["INCR", other], &["RPUSH", list, token]])
            }
            What::Look { accounts: [from, to] } => {
                [request(&["WATCH", from, to]), request(&["GET", from]), request(&["GET", to])]
                    .concat()
            }
            What::Transfer { accounts: [from, to], after: [less, more], book, token, .. } => {
                block(&[
                    &["SET", from, &less.to_string()],
                    &["SET", to, &more.to_string()],
                    &["RPUSH", book, token],
                ])
            }
            What::Sum { accounts } => {
                let gets: Vec<[&str; 2]> = accounts.iter().map(|key| ["GET", &**key]).collect();
                block(&gets.iter().map(|get| &get[..]).collect::<Vec<_>>())
            }
            What::Offer { queue, token } => request(&["RPUSH", queue, token]),
            What::Take { queue } => request(&["BLPOP", queue, &TAKE.as_secs().to_string()]),
            What::Subscribe { channel, shard: false } => request(&["SUBSCRIBE", channel]),
            What::Subscribe { channel, shard: true } => request(&["SSUBSCRIBE", channel]),
            What::Publish { channel, shard: false, token } => request(&["PUBLISH", channel, token]),
            What::Publish { channel, shard: true, token } => request(&["SPUBLISH", channel, token]),
            What::Alive { token } => request(&["PING", token]),
        }
    }

    /// How many replies it gets.
    pub(super) fn replies(&self) -> usize {
        match self {
            What::Block { .. } | What::Transfer { .. } => 5,
            What::Look { .. } => 3,
            What::Sum { accounts } => accounts.len() + 2,
            _ => 1,
        }
    }

    /// How long it may wait for what is no fault.
    pub(super) fn may_wait(&self) -> Duration {
        match self {
            What::Take { .. } => TAKE,
            _ => Duration::ZERO,
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
                | What::Look { .. }
                | What::Sum { .. }
                | What::Subscribe { .. }
                | What::Alive { .. }
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
            What::Block { .. } => "MULTI",
            What::Look { .. } => "WATCH",
            What::Transfer { .. } => "MULTI after WATCH",
            What::Sum { .. } => "MULTI of reads",
            What::Offer { .. } => "RPUSH to a queue",
            What::Take { .. } => "BLPOP",
            What::Subscribe { shard: false, .. } => "SUBSCRIBE",
            What::Subscribe { shard: true, .. } => "SSUBSCRIBE",
            What::Publish { shard: false, .. } => "PUBLISH",
            What::Publish { shard: true, .. } => "SPUBLISH",
            What::Alive { .. } => "PING while subscribed",
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
            | What::Fail { key, .. }
            | What::Block { list: key, .. }
            | What::Transfer { book: key, .. }
            | What::Offer { queue: key, .. }
            | What::Take { queue: key }
            | What::Subscribe { channel: key, .. }
            | What::Publish { channel: key, .. } => Some(key),
            What::SetBoth { keys, .. } | What::GetBoth { keys } | What::Look { accounts: keys } => {
                Some(&keys[0])
            }
            What::Sum { accounts } => accounts.first(),
            What::SetOver { .. }
            | What::GetOver { .. }
            | What::Ping { .. }
            | What::Alive { .. } => None,
        }
    }

    /// The token that it leaves in the servers' data and files.
    pub fn written_token(&self) -> Option<&str> {
        match self {
            What::Set { token, .. }
            | What::Push { token, .. }
            | What::Member { token, .. }
            | What::Append { token, .. }
            | What::SetBoth { token, .. }
            | What::Block { token, .. }
            | What::Transfer { token, .. }
            | What::Offer { token, .. } => Some(token),
            _ => None,
        }
    }
}

fn block(requests: &[&[&str]]) -> Vec<u8> {
    let mut bytes = request(&["MULTI"]);
    requests.iter().for_each(|words| bytes.extend(request(words)));
    bytes.extend(request(&["EXEC"]));
    bytes
}

/// How long a [`What::Take`] waits for an element.
pub const TAKE: Duration = Duration::from_secs(1);

/// What the error of [`What::Fail`] begins with.
pub(super) const ASKED_FOR: &str = "AUDIT ";

const COUNT: &str = "return {redis.call('INCR', KEYS[1]), ARGV[1]}";

const FAIL: &str = "return redis.error_reply('AUDIT ' .. ARGV[1])";
