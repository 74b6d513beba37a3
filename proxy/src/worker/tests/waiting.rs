//! Who waits, for what, and how those that waited leave.

use std::time::Duration;

use super::bench::{Bench, deadlines, encode, key_of, settings, topology};
use crate::slot::Slot;
use crate::worker::Settings;

#[test]
fn a_request_that_waits_for_a_greeting_goes_where_the_map_says() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.advance(Duration::from_secs(2));
    bench.freeze(1);
    bench.kill(1, false);
    bench.send(client, &format!("INCR {}", key_of(1, 0)));
    assert_eq!(bench.wires_of(1).len(), 1, "its greeting is not answered");
    bench.topology(topology(2, &[(4, &[(0, 5460)]), (2, &[(5461, 16383)])]));
    assert_eq!(bench.at(4), [format!("INCR {}", key_of(1, 0))]);
    bench.answer(4, ":1");
    assert_eq!(bench.got(client), ":1\r\n");
}

#[test]
fn a_request_that_waits_for_a_greeting_keeps_to_its_deadline() {
    let deadline = Duration::from_millis(500);
    let mut bench = Bench::with(Settings { deadlines: deadlines(deadline), ..settings() });
    let client = bench.client();
    bench.advance(Duration::from_secs(2));
    bench.freeze(1);
    bench.kill(1, false);
    bench.send(client, &format!("INCR {}", key_of(1, 0)));
    bench.advance(deadline);
    let got = bench.got(client);
    assert!(got.starts_with("-CLUSTERDOWN not executed: its connection is being opened"), "{got}");
    bench.thaw(1);
    assert_eq!(bench.at(1), [""; 0], "what was given up is not sent");
}

#[test]
fn what_was_not_handed_over_waits_for_an_earlier_request_that_was_rejected() {
    let mut bench = Bench::new();
    let (client, other) = (bench.client(), bench.client());
    let (key, beside) = (key_of(1, 0), key_of(1, 1));
    let wire = bench.wires_of(1)[0];
    let first = encode(&format!("RPUSH {key} 1"));
    bench.wires.get_mut(&wire).unwrap().takes = Some(first.len());
    let next = [encode(&format!("RPUSH {key} 2")), encode(&format!("RPUSH {key} 3"))];
    bench.send_raw(client, &[first, next.concat()].concat());
    bench.send(other, &format!("GET {beside}"));
    let slot = Slot::of_key(key.as_bytes());
    bench.wires.get_mut(&wire).unwrap().takes = None;
    bench.answer(1, &format!("-MOVED {slot} 10.0.0.1:2"));
    bench.send(other, &format!("GET {beside}"));
    // They would have been executed in front of it, or bounced behind it in the wrong order.
    assert_eq!(bench.at(1), [format!("GET {beside}"), format!("GET {beside}")]);
    for n in 1..=3 {
        assert_eq!(bench.at(2), [format!("RPUSH {key} {n}")]);
        bench.answer(2, &format!(":{n}"));
    }
    assert_eq!(bench.got(client), ":1\r\n:2\r\n:3\r\n");
}

#[test]
fn many_that_waited_leave_at_a_pace_and_in_order() {
    let mut bench = Bench::with(Settings { park_max_requests: 1000, ..settings() });
    bench.kill(1, true);
    let clients: Vec<u32> = (0..500).map(|_| bench.client()).collect();
    for (n, &client) in clients.iter().enumerate() {
        bench.send(client, &format!("RPUSH {} {n}", key_of(1, 0)));
    }
    assert_eq!(bench.cells.parked_requests.get(), 500);
    bench.revive(1);
    bench.advance(Duration::from_secs(1));
    bench.answer(1, ":1");
    assert_eq!(bench.at(1).len(), 128, "the first measure of them");
    let untouched = bench.client();
    bench.send(untouched, &format!("GET {}", key_of(2, 0)));
    assert_eq!(bench.at(2).len(), 1, "others do not wait for them");
    bench.advance(Duration::from_millis(1));
    assert_eq!(bench.at(1).len(), 256);
    bench.advance(Duration::from_millis(2));
    let expected: Vec<String> = (1..500).map(|n| format!("RPUSH {} {n}", key_of(1, 0))).collect();
    assert_eq!(bench.at(1), expected);
    assert_eq!(bench.cells.parked_requests.get(), 0);
}

