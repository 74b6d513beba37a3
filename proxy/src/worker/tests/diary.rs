//! The operator is told what happened, once, and nothing when nothing did.

use std::time::Duration;

use super::bench::{Bench, encode, key_of, topology};
use crate::events::Event;

#[test]
fn requests_that_succeed_straight_are_nothing_to_tell() {
    let mut bench = Bench::new();
    let client = bench.client();
    for _ in 0..10 {
        bench.send(client, &format!("GET {}", key_of(1, 0)));
        bench.answer(1, "$1\r\nx");
    }
    bench.live(Duration::from_secs(3));
    assert_eq!(bench.told(), [""; 0]);
}

#[test]
fn an_outage_is_told_from_the_loss_to_the_first_success() {
    let mut bench = Bench::new();
    let clients = [bench.client(), bench.client(), bench.client()];
    bench.live(Duration::from_secs(2));
    bench.send(clients[0], &format!("INCR {}", key_of(1, 0)));
    bench.kill(1, true);
    for client in clients {
        bench.send(client, &format!("INCR {}", key_of(1, 0)));
    }
    bench.live(Duration::from_secs(4));
    assert_eq!(bench.cells_oldest(), 4_000_000, "a gauge says how long the oldest waits");
    bench.revive(1);
    bench.advance(Duration::from_secs(1));
    for n in 1..=3 {
        bench.answer(1, &format!(":{n}"));
    }
    bench.live(Duration::from_millis(500));
    assert_eq!(bench.cells_oldest(), 0);
    let told = bench.told();
    let begin = [
        "connection to 10.0.0.1:1 lost with 1 request under way",
        "10.0.0.1:1 cannot be reached",
        "requests wait for 10.0.0.1:1: its node cannot be reached",
    ];
    let unknown = "1 unknown result for the slots of 10.0.0.1:1: the node's connection was lost";
    assert_eq!(
        told[..4],
        [begin[0], begin[1], begin[2], unknown],
        "dials are told once: {told:#?}"
    );
    let fenced = "1 lost connection to 10.0.0.1:1 fenced before the next one was used";
    assert_eq!(told[4], fenced);
    assert!(told[5].starts_with("10.0.0.1:1 answers again after 4."), "{told:#?}");
    let success =
        "first success for the slots of 10.0.0.1:1 5.00 s after its loss, from 10.0.0.1:1";
    assert_eq!(told[6], success);
    assert_eq!(told[7], "nobody waits for 10.0.0.1:1 any more: 3 requests did, the oldest 5.00 s");
    assert_eq!(told.len(), 8, "{told:#?}");
}

#[test]
fn after_a_failover_the_first_success_is_the_new_primarys() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.kill(1, true);
    bench.send(client, &format!("INCR {}", key_of(1, 0)));
    bench.live(Duration::from_secs(2));
    bench.told();
    let after = [(4, &[(0, 5460)][..]), (2, &[(5461, 10922)]), (3, &[(10923, 16383)])];
    bench.topology(topology(2, &after));
    assert_eq!(bench.at(4).len(), 1);
    bench.answer(4, ":1");
    assert_eq!(
        bench.told(),
        [
            "nobody waits for 10.0.0.1:1 any more: 1 request did, the oldest 2.00 s",
            "first success for the slots of 10.0.0.1:1 2.00 s after its loss, from 10.0.0.1:4",
        ]
    );
    // Once; and the new connection's replies are looked at no longer.
    bench.send(client, &format!("INCR {}", key_of(1, 0)));
    bench.answer(4, ":2");
    bench.live(Duration::from_secs(1));
    assert_eq!(bench.told(), [""; 0]);
    assert_eq!(bench.watched(), 0);
}

#[test]
fn a_primary_known_already_that_takes_slots_over_is_watched_too() {
    let mut bench = Bench::new();
    let (client, other) = (bench.client(), bench.client());
    bench.kill(1, true);
    bench.send(client, &format!("INCR {}", key_of(1, 0)));
    bench.advance(Duration::from_secs(1));
    bench.told();
    bench.topology(topology(2, &[(2, &[(0, 10922)]), (3, &[(10923, 16383)])]));
    bench.answer(2, ":1");
    let told = bench.told();
    assert!(
        told.iter().any(|line| line.contains("1.00 s after its loss, from 10.0.0.1:2")),
        "{told:#?}"
    );
    bench.send(other, &format!("GET {}", key_of(2, 0)));
    bench.answer(2, "$-1");
    assert_eq!(bench.watched(), 0);
}

#[test]
fn a_connection_that_nobody_missed_is_no_outage() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.live(Duration::from_secs(2));
    bench.kill(1, false);
    assert_eq!(bench.told(), ["connection to 10.0.0.1:1 lost with 0 requests under way"]);
    bench.live(Duration::from_secs(3600));
    bench.send(client, &format!("GET {}", key_of(1, 0)));
    bench.answer(1, "$-1");
    bench.live(Duration::from_secs(1));
    assert_eq!(bench.told(), [""; 0]);
}

