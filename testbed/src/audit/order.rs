//! The order of what was appended, and that nothing was appended twice.

use super::check::{Finding, Kind, told};
use super::history::{Key, Op, Outcome};
use super::lost::Lost;
use super::wire::Reply;
use std::collections::HashMap;
use std::time::Duration;

/// `items` as they stand, from first to last; `ops` in the order of sending.
pub(super) fn check(key: &Key, ops: &[&Op], items: &[&str], pipelined: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let written = ops.iter().enumerate();
    let by_token: HashMap<&str, usize> =
        written.filter_map(|(at, op)| Some((op.what.written_token()?, at))).collect();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    // The latest of those that stand before: none of them may have been sent after this one was
    // answered.
    let mut latest: Option<(Duration, usize)> = None;
    // By client: nobody promises an order between two.
    let mut highest: HashMap<usize, usize> = HashMap::new();
    for (place, item) in items.iter().enumerate() {
        if let Some(other) = seen.insert(item, place) {
            let text = format!("{key} holds {item} twice, at {other} and at {place}");
            findings.push(Finding::new(Kind::Repeated, text));
            continue;
        }
        let Some(&at) = by_token.get(item) else { continue };
        let op = ops[at];
        if let Some((sent, other)) = latest
            && sent > op.replied
        {
            let text = format!("{} stands before {}", told(ops[other]), told(op));
            findings.push(Finding::new(Kind::Reordered, text));
        } else if pipelined
            && let Some(&other) = highest.get(&op.client)
            && other > at
        {
            let text = format!("{} stands before {} (pipelined)", told(ops[other]), told(op));
            findings.push(Finding::new(Kind::Reordered, text));
        }
        if latest.is_none_or(|(sent, _)| op.sent > sent) {
            latest = Some((op.sent, at));
        }
        let highest = highest.entry(op.client).or_insert(at);
        *highest = at.max(*highest);
    }
    findings
}

/// The length that each append was answered is the place where its token stands (`length_at` says
/// what the length was after the item at a place), as nothing is ever taken away. A list of which
/// servers lost something was shorter in between.
pub(super) fn lengths(
    ops: &[&Op],
    items: &[&str],
    lost: &Lost,
    length_at: impl Fn(usize) -> i64,
) -> Vec<Finding> {
    let token = |op: &&Op| op.what.written_token().map(str::to_owned).unwrap_or_default();
    if ops.iter().any(|op| lost.tokens.contains(&token(op))) {
        return Vec::new();
    }
    let places: HashMap<&str, usize> =
        items.iter().enumerate().map(|(place, item)| (*item, place)).collect();
    let mut findings = Vec::new();
    for op in ops {
        if let Outcome::Acked(Reply::Int(length)) = &op.outcome
            && let Some(place) = places.get(token(op).as_str())
            && *length != length_at(*place)
        {
            let right = length_at(*place);
            let text = format!("{} was answered {length}, which is {right}", told(op));
            findings.push(Finding::new(Kind::Mixed, text));
        }
    }
    findings
}
