//! Large values: nobody else waits for them.

use std::time::Duration;

use super::bench::{Bench, encode, key_of};

const LARGE: usize = 30_000;

fn bulk(len: usize) -> String {
    format!("${len}\r\n{}", "x".repeat(len))
}

#[test]
fn a_large_reply_passes_through_and_others_get_a_new_connection() {
    let mut bench = Bench::new();
    let (large, other) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    bench.send(large, &format!("GET {key}"));
    let wire = bench.wires_of(1)[0];
    bench.wires.get_mut(&wire).unwrap().requests.clear();
    let reply = format!("{}\r\n", bulk(LARGE)).into_bytes();
    bench.say(wire, &reply[..5000]);
    let first = bench.got(large).len();
    assert_eq!(first, 5000, "it passes through as it comes");
    bench.send(other, &format!("GET {key}"));
    assert_eq!(bench.wires_of(1).len(), 2, "the others have a connection of their own");
    bench.answer(1, "$1\r\nx");
    assert_eq!(bench.got(other), "$1\r\nx\r\n");
    bench.say(wire, &reply[5000..]);
    assert_eq!(first + bench.got(large).len(), reply.len());
    assert_eq!(bench.wires_of(1).len(), 1, "the one that carried it is closed");
    bench.send(large, &format!("GET {key}"));
    bench.answer(1, "$1\r\ny");
    assert_eq!(bench.got(large), "$1\r\ny\r\n");
}

#[test]
fn a_large_reply_waits_for_its_turn() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, &format!("GET {}", key_of(2, 0)));
    bench.send(client, &format!("GET {}", key_of(1, 0)));
    bench.send(client, "PING");
    let wire = bench.wires_of(1)[0];
    bench.wires.get_mut(&wire).unwrap().requests.clear();
    let reply = format!("{}\r\n", bulk(LARGE)).into_bytes();
    bench.say(wire, &reply[..10_000]);
    assert!(!bench.worker.reads_node(wire), "reading pauses");
    // A read that was under way already is kept.
    bench.say(wire, &reply[10_000..12_000]);
    assert_eq!(bench.got(client), "");
    bench.answer(2, "$5\r\nfirst");
    assert!(bench.worker.reads_node(wire));
    bench.say(wire, &reply[12_000..]);
    let got = bench.got(client);
    assert_eq!(got, format!("$5\r\nfirst\r\n{}\r\n+PONG\r\n", bulk(LARGE)));
}

#[test]
fn others_behind_a_stalled_large_reply_wait_only_so_long() {
    let mut bench = Bench::new();
    let (slow, behind) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    bench.send(slow, &format!("GET {}", key_of(2, 0)));
    bench.send(slow, &format!("GET {key}"));
    bench.send(behind, &format!("GET {key}"));
    let wire = bench.wires_of(1)[0];
    bench.wires.get_mut(&wire).unwrap().requests.clear();
    let reply = format!("{}\r\n$1\r\nx\r\n", bulk(LARGE)).into_bytes();
    bench.say(wire, &reply[..10_000]);
    // Node 2 never answers, so the large reply's turn does not come.
    bench.advance(Duration::from_millis(1900));
    assert!(bench.closed.is_empty());
    bench.advance(Duration::from_millis(200));
    assert_eq!(bench.closed, [slow]);
    assert!(bench.worker.reads_node(wire), "the rest is drained");
    bench.say(wire, &reply[10_000..]);
    assert_eq!(bench.got(behind), "$1\r\nx\r\n");
}

#[test]
fn a_large_reply_that_breaks_off_closes_its_client() {
    let mut bench = Bench::new();
    let (large, behind) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    bench.send(large, &format!("GET {key}"));
    bench.send(behind, &format!("GET {key}"));
    let wire = bench.wires_of(1)[0];
    bench.say(wire, &bulk(LARGE).as_bytes()[..10_000]);
    bench.kill(1, false);
    assert_eq!(bench.closed, [large]);
    bench.advance(Duration::from_millis(10));
    bench.answer(1, "$1\r\nx");
    assert_eq!(bench.got(behind), "$1\r\nx\r\n");
}

#[test]
fn the_client_of_a_large_reply_may_leave() {
    let mut bench = Bench::new();
    let (large, behind) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    bench.send(large, &format!("GET {key}"));
    bench.send(behind, &format!("GET {key}"));
    let wire = bench.wires_of(1)[0];
    let reply = format!("{}\r\n$1\r\nx\r\n", bulk(LARGE)).into_bytes();
    bench.say(wire, &reply[..10_000]);
    bench.worker.client_lost(large, bench.now);
    bench.turn();
    bench.say(wire, &reply[10_000..]);
    assert_eq!(bench.got(behind), "$1\r\nx\r\n");
    assert!(bench.wires_of(1).is_empty(), "the connection is closed when all is read");
}