#[test]
fn what_was_given_up_at_a_silent_node_is_killed_before_anything_else_goes_there() {
    let mut bench = Bench::new();
    let (first, second) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    let old = bench.wires_of(1)[0];
    bench.freeze(1);
    bench.send(first, &format!("RPUSH {key} 1"));
    bench.advance(Duration::from_millis(500));
    bench.send(second, &format!("RPUSH {key} x"));
    bench.live(Duration::from_millis(19_500));
    assert!(bench.got(first).starts_with("-UNKNOWNRESULT "));
    assert_eq!(bench.got(second), "", "the other one still has half a second");
    bench.send(first, &format!("RPUSH {key} 2"));
    bench.advance(Duration::from_millis(20));
    bench.thaw(1);
    assert_eq!(bench.killed, [format!("CLIENT KILL ID {old}")]);
}

#[test]
fn a_large_request_counts_towards_the_budget_of_large_ones_while_it_waits() {
    let mut bench = Bench::with(Settings { park_max_bytes: 10_000, ..settings() });
    bench.kill(1, true);
    let client = bench.client();
    bench.send(client, &format!("SET {} {}", key_of(1, 0), "x".repeat(30_000)));
    assert_eq!((bench.got(client).as_str(), bench.cells.parked_requests.get()), ("", 1));
    bench.revive(1);
    bench.advance(Duration::from_secs(1));
    bench.answer(1, "+OK");
    assert_eq!(bench.got(client), "+OK\r\n");
}

#[test]
fn held_replies_have_a_bound() {
    let mut bench = Bench::with(Settings { output_max: 1000, ..settings() });
    let clients = [bench.client(), bench.client(), bench.client()];
    let key = key_of(1, 0);
    bench.freeze(1);
    bench.send(clients[0], &format!("GETSET {key} a"));
    bench.send(clients[1], &format!("GETSET {key} b"));
    bench.send(clients[2], &format!("GET {key}"));
    bench.live(Duration::from_secs(3));
    bench.thaw(1);
    for _ in 0..3 {
        bench.answer(1, &format!("$600\r\n{}", "x".repeat(600)));
    }
    assert_eq!(bench.got(clients[0]), "", "held");
    let got = bench.got(clients[1]);
    assert!(got.starts_with("-UNKNOWNRESULT ") && got.contains("too many replies"), "{got}");
    bench.look(2);
    assert_eq!(bench.got(clients[0]).len(), 608);
    bench.advance(Duration::from_millis(100));
    bench.look(2);
    assert_eq!(bench.at(1), [format!("GET {key}")], "what only reads is read once more");
}

#[test]
fn what_a_node_does_not_take_keeps_to_its_deadline() {
    let deadline = Duration::from_secs(1);
    let mut bench = Bench::with(Settings { deadlines: deadlines(deadline), ..settings() });
    let client = bench.client();
    let key = key_of(1, 0);
    let wire = bench.wires_of(1)[0];
    bench.wires.get_mut(&wire).unwrap().takes = Some(0);
    bench.send(client, &format!("INCR {key}"));
    bench.live(Duration::from_secs(2));
    let got = bench.got(client);
    assert!(got.starts_with("-CLUSTERDOWN not executed: its node takes nothing"), "{got}");
    bench.wires.get_mut(&wire).unwrap().takes = None;
    bench.send(client, &format!("GET {key}"));
    assert_eq!(bench.at(1), [format!("GET {key}")], "and is not sent later");
}

#[test]
fn what_a_replaced_node_was_not_handed_goes_to_the_new_owner() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    let wire = bench.wires_of(1)[0];
    bench.wires.get_mut(&wire).unwrap().takes = Some(0);
    bench.send(client, &format!("RPUSH {key} 1"));
    bench.send(client, &format!("RPUSH {key} 2"));
    bench.topology(topology(2, &[(1, &[(5461, 5461)]), (2, &[(0, 5460), (5462, 16383)])]));
    assert_eq!(bench.at(2), [format!("RPUSH {key} 1")]);
    bench.answer(2, ":1");
    bench.answer(2, ":2");
    assert_eq!(bench.got(client), ":1\r\n:2\r\n");
    bench.wires.get_mut(&wire).unwrap().takes = None;
    bench.send(client, "PING");
    assert_eq!(bench.at(1), [""; 0], "the old one gets nothing of it");
}