/// A minute and more was told, and counted, because nobody had come earlier to see it.
#[test]
fn time_in_which_nobody_asked_is_no_outage() {
    for (when, expected) in [
        ("nobody asks", &[][..]),
        ("one is lost", &[]),
        ("one waits", &["10.0.0.1:1 answers again", FIRST]),
    ] {
        let mut bench = Bench::new();
        let client = bench.client();
        bench.live(Duration::from_secs(2));
        let request = format!("INCR {}", key_of(1, 0));
        if when == "one is lost" {
            bench.send(client, &request);
        }
        bench.kill(1, true);
        if when == "one waits" {
            bench.send(client, &request);
        }
        bench.live(Duration::from_secs(30));
        bench.revive(1);
        bench.live(Duration::from_secs(100));
        bench.told();
        bench.send(client, &request);
        bench.advance(Duration::from_millis(500));
        bench.answer(1, ":1");
        let told = bench.told();
        let is_of_it = |line: &&String| line.starts_with("first") || line.contains("answers again");
        let told: Vec<&String> = told.iter().filter(is_of_it).collect();
        assert_eq!(told, expected, "{when}");
    }
}

const FIRST: &str =
    "first success for the slots of 10.0.0.1:1 500 ms after its loss, from 10.0.0.1:1";

#[test]
fn a_storm_of_redirects_is_counted() {
    let mut bench = Bench::new();
    let clients: Vec<u32> = (0..20).map(|_| bench.client()).collect();
    let slot = crate::slot::Slot::of_key(key_of(1, 0).as_bytes());
    for &client in &clients {
        bench.send(client, &format!("GET {}", key_of(1, 0)));
    }
    for _ in &clients {
        bench.answer(1, &format!("-ASK {slot} 10.0.0.1:2"));
    }
    assert_eq!(bench.told(), [""; 0], "nothing yet");
    bench.live(Duration::from_millis(500));
    assert_eq!(bench.told(), ["20 ASK from 10.0.0.1:1 to 10.0.0.1:2"]);
    assert_eq!((bench.cells.replays_ask.get(), bench.cells.replays_moved.get()), (20, 0));
}

#[test]
fn what_waits_for_slots_is_told_without_a_line_for_each() {
    let mut bench = Bench::new();
    let client = bench.client();
    for key in [key_of(1, 0), key_of(1, 1)] {
        bench.send(client, &format!("GET {key}"));
        bench.answer(1, "-TRYAGAIN Multiple keys request during rehashing of slot");
    }
    bench.advance(Duration::from_secs(1));
    while !bench.at(1).is_empty() {
        bench.answer(1, "$-1");
    }
    bench.live(Duration::from_millis(500));
    let told = bench.told();
    assert!(told[0].starts_with("requests wait for slots (first "), "{told:#?}");
    assert!(told[1].starts_with("nobody waits for slots"), "{told:#?}");
    assert!(told[1].contains("2 requests did"), "{told:#?}");
    assert_eq!(told[2], "2 TRYAGAIN from 10.0.0.1:1");
    assert_eq!(told.len(), 3, "{told:#?}");
}

#[test]
fn a_circuit_is_told_when_it_opens_and_when_it_closes() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.kill(1, true);
    bench.send(client, &format!("INCR {}", key_of(1, 0)));
    bench.live(Duration::from_secs(21));
    let told = bench.told();
    for expected in [
        "circuit of 10.0.0.1:1 opened: requests have waited a whole deadline for it",
        "1 request gave up waiting for the slots of 10.0.0.1:1, not executed",
        "nobody waits for 10.0.0.1:1 any more: 1 request did, the oldest 20.00 s",
    ] {
        assert!(told.iter().any(|line| line == expected), "{expected} in {told:#?}");
    }
    bench.revive(1);
    bench.send(client, &format!("INCR {}", key_of(1, 0)));
    bench.advance(Duration::from_millis(500));
    bench.answer(1, ":1");
    let told = bench.told();
    assert!(
        told.iter().any(|line| line.starts_with("circuit of 10.0.0.1:1 closed after 1.")),
        "{told:#?}"
    );
}

#[test]
fn a_silent_node_is_told_as_such_and_when_it_answers() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.freeze(1);
    bench.send(client, &format!("INCR {}", key_of(1, 0)));
    bench.live(Duration::from_secs(4));
    bench.thaw(1);
    bench.answer(1, ":1");
    let told = bench.told();
    assert_eq!(told[0], "10.0.0.1:1 does not answer");
    assert!(told[1].starts_with("10.0.0.1:1 answers again after "), "{told:#?}");
}

#[test]
fn events_say_when_the_first_of_what_they_count_happened() {
    let mut bench = Bench::new();
    let client = bench.client();
    let began = bench.now;
    bench.send_raw(client, &encode(&format!("INCR {}", key_of(1, 0))));
    bench.kill(1, false);
    bench.live(Duration::from_secs(2));
    let told = bench.told.lock().unwrap();
    let unknown = told.iter().find(|(_, event)| matches!(event, Event::UnknownResults { .. }));
    assert_eq!(unknown.map(|(at, _)| *at), Some(began));
}
