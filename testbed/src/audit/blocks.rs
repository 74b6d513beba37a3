//! Blocks: MULTI to EXEC is done whole or not at all, and with WATCH only if nobody came between.

use super::check::{Finding, Kind, told};
use super::history::{Base, History, Key, Op, Outcome, is_queued};
use super::last::Final;
use super::what::What;
use super::wire::Reply;
use std::collections::{BTreeMap, HashMap, HashSet};

/// An operation as what it does to each key that is checked by itself; anything but a block stays
/// what it is.
pub(super) fn parts(op: &Op) -> Vec<Op> {
    let part = |at, what| Op { what, outcome: inside(&op.outcome, at), ..op.clone() };
    match &op.what {
        What::Block { counters: [one, other], list, token } => vec![
            part(0, What::Incr { key: one.clone(), by: 1 }),
            part(1, What::Incr { key: other.clone(), by: 1 }),
            part(2, What::Push { key: list.clone(), token: token.clone() }),
        ],
        What::Transfer { book, token, .. } => {
            vec![part(2, What::Push { key: book.clone(), token: token.clone() })]
        }
        _ => vec![op.clone()],
    }
}

/// How the command at a place in a block ended.
fn inside(outcome: &Outcome, at: usize) -> Outcome {
    let Outcome::Acked(Reply::Array(replies)) = outcome else { return outcome.clone() };
    match replies.last() {
        Some(Reply::Array(items)) => match items.get(at) {
            Some(item) => Outcome::of(item.clone()),
            None => Outcome::Closed,
        },
        Some(Reply::Nil) => Outcome::Refused("EXEC was answered with null".to_owned()),
        // Not the reply of any EXEC: it says nothing.
        _ => Outcome::Closed,
    }
}

/// Whether the replies to a block, or to WATCH and its reads, can be theirs. `bases` are what
/// counters and accounts began with.
pub(super) fn fits(what: &What, reply: &Reply, bases: &HashMap<&Key, Base>) -> Option<Finding> {
    let mixed = || Some(Finding::new(Kind::Mixed, format!("{what:?} was answered {reply:?}")));
    let Reply::Array(replies) = reply else { return mixed() };
    if let What::Look { .. } = what {
        let [watch, balances @ ..] = &replies[..] else { return mixed() };
        let fits = watch.is_ok() && balances.iter().all(|balance| number(balance).is_some());
        return if fits { None } else { mixed() };
    }
    let Some((exec, queued)) = replies.split_last() else { return mixed() };
    if !is_queued(queued) {
        return mixed();
    }
    match (what, exec) {
        (What::Transfer { .. }, Reply::Nil) => None,
        (What::Transfer { .. }, Reply::Array(items)) => match &items[..] {
            [one, other, Reply::Int(1..)] if one.is_ok() && other.is_ok() => None,
            _ => mixed(),
        },
        (What::Block { counters, .. }, Reply::Array(items)) => match &items[..] {
            [Reply::Int(one), Reply::Int(other), Reply::Int(1..)] => {
                let [one, other] = [(one, &counters[0]), (other, &counters[1])]
                    .map(|(value, key)| value - base(key, bases));
                let text = || format!("{what:?} was answered {one} and {other}, by their bases");
                (one != other).then(|| Finding::new(Kind::Torn, text()))
            }
            _ => mixed(),
        },
        (What::Sum { accounts }, Reply::Array(items)) => {
            let sum: Option<i64> = items.iter().map(number).sum();
            let Some(sum) = sum.filter(|_| items.len() == accounts.len()) else { return mixed() };
            let right: i64 = accounts.iter().map(|key| base(key, bases)).sum();
            let text = || format!("{what:?} saw {sum}, which is {right}");
            (sum != right).then(|| Finding::new(Kind::Unbalanced, text()))
        }
        _ => mixed(),
    }
}

fn number(reply: &Reply) -> Option<i64> {
    reply.bulk()?.parse().ok()
}

fn base(key: &Key, bases: &HashMap<&Key, Base>) -> i64 {
    match bases.get(key) {
        Some(Base::Count(base)) => *base,
        _ => 0,
    }
}

/// What blocks left behind. A server that loses something loses blocks whole too, so nothing is
/// excused here.
pub(super) fn check(history: &History, bases: &HashMap<&Key, Base>, end: &Final) -> Vec<Finding> {
    let mut findings = Vec::new();
    let value = |key: &Key| end.strings.get(key).and_then(|text| text.parse::<i64>().ok());
    let items = |key: &Key| end.lists.get(key).map(Vec::as_slice).unwrap_or_default();

    let mut blocks: BTreeMap<(&[Key; 2], &Key), HashSet<&str>> = BTreeMap::new();
    let mut books: BTreeMap<&Key, HashMap<&str, &Op>> = BTreeMap::new();
    for op in &history.ops {
        match &op.what {
            What::Block { counters, list, token } => {
                blocks.entry((counters, list)).or_default().insert(token);
            }
            What::Transfer { book, token, .. } => {
                books.entry(book).or_default().insert(token, op);
            }
            _ => {}
        }
    }
    for ((counters, list), tokens) in blocks {
        let counts = counters.each_ref().map(|key| value(key).unwrap_or(0) - base(key, bases));
        let there = items(list).iter().filter(|item| tokens.contains(item.as_str())).count();
        if counts != [there as i64; 2] {
            let text = format!("{counters:?} count {counts:?}, {list} holds {there} of {tokens:?}");
            findings.push(Finding::new(Kind::Torn, text));
        }
    }
    for (book, transfers) in books {
        let mut balances: BTreeMap<&Key, i64> = BTreeMap::new();
        for op in transfers.values() {
            let What::Transfer { accounts, .. } = &op.what else { continue };
            accounts.iter().for_each(|key| *balances.entry(key).or_default() = base(key, bases));
        }
        for entry in items(book) {
            let Some(op) = transfers.get(entry.as_str()) else { continue };
            let What::Transfer { accounts: [from, to], amount, .. } = &op.what else { continue };
            *balances.entry(from).or_default() -= amount;
            *balances.entry(to).or_default() += amount;
        }
        for (account, balance) in balances {
            let has = value(account);
            if has != Some(balance) {
                let text = format!("{account} has {has:?}, by its book {balance}");
                findings.push(Finding::new(Kind::Unbalanced, text));
            }
        }
    }
    // With null, EXEC says that it did nothing; `parts` has that held against the book.
    findings.extend(history.ops.iter().filter_map(|op| {
        let What::Transfer { accounts, amount, after, .. } = &op.what else { return None };
        let [from, to] = accounts.each_ref().map(|key| base(key, bases));
        let far = (after[0] - from).abs().max((after[1] - to).abs()) > ACCOUNT_RANGE;
        let text = || format!("{} of {amount} is of balances of other accounts", told(op));
        far.then(|| Finding::new(Kind::Mixed, text()))
    }));
    findings
}

/// No account goes so far from what it began with: its balance tells which one it is.
const ACCOUNT_RANGE: i64 = super::mix::COUNTER_RANGE / 2;
