//! Queues: what was offered is delivered once, in the order of the list, and is lost only with a
//! BLPOP whose result is unknown.

use super::check::{Finding, Kind, told};
use super::history::{History, Key, Op, Outcome};
use super::last::Final;
use super::lost::Lost;
use super::order;
use super::what::{TAKE, What};
use super::wire::Reply;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Everything about one queue.
#[derive(Default)]
struct Queue<'a> {
    offers: Vec<&'a Op>,
    takes: Vec<&'a Op>,
}

/// Checks all queues.
pub(super) fn check(history: &History, end: &Final, lost: &Lost, pipelined: bool) -> Vec<Finding> {
    let mut queues: BTreeMap<&Key, Queue<'_>> = BTreeMap::new();
    for op in &history.ops {
        match &op.what {
            What::Offer { queue, .. } => queues.entry(queue).or_default().offers.push(op),
            What::Take { queue } => queues.entry(queue).or_default().takes.push(op),
            _ => {}
        }
    }
    let left = |key: &Key| end.lists.get(key).map(Vec::as_slice).unwrap_or_default();
    queues.iter().flat_map(|(key, queue)| queue.check(key, left(key), lost, pipelined)).collect()
}

/// Whether a reply can be that of a BLPOP.
pub(super) fn fits(op: &Op, queue: &Key, reply: &Reply) -> bool {
    match reply {
        // A server's clock has a tick; it may be up to that early.
        Reply::Nil => op.latency() + TICK >= TAKE,
        Reply::Array(words) => match &words[..] {
            [key, token] => key.bulk() == Some(&**queue) && token.bulk().is_some(),
            _ => false,
        },
        _ => false,
    }
}

fn taken(op: &Op) -> Option<&str> {
    match &op.outcome {
        Outcome::Acked(Reply::Array(words)) => words.get(1)?.bulk(),
        _ => None,
    }
}

impl Queue<'_> {
    fn check(&self, key: &Key, left: &[String], lost: &Lost, pipelined: bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut find = |kind, text: String| findings.push(Finding::new(kind, text));
        let mut deliveries: HashMap<&str, Vec<&Op>> = HashMap::new();
        for op in &self.takes {
            if let Some(token) = taken(op) {
                deliveries.entry(token).or_default().push(op);
            }
        }
        let mut there: HashMap<&str, usize> = HashMap::new();
        left.iter().for_each(|token| *there.entry(token).or_default() += 1);

        // What a primary gave out and its heir has again.
        let mut again = lost.taken.get(&**key).copied().unwrap_or_default();
        // What a BLPOP took of which nobody knows.
        let mut unknown = self.takes.iter().filter(|op| op.outcome.is_open()).count();
        for op in &self.offers {
            let Some(token) = op.what.written_token() else { continue };
            let delivered = deliveries.remove(token).unwrap_or_default();
            let times = delivered.len() + there.remove(token).unwrap_or_default();
            if matches!(op.outcome, Outcome::Refused(_)) && times > 0 {
                find(Kind::RefusedButDone, format!("{} was delivered", told(op)));
            }
            if delivered.iter().any(|take| take.replied < op.sent) {
                find(Kind::Mixed, format!("{} was delivered before", told(op)));
            }
            if times > 1 {
                // The first was by the old primary, before it was replaced.
                let first = delivered.iter().map(|take| take.replied).min().unwrap_or_default();
                let excused = lost.replaced_after(key, first) && again >= times - 1;
                if excused {
                    again -= times - 1;
                } else {
                    find(Kind::Repeated, format!("{} was delivered {times} times", told(op)));
                }
            }
            if times == 0 && op.outcome.is_acked() && !lost.tokens.contains(token) {
                if unknown == 0 {
                    find(Kind::Lost, format!("{} was never delivered", told(op)));
                }
                unknown = unknown.saturating_sub(1);
            }
        }
        for token in deliveries.keys().chain(there.keys()) {
            find(Kind::Mixed, format!("{key} held {token}, which nobody sent"));
        }
        findings.extend(self.order(key, lost, pipelined));
        findings
    }

    /// What one client takes stands in the order of the list, if nothing came back into it.
    fn order(&self, key: &Key, lost: &Lost, pipelined: bool) -> Vec<Finding> {
        let is_lost = |op: &&Op| op.what.written_token().is_some_and(|t| lost.tokens.contains(t));
        if lost.taken.contains_key(&**key) || self.offers.iter().any(is_lost) {
            return Vec::new();
        }
        let mut by_client: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for op in &self.takes {
            by_client.entry(op.client).or_default().extend(taken(op));
        }
        let in_order = |items: &Vec<&str>| order::check(key, &self.offers, items, pipelined);
        let findings = by_client.values().flat_map(in_order);
        // Deliveries are counted above, over all clients.
        findings.filter(|finding| finding.kind == Kind::Reordered).collect()
    }
}

