//! Clients that cache, when it cannot be told whether what they have is still good.

use std::time::Duration;

use super::bench::{Bench, key_of, settings, topology};
use super::tracking::{ALL, WATCHER, caching, change, data, gone, read, slot_of, tracked};
use crate::worker::Settings;

/// The connection on which the first node's changes are heard breaks.
fn lose_watcher(bench: &mut Bench) {
    let watcher = bench.wire_in(1, WATCHER).unwrap();
    bench.wires.remove(&watcher);
    bench.worker.node_lost(watcher, bench.now);
    bench.turn();
}

#[test]
fn a_node_that_is_not_watched_gives_nothing_that_may_be_kept() {
    let mut bench = Bench::new();
    bench.no_watching = true;
    let client = bench.client();
    bench.send(client, "HELLO 3");
    bench.got(client);
    bench.send(client, "CLIENT TRACKING ON");
    let (key, other) = (key_of(1, 0), key_of(2, 0));
    bench.answer_on(bench.wire_in(2, WATCHER).unwrap(), "+OK");
    bench.answer_on(bench.wire_in(1, WATCHER).unwrap(), "-NOPERM no");
    bench.live(Duration::from_secs(2));
    assert_eq!(bench.got(client), "+OK\r\n", "it does not wait for ever");
    read(&mut bench, client, 2, &other);
    bench.send(client, &format!("GET {key}"));
    bench.answer_on(data(&bench, 1), "+value");
    assert_eq!(bench.got(client), format!("+value\r\n{}", gone(&[&key])));
    assert!(bench.dials[&1] < 10, "{} dials", bench.dials[&1]);
}

#[test]
fn a_watcher_that_is_lost_makes_what_it_watched_invalid() {
    let mut bench = Bench::new();
    let client = caching(&mut bench, "CLIENT TRACKING ON");
    let prefixed = caching(&mut bench, "CLIENT TRACKING ON BCAST PREFIX nothing");
    let (key, other) = (key_of(1, 0), key_of(2, 0));
    read(&mut bench, client, 1, &key);
    read(&mut bench, client, 2, &other);
    bench.send(client, &format!("GET {}", key_of(3, 0)));
    lose_watcher(&mut bench);
    assert_eq!(bench.got(client), gone(&[&key]), "of other nodes all is well");
    assert_eq!(bench.got(prefixed), ALL, "anything may have changed unseen");
    bench.answer_on(data(&bench, 3), "+value");
    assert_eq!(bench.got(client), format!("+value\r\n{}", gone(&[&key])));
    assert_eq!(bench.cells.invalidations_connection_lost.get(), 2);
    bench.live(Duration::from_secs(1));
    read(&mut bench, client, 1, &key);
    change(&mut bench, 1, &[&key]);
    assert_eq!(bench.got(client), gone(&[&key]), "it is watched again");
    change(&mut bench, 2, &[&other]);
    assert_eq!(bench.got(client), gone(&[&other]));
}

#[test]
fn what_is_read_while_the_watcher_is_away_may_not_be_kept() {
    let mut bench = Bench::new();
    let client = caching(&mut bench, "CLIENT TRACKING ON");
    let prefixed = caching(&mut bench, "CLIENT TRACKING ON BCAST PREFIX k");
    let key = key_of(1, 0);
    lose_watcher(&mut bench);
    assert_eq!(bench.got(prefixed), ALL);
    for client in [client, prefixed] {
        bench.send(client, &format!("GET {key}"));
        bench.answer_on(data(&bench, 1), "+value");
        assert_eq!(bench.got(client), format!("+value\r\n{}", gone(&[&key])));
    }
}

