//! What was asked, and what became of it: each request by its number, which its replies name.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::blocks;
use crate::time::Moment;

/// One request of a client.
#[derive(Debug)]
pub(super) struct Op {
    pub(super) client: usize,
    /// The slot of its keys, if it is routed by keys.
    pub(super) slot: Option<u16>,
    pub(super) kind: Kind,
    pub(super) keys: Vec<String>,
    /// Of one that is split: which op each of its keys belongs to. Of a transaction: what was queued.
    pub(super) parts: Vec<usize>,
    /// The mode of its client, as the nodes must see it.
    pub(super) mode: u8,
    /// It is sent again although it may have been executed.
    pub(super) repeats: bool,
    /// When it was made.
    pub(super) asked: Moment,
    pub(super) asked_at: u64,
    /// Its last byte was handed over at some time.
    pub(super) handed: bool,
    /// How often that was so, less the times that a rejection of it was read.
    pub(super) at_large: u32,
    /// How often a node executed it, primaries that were replaced without knowing it included.
    pub(super) executed: u32,
    /// A primary executed it that was replaced, and that slotway must have found silent before.
    pub(super) doomed: bool,
    /// The servers lost it: it had not reached the replica that was elected, or the disk.
    pub(super) lost: bool,
    /// What nodes have answered that the client may get.
    produced: Vec<Produced>,
    /// On which connection the kernel was found to have it in part, and when. What stands there
    /// stays: a later rejection does not call it back.
    pub(super) queued: Option<(u32, u64)>,
    /// When its last byte was handed over last, or found to be so in part.
    pub(super) sent: u64,
    pub(super) sent_to: u16,
    /// The connection of that.
    pub(super) sent_on: u32,
    /// When a rejection or a loss of it was read first.
    pub(super) setback: Option<u64>,
    /// When one was read last, or when the kernel had it in part last.
    pub(super) back: Moment,
    pub(super) back_at: u64,
    /// When it was last seen that its client has no answer, and has read whatever there was.
    pub(super) open_at: u64,
    /// What it was rejected with last, where it was sent last, is `ASK`.
    pub(super) told_to_ask: bool,
    /// The beginning of its answer.
    pub(super) answer: Option<String>,
    pub(super) answered_at: u64,
}

/// A reply of a node.
#[derive(Debug)]
struct Produced {
    hash: u64,
    /// The writes that a read has seen.
    saw: Option<Vec<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    Script,
    Keyless,
    Local,
    CrossSlot,
    /// Of several slots: each part is an op of its own.
    Split,
    /// It changes its client's protocol or database.
    Mode,
    /// A transaction, by its EXEC.
    Block,
    /// MULTI, or a command behind it.
    Queued,
}

impl Kind {
    pub(super) fn writes(self) -> bool {
        matches!(self, Kind::Write | Kind::Script | Kind::Block)
    }
}

/// What a node says to one request.
pub(super) struct Reply {
    /// Whose it is; `None` if it is none of a client's.
    pub(super) op: Option<usize>,
    pub(super) rejected: bool,
    pub(super) text: String,
}

impl Reply {
    pub(super) fn of_ours(text: String) -> Reply {
        Reply { op: None, rejected: false, text }
    }

    /// What is said on a connection that has to log in.
    pub(super) fn locked(request: &str, ops: &mut [Op]) -> Reply {
        let (text, op) = (String::from(LOCKED), request.split(' ').find_map(op_of));
        if let Some(op) = op.and_then(|op| ops.get_mut(op))
            && op.kind == Kind::Script
        {
            op.produce(&text, None); // a script could have said so
        }
        let text = match request.split(' ').collect::<Vec<_>>() {
            words if words[0] == "MULTI" => blocks::locked(&words, LOCKED),
            _ => text,
        };
        Reply { op, rejected: true, text }
    }
}

impl Op {
    pub(super) fn new(client: usize, kind: Kind, keys: Vec<String>, slot: Option<u16>) -> Op {
        Op {
            client,
            slot,
            kind,
            keys,
            parts: Vec::new(),
            mode: 0,
            repeats: false,
            asked: Moment::default(),
            asked_at: 0,
            handed: false,
            at_large: 0,
            executed: 0,
            doomed: false,
            lost: false,
            produced: Vec::new(),
            queued: None,
            sent: 0,
            sent_to: 0,
            sent_on: 0,
            setback: None,
            back: Moment::default(),
            back_at: 0,
            open_at: 0,
            told_to_ask: false,
            answer: None,
            answered_at: 0,
        }
    }

    /// A rejection or a loss of it is read.
    pub(super) fn set_back(&mut self, at: u64, now: Moment) {
        self.setback.get_or_insert(at);
        (self.back, self.back_at) = (now, at);
    }

    /// A node has answered this.
    pub(super) fn produce(&mut self, text: &str, saw: Option<Vec<usize>>) {
        self.produced.push(Produced { hash: hash(text), saw });
    }

    /// Whether a node has answered exactly this, to this request.
    pub(super) fn was_answered(&self, text: &str) -> bool {
        let hash = hash(text);
        self.produced.iter().any(|produced| produced.hash == hash)
    }

    /// Whether a read with this answer has seen this write.
    pub(super) fn saw(&self, text: &str, write: usize) -> bool {
        let hash = hash(text);
        let same = self.produced.iter().filter(|produced| produced.hash == hash);
        let mut seen = same.filter_map(|produced| produced.saw.as_ref());
        seen.any(|saw| saw.contains(&write))
    }

    /// The client was told that it was executed.
    pub(super) fn acknowledged(&self) -> bool {
        self.answer.as_ref().is_some_and(|text| self.acknowledges(text))
    }

    /// Whether this answer says so.
    pub(super) fn acknowledges(&self, text: &str) -> bool {
        text.starts_with(['+', '$']) || (self.kind == Kind::Block && text.starts_with('*'))
    }
}

/// What a node says to strangers.
pub(super) const LOCKED: &str = "-NOAUTH Authentication required.\r\n";

/// The request that a text with its number, `t12`, `t12:…` or `{a}t12`, belongs to.
pub(super) fn op_of(text: &str) -> Option<usize> {
    let text = text.split_once('}').map_or(text, |(_, rest)| rest);
    let digits = text.strip_prefix('t')?;
    digits.split([':', ' ', '\r']).next()?.parse().ok()
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
