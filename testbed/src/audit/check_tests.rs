//! The checker against made-up histories.

use super::*;
use std::time::Duration;

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// An operation of client 1, acknowledged with `reply`.
fn op(what: What, sent: u64, replied: u64, reply: Reply) -> Op {
    Op {
        client: 1,
        shard: Some(0),
        what,
        sent: ms(sent),
        replied: ms(replied),
        outcome: Outcome::of(reply),
    }
}

fn unknown(what: What, sent: u64, replied: u64) -> Op {
    op(what, sent, replied, Reply::Error("UNKNOWNRESULT sent, reply lost: x".into()))
}

fn refused(what: What, sent: u64, replied: u64) -> Op {
    op(what, sent, replied, Reply::Error("CLUSTERDOWN not executed: x".into()))
}

fn ok() -> Reply {
    Reply::Simple("OK".into())
}

fn set(token: &str) -> What {
    What::Set { key: "r".into(), token: token.into() }
}

fn push(token: &str) -> What {
    What::Push { key: "l".into(), token: token.into() }
}

fn incr() -> What {
    What::Incr { key: "n".into(), by: 1 }
}

fn get() -> What {
    What::Get { key: "r".into() }
}

fn history(ops: Vec<Op>) -> History {
    History { ops, bases: vec![("n".into(), Base::Count(100))], ..History::default() }
}

fn kinds(ops: Vec<Op>, end: &Final, lost: &Lost) -> Vec<Kind> {
    let rules = Rules { unknown: true, refused: true, ..Rules::default() };
    check(&history(ops), end, lost, &rules).into_iter().map(|finding| finding.kind).collect()
}

fn string(key: &str, value: &str) -> Final {
    Final { strings: [(key.into(), value.to_owned())].into(), ..Final::default() }
}

fn list(items: &[&str]) -> Final {
    let items = items.iter().map(|&item| item.to_owned()).collect();
    Final { lists: [("l".into(), items)].into(), ..Final::default() }
}

#[test]
fn a_counter_lies_between_what_was_acknowledged_and_what_may_be() {
    let ops = || {
        vec![
            op(incr(), 0, 1, Reply::Int(101)),
            unknown(incr(), 2, 3),
            op(incr(), 4, 5, Reply::Int(102)),
            refused(incr(), 6, 7),
        ]
    };
    let none = Lost::default();
    let lost = Lost { counts: [("n".to_owned(), 1)].into(), ..Lost::default() };
    for (value, lost, expected) in [
        ("101", &none, vec![Kind::Lost]),
        ("101", &lost, vec![]),
        ("100", &lost, vec![Kind::Lost]),
        ("102", &none, vec![]),
        ("103", &none, vec![]),
        ("104", &none, vec![Kind::RefusedButDone]),
    ] {
        assert_eq!(kinds(ops(), &string("n", value), lost), expected, "{value}");
    }
    let twice = vec![op(incr(), 0, 1, Reply::Int(101))];
    assert_eq!(kinds(twice, &string("n", "102"), &none), [Kind::Repeated]);
    let same = vec![op(incr(), 0, 1, Reply::Int(101)), op(incr(), 2, 3, Reply::Int(101))];
    assert_eq!(kinds(same, &string("n", "102"), &none), [Kind::Mixed]);
    let far = vec![op(incr(), 0, 1, Reply::Int(7))];
    assert_eq!(kinds(far, &string("n", "101"), &none), [Kind::Mixed]);
    assert_eq!(kinds(ops(), &Final::default(), &none), [Kind::Lost]);
}

