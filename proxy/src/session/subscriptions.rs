//! What one client is subscribed to, and how it is told.

use std::collections::BTreeSet;

use crate::command::Channels;
use crate::resp::write;

/// The subscriptions of one client: its worker's numbers of them.
#[derive(Debug, Default)]
pub struct Subscriptions {
    kinds: [BTreeSet<u32>; 3],
    /// The number of its SUBSCRIBE that waits to be confirmed.
    pub waiting: Option<u64>,
    /// Of the UNSUBSCRIBE at hand, which is executed in steps: how many names are done.
    pub ended: usize,
    /// What the UNSUBSCRIBE at hand waits for.
    pub hearing: Hearing,
}

/// What an UNSUBSCRIBE waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hearing {
    /// Nothing, so far.
    #[default]
    Nothing,
    /// The answers to earlier requests of its client.
    Behind,
    /// After that, what so many nodes had said until then.
    For(u32),
}

impl Subscriptions {
    /// It has none and waits for none.
    pub fn is_over(&self) -> bool {
        self.waiting.is_none() && self.ended == 0 && self.total() == 0
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.kinds.iter().map(BTreeSet::len).sum()
    }

    /// Those of one kind.
    pub fn of(&self, channels: Channels) -> &BTreeSet<u32> {
        &self.kinds[channels as usize]
    }

    /// Those of all kinds.
    pub fn all(&self) -> impl Iterator<Item = u32> + '_ {
        self.kinds.iter().flatten().copied()
    }

    /// One more; `false` if it had it.
    pub fn add(&mut self, channels: Channels, subject: u32) -> bool {
        self.kinds[channels as usize].insert(subject)
    }

    /// One less; `false` if it did not have it.
    pub fn remove(&mut self, channels: Channels, subject: u32) -> bool {
        self.kinds[channels as usize].remove(&subject)
    }

    /// The number that a server tells when one has begun or ended: channels and patterns
    /// together, shard channels by themselves.
    pub fn count(&self, channels: Channels) -> usize {
        match channels {
            Channels::Shard => self.of(Channels::Shard).len(),
            _ => self.of(Channels::Named).len() + self.of(Channels::Matching).len(),
        }
    }
}

/// A client is subscribed to this, its so many-eth.
pub fn subscribed(
    out: &mut Vec<u8>,
    resp3: bool,
    channels: Channels,
    name: Option<&[u8]>,
    count: usize,
) {
    let kind = ["subscribe", "psubscribe", "ssubscribe"][channels as usize];
    frame(out, resp3, kind, name, count);
}

/// A client is not subscribed to this; `None`: it was subscribed to nothing of the kind.
pub fn unsubscribed(
    out: &mut Vec<u8>,
    resp3: bool,
    channels: Channels,
    name: Option<&[u8]>,
    count: usize,
) {
    let kind = ["unsubscribe", "punsubscribe", "sunsubscribe"][channels as usize];
    frame(out, resp3, kind, name, count);
}

fn frame(out: &mut Vec<u8>, resp3: bool, kind: &str, name: Option<&[u8]>, count: usize) {
    let start = out.len();
    write::array_header(out, 3);
    if resp3 {
        out[start] = b'>';
    }
    write::bulk(out, kind);
    match name {
        Some(name) => write::bulk(out, name),
        None if resp3 => write::null(out),
        None => write::null_bulk(out),
    }
    write::integer(out, i64::try_from(count).unwrap_or(i64::MAX));
}

/// PING of a client that speaks RESP2 and is subscribed.
pub fn pong(out: &mut Vec<u8>, text: &[u8]) {
    write::array_header(out, 2);
    write::bulk(out, "pong");
    write::bulk(out, text);
}

/// What else such a client sends is refused with.
pub fn out_of_context(command: &str) -> String {
    let code = match command {
        "exec" => "EXECABORT Transaction discarded because of:",
        _ => "ERR",
    };
    format!(
        "{code} Can't execute '{command}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
         RESET are allowed in this context"
    )
}
