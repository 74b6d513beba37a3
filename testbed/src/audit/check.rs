//! What must hold of a history, given what the servers have at the end and what they lost: pure,
//! so that it is proved with made-up histories.

use super::blocks;
use super::channels::{self, Gaps};
use super::history::{Base, History, Key, Op, Outcome};
use super::last::{Final, tokens};
use super::lost::Lost;
use super::mix::TOKEN;
use super::order;
use super::over;
use super::queues;
use super::registers;
use super::what::What;
use super::wire::Reply;
use std::collections::HashMap;
use std::fmt;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub kind: Kind,
    /// What was seen, in a sentence.
    pub text: String,
}

/// What sort of wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An acknowledged write is missing, and no server is known to have lost it.
    Lost,
    /// A write was executed more than once.
    Repeated,
    /// A write that was refused as not executed was executed.
    RefusedButDone,
    /// A write stands before one that had been answered when it was sent; with
    /// [`Rules::pipelined_in_order`] also before one that was sent earlier.
    Reordered,
    /// A register holds, or a read shows, what was overwritten before.
    Stale,
    /// The halves of an MSET, or the parts of a block, were seen apart.
    Torn,
    /// Accounts do not have what their book says, or not the sum they began with: somebody came
    /// between WATCH and EXEC, or between MULTI and EXEC.
    Unbalanced,
    /// A reply that its request cannot have: it belongs to another, or to none.
    Mixed,
    /// A write was acknowledged by a primary after it had been replaced.
    LateAck,
    /// A request was refused that should have waited.
    Refused,
    /// The result of a write is unknown where none may be.
    Unknown,
    /// The result of a read is said to be unknown.
    ReadUnknown,
    /// An error that is none of the proxy's own.
    Error,
    /// A connection was closed.
    Closed,
    /// No answer came.
    Unanswered,
    /// A shard that nothing happened to was slow.
    Slow,
    /// A shard served again, and its clients saw it late.
    Late,
}

impl Finding {
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Finding {
        Finding { kind, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.text)
    }
}

/// What the circumstances allow. The default allows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Writes whose result is unknown: a connection with requests under way was lost.
    pub unknown: bool,
    /// Requests refused as not executed: the trouble outlasts the proxy's patience.
    pub refused: bool,
    /// What one connection sends without waiting is executed in that order. The contract promises
    /// it only as long as nothing is rejected or lost (§1.4), and always with `client-order =
    /// "strict"`.
    pub pipelined_in_order: bool,
    /// Messages that did not come to a subscriber.
    pub gaps: Option<Gaps>,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { unknown: false, refused: false, pipelined_in_order: true, gaps: None }
    }
}

