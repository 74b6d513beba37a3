//! What hostile clients and broken nodes did to others before it was mended; each test is the
//! story of one such bug.

use std::time::Duration;

use super::bench::{Bench, encode, key_of, settings, topology};
use crate::worker::Settings;

const LARGE: usize = 30_000;

fn bulk(len: usize) -> String {
    format!("${len}\r\n{}\r\n", "x".repeat(len))
}

/// A push larger than `large-reply` was taken for the reply at the head of the queue: from then
/// on every reply of the connection went to the wrong client.
#[test]
fn a_large_push_is_nobodys_reply() {
    let mut bench = Bench::new();
    let (first, second) = (bench.client(), bench.client());
    bench.send(first, &format!("INCR {}", key_of(1, 0)));
    bench.send(second, &format!("INCR {}", key_of(1, 1)));
    let wire = bench.wires_of(1)[0];
    let push = format!(">2\r\n{}{}", bulk(5), bulk(LARGE)).into_bytes();
    bench.say(wire, &push[..10_000]);
    if bench.wires.contains_key(&wire) {
        bench.say(wire, &push[10_000..]);
        bench.say(wire, b":1\r\n:2\r\n");
    }
    let unknown = "-UNKNOWNRESULT sent, reply lost: ";
    for client in [first, second] {
        let got = bench.got(client);
        assert!(got.starts_with(unknown), "{got}");
    }
}

/// What a broken connection had sent behind the fault was read as if its successor, which has
/// the same place in the table, had sent it.
#[test]
fn what_follows_bad_bytes_is_not_read_on_the_next_connection() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.advance(Duration::from_secs(5));
    let wire = bench.wires_of(1)[0];
    bench.wires.get_mut(&wire).unwrap().takes = Some(0);
    bench.send(client, &format!("INCR {}", key_of(1, 0)));
    let dials = bench.dials[&1];
    bench.say(wire, b"+nobody asked\r\n+nor for this\r\n+and this has no end");
    assert_eq!(bench.dials[&1], dials + 1, "one connection was lost, one is opened");
    assert_eq!(bench.at(1).len(), 1);
    bench.answer(1, ":1");
    assert_eq!(bench.got(client), ":1\r\n");
}

/// A large reply that waits for its turn has not reached its client: when its connection is lost,
/// the request is settled as any other. It closed the client, with a log line about a bug.
#[test]
fn a_large_reply_that_is_lost_before_its_turn_closes_nobody() {
    for (command, again) in [("GET", true), ("EVAL", false)] {
        let mut bench = Bench::new();
        let client = bench.client();
        let request = match again {
            true => format!("GET {}", key_of(1, 0)),
            false => format!("EVAL script 1 {}", key_of(1, 0)),
        };
        bench.send(client, &format!("GET {}", key_of(2, 0)));
        bench.send(client, &request);
        let wire = bench.wires_of(1)[0];
        bench.say(wire, &bulk(LARGE).as_bytes()[..10_000]);
        bench.kill(1, false);
        bench.advance(Duration::from_millis(10));
        if again {
            assert_eq!(bench.at(1), [request]);
            bench.answer(1, "$1\r\nx");
        }
        bench.answer(2, "$5\r\nfirst");
        let got = bench.got(client);
        let expected = if again { "$5\r\nfirst\r\n$1\r\nx\r\n" } else { "$5\r\nfirst\r\n-UNKNOWN" };
        assert!(got.starts_with(expected), "{command}: {got}");
        assert!(bench.closed.is_empty());
    }
}

/// The budget for large requests was given back only by those that went to a node: a large ECHO
/// kept its bytes, and closed its client after `large-stall`.
#[test]
fn a_large_request_that_goes_nowhere_gives_its_bytes_back() {
    let long = "x".repeat(60_000);
    for request in [
        format!("ECHO {long}"),
        format!("NOSUCH {long}"),
        format!("MSETNX {} {long} {} 1", key_of(1, 0), key_of(2, 0)),
        format!("GET a {long}"),
    ] {
        let mut bench = Bench::new();
        let (first, second) = (bench.client(), bench.client());
        for client in [first, second] {
            let whole = encode(&request);
            bench.send_raw(client, &whole[..30_000]);
            assert!(bench.worker.reads_client(client), "there is room for it");
            bench.send_raw(client, &whole[30_000..]);
            assert!(!bench.got(client).is_empty());
        }
        bench.advance(Duration::from_secs(60));
        assert!(bench.closed.is_empty(), "{}", &request[..10]);
    }
}

/// Who waits for the budget is not read: that it sends nothing is our doing. It was closed as if
/// it had stalled.
#[test]
fn waiting_for_the_budget_of_large_requests_is_not_stalling() {
    let mut bench = Bench::new();
    let (holder, waiter) = (bench.client(), bench.client());
    let whole = encode(&format!("SET {} {}", key_of(1, 0), "x".repeat(60_000)));
    bench.send_raw(holder, &whole[..30_000]);
    bench.send_raw(waiter, &whole[..30_000]);
    for at in 0..10 {
        bench.advance(Duration::from_millis(1000));
        bench.send_raw(holder, &whole[30_000 + at..=30_000 + at]);
    }
    assert!(bench.closed.is_empty(), "one goes on slowly, the other waits for it");
    bench.send_raw(holder, &whole[30_010..]);
    bench.answer(1, "+OK");
    bench.send_raw(waiter, &whole[30_000..]);
    bench.answer(1, "+OK");
    assert_eq!(bench.got(waiter), "+OK\r\n");
}

