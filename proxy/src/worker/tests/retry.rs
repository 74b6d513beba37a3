//! `retry-unknown`: what is sent again although it may have been executed, and that nobody is told
//! then that it was not.

use std::time::Duration;

use super::bench::{Bench, encode, key_of, settings, topology};
use crate::command::RetryUnknown;
use crate::worker::Settings;

const PAUSE: Duration = Duration::from_millis(10);

fn idempotent() -> Settings {
    let retry_unknown = RetryUnknown { idempotent: true, blocking: false };
    Settings { retry_unknown, ..settings() }
}

/// A worker of which a client's SET was handed over and then lost.
fn lost(settings: Settings, stays_dead: bool) -> (Bench, u32, String) {
    let mut bench = Bench::with(settings);
    let client = bench.client();
    let set = format!("SET {} v", key_of(1, 0));
    bench.send(client, &set);
    bench.kill(1, stays_dead);
    bench.advance(PAUSE);
    (bench, client, set)
}

fn is_unknown(got: &str) -> bool {
    got.starts_with("-UNKNOWNRESULT sent, reply lost: ") && got.lines().count() == 1
}

#[test]
fn an_idempotent_write_is_sent_again_only_where_the_operator_wants_it() {
    let (mut bench, client, _) = lost(settings(), false);
    assert!(is_unknown(&bench.got(client)));
    let (mut bench, client, set) = lost(idempotent(), false);
    assert_eq!(bench.at(1), [set]);
    bench.answer(1, "+OK");
    assert_eq!(bench.got(client), "+OK\r\n");
    assert_eq!(bench.cells.replays_unknown.get(), 1);
    assert_eq!(bench.cells.unknown_results.get(), 0);
}

#[test]
fn any_other_write_is_never_sent_again() {
    let retry_unknown = RetryUnknown { idempotent: true, blocking: true };
    let key = key_of(1, 0);
    for write in ["INCR k", "SET k v NX", "SET k v EX 10", "DEL k", "EVAL s 1 k", "GETEX k"] {
        let mut bench = Bench::with(Settings { retry_unknown, ..settings() });
        let client = bench.client();
        bench.send(client, &write.replace('k', &key));
        bench.kill(1, false);
        bench.advance(PAUSE);
        assert!(is_unknown(&bench.got(client)), "{write}");
        assert!(bench.at(1).is_empty(), "{write}");
    }
}

#[test]
fn what_was_sent_again_is_unknown_at_its_deadline_and_at_every_bound() {
    let (mut bench, client, _) = lost(idempotent(), true);
    bench.advance(Duration::from_secs(19));
    assert_eq!(bench.got(client), "");
    bench.advance(Duration::from_secs(2));
    assert!(is_unknown(&bench.got(client)), "its deadline");

    let (mut bench, client, _) = lost(Settings { park_max_requests: 0, ..idempotent() }, true);
    assert!(is_unknown(&bench.got(client)), "no room to wait");

    let mut bench = Bench::with(idempotent());
    let client = bench.client();
    bench.freeze(1);
    bench.send(client, &format!("SET {} v", key_of(1, 0)));
    bench.live(Duration::from_secs(25));
    assert!(is_unknown(&bench.got(client)), "its node is silent, and nobody replaces it");
}

#[test]
fn a_read_that_was_sent_again_is_still_not_executed_at_its_deadline() {
    let mut bench = Bench::with(idempotent());
    let client = bench.client();
    bench.send(client, &format!("GET {}", key_of(1, 0)));
    bench.kill(1, true);
    bench.advance(Duration::from_secs(21));
    assert!(bench.got(client).starts_with("-CLUSTERDOWN not executed: "));
}

#[test]
fn an_error_for_the_second_one_says_nothing_of_the_first() {
    let (mut bench, client, set) = lost(idempotent(), false);
    // A rejection is none: it waits and is sent again.
    bench.answer(1, "-CLUSTERDOWN The cluster is down");
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.at(1), [set]);
    bench.answer(1, "-OOM command not allowed when used memory > 'maxmemory'.");
    assert!(is_unknown(&bench.got(client)));
}

#[test]
fn what_a_replaced_node_had_is_sent_to_its_successor() {
    let mut bench = Bench::with(idempotent());
    let client = bench.client();
    let set = format!("SET {} v", key_of(1, 0));
    bench.freeze(1);
    bench.send(client, &set);
    bench.live(Duration::from_secs(5));
    bench
        .topology(topology(2, &[(4, &[(0, 5460)]), (2, &[(5461, 10922)]), (3, &[(10923, 16383)])]));
    bench.advance(PAUSE);
    assert_eq!(bench.at(4), [set]);
    bench.answer(4, "+OK");
    assert_eq!(bench.got(client), "+OK\r\n");
}

#[test]
fn nothing_of_the_same_client_and_slot_overtakes_what_is_sent_again() {
    let mut bench = Bench::with(idempotent());
    let client = bench.client();
    let key = key_of(1, 0);
    let set = |value: u32| format!("SET {key} {value}");
    bench.send_raw(client, &[encode(&set(1)), encode(&set(2))].concat());
    bench.kill(1, false);
    bench.advance(PAUSE);
    bench.send(client, &set(3));
    for value in 1..=3 {
        assert_eq!(bench.at(1), [set(value)]);
        bench.answer(1, "+OK");
    }
    assert_eq!(bench.got(client), "+OK\r\n".repeat(3));
}