/// Everything that is wrong with `history`, given what the servers hold at the end (`end`) and
/// what they lost.
pub fn check(history: &History, end: &Final, lost: &Lost, rules: &Rules) -> Vec<Finding> {
    let mut findings = Vec::new();
    let bases: HashMap<&Key, Base> = history.bases.iter().map(|(key, base)| (key, *base)).collect();
    let by_key = over::by_key(history);
    let keys = Keys::of(&by_key);
    findings.extend(by_key.ops.iter().filter_map(|op| late_ack(op, lost)));
    for op in &history.ops {
        findings.extend(outcome(op, rules));
        if let Outcome::Acked(reply) = &op.outcome {
            let issued = op.what.key().and_then(|key| keys.counters.get(key));
            findings.extend(fits(op, reply, &bases, issued.map_or(0, |ops| issued_sum(ops))));
        }
    }
    for (&key, ops) in &keys.counters {
        findings.extend(counter(key, ops, bases.get(key).copied(), end, lost));
    }
    for (&key, ops) in &keys.lists {
        let items = end.lists.get(key).map(Vec::as_slice).unwrap_or_default();
        let items: Vec<&str> = items.iter().map(String::as_str).collect();
        findings.extend(present(key, ops, &items, lost));
        findings.extend(order::check(key, ops, &items, rules.pipelined_in_order));
        findings.extend(order::lengths(ops, &items, lost, |place| place as i64 + 1));
    }
    for (&key, ops) in &keys.strings {
        let text = end.strings.get(key).map(String::as_str).unwrap_or_default();
        let items: Vec<&str> = tokens(text).collect();
        findings.extend(present(key, ops, &items, lost));
        findings.extend(order::check(key, ops, &items, rules.pipelined_in_order));
        let pad = text.len() - text.trim_start_matches('.').len();
        let length = |place: usize| (pad + (place + 1) * (TOKEN + 1)) as i64;
        findings.extend(order::lengths(ops, &items, lost, length));
    }
    for (&key, ops) in &keys.sets {
        let items = end.sets.get(key).map(Vec::as_slice).unwrap_or_default();
        let items: Vec<&str> = items.iter().map(String::as_str).collect();
        findings.extend(present(key, ops, &items, lost));
    }
    for (&key, ops) in &keys.registers {
        findings.extend(registers::check(key, ops, end.strings.get(key).map(String::as_str), lost));
    }
    findings.extend(blocks::check(history, &bases, end));
    findings.extend(queues::check(history, end, lost, rules.pipelined_in_order));
    findings.extend(channels::check(history, rules.gaps.as_ref(), rules.pipelined_in_order));
    findings.extend(history.surplus.iter().map(|(client, reply)| {
        Finding::new(Kind::Mixed, format!("client {client} got {reply:?} and had asked nothing"))
    }));
    findings.sort_by_key(|finding| finding.kind);
    findings
}

/// The operations on each key, in the order of sending.
#[derive(Default)]
struct Keys<'a> {
    counters: HashMap<&'a Key, Vec<&'a Op>>,
    lists: HashMap<&'a Key, Vec<&'a Op>>,
    strings: HashMap<&'a Key, Vec<&'a Op>>,
    sets: HashMap<&'a Key, Vec<&'a Op>>,
    registers: HashMap<&'a Key, Vec<&'a Op>>,
}