#[test]
fn a_list_holds_each_acknowledged_element_once_and_in_order() {
    let one_by_one = || {
        vec![
            op(push("a"), 0, 1, Reply::Int(1)),
            unknown(push("b"), 2, 3),
            refused(push("c"), 4, 5),
            op(push("d"), 6, 7, Reply::Int(3)),
        ]
    };
    let none = Lost::default();
    let lost = Lost {
        tokens: ["a".to_owned()].into(),
        replaced: vec![(0..=16383, ms(2))],
        ..Lost::default()
    };
    for (items, lost, expected) in [
        (&["a", "b", "d"][..], &none, vec![]),
        (&["a", "b", "b", "d"], &none, vec![Kind::Repeated, Kind::Mixed]),
        (&["b", "a", "d"], &none, vec![Kind::Reordered, Kind::Mixed]),
        (&["a", "c", "d"], &none, vec![Kind::RefusedButDone]),
        (&["a", "b"], &none, vec![Kind::Lost]),
        (&["b", "d"], &none, vec![Kind::Lost, Kind::Mixed]),
        (&["b", "d"], &lost, vec![]),
        (&["a", "b", "d", "x"], &none, vec![Kind::Mixed]),
    ] {
        assert_eq!(kinds(one_by_one(), &list(items), lost), expected, "{items:?}");
    }
    let at_once = || vec![op(push("a"), 0, 9, Reply::Int(2)), op(push("b"), 0, 9, Reply::Int(1))];
    let rules = Rules { pipelined_in_order: false, ..Rules::default() };
    assert_eq!(kinds(at_once(), &list(&["b", "a"]), &none), [Kind::Reordered]);
    assert_eq!(check(&history(at_once()), &list(&["b", "a"]), &none, &rules), []);
}

#[test]
fn a_replaced_primary_excuses_nothing_that_it_acknowledged_later() {
    let lost = |replaced| Lost {
        tokens: ["a".to_owned()].into(),
        replaced: vec![(0..=16383, ms(replaced))],
        ..Lost::default()
    };
    let late = || vec![op(push("a"), 4000, 5000, Reply::Int(1))];
    assert_eq!(kinds(late(), &list(&[]), &lost(3000)), [Kind::LateAck]);
    assert_eq!(kinds(late(), &list(&[]), &lost(5100)), []);
}

#[test]
fn a_register_shows_the_last_write_or_one_under_way() {
    let bulk = |value: &str| Reply::Bulk(value.into());
    let none = Lost::default();
    let writes =
        || vec![op(set("a"), 0, 1, ok()), unknown(set("b"), 2, 3), op(set("c"), 4, 8, ok())];
    for (value, expected) in [
        ("c", vec![]),
        // Unknown, and settled before the last one was sent.
        ("b", vec![Kind::Lost]),
        ("a", vec![Kind::Lost]),
        ("x", vec![Kind::Mixed]),
    ] {
        assert_eq!(kinds(writes(), &string("r", value), &none), expected, "{value}");
    }
    for (sent, replied, value, expected) in [
        (5, 6, bulk("a"), vec![]),
        (5, 6, bulk("b"), vec![]),
        (5, 6, bulk("c"), vec![]),
        (9, 10, bulk("a"), vec![Kind::Stale]),
        (9, 10, Reply::Nil, vec![Kind::Stale]),
        (1, 2, bulk("c"), vec![Kind::Mixed]),
        (9, 10, ok(), vec![Kind::Stale, Kind::Mixed]),
    ] {
        let mut ops = writes();
        ops.push(op(get(), sent, replied, value.clone()));
        assert_eq!(kinds(ops, &string("r", "c"), &none), expected, "{value:?} at {sent}");
    }
    let lost = Lost {
        tokens: ["c".to_owned()].into(),
        replaced: vec![(0..=16383, ms(9))],
        ..Lost::default()
    };
    assert_eq!(kinds(writes(), &string("r", "b"), &lost), []);
}

