//! Bugs that were, each with its story.

use std::time::Duration;

use super::bench::{Bench, encode, key_of, topology};
use crate::slot::Slot;

const TRYAGAIN: &str = "-TRYAGAIN Multiple keys request during rehashing of slot";

fn slot_of(key: &str) -> u16 {
    Slot::of_key(key.as_bytes()).number()
}

#[test]
fn a_slot_whose_trial_breaks_in_a_large_reply_is_tried_again() {
    let mut bench = Bench::new();
    let (large, other) = (bench.client(), bench.client());
    let get = format!("GET {}", key_of(1, 0));
    for client in [large, other] {
        bench.send(client, &get);
    }
    bench.answer(1, TRYAGAIN);
    bench.answer(1, TRYAGAIN);
    bench.advance(Duration::from_millis(10));
    let wire = bench.wires_of(1)[0];
    bench.say(wire, format!("$30000\r\n{}", "x".repeat(10_000)).as_bytes());
    bench.kill(1, false);
    assert_eq!(bench.closed.len(), 1);
    bench.advance(Duration::from_millis(500));
    assert_eq!(bench.at(1), [get]);
}

/// The gate was opened for those that waited before the one that had tried went its way.
#[test]
fn a_trial_that_is_redirected_is_not_overtaken() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    let pushes: Vec<String> = (0..3).map(|n| format!("RPUSH {key} {n}")).collect();
    let wire = bench.wires_of(1)[0];
    bench.wires.get_mut(&wire).unwrap().takes = Some(0);
    bench.send_raw(client, &pushes.iter().flat_map(|push| encode(push)).collect::<Vec<u8>>());
    bench.kill(1, false);
    bench.advance(Duration::from_millis(500));
    bench.answer(1, &format!("-MOVED {} 10.0.0.1:2", slot_of(&key)));
    for push in pushes {
        assert_eq!(bench.at(2)[0], push);
        bench.answer(2, ":1");
    }
    assert_eq!(bench.got(client), ":1\r\n:1\r\n:1\r\n");
}

#[test]
fn those_that_wait_at_different_places_follow_a_new_map_in_order() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    let (first, second) = (format!("RPUSH {key} 1"), format!("RPUSH {key} 2"));
    bench.send_raw(client, &[encode(&first), encode(&second)].concat());
    bench.answer(1, "-LOADING Redis is loading the dataset in memory");
    bench.answer(1, TRYAGAIN);
    bench.topology(topology(2, &[(1, &[(0, 0)]), (2, &[(1, 16383)])]));
    assert_eq!(bench.at(2)[0], first);
    bench.answer(2, ":1");
    assert_eq!(bench.at(2), [second]);
}

/// The node was not read from again once the client had caught up.
#[test]
fn a_client_that_has_shut_down_its_side_gets_a_large_reply_whole() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, &format!("GET {}", key_of(1, 0)));
    let wire = bench.wires_of(1)[0];
    let reply = format!("$400000\r\n{}\r\n", "x".repeat(400_000));
    bench.worker.client_ended(client, bench.now);
    bench.worker.node_bytes(wire, &reply.as_bytes()[..300_000], bench.now);
    assert!(!bench.worker.reads_node(wire), "the client has to catch up");
    bench.turn();
    assert!(bench.worker.reads_node(wire));
    bench.say(wire, &reply.as_bytes()[300_000..]);
    assert_eq!(bench.got(client).len(), reply.len());
    assert_eq!(bench.closed, [client]);
}

#[test]
fn a_whole_large_request_that_waits_for_its_turn_is_not_slow() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.kill(1, true);
    bench.send(client, &format!("GET {}", key_of(1, 0)));
    let bytes = encode(&format!("SET {} {}", key_of(2, 0), "x".repeat(30_000)));
    bench.send_raw(client, &bytes[..1000]);
    bench.send_raw(client, &bytes[1000..]);
    bench.advance(Duration::from_secs(5));
    assert!(bench.closed.is_empty(), "closed because a node is away");
    bench.revive(1);
    bench.advance(Duration::from_secs(1));
    bench.answer(1, "$1\r\nx");
    bench.answer(2, "+OK");
    assert_eq!(bench.got(client), "$1\r\nx\r\n+OK\r\n");
}

#[test]
fn noauth_on_a_connection_of_large_requests_is_mended_too() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, &format!("SET {} {}", key_of(1, 0), "x".repeat(30_000)));
    let before = bench.wires_of(1);
    bench.answer(1, "-NOAUTH Authentication required.");
    bench.advance(Duration::from_millis(100));
    assert_eq!(bench.at(1).len(), 1);
    assert_eq!(bench.dials[&1], before.len() + 2, "the shared one is greeted anew too");
}