/// How much too early a server may end a wait.
const TICK: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    fn op(what: What, sent: u64, replied: u64, reply: Reply) -> Op {
        let outcome = Outcome::of(reply);
        Op { client: 1, shard: Some(0), what, sent: ms(sent), replied: ms(replied), outcome }
    }

    fn offer(token: &str, sent: u64) -> Op {
        let what = What::Offer { queue: "q".into(), token: token.into() };
        op(what, sent, sent + 1, Reply::Int(1))
    }

    fn take(token: &str, sent: u64) -> Op {
        let reply = Reply::Array(vec![Reply::Bulk("q".into()), Reply::Bulk(token.into())]);
        op(What::Take { queue: "q".into() }, sent, sent + 1, reply)
    }

    fn unknown_take(sent: u64) -> Op {
        let reply = Reply::Error("UNKNOWNRESULT sent, reply lost: x".into());
        op(What::Take { queue: "q".into() }, sent, sent + 1, reply)
    }

    fn found(ops: Vec<Op>, left: &[&str], lost: &Lost) -> Vec<Kind> {
        let left = left.iter().map(|&token| token.to_owned()).collect();
        let end = Final { lists: [("q".into(), left)].into(), ..Final::default() };
        let history = History { ops, ..History::default() };
        let findings = check(&history, &end, lost, true);
        findings.into_iter().map(|finding| finding.kind).collect()
    }

    #[test]
    fn each_element_is_delivered_or_left_once_unless_servers_took_it_back() {
        let none = Lost::default();
        // The primary was replaced at 20 ms, and its heir did not know of one BLPOP.
        let back = Lost {
            taken: [("q".to_owned(), 1)].into(),
            replaced: vec![(0..=16383, ms(20))],
            ..Lost::default()
        };
        let never_had = Lost { tokens: ["a".to_owned()].into(), ..Lost::default() };
        for (takes, left, lost, expected) in [
            (vec![take("a", 10)], &["b"][..], &none, &[][..]),
            (vec![take("a", 10), take("b", 12)], &[], &none, &[]),
            (vec![take("a", 10), take("a", 30)], &["b"], &none, &[Kind::Repeated]),
            (vec![take("a", 10)], &["a", "b"], &none, &[Kind::Repeated]),
            (vec![take("a", 10), take("a", 400)], &["b"], &back, &[]),
            (vec![take("a", 10), take("a", 400), take("a", 500)], &["b"], &back, &[Kind::Repeated]),
            (vec![take("a", 300), take("a", 400)], &["b"], &back, &[Kind::Repeated]),
            (vec![], &["b"], &none, &[Kind::Lost]),
            (vec![unknown_take(10)], &["b"], &none, &[]),
            (vec![unknown_take(10)], &[], &none, &[Kind::Lost]),
            (vec![], &["b"], &never_had, &[]),
            (vec![take("x", 10), take("a", 11)], &["b"], &none, &[Kind::Mixed]),
            (vec![take("b", 10), take("a", 12)], &[], &none, &[Kind::Reordered]),
            (vec![take("a", 0)], &["b"], &none, &[Kind::Mixed]),
        ] {
            let told = format!("{takes:?}, left {left:?}");
            let mut ops = vec![offer("a", 2), offer("b", 4)];
            ops.extend(takes);
            assert_eq!(found(ops, left, lost), expected, "{told}");
        }
    }

    #[test]
    fn nothing_is_answered_before_its_time() {
        let queue = Key::from("q");
        let nil = |after| op(What::Take { queue: "q".into() }, 0, after, Reply::Nil);
        assert!(!fits(&nil(900), &queue, &Reply::Nil) && fits(&nil(995), &queue, &Reply::Nil));
        let of_another = Reply::Array(vec![Reply::Bulk("p".into()), Reply::Bulk("a".into())]);
        assert!(!fits(&nil(1), &queue, &of_another));
    }
}
