//! Silent nodes: slow ones are waited for, frozen ones are not sent anything more.

use std::time::Duration;

use super::bench::{Bench, encode, key_of, settings, topology};
use crate::slot::Slot;
use crate::worker::Settings;

#[test]
fn a_node_that_answers_a_second_connection_is_only_slow() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, &format!("EVAL slow 1 {}", key_of(1, 0)));
    bench.live(Duration::from_secs(60));
    assert_eq!(bench.got(client), "", "a healthy wait has no deadline");
    assert_eq!(bench.wires_of(1).len(), 1, "probes are closed");
    assert!(bench.dials[&1] > 10, "{} dials", bench.dials[&1]);
    assert_eq!(bench.cells.suspects.get(), 0);
    bench.answer(1, ":1");
    assert_eq!(bench.got(client), ":1\r\n");
}

#[test]
fn an_idle_node_is_not_probed() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, &format!("GET {}", key_of(1, 0)));
    bench.answer(1, "$1\r\nx");
    bench.live(Duration::from_secs(30));
    assert_eq!(bench.dials[&1], 1);
}

#[test]
fn a_pause_is_masked_entirely_and_in_order() {
    let mut bench = Bench::new();
    let (client, other) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    bench.freeze(1);
    bench.send(client, &format!("RPUSH {key} 1"));
    bench.live(Duration::from_secs(3));
    assert_eq!(bench.cells.suspects.get(), 1);
    bench.send(client, &format!("RPUSH {key} 2"));
    bench.send(other, &format!("GET {key}"));
    bench.live(Duration::from_secs(1));
    assert_eq!((bench.got(client), bench.got(other)), (String::new(), String::new()));
    bench.thaw(1);
    bench.answer(1, ":1");
    assert_eq!(bench.got(client), "", "held until another node says who the primary is");
    bench.look(1);
    assert_eq!(bench.got(client), "", "what it says of itself is no proof");
    bench.live(Duration::from_secs(2));
    assert_eq!(bench.at(1), [""; 0], "a new connection is not used before it either");
    bench.look(2);
    assert_eq!(bench.got(client), ":1\r\n");
    bench.live(Duration::from_secs(1));
    bench.look(2);
    assert_eq!(bench.at(1).len(), 1, "one tries whether the node serves");
    while !bench.at(1).is_empty() {
        let reply = if bench.at(1)[0].starts_with("GET") { "$-1" } else { ":2" };
        bench.answer(1, reply);
    }
    assert_eq!((bench.got(client), bench.got(other)), (":2\r\n".into(), "$-1\r\n".into()));
    assert_eq!(bench.cells.unknown_results.get(), 0);
}

/// The map names another owner all the time, which was not put in its place.
#[test]
fn what_was_sent_on_with_ask_waits_for_a_silent_node_as_well() {
    let mut bench = Bench::new();
    let (client, other) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    let slot = Slot::of_key(key.as_bytes());
    bench.freeze(2);
    for (client, request) in [(other, format!("GET {key}")), (client, format!("RPUSH {key} 1"))] {
        bench.send(client, &request);
        bench.answer(1, "-TRYAGAIN Multiple keys request during rehashing of slot");
    }
    bench.advance(Duration::from_millis(10));
    assert_eq!(bench.at(1), [format!("RPUSH {key} 1")], "one tries");
    bench.answer(1, &format!("-ASK {slot} 10.0.0.1:2"));
    bench.live(Duration::from_secs(4));
    assert_eq!((bench.cells.suspects.get(), bench.got(client)), (1, String::new()));
    assert_eq!(bench.at(1), [format!("GET {key}")], "and the next, whom it does not keep waiting");
    bench.answer(1, "$-1");
    bench.thaw(2);
    bench.answer(2, "+OK");
    bench.answer(2, ":1");
    assert_eq!(bench.got(client), "", "held until another node says who is primary");
    bench.look(1);
    assert_eq!(bench.got(client), ":1\r\n");
    assert_eq!(bench.cells.unknown_results.get(), 0);
}