#[test]
fn a_large_request_travels_alone_and_in_order() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    let value = "x".repeat(LARGE);
    let mut bytes = encode(&format!("SET {key} small"));
    bytes.extend(encode(&format!("SET {key} {value}")));
    bytes.extend(encode(&format!("GET {key}")));
    bench.send_raw(client, &bytes);
    assert_eq!(bench.at(1), [format!("SET {key} small")]);
    bench.answer(1, "+OK");
    assert_eq!(bench.wires_of(1).len(), 2);
    assert_eq!(bench.at(1), [format!("SET {key} {value}")], "what follows waits");
    bench.answer(1, "+OK");
    assert_eq!(bench.at(1), [format!("GET {key}")]);
    bench.answer(1, "$1\r\nx");
    assert_eq!(bench.got(client), "+OK\r\n+OK\r\n$1\r\nx\r\n");
    // The connection serves the next one, and is closed when it has been idle for long.
    bench.send(client, &format!("SET {key} {value}"));
    bench.answer(1, "+OK");
    assert_eq!(bench.wires_of(1).len(), 2);
    bench.advance(Duration::from_secs(61));
    assert_eq!(bench.wires_of(1).len(), 1);
}

#[test]
fn large_requests_have_a_bounded_number_of_connections() {
    let mut bench = Bench::new();
    let key = key_of(1, 0);
    let clients: Vec<u32> = (0..4).map(|_| bench.client()).collect();
    for &client in &clients {
        bench.send(client, &format!("SET {key} {}", "x".repeat(LARGE)));
    }
    assert_eq!(bench.wires_of(1).len(), 3, "one shared, two for large requests");
    assert_eq!(bench.at(1).len(), 2);
    for _ in 0..4 {
        bench.answer(1, "+OK");
    }
    for &client in &clients {
        assert_eq!(bench.got(client), "+OK\r\n");
    }
}

#[test]
fn the_bytes_of_large_requests_are_bounded() {
    let mut bench = Bench::new();
    let (first, second) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    let whole = encode(&format!("SET {key} {}", "x".repeat(60_000)));
    bench.send_raw(first, &whole[..50_000]);
    bench.send_raw(second, &whole[..50_000]);
    assert!(bench.worker.reads_client(first));
    assert!(!bench.worker.reads_client(second), "the budget is taken");
    bench.send_raw(first, &whole[50_000..]);
    bench.answer(1, "+OK");
    assert_eq!(bench.got(first), "+OK\r\n");
    assert!(bench.worker.reads_client(second));
    bench.send_raw(second, &whole[50_000..]);
    bench.answer(1, "+OK");
    assert_eq!(bench.got(second), "+OK\r\n");
}

#[test]
fn half_a_large_request_does_not_hold_the_budget_for_ever() {
    let mut bench = Bench::new();
    let (silent, next) = (bench.client(), bench.client());
    let whole = encode(&format!("SET {} {}", key_of(1, 0), "x".repeat(60_000)));
    bench.send_raw(silent, &whole[..30_000]);
    bench.send_raw(next, &whole[..30_000]);
    assert!(!bench.worker.reads_client(next));
    bench.advance(Duration::from_millis(2100));
    assert!(bench.closed.contains(&silent));
}

/// Half a request behind it was taken for half of the large one, which had come whole.
#[test]
fn half_a_request_behind_a_large_one_that_waits_is_no_fault() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    bench.kill(1, true);
    // In two reads: only then its bytes were taken of the budget.
    let whole = encode(&format!("SET {key} {}", "x".repeat(LARGE)));
    bench.send_raw(client, &whole[..LARGE / 2]);
    bench.send_raw(client, &whole[LARGE / 2..]);
    let next = encode("PING");
    bench.send_raw(client, &next[..5]);
    bench.live(Duration::from_secs(6));
    assert_eq!((bench.closed.len(), bench.got(client)), (0, String::new()));
    bench.send_raw(client, &next[5..]);
    bench.revive(1);
    bench.live(Duration::from_secs(1));
    bench.answer(1, "+OK");
    assert_eq!(bench.got(client), "+OK\r\n+PONG\r\n");
}

#[test]
fn a_request_larger_than_the_whole_budget_is_refused() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send_raw(client, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$200000\r\nabc");
    let got = bench.got(client);
    assert!(got.starts_with("-OVERLOADED not executed: "), "{got}");
    assert_eq!(bench.closed, [client]);
}

/// It went there without ASKING before, and back again, until the slot was there.
#[test]
fn a_large_request_to_a_slot_that_moves_is_asked_for() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    let slot = crate::slot::Slot::of_key(key.as_bytes());
    bench.send(client, &format!("SET {key} {}", "x".repeat(LARGE)));
    bench.answer(1, &format!("-ASK {slot} 10.0.0.1:2"));
    let at = bench.at(2);
    assert_eq!((at.len(), at[0].as_str()), (2, "ASKING"));
    bench.answer(2, "+OK");
    bench.answer(2, "+OK");
    assert_eq!(bench.got(client), "+OK\r\n");
}
