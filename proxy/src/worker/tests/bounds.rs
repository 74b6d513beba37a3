//! Every queue has a bound and an answer at the bound.

use std::time::Duration;

use super::bench::{Bench, encode, key_of, settings};
use crate::worker::Settings;

#[test]
fn a_client_has_only_so_much_in_flight() {
    let mut bench = Bench::with(Settings { requests_max: 16, ..settings() });
    let client = bench.client();
    let key = key_of(1, 0);
    let requests: Vec<u8> = (0..100).flat_map(|n| encode(&format!("RPUSH {key} {n}"))).collect();
    bench.send_raw(client, &requests);
    assert_eq!(bench.at(1).len(), 16);
    assert!(!bench.worker.reads_client(client), "reading pauses");
    let mut seen = Vec::new();
    while let Some(request) = bench.at(1).first().cloned() {
        seen.push(request);
        bench.answer(1, ":1");
        assert!(bench.at(1).len() <= 16);
    }
    let expected: Vec<String> = (0..100).map(|n| format!("RPUSH {key} {n}")).collect();
    assert_eq!(seen, expected);
    assert!(bench.worker.reads_client(client), "reading goes on");
    assert_eq!(bench.got(client), ":1\r\n".repeat(100));
}

#[test]
fn a_client_that_does_not_read_gets_no_further_request_through_and_is_closed_at_the_bound() {
    let mut bench = Bench::new();
    let (slow, other) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    for _ in 0..40 {
        bench.worker.client_bytes(slow, &encode(&format!("GET {key}")), bench.now);
    }
    while let Some(index) = bench.worker.take_dirty_node() {
        let len = bench.worker.node_output(index).len();
        bench.worker.node_wrote(index, len);
    }
    let wire = bench.wires_of(1)[0];
    let reply = format!("$5000\r\n{}\r\n", "x".repeat(5000));
    for n in 0..40 {
        // The driver writes nothing to the slow client: its socket is full.
        bench.worker.node_bytes(wire, reply.as_bytes(), bench.now);
        if n == 5 {
            bench.worker.client_bytes(slow, &encode(&format!("GET {key}")), bench.now);
            assert!(!bench.worker.reads_client(slow), "nothing further goes through");
        }
    }
    bench.turn();
    assert!(bench.closed.contains(&slow), "100,000 bytes were waiting for it");
    bench.send(other, "PING");
    assert_eq!(bench.got(other), "+PONG\r\n");
    assert_eq!(bench.cells.clients_closed_slow.get(), 1);
}

#[test]
fn the_newest_request_is_refused_when_too_many_wait() {
    let mut bench = Bench::with(Settings { park_max_requests: 3, ..settings() });
    bench.kill(1, true);
    let clients: Vec<u32> = (0..4).map(|_| bench.client()).collect();
    for &client in &clients {
        bench.send(client, &format!("INCR {}", key_of(1, 0)));
    }
    let refused = bench.got(clients[3]);
    assert!(refused.starts_with("-OVERLOADED not executed: "), "{refused}");
    for &client in &clients[..3] {
        assert_eq!(bench.got(client), "");
    }
    assert_eq!(bench.cells.park_refused.get(), 1);
}

/// A later one of the same client was queued already, and the kernel had taken nothing of it.
#[test]
fn what_is_called_back_behind_a_request_that_waits_is_counted_after_it() {
    let mut bench = Bench::with(Settings { park_max_requests: 1, ..settings() });
    let (client, key) = (bench.client(), key_of(1, 0));
    let (wire, first) = (bench.wires_of(1)[0], format!("INCR {key}"));
    bench.wires.get_mut(&wire).unwrap().takes = Some(encode(&first).len());
    bench.send(client, &first);
    bench.send(client, &format!("APPEND {key} x"));
    bench.answer(1, "-LOADING Redis is loading the dataset in memory");
    assert_eq!(bench.cells.parked_requests.get(), 1);
    bench.wires.get_mut(&wire).unwrap().takes = None;
    bench.advance(Duration::from_millis(50));
    assert_eq!(bench.at(1), [first]);
    bench.answer(1, ":1");
    let got = bench.got(client);
    assert!(got.starts_with(":1\r\n-OVERLOADED not executed: "), "the newest one: {got}");
    assert_eq!(bench.cells.parked_requests.get(), 0);
}

#[test]
fn the_bytes_that_wait_are_bounded() {
    let mut bench = Bench::with(Settings { park_max_bytes: 25_000, ..settings() });
    bench.kill(1, true);
    let value = "x".repeat(10_000);
    let clients: Vec<u32> = (0..3).map(|_| bench.client()).collect();
    for &client in &clients {
        bench.send(client, &format!("SET {} {value}", key_of(1, 0)));
    }
    assert!(bench.got(clients[2]).starts_with("-OVERLOADED not executed: "));
    assert_eq!(bench.cells.parked_requests.get(), 2);
}

#[test]
fn announced_bytes_cost_nothing_before_they_come() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send_raw(client, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$90000\r\nabc");
    let flow = bench.worker.clients.get(client).unwrap().flow.as_ref().unwrap();
    assert!(flow.input.capacity() < 1000, "{}", flow.input.capacity());
}