#[test]
fn every_way_not_to_be_answered_is_a_finding_unless_it_is_allowed() {
    let strict = Rules::default();
    let error = |text: &str| Reply::Error(text.into());
    for (op, expected) in [
        (unknown(set("a"), 0, 1), Kind::Unknown),
        (unknown(get(), 0, 1), Kind::ReadUnknown),
        (refused(set("a"), 0, 1), Kind::Refused),
        (op(set("a"), 0, 1, error("MOVED 7 127.0.0.1:7001")), Kind::Error),
        (op(set("a"), 0, 1, error("CLUSTERDOWN The cluster is down")), Kind::Error),
        (op(What::Ping { token: "p".into() }, 0, 1, ok()), Kind::Mixed),
        (Op { outcome: Outcome::Closed, ..unknown(set("a"), 0, 1) }, Kind::Closed),
        (Op { outcome: Outcome::Unanswered, ..unknown(set("a"), 0, 1) }, Kind::Unanswered),
    ] {
        let found = check(&history(vec![op.clone()]), &Final::default(), &Lost::default(), &strict);
        let found: Vec<Kind> = found.into_iter().map(|finding| finding.kind).collect();
        assert_eq!(found, [expected], "{op:?}");
    }
}

fn block(token: &str) -> What {
    let counters = ["n".into(), "o".into()];
    What::Block { counters, list: "l".into(), token: token.into() }
}

/// What is answered to MULTI, to what is queued, and to EXEC.
fn replies(queued: usize, exec: Reply) -> Reply {
    let mut all = vec![ok()];
    all.extend(vec![Reply::Simple("QUEUED".into()); queued]);
    all.push(exec);
    Reply::Array(all)
}

fn of_bases(
    ops: Vec<Op>,
    bases: &[(&str, i64)],
    end: &[(&str, &str)],
    items: &[&str],
) -> Vec<Kind> {
    let bases = bases.iter().map(|&(key, base)| (key.into(), Base::Count(base))).collect();
    let strings = end.iter().map(|&(key, value)| (key.into(), value.to_owned())).collect();
    let end = Final { strings, ..list(items) };
    let history = History { ops, bases, ..History::default() };
    let rules = Rules { unknown: true, refused: true, ..Rules::default() };
    let found = check(&history, &end, &Lost::default(), &rules);
    found.into_iter().map(|finding| finding.kind).collect()
}

#[test]
fn a_block_is_there_whole_or_not_at_all() {
    let done = |one, other, length| {
        let items = [one, other, length].map(Reply::Int).to_vec();
        op(block("a"), 0, 1, replies(3, Reply::Array(items)))
    };
    let maybe = unknown(block("b"), 2, 3);
    for (first, counts, items, expected) in [
        (done(101, 201, 1), ["101", "201"], &["a"][..], &[][..]),
        (done(101, 201, 1), ["102", "202"], &["a", "b"], &[]),
        (done(101, 201, 1), ["102", "201"], &["a"], &[Kind::Torn]),
        (done(101, 201, 1), ["102", "202"], &["a"], &[Kind::Torn]),
        (done(101, 202, 1), ["102", "202"], &["a", "b"], &[Kind::Torn]),
        (done(101, 201, 1), ["102", "202"], &["a", "a"], &[Kind::Repeated, Kind::Mixed]),
        (done(101, 201, 1), ["100", "200"], &[], &[Kind::Lost, Kind::Lost, Kind::Lost]),
        (op(block("a"), 0, 1, Reply::Array(vec![ok(); 5])), ["100", "200"], &[], &[Kind::Mixed]),
    ] {
        let told = format!("{first:?}, {counts:?}, {items:?}");
        let end = [("n", counts[0]), ("o", counts[1])];
        let found = of_bases(vec![first, maybe.clone()], &[("n", 100), ("o", 200)], &end, items);
        assert_eq!(found, expected, "{told}");
    }
}