/// … unless the slot has come elsewhere meanwhile, or the node itself was replaced.
#[test]
fn what_was_sent_on_with_ask_is_unknown_when_the_silent_node_has_no_part_in_the_slot_any_more() {
    let ranges = [(0, 5460), (5461, 10922), (10923, 16383)];
    let [one, two, three] = &ranges.map(|range| [range]);
    for news in [
        [(4, &one[..]), (2, &two[..]), (3, &three[..])],
        [(1, &one[..]), (4, &two[..]), (3, &three[..])],
    ] {
        let mut bench = Bench::new();
        let (client, key) = (bench.client(), key_of(1, 0));
        let slot = Slot::of_key(key.as_bytes());
        bench.freeze(2);
        bench.send(client, &format!("RPUSH {key} 1"));
        bench.answer(1, &format!("-ASK {slot} 10.0.0.1:2"));
        bench.live(Duration::from_secs(4));
        assert_eq!(bench.got(client), "");
        bench.topology(topology(2, &news));
        let got = bench.got(client);
        assert!(got.starts_with("-UNKNOWNRESULT ") && got.contains("replaced"), "{got}");
    }
}

#[test]
fn after_a_failover_reads_go_to_the_new_primary_and_writes_are_unknown() {
    let mut bench = Bench::new();
    let (reads, writes) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    bench.freeze(1);
    bench.send(reads, &format!("GET {key}"));
    bench.send(writes, &format!("INCR {key}"));
    bench.live(Duration::from_secs(3));
    let old = bench.wires_of(1)[0];
    bench.topology(topology(2, &[(4, &[(0, 5460)]), (2, &[(5461, 16383)])]));
    assert_eq!(bench.at(4), [format!("GET {key}")]);
    let got = bench.got(writes);
    assert!(got.starts_with("-UNKNOWNRESULT ") && got.contains("replaced"), "{got}");
    assert!(bench.wires.get(&old).is_none_or(|wire| wire.port == 4), "nobody waits there any more");
    bench.answer(4, "$3\r\nnew");
    assert_eq!(bench.got(reads), "$3\r\nnew\r\n");
    assert_eq!(bench.got(writes), "");
}

/// The map that says so came first, and no other one comes.
#[test]
fn a_node_that_was_replaced_before_it_is_suspect_is_not_waited_for() {
    let mut bench = Bench::new();
    let (reads, writes) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    bench.freeze(1);
    bench.send(reads, &format!("GET {key}"));
    bench.send(writes, &format!("INCR {key}"));
    bench.topology(topology(2, &[(4, &[(0, 5460)]), (2, &[(5461, 16383)])]));
    bench.live(Duration::from_millis(500));
    assert_eq!(bench.got(writes), "", "it may be slow only");
    bench.live(Duration::from_millis(2500));
    assert_eq!(bench.at(4), [format!("GET {key}")]);
    let got = bench.got(writes);
    assert!(got.starts_with("-UNKNOWNRESULT ") && got.contains("replaced"), "{got}");
}

#[test]
fn what_a_replaced_primary_acknowledges_is_not_passed_on() {
    let mut bench = Bench::new();
    let (reads, writes) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    bench.freeze(1);
    bench.send(writes, &format!("INCR {key}"));
    bench.send(reads, &format!("GET {key}"));
    bench.live(Duration::from_secs(3));
    // It wakes up and answers before anybody here knows that it was replaced.
    bench.thaw(1);
    bench.answer(1, ":1");
    bench.answer(1, "$1\r\n1");
    bench.topology(topology(2, &[(4, &[(0, 5460)]), (2, &[(5461, 16383)])]));
    bench.look(2);
    let got = bench.got(writes);
    assert!(got.starts_with("-UNKNOWNRESULT ") && got.contains("replaced"), "{got}");
    assert_eq!(bench.got(reads), "");
    assert_eq!(bench.at(4), [format!("GET {key}")]);
    bench.answer(4, "$-1");
    assert_eq!(bench.got(reads), "$-1\r\n");
}

#[test]
fn a_held_reply_waits_for_a_confirmation_until_the_deadline() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.freeze(1);
    bench.send(client, &format!("INCR {}", key_of(1, 0)));
    bench.live(Duration::from_secs(3));
    bench.thaw(1);
    bench.answer(1, ":1");
    bench.live(Duration::from_secs(18));
    let got = bench.got(client);
    assert!(got.starts_with("-UNKNOWNRESULT "), "{got}");
}