#[test]
fn a_slot_with_another_owner_makes_its_keys_invalid() {
    let mut bench = Bench::new();
    let client = caching(&mut bench, "CLIENT TRACKING ON");
    let prefixed = caching(&mut bench, "CLIENT TRACKING ON BCAST");
    let (key, stays) = (key_of(1, 0), key_of(2, 0));
    read(&mut bench, client, 1, &key);
    read(&mut bench, client, 2, &stays);
    // From one node that is watched to another: every change was and is seen.
    bench.topology(topology(2, &[(2, &[(0, 10922)]), (3, &[(10923, 16383)])]));
    assert_eq!(bench.got(client), gone(&[&key]));
    assert_eq!(bench.got(prefixed), ALL, "the watcher of a node without slots is closed");
    read(&mut bench, client, 2, &key);
    change(&mut bench, 2, &[&key]);
    assert_eq!(bench.got(client), gone(&[&key]));
    assert_eq!(bench.got(prefixed), gone(&[&key]));
    // To one that is not watched yet.
    read(&mut bench, client, 2, &key);
    bench.no_watching = true;
    bench
        .topology(topology(3, &[(4, &[(0, 5460)]), (2, &[(5461, 10922)]), (3, &[(10923, 16383)])]));
    assert_eq!(bench.got(client), gone(&[&key]));
    assert_eq!(bench.got(prefixed), ALL);
    change(&mut bench, 2, &[&stays]);
    assert_eq!(bench.got(client), gone(&[&stays]));
    bench.answer_on(bench.wire_in(4, WATCHER).unwrap(), "+OK");
    read(&mut bench, client, 4, &key);
    change(&mut bench, 4, &[&key]);
    assert_eq!(bench.got(client), gone(&[&key]));
}

#[test]
fn a_redirect_makes_the_keys_of_its_slot_invalid() {
    let (mut bench, client, key) = tracked();
    read(&mut bench, client, 1, &key);
    let other = bench.client();
    bench.send(other, &format!("SET {key} v"));
    bench.answer(1, &format!("-MOVED {} 10.0.0.1:2", slot_of(&key)));
    assert_eq!(bench.got(client), gone(&[&key]));
    read(&mut bench, client, 2, &key);
    change(&mut bench, 2, &[&key]);
    assert_eq!(bench.got(client), gone(&[&key]));
}

#[test]
fn a_read_that_is_sent_to_a_node_without_a_watcher_may_not_be_kept() {
    let mut bench = Bench::new();
    // The fourth takes slots over and has none yet.
    bench.topology(topology(
        2,
        &[(1, &[(0, 5460)]), (2, &[(5461, 10922)]), (3, &[(10923, 16383)]), (4, &[])],
    ));
    let client = caching(&mut bench, "CLIENT TRACKING ON");
    let (key, other) = (key_of(1, 0), key_of(2, 0));
    for request in [format!("GET {key}"), format!("MGET {other} {key}")] {
        bench.send(client, &request);
        bench.answer_on(data(&bench, 1), &format!("-ASK {} 10.0.0.1:4", slot_of(&key)));
        let importing = data(&bench, 4);
        if bench.wires[&importing].requests.is_empty() {
            // It was being connected: again from the owner.
            bench.advance(Duration::from_millis(20));
            bench.answer_on(data(&bench, 1), &format!("-ASK {} 10.0.0.1:4", slot_of(&key)));
        }
        bench.answer_on(importing, "+OK");
        if request.starts_with("GET") {
            bench.answer_on(importing, "+value");
            assert_eq!(bench.got(client), format!("+value\r\n{}", gone(&[&key])));
        } else {
            bench.answer_on(importing, "*1\r\n+value");
            bench.answer_on(data(&bench, 2), "*1\r\n+other");
            let told = format!("*2\r\n+other\r\n+value\r\n{}", gone(&[&key]));
            assert_eq!(bench.got(client), told);
        }
    }
}

#[test]
fn a_full_table_makes_keys_invalid_and_stays_bounded() {
    let mut bench = Bench::with(Settings { tracking_max_bytes: 10_000, ..settings() });
    let client = caching(&mut bench, "CLIENT TRACKING ON");
    let keys: Vec<String> = (0..1000).map(|n| key_of(1, n)).collect();
    let mut told = String::new();
    for key in &keys {
        bench.send(client, &format!("GET {key}"));
        bench.answer_on(data(&bench, 1), "+value");
        told.push_str(&bench.got(client));
    }
    let valid: Vec<&String> = keys.iter().filter(|key| !told.contains(&gone(&[key]))).collect();
    assert!((100..200).contains(&valid.len()), "{} are kept", valid.len());
    change(&mut bench, 1, &valid.iter().map(|key| key.as_str()).collect::<Vec<_>>());
    let told = bench.got(client);
    assert!(valid.iter().all(|key| told.contains(&gone(&[key]))));
    assert_eq!(bench.cells.invalidations_table_full.get(), 1000 - valid.len() as u64);
    let huge = format!("{{{}}}{}", keys[0], "x".repeat(10_000));
    bench.send(client, &format!("GET {huge}"));
    bench.answer_on(data(&bench, 1), "+value");
    assert!(bench.got(client).ends_with(ALL), "there is never room for it");
}
