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
    History { ops, bases: vec![("n".into(), Base::Count(100))] }
}

fn kinds(ops: Vec<Op>, end: &Final, lost: &Lost) -> Vec<Kind> {
    let rules = Rules { unknown: true, refused: true, pipelined_in_order: true };
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