/// A client that takes its large reply byte by byte, or that only makes the driver try to write
/// to it, held up those behind it for ever.
#[test]
fn those_behind_a_large_reply_wait_only_so_long_however_it_is_taken() {
    for taken in [0, 1] {
        let mut bench = Bench::new();
        let (slow, behind) = (bench.client(), bench.client());
        let key = key_of(1, 0);
        bench.worker.client_bytes(slow, &encode(&format!("GET {key}")), bench.now);
        bench.worker.client_bytes(behind, &encode(&format!("GET {key}")), bench.now);
        bench.turn();
        let wire = bench.wires_of(1)[0];
        bench.worker.node_bytes(wire, b"$1000000\r\n", bench.now);
        let piece = vec![b'x'; 60_000];
        while bench.worker.reads_node(wire) {
            bench.worker.node_bytes(wire, &piece, bench.now);
        }
        for _ in 0..100 {
            bench.now = bench.now + Duration::from_millis(100);
            bench.worker.client_wrote(slow, taken, bench.now);
            if bench.worker.next_wake().is_some_and(|wake| wake <= bench.now) {
                bench.worker.tick(bench.now);
            }
        }
        bench.turn();
        assert_eq!(bench.closed, [slow], "{taken} bytes at a time");
    }
}

/// A request that tried the way for its slot and found its node away was not counted as back:
/// nobody else of the slot ever tried again.
#[test]
fn a_try_for_a_slot_that_ends_at_a_closed_node_is_over() {
    let mut bench = Bench::new();
    let clients = [bench.client(), bench.client()];
    let key = key_of(1, 0);
    for client in clients {
        bench.send(client, &format!("MSET {key} 1"));
    }
    for _ in clients {
        bench.answer(1, "-TRYAGAIN Multiple keys request during rehashing of slot");
    }
    bench.kill(1, true);
    bench.advance(Duration::from_secs(2));
    bench.revive(1);
    let mut answered = 0;
    for _ in 0..50 {
        bench.advance(Duration::from_millis(100));
        for _ in bench.at(1) {
            bench.answer(1, "+OK");
            answered += 1;
        }
    }
    assert_eq!(answered, 2);
    for client in clients {
        assert_eq!(bench.got(client), "+OK\r\n");
    }
}

/// With one primary, a request without keys that waited for it was taken out of the lot and put
/// back in for ever: the worker hung.
#[test]
fn a_request_without_keys_waits_for_the_only_node() {
    let mut bench = Bench::without_topology(settings());
    bench.topology(topology(1, &[(1, &[(0, 16383)])]));
    bench.kill(1, true);
    let client = bench.client();
    bench.send(client, "COMMAND DOCS");
    bench.advance(Duration::from_secs(1));
    bench.revive(1);
    bench.advance(Duration::from_millis(300));
    bench.answer(1, ":241");
    assert_eq!(bench.got(client), ":241\r\n");
}

/// A request without keys can go to any primary, so it does not wait for one that is away.
#[test]
fn a_request_without_keys_goes_to_a_node_that_is_there() {
    let mut bench = Bench::new();
    // The bench's random number is 0.5: the owner of slot 8192.
    bench.kill(2, true);
    let (one, other) = (bench.client(), bench.client());
    bench.send(one, &format!("GET {}", key_of(2, 0)));
    bench.send(other, "COMMAND DOCS");
    bench.advance(Duration::from_millis(500));
    assert_eq!(bench.at(1).len() + bench.at(3).len(), 1);
}

/// Servers repeat line ends in some errors: `FUNCTION LOAD` of any, scripts of Valkey 8.0. What
/// follows such an error looks like a reply, and must not be that of the next request.
#[test]
fn an_error_that_breaks_its_line_forges_nobodys_reply() {
    for (request, scripts_apart) in
        [("FUNCTION LOAD x".to_owned(), false), (format!("EVAL x 1 {}", key_of(1, 0)), true)]
    {
        let mut bench = Bench::with(Settings { scripts_apart, ..settings() });
        let (attacker, victim) = (bench.client(), bench.client());
        let shared = bench.wires_of(1)[0];
        bench.send(attacker, &request);
        let get = format!("GET {}", key_of(1, 0));
        bench.send(victim, &get);
        let is_its_own =
            |bench: &Bench, wire: &u32| bench.wires[wire].requests == [request.clone()];
        let own = bench.wires_of(1).into_iter().find(|wire| is_its_own(&bench, wire));
        let own = own.expect("it has a connection of its own");
        assert_ne!(own, shared);
        bench.send(attacker, "PING");
        bench.wires.get_mut(&own).unwrap().requests.clear();
        bench.say(own, b"-ERR near 'x\r\n:77\r\n'\r\n");
        assert!(!bench.wires.contains_key(&own), "what else comes on it is nobody's");
        bench.answer_on(shared, "$1\r\nv");
        assert_eq!(bench.got(victim), "$1\r\nv\r\n");
        for port in 2..=3 {
            if scripts_apart {
                break;
            }
            bench.answer(port, "-ERR near 'x'");
        }
        assert_eq!(bench.got(attacker), "-ERR near 'x\r\n+PONG\r\n", "it waited for its own reply");
    }
}