#[test]
fn what_was_handed_over_to_a_frozen_node_ends_at_the_deadline() {
    let mut bench = Bench::new();
    let (client, reads) = (bench.client(), bench.client());
    let wire = bench.wires_of(1)[0];
    bench.freeze(1);
    bench.send(client, &format!("INCR {}", key_of(1, 0)));
    bench.send(reads, &format!("GET {}", key_of(1, 0)));
    bench.live(Duration::from_secs(19));
    assert_eq!(bench.got(client), "");
    bench.wishes.clear();
    bench.live(Duration::from_secs(2));
    assert!(!bench.wishes.is_empty(), "the map is asked for all the time");
    let read = bench.got(reads);
    assert!(read.starts_with("-CLUSTERDOWN not executed"), "it has changed nothing: {read}");
    let got = bench.got(client);
    assert!(got.starts_with("-UNKNOWNRESULT ") && got.contains("does not answer"), "{got}");
    assert!(!bench.wires.contains_key(&wire), "a connection that nobody waits for is closed");
    bench.send(client, "PING");
    assert_eq!(bench.got(client), "+PONG\r\n");
}

#[test]
fn what_was_not_handed_over_to_a_frozen_node_is_taken_back() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    let wire = bench.wires_of(1)[0];
    let first = encode(&format!("INCR {key}"));
    bench.freeze(1);
    // The kernel takes the first request and half of the second.
    bench.wires.get_mut(&wire).unwrap().takes = Some(first.len() + 10);
    bench.send_raw(client, &[first.clone(), first].concat());
    bench.live(Duration::from_secs(3));
    assert_eq!(bench.cells.parked_requests.get(), 1);
    bench.topology(topology(2, &[(4, &[(0, 5460)]), (2, &[(5461, 16383)])]));
    assert!(bench.got(client).starts_with("-UNKNOWNRESULT "));
    assert_eq!(bench.at(4), [format!("INCR {key}")], "the second was not executed for sure");
    bench.answer(4, ":2");
    assert_eq!(bench.got(client), ":2\r\n");
    assert_eq!(bench.cells.parked_requests.get(), 0);
}

#[test]
fn a_read_that_a_frozen_node_holds_ends_as_not_executed() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.freeze(1);
    bench.send(client, &format!("GET {}", key_of(1, 0)));
    bench.live(Duration::from_secs(21));
    let got = bench.got(client);
    assert!(got.starts_with("-CLUSTERDOWN not executed: its node does not answer"), "{got}");
    assert_eq!(bench.cells.unknown_results.get(), 0);
}

#[test]
fn a_part_of_a_request_keeps_no_connection_open() {
    let mut bench = Bench::new();
    let client = bench.client();
    let wire = bench.wires_of(1)[0];
    bench.freeze(1);
    bench.wires.get_mut(&wire).unwrap().takes = Some(10);
    bench.send(client, &format!("INCR {}", key_of(1, 0)));
    bench.live(Duration::from_secs(3));
    assert_eq!(bench.cells.suspects.get(), 1);
    let mut connections = bench.worker.connections.iter();
    assert!(connections.all(|(_, c)| !c.suspect), "nothing will ever be answered on it");
}

#[test]
fn a_probe_takes_no_place_of_large_requests() {
    let mut bench = Bench::with(Settings { dedicated_max: 1, ..settings() });
    let (slow, large) = (bench.client(), bench.client());
    bench.send(slow, &format!("EVAL slow 1 {}", key_of(1, 0)));
    bench.slow_dials = true;
    bench.live(Duration::from_millis(1500));
    assert_eq!(bench.wires_of(1).len(), 2, "the probe is being dialed");
    bench.send(large, &format!("SET {} {}", key_of(1, 1), "x".repeat(25_000)));
    for wire in bench.wires_of(1) {
        bench.open(wire);
    }
    assert_eq!(bench.at(1).len(), 2, "the large request went out");
}

/// Only one connection of the node was silent, and the others were used at once when it was back.
#[test]
fn no_connection_of_a_suspect_node_is_used_again() {
    let mut bench = Bench::new();
    let client = bench.client();
    let shared = bench.wires_of(1)[0];
    bench.send(client, &format!("SET {} {}", key_of(1, 1), "x".repeat(25_000)));
    bench.freeze(1);
    bench.live(Duration::from_secs(3));
    assert_eq!(bench.cells.suspects.get(), 1);
    assert!(!bench.wires.contains_key(&shared), "the idle one is closed");
}

#[test]
fn a_redirect_of_a_node_that_is_behind_confirms_nothing() {
    let mut bench = Bench::new();
    let (writes, reads) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    bench.freeze(1);
    bench.send(writes, &format!("INCR {key}"));
    bench.live(Duration::from_secs(3));
    bench.thaw(1);
    bench.answer(1, ":1");
    bench
        .topology(topology(2, &[(4, &[(0, 5460)]), (2, &[(5461, 16383)]), (1, &[(16383, 16383)])]));
    bench.send(reads, &format!("GET {key}"));
    let slot = Slot::of_key(key.as_bytes()).number();
    bench.answer(4, &format!("-MOVED {slot} 10.0.0.1:1"));
    bench.look(2);
    let got = bench.got(writes);
    assert!(got.starts_with("-UNKNOWNRESULT ") && got.contains("replaced"), "{got}");
}

