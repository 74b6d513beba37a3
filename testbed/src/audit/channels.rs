//! Channels: each subscriber gets what was published, in each publisher's order, once; what does
//! not come is missing within a gap that was counted.

use super::check::{Finding, Kind, told};
use super::history::{History, Key, Op, Outcome};
use super::order;
use super::what::What;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// Where messages may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gaps {
    /// How many times a subscription was nowhere, as the proxy counts it.
    pub counted: u64,
    /// Of what was published after this.
    pub from: Duration,
    /// Of what was published before this.
    pub to: Duration,
    /// Shards to which nothing happened: in their channels nothing is missing.
    pub untouched: &'static [usize],
}

/// Checks what each subscriber heard of each of its channels. Without `gaps` nothing may be missing.
pub(super) fn check(history: &History, gaps: Option<&Gaps>, pipelined: bool) -> Vec<Finding> {
    let mut published: BTreeMap<&Key, Vec<&Op>> = BTreeMap::new();
    // Since when a client is subscribed for certain.
    let mut since: BTreeMap<(usize, &Key), Duration> = BTreeMap::new();
    for op in &history.ops {
        match &op.what {
            What::Publish { channel, .. } => published.entry(channel).or_default().push(op),
            What::Subscribe { channel, .. } if op.outcome.is_acked() => {
                since.entry((op.client, channel)).or_insert(op.replied);
            }
            _ => {}
        }
    }
    let mut heard: BTreeMap<(usize, &Key), Vec<&str>> = BTreeMap::new();
    for message in &history.heard {
        heard.entry((message.client, &message.channel)).or_default().push(&message.token);
    }
    let mut findings = Vec::new();
    let mut gapped = 0;
    for (&(client, channel), since) in &since {
        let mut sent = published.remove(channel).unwrap_or_default();
        sent.sort_by_key(|op| op.sent);
        let items = heard.remove(&(client, channel)).unwrap_or_default();
        findings.extend(all_true(client, channel, &sent, &items));
        // In terms of what stands in a list. What is unknown may come at any time: a process that
        // was stopped publishes what it holds when it goes on.
        let known = sent.iter().filter(|op| !op.outcome.is_open());
        let as_pushed: Vec<Op> = known.map(|op| pushed(op)).collect();
        let as_pushed: Vec<&Op> = as_pushed.iter().collect();
        findings.extend(order::check(channel, &as_pushed, &items, pipelined));

        let items: HashSet<&str> = items.into_iter().collect();
        let certain = sent.iter().filter(|op| op.sent > *since && op.outcome.is_acked());
        let missing: Vec<&&Op> = certain.filter(|op| !items.contains(message(op))).collect();
        gapped += u64::from(!missing.is_empty());
        for op in missing {
            let may = gaps.is_some_and(|gaps| {
                let untouched = op.shard.is_some_and(|shard| gaps.untouched.contains(&shard));
                !untouched && op.sent >= gaps.from && op.replied <= gaps.to
            });
            if !may {
                let text = format!("{} never came to client {client}", told(op));
                findings.push(Finding::new(Kind::Lost, text));
            }
        }
        published.insert(channel, sent);
    }
    for (client, channel) in heard.keys() {
        let text = format!("client {client} is not subscribed to {channel} and got messages");
        findings.push(Finding::new(Kind::Mixed, text));
    }
    // Several times of a channel may be one gap: nodes pass on a little while they change places.
    if let Some(gaps) = gaps
        && gapped > gaps.counted
    {
        let text = format!("{gapped} channels have gaps, {} were counted", gaps.counted);
        findings.push(Finding::new(Kind::Lost, text));
    }
    findings
}