#[test]
fn a_large_request_that_is_given_up_leaves_its_connection_to_the_next() {
    let deadline = Duration::from_secs(1);
    let mut bench =
        Bench::with(Settings { deadlines: deadlines(deadline), dedicated_max: 1, ..settings() });
    let client = bench.client();
    let set = format!("SET {} {}", key_of(1, 0), "x".repeat(30_000));
    bench.send(client, &set);
    bench.answer(1, "+OK");
    assert_eq!(bench.got(client), "+OK\r\n");
    let own = bench.wires_of(1)[1];
    bench.wires.get_mut(&own).unwrap().takes = Some(0);
    bench.send(client, &set);
    bench.live(Duration::from_secs(2));
    assert!(bench.got(client).starts_with("-CLUSTERDOWN not executed: its node takes nothing"));
    bench.wires.get_mut(&own).unwrap().takes = None;
    bench.send(client, &set);
    bench.answer(1, "+OK");
    assert_eq!(bench.got(client), "+OK\r\n", "its place is not lost");
}

/// In a partition the old owner would execute what it has in part as soon as it has all of it.
#[test]
fn what_a_replaced_node_was_handed_in_part_is_not_completed_there() {
    let mut bench = Bench::new();
    let (client, other) = (bench.client(), bench.client());
    let (key, stays) = (key_of(1, 0), key_of(1, 1));
    let wire = bench.wires_of(1)[0];
    let requests = [format!("INCR {key}"), format!("RPUSH {key} 1"), format!("GET {stays}")];
    // The kernel takes the first one and a half.
    let first = encode(&requests[0]).len();
    bench.wires.get_mut(&wire).unwrap().takes = Some(first + 10);
    bench.send(client, &requests[0]);
    bench.send(client, &requests[1]);
    bench.send(other, &requests[2]);
    let (slot, kept) = (slot_of(&key), slot_of(&stays));
    assert!(slot < kept && kept <= 5460);
    let moved = topology(2, &[(4, &[(0, slot)]), (1, &[(slot + 1, 5460)]), (2, &[(5461, 16383)])]);
    bench.topology(moved);
    bench.wires.get_mut(&wire).unwrap().takes = None;
    bench.turn();
    assert_eq!(bench.at(4), [""; 0], "an earlier one of the same client is not answered");
    assert_eq!(bench.at(1), [&*requests[0], &*requests[2]], "the last one on a new connection");
    bench.answer_on(wire, ":1");
    assert_eq!(bench.at(4), [&*requests[1]]);
    bench.answer(4, ":2");
    bench.answer(1, "$1\r\nx");
    assert_eq!(
        (bench.got(client), bench.got(other)),
        (":1\r\n:2\r\n".into(), "$1\r\nx\r\n".into())
    );
    assert!(!bench.wires.contains_key(&wire), "it ends in half a request");
    assert_eq!(bench.cells.unknown_results.get(), 0);
}

/// Half a request can be followed by nothing, not even by a question of ours.
#[test]
fn nothing_is_asked_behind_half_a_request() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    let script = format!("EVAL script 1 {key}");
    let wire = bench.wires_of(1)[0];
    bench.wires.get_mut(&wire).unwrap().takes = Some(encode(&script).len() + 10);
    bench.send(client, &script);
    bench.send(client, &format!("INCR {key}"));
    bench.topology(topology(2, &[(4, &[(0, 5460)]), (2, &[(5461, 16383)])]));
    bench.wires.get_mut(&wire).unwrap().takes = None;
    bench.answer_on(wire, "-CLUSTERDOWN The cluster is down");
    assert_eq!(bench.got(client), "-CLUSTERDOWN The cluster is down\r\n");
    assert_eq!(bench.at(4), [format!("INCR {key}")]);
    assert!(!bench.wires.contains_key(&wire));
}

fn slot_of(key: &str) -> u16 {
    Slot::of_key(key.as_bytes()).number()
}