impl<'a> Keys<'a> {
    fn of(history: &'a History) -> Keys<'a> {
        let mut keys = Keys::default();
        for op in &history.ops {
            match &op.what {
                What::Incr { key, .. } | What::Script { key, .. } => {
                    keys.counters.entry(key).or_default().push(op);
                }
                What::Push { key, .. } => keys.lists.entry(key).or_default().push(op),
                What::Append { key, .. } => keys.strings.entry(key).or_default().push(op),
                What::Member { key, .. } => keys.sets.entry(key).or_default().push(op),
                What::Set { key, .. } | What::Get { key } => {
                    keys.registers.entry(key).or_default().push(op);
                }
                What::SetBoth { keys: both, .. } | What::GetBoth { keys: both } => {
                    for key in both {
                        keys.registers.entry(key).or_default().push(op);
                    }
                }
                // By key they are SETs and GETs.
                What::SetOver { .. } | What::GetOver { .. } => {}
                What::Ping { .. } | What::Fail { .. } | What::Alive { .. } => {}
                // What they leave is in their parts.
                What::Block { .. } | What::Transfer { .. } => {}
                What::Look { .. } | What::Sum { .. } => {}
                // See `queues` and `channels`.
                What::Offer { .. } | What::Take { .. } => {}
                What::Subscribe { .. } | What::Publish { .. } => {}
            }
        }
        keys
    }
}

fn outcome(op: &Op, rules: &Rules) -> Option<Finding> {
    let (kind, text) = match &op.outcome {
        Outcome::Acked(_) => return None,
        Outcome::Unknown(text) if op.what.is_read() => (Kind::ReadUnknown, text.as_str()),
        Outcome::Unknown(_) if rules.unknown => return None,
        Outcome::Unknown(text) => (Kind::Unknown, text.as_str()),
        Outcome::Refused(_) if rules.refused => return None,
        Outcome::Refused(text) => (Kind::Refused, text.as_str()),
        Outcome::Error(text) => (Kind::Error, text.as_str()),
        Outcome::Closed => (Kind::Closed, "the connection was closed"),
        Outcome::Unanswered => (Kind::Unanswered, "no answer came"),
    };
    Some(Finding::new(kind, format!("{}: {text}", told(op))))
}

/// Whether a reply can be that of its request.
fn fits(op: &Op, reply: &Reply, bases: &HashMap<&Key, Base>, issued: i64) -> Option<Finding> {
    let what = &op.what;
    let in_range = |key: &Key, value: i64| match bases.get(key) {
        Some(Base::Count(base)) => value > *base && value <= base + issued,
        _ => false,
    };
    let fits = match (what, reply) {
        (What::Set { .. } | What::SetBoth { .. } | What::SetOver { .. }, reply) => reply.is_ok(),
        // Which value is right depends on all others: see `registers`.
        (What::Get { .. }, reply) => matches!(reply, Reply::Bulk(_) | Reply::Nil),
        (What::GetBoth { .. }, Reply::Array(both)) => both.len() == 2,
        (What::GetOver { keys }, Reply::Array(values)) => values.len() == keys.len(),
        (What::Incr { key, .. }, Reply::Int(value)) => in_range(key, *value),
        (What::Script { key, token }, Reply::Array(items)) => match &items[..] {
            [Reply::Int(value), Reply::Bulk(back)] => in_range(key, *value) && back == token,
            _ => false,
        },
        (What::Push { .. }, Reply::Int(length)) => *length >= 1,
        (What::Member { .. }, Reply::Int(0)) => {
            let text = format!("SADD of a new member was answered 0: {what:?}");
            return Some(Finding::new(Kind::Repeated, text));
        }
        (What::Member { .. }, Reply::Int(added)) => *added == 1,
        (What::Append { key, .. }, Reply::Int(length)) => match bases.get(key) {
            Some(Base::Pad(pad)) => {
                let appended = *length - *pad as i64;
                appended > 0 && appended % (TOKEN as i64 + 1) == 0
            }
            _ => false,
        },
        (What::Ping { token }, Reply::Bulk(back)) => back == token,
        (What::Fail { token, .. }, Reply::Error(text)) => {
            text.strip_prefix(super::what::ASKED_FOR) == Some(token.as_str())
        }
        (What::Offer { .. }, Reply::Int(length)) => *length >= 1,
        (What::Take { queue }, reply) => queues::fits(op, queue, reply),
        (What::Publish { .. }, Reply::Int(receivers)) => *receivers >= 0,
        (What::Subscribe { channel, .. }, Reply::Array(words)) => match &words[..] {
            [_, name, Reply::Int(1..)] => name.bulk() == Some(&**channel),
            _ => false,
        },
        (What::Alive { token }, Reply::Array(words)) => match &words[..] {
            [pong, back] => pong.bulk() == Some("pong") && back.bulk() == Some(token),
            _ => false,
        },
        (
            What::Block { .. } | What::Look { .. } | What::Transfer { .. } | What::Sum { .. },
            reply,
        ) => return blocks::fits(what, reply, bases),
        _ => false,
    };
    (!fits).then(|| Finding::new(Kind::Mixed, format!("{what:?} was answered {reply:?}")))
}

fn amount(op: &Op) -> i64 {
    match op.what {
        What::Incr { by, .. } => by,
        _ => 1,
    }
}

fn issued_sum(ops: &[&Op]) -> i64 {
    ops.iter().map(|op| amount(op)).sum()
}

/// `acked − lost by the servers ≤ value ≤ acked + unknown`, and no value was given out twice.
fn counter(key: &Key, ops: &[&Op], base: Option<Base>, end: &Final, lost: &Lost) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(Base::Count(base)) = base else {
        return vec![Finding::new(Kind::Mixed, format!("{key} was not prepared"))];
    };
    let sum = |wanted: fn(&Outcome) -> bool| {
        let wanted = ops.iter().filter(|op| wanted(&op.outcome));
        wanted.map(|op| amount(op)).sum::<i64>()
    };
    let (acked, open) = (sum(Outcome::is_acked), sum(Outcome::is_open));
    let missing = lost.counts.get(&**key).copied().unwrap_or_default();
    let Some(value) = end.strings.get(key).and_then(|text| text.parse::<i64>().ok()) else {
        let text = format!("{key} is gone, {acked} were acknowledged");
        return vec![Finding::new(Kind::Lost, text)];
    };
    let counted = value - base;
    let facts = format!(
        "{key} counts {counted}; {acked} acknowledged, {open} unknown, {missing} lost by servers"
    );
    if counted < acked - missing {
        findings.push(Finding::new(Kind::Lost, facts));
    } else if counted > acked + open {
        let refused = sum(|outcome| matches!(outcome, Outcome::Refused(_)));
        let kind = if refused > 0 { Kind::RefusedButDone } else { Kind::Repeated };
        findings.push(Finding::new(kind, format!("{facts}, {refused} refused")));
    }
    // What a server lost is counted again from where its heir was.
    if missing == 0 {
        let mut given = HashMap::new();
        for op in ops {
            let value = match &op.outcome {
                Outcome::Acked(Reply::Int(value)) => value,
                Outcome::Acked(Reply::Array(items)) => match items.first() {
                    Some(Reply::Int(value)) => value,
                    _ => continue,
                },
                _ => continue,
            };
            if let Some(other) = given.insert(value, op) {
                let text = format!("{} and {} were both answered {value}", told(other), told(op));
                findings.push(Finding::new(Kind::Mixed, text));
            }
        }
    }
    findings
}

