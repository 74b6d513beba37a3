//! Registers: a read, and the end, show the last write, or one that was under way with it.

use super::check::{Finding, Kind, told};
use super::history::{Key, Op, Outcome};
use super::lost::Lost;
use super::what::What;
use super::wire::Reply;
use std::time::Duration;

/// Checks one register. `ops` are its reads and writes in the order of sending (there is one
/// client that writes it), `last` is what it holds at the end.
///
/// A value is right if its write began before the read ended, and no other write was acknowledged
/// before the read began that had been sent after this one was answered. Writes that servers lost
/// do not count as such others.
pub(super) fn check(key: &Key, ops: &[&Op], last: Option<&str>, lost: &Lost) -> Vec<Finding> {
    let mut findings = Vec::new();
    let writes: Vec<&Op> =
        ops.iter().copied().filter(|op| op.what.written_token().is_some()).collect();
    let holds = |value: Option<&str>, from: Duration, to: Duration, who: &str| {
        value_is_right(key, &writes, value, from, to, lost)
            .map(|(kind, why)| Finding::new(kind, format!("{who} {value:?} of {key}, {why}")))
    };
    findings.extend(holds(last, Duration::MAX, Duration::MAX, "the end holds"));
    for op in ops {
        let Outcome::Acked(reply) = &op.outcome else { continue };
        let value = match (&op.what, reply) {
            (What::Get { .. }, reply) => reply,
            (What::GetBoth { keys }, Reply::Array(both)) if both.len() == 2 => {
                if both[0] != both[1] && keys[0] == *key {
                    findings.push(Finding::new(Kind::Torn, format!("{} saw {both:?}", told(op))));
                }
                &both[usize::from(keys[0] != *key)]
            }
            _ => continue,
        };
        let value = match value {
            Reply::Bulk(text) => Some(text.as_str()),
            _ => None,
        };
        findings.extend(holds(value, op.sent, op.replied, &format!("{} saw", told(op))));
    }
    findings
}

fn value_is_right(
    key: &Key,
    writes: &[&Op],
    value: Option<&str>,
    from: Duration,
    to: Duration,
    lost: &Lost,
) -> Option<(Kind, String)> {
    let done = match value {
        // As if written before all others.
        None => Duration::ZERO,
        Some(value) => {
            let Some(write) = writes.iter().find(|op| op.what.written_token() == Some(value))
            else {
                return Some((Kind::Mixed, format!("which nobody wrote to {key}")));
            };
            if matches!(write.outcome, Outcome::Refused(_)) {
                return Some((Kind::RefusedButDone, format!("but {} was refused", told(write))));
            }
            if write.sent > to {
                return Some((Kind::Mixed, format!("but {} came later", told(write))));
            }
            write.replied
        }
    };
    let newer = writes.iter().find(|other| {
        let token = other.what.written_token().unwrap_or_default();
        other.outcome.is_acked()
            && other.sent > done
            && other.replied < from
            && !lost.tokens.contains(token)
    });
    newer.map(|newer| {
        let kind = if from == Duration::MAX { Kind::Lost } else { Kind::Stale };
        (kind, format!("after {}", told(newer)))
    })
}