#[test]
fn accounts_have_what_their_book_says() {
    let transfer = |token: &str, exec| {
        let what = What::Transfer {
            accounts: ["n".into(), "o".into()],
            amount: 5,
            after: [95, 205],
            book: "l".into(),
            token: token.into(),
        };
        op(what, 0, 1, replies(3, exec))
    };
    let done = || Reply::Array(vec![ok(), ok(), Reply::Int(1)]);
    for (exec, balances, items, expected) in [
        (done(), ["95", "205"], &["a"][..], &[][..]),
        (done(), ["100", "205"], &["a"], &[Kind::Unbalanced]),
        (done(), ["90", "210"], &["a"], &[Kind::Unbalanced, Kind::Unbalanced]),
        (Reply::Nil, ["100", "200"], &[], &[]),
        (Reply::Nil, ["95", "205"], &["a"], &[Kind::RefusedButDone]),
        (Reply::Array(vec![ok()]), ["100", "200"], &[], &[Kind::Mixed]),
    ] {
        let told = format!("{exec:?}, {balances:?}, {items:?}");
        let end = [("n", balances[0]), ("o", balances[1])];
        let ops = vec![transfer("a", exec)];
        assert_eq!(of_bases(ops, &[("n", 100), ("o", 200)], &end, items), expected, "{told}");
    }
    let bulk = |text: &str| Reply::Bulk(text.into());
    let sum = What::Sum { accounts: vec!["n".into(), "o".into()] };
    for (seen, expected) in [(["95", "205"], &[][..]), (["95", "200"], &[Kind::Unbalanced])] {
        let seen = Reply::Array(seen.map(bulk).to_vec());
        let ops = vec![op(sum.clone(), 0, 1, replies(2, seen))];
        assert_eq!(of_bases(ops, &[("n", 100), ("o", 200)], &[], &[]), expected);
    }
}

#[test]
fn a_reply_that_nobody_asked_for_is_a_finding() {
    let history = History { surplus: vec![(1, ok())], ..History::default() };
    let found = check(&history, &Final::default(), &Lost::default(), &Rules::default());
    assert_eq!(found[0].kind, Kind::Mixed);
}

#[test]
fn a_split_write_is_held_to_what_was_told_of_each_slot() {
    // Slots 15495, 3300 and 7365.
    let pairs = ["a", "b", "c"].map(|name| (Key::from(format!("{{{name}}}")), format!("t{name}")));
    let write = |reply: &str| {
        let reply = if reply == "OK" { ok() } else { Reply::Error(reply.to_owned()) };
        vec![op(What::SetOver { pairs: pairs.to_vec() }, 1, 2, reply)]
    };
    let holds = |names: &[&str]| {
        let strings =
            names.iter().map(|name| (format!("{{{name}}}").as_str().into(), format!("t{name}")));
        Final { strings: strings.collect(), ..Final::default() }
    };
    let partly = "UNKNOWNRESULT partly executed: 1 of 3 slots applied, slots 3300 not executed, \
                  slots 15495 unknown: x";
    for (reply, held, expected) in [
        ("OK", &["a", "b", "c"][..], &[][..]),
        ("OK", &["a", "b"], &[Kind::Lost]),
        (partly, &["c"], &[]),
        (partly, &["a", "c"], &[]),
        (partly, &["a"], &[Kind::Lost]),
        (partly, &["b", "c"], &[Kind::RefusedButDone]),
    ] {
        let found = kinds(write(reply), &holds(held), &Lost::default());
        assert_eq!(found, expected, "{reply}: {held:?}");
    }
    let keys = pairs.iter().map(|(key, _)| key.clone()).collect();
    let values =
        |last: Reply| Reply::Array(vec![Reply::Bulk("ta".into()), Reply::Bulk("tb".into()), last]);
    for (last, expected) in [(Reply::Bulk("tc".into()), &[][..]), (Reply::Nil, &[Kind::Stale])] {
        let mut ops = write("OK");
        ops.push(op(What::GetOver { keys: Vec::clone(&keys) }, 3, 4, values(last)));
        assert_eq!(kinds(ops, &holds(&["a", "b", "c"]), &Lost::default()), expected);
    }
}