/// Nothing acknowledged is missing, nothing refused is there, nothing is there that nobody sent.
fn present(key: &Key, ops: &[&Op], items: &[&str], lost: &Lost) -> Vec<Finding> {
    let mut findings = Vec::new();
    let there: std::collections::HashSet<&str> = items.iter().copied().collect();
    let mut sent = std::collections::HashSet::new();
    for op in ops {
        let Some(token) = op.what.written_token() else { continue };
        sent.insert(token);
        let here = there.contains(token);
        if op.outcome.is_acked() && !here && !lost.tokens.contains(token) {
            findings.push(Finding::new(Kind::Lost, format!("{} is missing", told(op))));
        }
        if matches!(op.outcome, Outcome::Refused(_)) && here {
            findings.push(Finding::new(Kind::RefusedButDone, format!("{} is there", told(op))));
        }
    }
    for item in there.difference(&sent) {
        findings.push(Finding::new(Kind::Mixed, format!("{key} holds {item}, which nobody sent")));
    }
    findings
}

/// What a server lost excuses nobody who let it acknowledge after it had been replaced.
fn late_ack(op: &Op, lost: &Lost) -> Option<Finding> {
    let token = op.what.written_token()?;
    if !op.outcome.is_acked() || !lost.tokens.contains(token) {
        return None;
    }
    let in_time = lost.replaced_after(op.what.key()?, op.replied);
    (!in_time).then(|| {
        let text = format!("{} is lost with a primary that had been replaced", told(op));
        Finding::new(Kind::LateAck, text)
    })
}

/// An operation in words.
pub(super) fn told(op: &Op) -> String {
    let key = op.what.key().map(|key| &**key).unwrap_or_default();
    let token = op.what.written_token().unwrap_or_default();
    let sent = op.sent.as_secs_f64();
    let end = match op.outcome {
        Outcome::Unanswered => "never answered".to_owned(),
        _ => format!("answered at {:.3} s", op.replied.as_secs_f64()),
    };
    format!("{} {key} {token} of client {}, sent at {sent:.3} s, {end}", op.what.name(), op.client)
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