/// That is true whoever is the primary; only where to is for others to say.
#[test]
fn what_a_suspect_node_has_rejected_is_not_executed_and_goes_where_the_map_says() {
    for promoted in [true, false] {
        let mut bench = Bench::new();
        let client = bench.client();
        let incr = format!("INCR {}", key_of(1, 0));
        bench.freeze(1);
        bench.send(client, &incr);
        bench.live(Duration::from_secs(3));
        assert_eq!(bench.cells.suspects.get(), 1);
        bench.thaw(1);
        let slot = Slot::of_key(key_of(1, 0).as_bytes());
        bench.answer(1, &format!("-MOVED {slot} 10.0.0.1:2"));
        assert_eq!(bench.at(2), [""; 0], "it may name an owner of long ago");
        if promoted {
            bench.topology(topology(2, &[(4, &[(0, 5460)]), (2, &[(5461, 16383)])]));
            assert_eq!(bench.at(4), [&*incr]);
            bench.answer(4, ":1");
            assert_eq!(bench.got(client), ":1\r\n");
        } else {
            bench.live(Duration::from_secs(17));
            let got = bench.got(client);
            assert!(got.starts_with("-CLUSTERDOWN not executed: "), "{got}");
        }
        assert_eq!(bench.cells.unknown_results.get(), 0);
    }
}

// ---- the fence ----

/// A large write whose connection breaks alone: the shared one was used before it was fenced.
#[test]
fn what_is_left_of_a_lost_connection_is_killed_on_the_open_one_first() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    bench.send(client, &format!("RPUSH {key} {}", "x".repeat(25_000)));
    let large = *bench.wires_of(1).last().unwrap();
    bench.advance(Duration::from_secs(2));
    bench.wires.remove(&large);
    bench.worker.node_lost(large, bench.now);
    bench.send(client, &format!("RPUSH {key} 2"));
    assert!(bench.got(client).starts_with("-UNKNOWNRESULT "));
    assert_eq!(bench.at(1), [format!("RPUSH {key} 2")]);
    assert_eq!(bench.killed, [format!("CLIENT KILL ID {large}")]);
    bench.answer(1, ":2");
    assert_eq!(bench.got(client), ":2\r\n");
}

#[test]
fn what_is_lost_during_a_greeting_is_killed_at_its_end() {
    let mut bench = Bench::new();
    let (small, client) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    let shared = bench.wires_of(1)[0];
    bench.send(client, &format!("RPUSH {key} {}", "x".repeat(25_000)));
    let large = *bench.wires_of(1).last().unwrap();
    bench.advance(Duration::from_secs(2));
    bench.send(small, &format!("RPUSH {} 1", key_of(1, 1)));
    // The shared one breaks; its successor is greeted when the other one breaks too.
    bench.wires.remove(&shared);
    bench.worker.node_lost(shared, bench.now);
    bench.freeze(1);
    bench.send(small, &format!("RPUSH {} 2", key_of(1, 1)));
    bench.wires.remove(&large);
    bench.worker.node_lost(large, bench.now);
    bench.turn();
    bench.thaw(1);
    let kill = |id| format!("CLIENT KILL ID {id}");
    assert_eq!(bench.killed, [kill(shared), kill(large)]);
}

/// Its successor waits for another node to say who the primary is; then it is killed at once, not
/// with the next request.
#[test]
fn what_is_lost_while_its_successor_is_confirmed_is_killed_then() {
    let mut bench = Bench::new();
    let (client, other) = (bench.client(), bench.client());
    bench.freeze(1);
    let old = bench.wires_of(1)[0];
    bench.send(client, &format!("INCR {}", key_of(1, 0)));
    bench.live(Duration::from_secs(3));
    bench.send(other, &format!("INCR {}", key_of(1, 1)));
    bench.live(Duration::from_millis(500));
    bench.thaw(1);
    bench.worker.client_lost(other, bench.now);
    bench.wires.remove(&old);
    bench.worker.node_lost(old, bench.now);
    bench.turn();
    assert_eq!(bench.killed, [""; 0]);
    bench.look(2);
    assert_eq!(bench.killed, [format!("CLIENT KILL ID {old}")]);
}