/// Nobody hears what nobody said, or what its publisher was told that it is not said.
fn all_true(client: usize, channel: &Key, sent: &[&Op], items: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let items: HashSet<&str> = items.iter().copied().collect();
    for op in sent.iter().filter(|op| items.contains(message(op))) {
        if matches!(op.outcome, Outcome::Refused(_)) {
            let text = format!("{} came to client {client}", told(op));
            findings.push(Finding::new(Kind::RefusedButDone, text));
        }
    }
    let said: HashSet<&str> = sent.iter().map(|op| message(op)).collect();
    for item in items.difference(&said) {
        let text = format!("client {client} got {item} of {channel}, which nobody sent");
        findings.push(Finding::new(Kind::Mixed, text));
    }
    findings
}

fn message(op: &Op) -> &str {
    match &op.what {
        What::Publish { token, .. } => token,
        _ => "",
    }
}

fn pushed(op: &Op) -> Op {
    let key = op.what.key().cloned().unwrap_or_default();
    Op { what: What::Push { key, token: message(op).to_owned() }, ..op.clone() }
}

#[cfg(test)]
mod tests {
    use super::super::history::Heard;
    use super::super::wire::Reply;
    use super::*;

    fn ms(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    fn publish(token: &str, sent: u64, reply: Reply) -> Op {
        let what = What::Publish { channel: "c".into(), shard: false, token: token.into() };
        let outcome = Outcome::of(reply);
        Op { client: 1, shard: Some(0), what, sent: ms(sent), replied: ms(sent + 1), outcome }
    }

    /// What is found when client 2 hears this of what was published at 10, 20, 30 and 40 ms; the
    /// result of the third is unknown.
    fn found(heard: &[&str], gaps: Option<Gaps>) -> Vec<Kind> {
        let what = What::Subscribe { channel: "c".into(), shard: false };
        let subscribed = Outcome::Acked(Reply::Nil);
        let subscribe = Op { what, client: 2, outcome: subscribed, ..publish("", 1, Reply::Nil) };
        let unknown = Reply::Error("UNKNOWNRESULT sent, reply lost: x".into());
        let ops = vec![
            subscribe,
            publish("a", 10, Reply::Int(1)),
            publish("b", 20, Reply::Int(1)),
            publish("u", 30, unknown),
            publish("d", 40, Reply::Int(1)),
        ];
        let heard = heard.iter().map(|&token| Heard {
            client: 2,
            channel: "c".into(),
            token: token.to_owned(),
        });
        let history = History { ops, heard: heard.collect(), ..History::default() };
        let findings = check(&history, gaps.as_ref(), true);
        findings.into_iter().map(|finding| finding.kind).collect()
    }

    #[test]
    fn each_message_comes_once_and_in_order_and_is_missing_only_in_a_counted_gap() {
        let gaps = Gaps { counted: 1, from: ms(15), to: ms(35), untouched: &[] };
        for (heard, gaps, expected) in [
            (&["a", "b", "u", "d"][..], None, &[][..]),
            (&["a", "b", "d"], None, &[]),
            (&["a", "d"], None, &[Kind::Lost]),
            (&["a", "d"], Some(gaps), &[]),
            (&["a", "d"], Some(Gaps { counted: 0, ..gaps }), &[Kind::Lost]),
            (&["a", "d"], Some(Gaps { untouched: &[0], ..gaps }), &[Kind::Lost]),
            (&["b", "d"], Some(gaps), &[Kind::Lost]),
            (&["a", "b"], Some(gaps), &[Kind::Lost]),
            (&["b", "u"], Some(Gaps { from: ms(0), to: ms(50), ..gaps }), &[]),
            (&["a", "b", "d", "u"], None, &[]),
            (&["a", "b", "b", "d"], None, &[Kind::Repeated]),
            (&["a", "u", "b", "u", "d"], None, &[Kind::Repeated]),
            (&["b", "a", "d"], None, &[Kind::Reordered]),
            (&["a", "b", "x", "d"], None, &[Kind::Mixed]),
        ] {
            assert_eq!(found(heard, gaps), expected, "{heard:?} {gaps:?}");
        }
    }
}
